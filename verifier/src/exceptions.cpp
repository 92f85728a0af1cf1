// SPDX-License-Identifier: Apache-2.0
// bpf_throw(): the program ends at once, with what it threw or with what its exception callback returns; nothing is
// released on the way.
#include "anybpf/abi/context.hpp"
#include "anybpf/program/exception.hpp"
#include "walker.hpp"

namespace anybpf::verifier {

using btf::Kind;

// What the program gives back, by itself or through an exception (check_return_code() of Linux 6.18).
bool Walker::returns_as_program(const Reg& result) {
    if (!structure_.attach.returns) return true;
    if (is_pointer(result.type) && !options_.allow_ptr_leaks)
        return fail(Finding::pointer_leak_return, static_cast<i64>(result.type));
    const auto range = abi::return_range(program_.type, program_.expected_attach_type);
    if (range && !returns_within(result, range->least, range->most)) return false;
    const auto typed = typed_return_range(program_, structure_.attach);
    return !typed || returns_within(result, typed->least, typed->most);
}

bool Walker::is_exception_callback() const {
    const u32 subprogram = state_.frame().subprogram;
    return subprogram != 0 && structure_.flow.starts[subprogram] == structure_.exception_callback;
}

// It is judged like a global function that takes the cookie.
bool Walker::check_exception_callback() {
    pc_ = structure_.exception_callback;
    const btf::Btf& btf = *program_.btf;
    const u32 subprogram = *structure_.flow.starting_at(pc_);
    const btf::Type prototype = btf.type(global_function(subprogram).target());
    const auto number = [&](u32 id) {
        const btf::Type type = btf.type(btf.skip_modifiers(id));
        return type.kind == Kind::int_ || type.is_enum();
    };
    if (prototype.vlen != 1 || !number(btf.parameter(prototype, 0).type) || !number(prototype.target()))
        return fail(Finding::bad_exception_callback, static_cast<i64>(program::ExceptionFlaw::type));
    globals_.push_back(subprogram);
    return true;
}

bool Walker::throw_exception() {
    // Without a callback the cookie is what the program returns.
    const Reg cookie = reg(1);
    const Frame& frame = std::as_const(state_).frames[0];
    if (structure_.exception_callback == 0) {
        if (frame.async == Async::timer || frame.async == Async::work_queue) {
            mark(cookie);
            if (!cookie.is_zero()) return fail(Finding::timer_return, cookie.value.smin, cookie.value.smax);
        } else if (frame.async == Async::no && frame.subprogram == 0 && !returns_as_program(cookie)) {
            return false;
        }
    }
    if (!check_released() || !sections_ended()) return false;
    thrown_ = true;
    return true;
}

// Nothing is thrown where the kernel would have to be left: in functions that it calls, or that these call.
bool Walker::check_throws() {
    const auto& starts = structure_.flow.starts;
    std::vector<u8> called = called_back_;
    if (structure_.exception_callback != 0) called[*structure_.flow.starting_at(structure_.exception_callback)] = 1;
    for (bool more = true; std::exchange(more, false);)
        for (const program::Call& call : structure_.flow.calls) {
            const u32 to = *structure_.flow.starting_at(call.target);
            if (called[structure_.flow.subprogram_of(call.insn)] == 0 || called[to] != 0) continue;
            called[to] = 1, more = true;
        }
    for (u32 sub = 0; sub < starts.size(); ++sub) {
        if (called[sub] == 0) continue;
        const u32 end = sub + 1 < starts.size() ? starts[sub + 1] : static_cast<u32>(program_.insns.size());
        for (u32 pc = starts[sub]; pc < end; pc += isa::slots(program_.insns[pc]))
            if (const abi::Kfunc* row = kfunc_at(pc); row != nullptr && row->name == "bpf_throw") {
                pc_ = pc;
                return fail(Finding::throw_in_callback, starts[sub]);
            }
    }
    return true;
}

}  // namespace anybpf::verifier

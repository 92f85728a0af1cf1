// SPDX-License-Identifier: Apache-2.0
// Global functions of the program. They are judged once, for whatever arguments their types and tags in the program's
// BTF allow, and their callers are judged by these (btf_prepare_func_args() and btf_check_func_arg_match() of Linux
// 6.18). Static functions are walked at each call.
#include <algorithm>
#include <string_view>

#include "walker.hpp"

namespace anybpf::verifier {

using abi::ProgType;
using btf::Kind;

namespace {

// The struct that the context is, where a pointer to it as an argument is the context without a tag.
std::string_view context_struct(ProgType type) {
    using P = ProgType;
    const auto one_of = [&](auto... types) { return ((type == types) || ...); };
    if (one_of(P::socket_filter, P::sched_cls, P::sched_act, P::cgroup_skb, P::lwt_in, P::lwt_out, P::lwt_xmit,
               P::lwt_seg6local, P::sk_skb, P::flow_dissector))
        return "__sk_buff";
    if (type == P::xdp) return "xdp_md";
    if (type == P::kprobe) return "pt_regs";
    if (type == P::perf_event) return "bpf_perf_event_data";
    if (type == P::raw_tracepoint || type == P::raw_tracepoint_writable) return "bpf_raw_tracepoint_args";
    if (type == P::cgroup_sock) return "bpf_sock";
    if (type == P::cgroup_sock_addr) return "bpf_sock_addr";
    if (type == P::sock_ops) return "bpf_sock_ops";
    if (type == P::sk_msg) return "sk_msg_md";
    if (type == P::sk_lookup) return "bpf_sk_lookup";
    if (type == P::sk_reuseport) return "sk_reuseport_md";
    if (type == P::cgroup_device) return "bpf_cgroup_dev_ctx";
    if (type == P::cgroup_sysctl) return "bpf_sysctl";
    if (type == P::cgroup_sockopt) return "bpf_sockopt";
    return "";
}

}  // namespace

// The FUNC that describes the subprogram, where it is global; id 0 elsewhere.
btf::Type Walker::global_function(u32 subprogram) const {
    if (subprogram == 0 || program_.btf == nullptr) return {};
    for (const program::FuncInfo& info : program_.funcs) {
        if (info.insn != structure_.flow.starts[subprogram] || !program_.btf->contains(info.type_id)) continue;
        const btf::Type type = program_.btf->type(info.type_id);
        if (type.kind == Kind::func && btf::Btf::func_linkage(type) == btf::FuncLinkage::global) return type;
    }
    return {};
}

// Whether the function's argument is tagged so.
bool Walker::has_tag(const btf::Type& function, u32 argument, std::string_view wanted) const {
    const btf::Btf& btf = *program_.btf;
    for (const u32 id : argument_tags_) {
        const btf::Type tag = btf.type(id);
        if (tag.target() == function.id && btf.component(tag) == static_cast<i32>(argument) && tag.name == wanted)
            return true;
    }
    return false;
}

// An argument that may be anything: loads through it are caught, and it is never written to.
bool Walker::untrusted_argument(const btf::Type& object, u32 i, Reg& out) {
    if (object.id == 0 || object.kind == Kind::int_ || object.is_enum()) {
        out = Reg::pointer(Type::memory);
        out.flags = flag::read_only | flag::untrusted;
        return true;
    }
    const u32 kernel = program_.kernel_btf != nullptr ? kernel_struct(object.name) : 0;
    if (kernel == 0 || object.kind != Kind::struct_) return fail(Finding::global_argument_type, i + 1);
    out = Reg::pointer(Type::btf, kernel);
    out.flags = flag::untrusted;
    return true;
}

// The register that the function is to find its argument in: of any value that callers may pass.
bool Walker::global_argument(const btf::Type& function, u32 i, Reg& out) {
    const btf::Btf& btf = *program_.btf;
    const btf::Parameter parameter = btf.parameter(btf.type(function.target()), i);
    const btf::Type type = btf.type(btf.skip_modifiers(parameter.type));
    if (type.kind == Kind::int_ || type.is_enum()) {
        out = unknown();
        return true;
    }
    if (type.kind != Kind::ptr) return fail(Finding::global_argument_type, i + 1);
    // struct pt_regs is also known as bpf_user_pt_regs_t.
    const u32 target = btf.skip_modifiers(type.target());
    const btf::Type object = btf.type(target);
    const std::string_view context = context_struct(program_.type);
    if ((!context.empty() && object.kind == Kind::struct_ && object.name == context) ||
        has_tag(function, i, "arg:ctx")) {
        out = Reg::pointer(Type::ctx);
        return true;
    }
    if (object.name == "bpf_dynptr") {
        out = Reg::pointer(Type::dynptr, 0, next_id_++);
        return true;
    }
    const bool nonnull = has_tag(function, i, "arg:nonnull");
    if (has_tag(function, i, "arg:trusted")) {
        const u32 kernel = program_.kernel_btf != nullptr ? kernel_struct(object.name) : 0;
        if (kernel == 0 || object.kind != Kind::struct_) return fail(Finding::global_argument_type, i + 1);
        out = Reg::pointer(Type::btf, kernel);
        out.flags = flag::trusted;
        if (has_tag(function, i, "arg:nullable")) out.flags |= flag::null, out.id = next_id_++;
        return true;
    }
    if (has_tag(function, i, "arg:untrusted")) return untrusted_argument(object, i, out);
    if (has_tag(function, i, "arg:arena")) {
        if (nonnull || has_tag(function, i, "arg:nullable")) return fail(Finding::global_argument_type, i + 1);
        out = Reg::pointer(Type::arena);
        return true;
    }
    const auto bytes = btf.size(target);
    if (!bytes) return fail(Finding::global_argument_type, i + 1);
    out = Reg::pointer(Type::memory, *bytes);
    if (!nonnull) out.flags = flag::null, out.id = next_id_++;
    return true;
}

// A function that can be judged by its types: it returns a number and takes what registers hold.
bool Walker::global_prototype(const btf::Type& function, btf::Type& prototype) {
    constexpr u32 most = 5;
    const btf::Btf& btf = *program_.btf;
    prototype = btf.type(function.target());
    const btf::Type result = btf.type(btf.skip_modifiers(prototype.target()));
    if (prototype.vlen > most) return fail(Finding::global_argument_type, most + 1);
    return result.kind == Kind::int_ || result.is_enum() || fail(Finding::global_result);
}

// A call: the arguments are such as the function is judged for, and it returns any number.
bool Walker::call_global(u32 subprogram, const btf::Type& function) {
    btf::Type prototype;
    if (!global_prototype(function, prototype)) return false;
    if (state_.lock.held) return fail(Finding::lock_held_global, state_.lock.insn);
    if (state_.sections.rcu_locked && program_.sleepable) return fail(Finding::sleeps_in_section);
    for (u32 i = 0; i < prototype.vlen; ++i) {
        Reg wanted;
        if (!readable(i + 1) || !global_argument(function, i, wanted)) return false;
        const Reg at = reg(i + 1);
        const auto refused = [&] { return fail(Finding::global_argument, i + 1, static_cast<i64>(at.type)); };
        if (wanted.is_scalar()) {
            if (!at.is_scalar()) return refused();
            continue;
        }
        if (wanted.type == Type::arena) {
            if (at.type != Type::arena && !at.is_scalar()) return refused();
            continue;
        }
        if (wanted.has(flag::untrusted)) continue;
        if (at.is_scalar()) mark(at);
        const bool null = at.is_zero() || may_be_null(at);
        if (wanted.type == Type::ctx) {
            if (at.type != Type::ctx) return refused();
            if (!at.value.is_constant(0)) return fail(Finding::context_offset, i + 1);
        } else if (wanted.type == Type::dynptr) {
            if (dynptr_at(i + 1) == nullptr) return false;
        } else if (wanted.type == Type::btf) {
            if (null && !wanted.has(flag::null)) return refused();
            if (at.is_zero()) continue;
            if (at.type != Type::btf || !is_trusted(at) || at.object != wanted.object || !at.value.is_constant(0))
                return refused();
        } else {
            if (null && !wanted.has(flag::null)) return fail(Finding::maybe_null, i + 1, static_cast<i64>(at.type));
            if (at.is_zero()) continue;
            // Such as may be null is passed on as what it is when it is not.
            const Reg before = at;
            Reg& now = reg(i + 1);
            if (now.type == Type::map_value_or_null) now.type = Type::map_value;
            if (now.type == Type::record_or_null) now.type = Type::record;
            now.flags = static_cast<u16>(now.flags & ~flag::null);
            const bool good = update_argument(i + 1, wanted.object, wanted.object);
            reg(i + 1) = before;
            if (!good) return false;
        }
    }
    if (std::ranges::find(globals_, subprogram) == globals_.end()) globals_.push_back(subprogram);
    for (u32 r = 1; r <= 5; ++r) reg(r) = {};
    reg(0) = unknown();
    if (moves_packets(subprogram)) lose_packets();
    return true;
}

// Whether the function, or one that it calls, may move the packet.
bool Walker::moves_packets(u32 subprogram) {
    moves_packets_.resize(structure_.flow.starts.size(), -1);
    if (moves_packets_[subprogram] < 0)
        moves_packets_[subprogram] = moves_packets(program_.insns, structure_.flow, subprogram) ? 1 : 0;
    return moves_packets_[subprogram] != 0;
}

bool Walker::moves_packets(std::span<const isa::Insn> insns, const program::Flow& flow, u32 subprogram) {
    const auto& starts = flow.starts;
    std::vector<u32> todo = {subprogram};
    for (std::size_t i = 0; i < todo.size(); ++i) {
        const u32 last = todo[i] + 1 < starts.size() ? starts[todo[i] + 1] : static_cast<u32>(insns.size());
        for (u32 pc = starts[todo[i]]; pc < last; pc += isa::slots(insns[pc])) {
            const isa::Form what = isa::decode(insns[pc]).form;
            if (what.kind != isa::Kind::call) continue;
            const isa::Insn& call = insns[pc];
            if (what.call == isa::CallKind::helper) {
                const abi::HelperProto* proto = abi::find_helper(static_cast<u32>(call.imm));
                if (proto != nullptr && proto->packet == abi::PacketUse::moved) return true;
            } else if (what.call == isa::CallKind::subprogram) {
                const u32 called = *flow.starting_at(static_cast<u32>(i64{pc} + 1 + call.imm));
                if (std::ranges::find(todo, called) == todo.end()) todo.push_back(called);
            }
        }
    }
    return false;
}

// Makes ready to judge the function by itself.
bool Walker::begin_global(u32 subprogram) {
    const btf::Type function = global_function(subprogram);
    state_ = {};
    trod_ = -1;
    state_.frames.push(arena_);
    state_.frame().subprogram = subprogram;
    pc_ = structure_.flow.starts[subprogram];
    parent_ = before_ = -1;
    insns_since_ = jumps_since_ = 0;
    from_callback_ = false;
    reg(10) = Reg::pointer(Type::stack);
    return global_registers(function);
}

// The function's arguments as its types and tags promise them.
bool Walker::global_registers(const btf::Type& function) {
    btf::Type prototype;
    if (!global_prototype(function, prototype)) return false;
    for (u32 i = 0; i < prototype.vlen; ++i) {
        if (!global_argument(function, i, reg(i + 1))) return false;
        if (seen(i + 1).type == Type::arena) reg(i + 1) = unknown();  // to be cast there
    }
    return true;
}

}  // namespace anybpf::verifier

// SPDX-License-Identifier: Apache-2.0
// What is known, in words: of a register in a message, of a state in the log, as the kernel prints it.
#include <fmt/format.h>

#include <array>

#include "anybpf/abi/helper.hpp"
#include "anybpf/btf/btf.hpp"
#include "anybpf/isa/text.hpp"
#include "state.hpp"

namespace anybpf::verifier {

std::string_view describe(Type type) {
    switch (type) {
        case Type::uninit:
            return "without a value";
        case Type::scalar:
            return "a number";
        case Type::ctx:
            return "the context";
        case Type::stack:
            return "a pointer to the stack";
        case Type::map:
            return "a map";
        case Type::map_value:
            return "a pointer to a map value";
        case Type::map_value_or_null:
            return "a pointer to a map value or null";
        case Type::record:
            return "a ring buffer record";
        case Type::record_or_null:
            return "a ring buffer record or null";
        case Type::task:
            return "a pointer to a task_struct";
        case Type::function:
            return "a function";
        case Type::packet:
            return "an address in the packet";
        case Type::packet_meta:
            return "an address in the packet's metadata";
        case Type::packet_end:
            return "the packet's end";
        case Type::inner_map_or_null:
            return "an inner map or null";
        case Type::map_key:
            return "a pointer to a map's key";
        case Type::sock_common:
            return "a socket of any kind";
        case Type::sock_common_or_null:
            return "a socket of any kind or null";
        case Type::socket:
            return "a full socket";
        case Type::socket_or_null:
            return "a full socket or null";
        case Type::tcp_sock:
            return "a TCP socket";
        case Type::tcp_sock_or_null:
            return "a TCP socket or null";
        case Type::xdp_sock:
            return "an XDP socket";
        case Type::xdp_sock_or_null:
            return "an XDP socket or null";
        case Type::cast_socket:
            return "a socket of the kernel's type";
        case Type::cast_socket_or_null:
            return "a socket of the kernel's type or null";
        case Type::flow_keys:
            return "a pointer to the flow keys";
        case Type::trace_buffer:
            return "a tracepoint's buffer";
        case Type::kernel_object:
            return "a pointer to a kernel structure";
        case Type::btf:
            return "a pointer to a struct of BTF";
        case Type::arena:
            return "a pointer into the arena";
        case Type::memory:
            return "a pointer to memory";
        case Type::dynptr:
            return "a dynptr";
        case Type::iterator:
            return "an iterator";
        case Type::interrupts:
            return "saved interrupt flags";
    }
    return "unknown";
}

namespace {

std::string print_number(const Number& value) {
    if (value.is_constant())
        return value.smin > -1000000 && value.smin < 1000000 ? fmt::format("{}", value.smin)
                                                             : fmt::format("{:#x}", value.umin);
    std::string text;
    const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ",") + part; };
    const Number all;
    if (value.smin != all.smin && value.smin != 0) add(fmt::format("smin={}", value.smin));
    if (value.smax != all.smax) add(fmt::format("smax={}", value.smax));
    if (value.umin != all.umin) add(fmt::format("umin={}", value.umin));
    if (value.umax != all.umax) add(fmt::format("umax={}", value.umax));
    if (value.low_smin != all.low_smin && value.low_smin != value.smin) add(fmt::format("smin32={}", value.low_smin));
    if (value.low_smax != all.low_smax && value.low_smax != value.smax) add(fmt::format("smax32={}", value.low_smax));
    if (value.low_umin != all.low_umin && value.low_umin != value.umin) add(fmt::format("umin32={}", value.low_umin));
    if (value.low_umax != all.low_umax && value.low_umax != value.umax) add(fmt::format("umax32={}", value.low_umax));
    if (value.bits != all.bits) add(fmt::format("var_off=({:#x}; {:#x})", value.bits.value, value.bits.mask));
    return text;
}

char letter(Byte byte) {
    switch (byte) {
        case Byte::invalid:
            return '?';
        case Byte::misc:
            return 'm';
        case Byte::zero:
            return '0';
        case Byte::saved:
            return 'r';
        case Byte::object:
            return 'o';
    }
    return '?';
}

// "trusted_ptr_or_null_task_struct", "rdonly_mem"; the flags in the kernel's order and words.
std::string typed_name(const Reg& reg, const program::Program& program) {
    std::string name;
    const auto prefix = [&](u16 which, std::string_view text) {
        if (reg.has(which)) name += text;
    };
    prefix(flag::read_only, "rdonly_");
    prefix(flag::user, "user_");
    prefix(flag::percpu, "percpu_");
    prefix(flag::untrusted, "untrusted_");
    prefix(flag::rcu, "rcu_");
    prefix(flag::trusted, "trusted_");
    name += reg.type == Type::memory ? "mem" : "ptr_";
    if (reg.type == Type::memory) return reg.has(flag::null) ? name + "_or_null" : name;
    prefix(flag::null, "or_null_");
    const auto& btf = reg.has(flag::own) ? program.btf : program.kernel_btf;
    return btf != nullptr ? name + std::string(btf->type(reg.object).name) : name;
}

std::string typed_details(const Reg& reg) {
    std::string inside;
    if (reg.has(flag::null)) inside = fmt::format("id={}", reg.id);
    if (reg.has(flag::referenced)) inside += fmt::format("{}ref_obj_id={}", inside.empty() ? "" : ",", reg.id);
    if (reg.type == Type::memory) inside += fmt::format("{}sz={}", inside.empty() ? "" : ",", reg.object);
    return inside;
}

std::string print(const Slot& slot, const program::Program& program) {
    if (slot.saved_bytes() == 8 || slot.bytes[0] == Byte::object) return print(slot.saved, program, true);
    std::string text;
    for (std::size_t i = 8; i-- > 0;) text += letter(slot.bytes[i]);
    if (slot.bytes[0] == Byte::saved) text += '=' + print(slot.saved, program, true);
    return text;
}

}  // namespace

std::string print(const Reg& reg, const program::Program& program, bool with_id) {
    const std::string number = print_number(reg.value);
    const auto pointer = [&](std::string name, std::string inside) {
        if (!reg.value.is_constant(0)) inside += (inside.empty() ? "" : ",") + ("off=" + number);
        return std::move(name) + '(' + inside + ')';
    };
    const auto map = [&](std::string name) {
        const auto& m = map_of(program, reg.object);
        std::string inside = fmt::format("map={},ks={},vs={}", m.name, m.key_size, m.value_size);
        if (may_be_null(reg.type)) inside = fmt::format("id={},{}", reg.id, inside);
        return pointer(std::move(name), std::move(inside));
    };
    const auto socket = [&](std::string name) {
        std::string inside = may_be_null(reg.type) ? fmt::format("id={}", reg.id) : "";
        if (reg.object != 0) inside += fmt::format("{}ref_obj_id={}", inside.empty() ? "" : ",", reg.object);
        return pointer(name + (may_be_null(reg.type) ? "_or_null" : ""), std::move(inside));
    };
    switch (reg.type) {
        case Type::uninit:
            return "?";
        case Type::scalar:
            if (reg.value.is_constant()) return number;
            if (!with_id) return fmt::format("scalar({})", number);
            return fmt::format("scalar(id={}{}{})", reg.id, number.empty() ? "" : ",", number);
        case Type::ctx:
            return pointer("ctx", "");
        case Type::stack:
            if (reg.value.is_constant())
                return fmt::format("fp{}", reg.value.smin == 0 ? "0" : fmt::format("{:+}", reg.value.smin));
            return fmt::format("fp({})", number);
        case Type::map:
            return map("map_ptr");
        case Type::map_value:
            return map("map_value");
        case Type::map_value_or_null:
            return map("map_value_or_null");
        case Type::record:
            return pointer("ringbuf_mem", fmt::format("ref_obj_id={},sz={}", reg.id, reg.object));
        case Type::record_or_null:
            return pointer("ringbuf_mem_or_null", fmt::format("id={},ref_obj_id={},sz={}", reg.id, reg.id, reg.object));
        case Type::task:
            return pointer("trusted_ptr_task_struct", "");
        case Type::function:
            return fmt::format("func(insn={})", reg.object);
        case Type::packet:
        case Type::packet_meta: {
            std::string inside = reg.id != 0 ? fmt::format("id={},", reg.id) : "";
            if (reg.off != 0) inside += fmt::format("off={},", reg.off);
            inside += fmt::format("r={}", reg.object);
            if (!reg.value.is_constant(0)) inside += "," + number;
            return fmt::format("{}({})", reg.type == Type::packet ? "pkt" : "pkt_meta", inside);
        }
        case Type::packet_end:
            return "pkt_end()";
        case Type::inner_map_or_null:
            return map("map_value_or_null");
        case Type::map_key:
            return map("map_key");
        case Type::sock_common:
        case Type::sock_common_or_null:
            return socket("sock_common");
        case Type::socket:
        case Type::socket_or_null:
            return socket("sock");
        case Type::tcp_sock:
        case Type::tcp_sock_or_null:
            return socket("tcp_sock");
        case Type::xdp_sock:
        case Type::xdp_sock_or_null:
            return socket("xdp_sock");
        case Type::cast_socket:
        case Type::cast_socket_or_null:
            return socket("ptr_sock");
        case Type::flow_keys:
            return pointer("flow_keys", "");
        case Type::trace_buffer:
            return pointer("tp_buffer", "");
        case Type::kernel_object:
            return pointer("trusted_ptr_", "");
        case Type::arena:
            return "arena";
        case Type::btf:
        case Type::memory:
            return pointer(typed_name(reg, program), typed_details(reg));
        case Type::dynptr: {
            constexpr std::array<std::string_view, 6> kinds = {"", "local", "ringbuf", "skb", "xdp", "skb_meta"};
            return pointer(fmt::format("dynptr_{}", kinds[reg.object % kinds.size()]),
                           fmt::format("{}={}", reg.has(flag::referenced) ? "ref_id" : "id", reg.id));
        }
        case Type::iterator: {
            const std::string_view name = program.kernel_btf->type(reg.object).name;
            return fmt::format("{}(ref_id={},state={},depth={})", name.substr(name.starts_with("bpf_") ? 4 : 0), reg.id,
                               reg.has(flag::null) ? "drained" : "active", reg.off);
        }
        case Type::interrupts:
            return fmt::format("irq_flag(ref_id={})", reg.id);
    }
    return "?";
}

std::string print(const State& state, const program::Program& program, const State* previous) {
    const Frame& frame = state.frame();
    const Frame* before = nullptr;
    if (previous != nullptr && previous->frames.size() == state.frames.size()) before = &previous->frame();
    std::string text;
    const auto add = [&](const std::string& part) { text += (text.empty() ? "" : " ") + part; };
    if (before == nullptr && state.depth() > 0) add(fmt::format("frame{}:", state.depth()));
    for (u32 r = 0; r < frame.regs.size(); ++r) {
        const Reg& reg = frame.regs[r];
        if (reg.type == Type::uninit || (before != nullptr && before->regs[r] == reg)) continue;
        add(fmt::format("R{}={}", r, print(reg, program, false)));
    }
    for (std::size_t s = 0; s < frame.stack.size(); ++s) {
        const Slot& slot = frame.stack[s];
        if (slot.bytes.untouched()) continue;
        if (before != nullptr && s < before->stack.size() && before->stack[s].version == slot.version) continue;
        add(fmt::format("fp-{}={}", 8 * (s + 1), print(slot, program)));
    }
    if (before == nullptr) {
        std::string refs;
        for (const Reference& ref : state.references) refs += (refs.empty() ? "" : ",") + std::to_string(ref.id);
        if (!refs.empty()) add("refs=" + refs);
        if (state.lock.held) add("lock");
    }
    return text;
}

std::string print_insn(const program::Program& program, u32 pc) {
    const isa::Insn& insn = program.insns[pc];
    const isa::Form form = isa::decode(insn).form;
    const u32 id = static_cast<u32>(insn.imm);
    if (form.kind == isa::Kind::call && form.call == isa::CallKind::kfunc && insn.off == 0 &&
        program.kernel_btf != nullptr && program.kernel_btf->contains(id))
        return fmt::format("call {}#{}", program.kernel_btf->type(id).name, id);
    return isa::print(std::span(program.insns).subspan(pc), isa::Style::kernel,
                      [](u32 helper) { return abi::helper_name(helper); });
}

}  // namespace anybpf::verifier

// SPDX-License-Identifier: Apache-2.0
#include "state.hpp"

#include <fmt/format.h>

#include "anybpf/btf/btf.hpp"

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
        case Type::btf:
            return "a pointer to a struct of BTF";
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

std::size_t State::bytes() const {
    std::size_t total = sizeof(State) + references.size() * sizeof(Reference);
    for (const Frame& f : frames) total += sizeof(Frame) + f.stack.size() * sizeof(Slot);
    return total;
}

void Values::mark(u32 id, bool decides) {
    todo_.push_back(id);
    while (!todo_.empty()) {
        Node& node = nodes_[todo_.back()];
        todo_.pop_back();
        if (node.marked && (node.decides || !decides)) continue;
        node.marked = true;
        node.decides |= decides;
        if (node.parent != 0) todo_.push_back(node.parent);
        if (node.other != 0) todo_.push_back(node.other);
    }
}

namespace {

// Which registers of a frame matter at pc: those of the running frame, or those of a caller after the return.
u16 live_registers(const State& state, std::size_t index, u32 pc, const Liveness& live) {
    if (index + 1 == state.frames.size()) return live[pc];
    const Frame& called = state.frames[index + 1];
    if (called.callback) return live[called.call_site];
    constexpr u16 kept = 0x3c0;  // r6 to r9
    return static_cast<u16>(live[called.call_site + 1] & kept);
}

class Comparison {
  public:
    Comparison(const Values& values, Cover how) : values_(values), how_(how) {}

    bool states(const State& old, const State& now, u32 pc, const Liveness& live) {
        if (old.rcu_locked != now.rcu_locked || old.preempt_off != now.preempt_off) return false;
        if ((old.interrupts_off == 0) != (now.interrupts_off == 0)) return false;
        if (old.frames.size() != now.frames.size() || old.references.size() != now.references.size()) return false;
        for (std::size_t i = 0; i < old.frames.size(); ++i) {
            const Frame &a = old.frames[i], &b = now.frames[i];
            if (a.subprogram != b.subprogram || a.call_site != b.call_site || a.callback != b.callback) return false;
            if (a.rounds > b.rounds) return false;  // old had more of them before it
        }
        // The running frame first: it differs most often.
        for (std::size_t i = old.frames.size(); i-- > 0;) {
            const u16 mask = live_registers(old, i, pc, live);
            for (u32 r = 0; r < 10; ++r)
                if ((mask >> r & 1) != 0 && !regs(old.frames[i].regs[r], now.frames[i].regs[r])) return false;
        }
        for (std::size_t i = old.frames.size(); i-- > 0;)
            if (!stacks(old.frames[i], now.frames[i])) return false;
        for (std::size_t i = 0; i < old.references.size(); ++i) {
            const Reference &a = old.references[i], &b = now.references[i];
            if (a.frame != b.frame || !same_id(references_, a.id, b.id)) return false;
        }
        return true;
    }

  private:
    struct Pair {
        u32 old, now;
    };

    // Ids that were the same in old must be the same in now; then what holds of one holds of its copies there too.
    // Exactly one of both may map to the other where distinctness matters (references).
    static bool same_id(std::vector<Pair>& pairs, u32 old, u32 now) {
        for (const Pair& pair : pairs)
            if (pair.old == old || pair.now == now) return pair.old == old && pair.now == now;
        pairs.push_back({old, now});
        return true;
    }
    static bool linked(std::vector<Pair>& pairs, u32 old, u32 now) {
        for (const Pair& pair : pairs)
            if (pair.old == old) return pair.now == now;
        pairs.push_back({old, now});
        return true;
    }

    bool within(const Number& old, const Number& now) const {
        return old.includes(now) && (how_ != Cover::equal || now.includes(old));
    }

    bool regs(const Reg& old, const Reg& now) {
        if (old.type == Type::uninit) return how_ != Cover::equal || now.type == Type::uninit;
        if (old.type != now.type) return false;
        switch (old.type) {
            case Type::uninit:
                return true;
            case Type::scalar:
                if (how_ == Cover::needed && !values_.marked(old.id)) return true;
                return within(old.value, now.value) && (old.value.is_constant() || linked(values_ids_, old.id, now.id));
            case Type::stack:
                return old.frame == now.frame && within(old.value, now.value);
            case Type::map_value_or_null:
                return old.object == now.object && within(old.value, now.value) && same_id(nulls_, old.id, now.id);
            case Type::record:
            case Type::record_or_null:
                return old.object == now.object && within(old.value, now.value) && same_id(references_, old.id, now.id);
            case Type::packet:
            case Type::packet_meta:
                return old.off == now.off && within(old.value, now.value) &&
                       (how_ == Cover::equal ? old.object == now.object : old.object <= now.object) &&
                       (old.id == 0 || same_id(packets_, old.id, now.id));
            case Type::btf:
            case Type::memory:
                return old.object == now.object && old.flags == now.flags && within(old.value, now.value) &&
                       (old.id == 0 ? now.id == 0
                                    : same_id(old.has(flag::referenced) ? references_ : nulls_, old.id, now.id)) &&
                       (old.off == 0 ? now.off == 0
                                     : same_id(references_, static_cast<u32>(old.off), static_cast<u32>(now.off)));
            case Type::dynptr:
                return old.object == now.object && old.flags == now.flags && old.frame == now.frame &&
                       same_id(references_, old.id, now.id);
            case Type::iterator:
                return old.object == now.object && old.flags == now.flags && old.frame == now.frame &&
                       (how_ != Cover::equal || old.off == now.off) && same_id(references_, old.id, now.id);
            case Type::interrupts:
                return (old.object == 0) == (now.object == 0) && same_id(references_, old.id, now.id) &&
                       (old.object == 0 || same_id(references_, old.object, now.object));
            case Type::ctx:
            case Type::map:
            case Type::map_value:
            case Type::task:
            case Type::function:
            case Type::packet_end:
                return old.object == now.object && within(old.value, now.value);
        }
        return false;
    }

    bool stacks(const Frame& old, const Frame& now) {
        static constexpr Slot none{};
        const std::size_t count =
            how_ == Cover::equal ? std::max(old.stack.size(), now.stack.size()) : old.stack.size();
        for (std::size_t i = 0; i < count; ++i)
            if (!slots(i < old.stack.size() ? old.stack[i] : none, i < now.stack.size() ? now.stack[i] : none))
                return false;
        return true;
    }

    bool slots(const Slot& old, const Slot& now) {
        if (how_ == Cover::needed && !values_.marked(old.version)) return true;
        if (how_ == Cover::equal && old.bytes != now.bytes) return false;
        const bool old_object = old.bytes[0] == Byte::object, now_object = now.bytes[0] == Byte::object;
        if (old_object || now_object) {
            if (old_object && now_object) return regs(old.saved, now.saved);
            // One that holds nothing may stand where nothing was.
            return !old_object && !now.saved.has(flag::referenced) && old.bytes == std::array<Byte, 8>{};
        }
        const bool old_saved = old.bytes[0] == Byte::saved, now_saved = now.bytes[0] == Byte::saved;
        if (old_saved && (is_pointer(old.saved.type) || how_ == Cover::equal || needs_value(old.saved))) {
            if (!now_saved || old.saved_bytes() != now.saved_bytes() || !regs(old.saved, now.saved)) return false;
        } else if (now_saved && is_pointer(now.saved.type)) {
            return old.bytes == std::array<Byte, 8>{};  // a pointer may stand only where nothing was
        }
        for (std::size_t i = 0; i < 8; ++i) {
            switch (old.bytes[i]) {
                case Byte::invalid:
                    break;
                case Byte::misc:
                case Byte::saved:
                    if (now.bytes[i] == Byte::invalid) return false;
                    break;
                case Byte::zero:
                    if (now.bytes[i] != Byte::zero) return false;
                    break;
                case Byte::object:
                    break;  // seen to
            }
        }
        return true;
    }

    bool needs_value(const Reg& saved) const { return how_ != Cover::needed || values_.marked(saved.id); }

    const Values& values_;
    const Cover how_;
    std::vector<Pair> values_ids_, nulls_, references_, packets_;
};

}  // namespace

bool covers(const State& old, const State& now, u32 pc, const Liveness& live, const Values& values, Cover how) {
    return Comparison(values, how).states(old, now, pc, live);
}

void inherit_marks(const State& old, const State& now, u32 pc, const Liveness& live, Values& values, bool everything) {
    const auto inherit = [&](const Reg& from, const Reg& to) {
        if (!to.is_scalar()) return;
        if (from.is_scalar() && values.decides(from.id)) values.mark(to.id);
        if (everything || (from.is_scalar() && values.marked(from.id))) values.mark(to.id, false);
    };
    for (std::size_t i = 0; i < old.frames.size(); ++i) {
        const Frame &a = old.frames[i], &b = now.frames[i];
        const u16 mask = live_registers(old, i, pc, live);
        for (u32 r = 0; r < 10; ++r)
            if ((mask >> r & 1) != 0) inherit(a.regs[r], b.regs[r]);
        for (std::size_t s = 0; s < b.stack.size(); ++s) {
            const Slot& to = b.stack[s];
            const bool read = everything || (s < a.stack.size() && values.marked(a.stack[s].version));
            if (!read) continue;
            values.mark(to.version);
            if (to.bytes[0] == Byte::saved && s < a.stack.size()) inherit(a.stack[s].saved, to.saved);
        }
    }
}

// ------------------------------------------------------------------------------------------------ as the log prints it
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
        const auto& m = program.maps[reg.object];
        std::string inside = fmt::format("map={},ks={},vs={}", m.name, m.key_size, m.value_size);
        if (may_be_null(reg.type)) inside = fmt::format("id={},{}", reg.id, inside);
        return pointer(std::move(name), std::move(inside));
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
        if (slot.bytes == std::array<Byte, 8>{}) continue;
        if (before != nullptr && s < before->stack.size() && before->stack[s].version == slot.version) continue;
        add(fmt::format("fp-{}={}", 8 * (s + 1), print(slot, program)));
    }
    if (before == nullptr) {
        std::string refs;
        for (const Reference& ref : state.references) refs += (refs.empty() ? "" : ",") + std::to_string(ref.id);
        if (!refs.empty()) add("refs=" + refs);
    }
    return text;
}

}  // namespace anybpf::verifier

// SPDX-License-Identifier: Apache-2.0
#include "state.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

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

const program::MapInfo& map_of(const program::Program& program, u32 object) {
    const std::size_t count = program.maps.size();
    return object < count ? program.maps[object] : *program.maps[object - count].inner;
}

std::size_t State::bytes() const {
    std::size_t total = sizeof(State) + references.size() * sizeof(Reference);
    for (const Frame& f : frames) total += sizeof(Frame) + f.stack.size() * sizeof(Slot);
    return total;
}

// A value's origins mattered when it was computed from them.
void Values::mark_origins(u32 id) {
    todo_.push_back(id);
    while (!todo_.empty()) {
        const Node node = nodes_[todo_.back()];
        todo_.pop_back();
        for (const u32 origin : {node.parent, node.other}) {
            if (origin == 0) continue;
            Node& from = nodes_[origin];
            if (from.used == 0 || (node.decides && !from.decides)) todo_.push_back(origin);
            from.used = std::max<u32>(from.used, node.created);
            from.decides |= node.decides;
        }
    }
}

u16 live_registers(const State& state, std::size_t index, u32 pc, const Liveness& live) {
    if (index + 1 == state.frames.size()) return live[pc];
    const Frame& called = state.frames[index + 1];
    if (called.callback) return live[called.call_site];
    constexpr u16 kept = 0x3c0;  // r6 to r9
    return static_cast<u16>(live[called.call_site + 1] & kept);
}

// --------------------------------------------------------------------------------------------------- what is kept

Kept::Drafted Kept::write(const State& state, u32 pc, u32 time, const Liveness& live, const Values& values,
                          Draft& draft) {
    draft.frames.clear(), draft.contents.clear(), draft.bytes.clear();
    const auto decides = [&](const Reg& reg) { return reg.is_scalar() && values.decides(reg.id); };
    const auto any_number = [&](const Reg& reg) { return reg.is_scalar() && !values.used_since(reg.id, time); };
    for (std::size_t f = state.frames.size(); f-- > 0;) {
        const Frame& frame = state.frames[f];
        OfFrame of{frame.subprogram, frame.call_site, frame.rounds, 0, 0, frame.callback, frame.async};
        const std::size_t first = draft.contents.size();
        const u16 mask = live_registers(state, f, pc, live);
        for (u32 r = 0; r < 10; ++r) {
            const Reg& reg = frame.regs[r];
            if ((mask >> r & 1) == 0 || reg.type == Type::uninit) continue;
            if (any_number(reg))
                of.numbers |= static_cast<u16>(1U << r);
            else
                draft.contents.push_back({{static_cast<u8>(r), static_cast<u8>(f), 0}, decides(reg), reg});
        }
        for (std::size_t s = 0; s < frame.stack.size(); ++s) {
            const Slot& slot = frame.stack[s];
            if (!values.used_since(slot.version, time)) continue;
            Bytes bytes{static_cast<u16>(f), static_cast<u16>(s), slot.bytes};
            if (slot.bytes[0] == Byte::saved && any_number(slot.saved))
                std::replace(bytes.bytes.begin(), bytes.bytes.end(), Byte::saved, Byte::misc);
            else if (slot.bytes[0] == Byte::saved || slot.bytes[0] == Byte::object)
                draft.contents.push_back(
                    {{Place::in_slot, static_cast<u8>(f), bytes.slot}, decides(slot.saved), slot.saved});
            draft.bytes.push_back(bytes);
        }
        of.contents = static_cast<u32>(draft.contents.size() - first);
        draft.frames.push_back(of);
    }
    return {};
}

Kept::Kept(const State& state, u32 pc, u32 time, const Liveness& live, const Values& values, Arena& arena, Draft& draft)
    : Kept(write(state, pc, time, live, values, draft), state, arena, draft) {}
Kept::Kept(Drafted, const State& state, Arena& arena, const Draft& draft)
    : frames(arena, draft.frames),
      contents(arena, draft.contents),
      slots(arena, draft.bytes),
      references(arena, state.references),
      outer_locks(arena, state.outer_locks),
      lock(state.lock),
      sections(state.sections) {}

std::size_t Kept::bytes() const {
    return sizeof(Kept) + frames.size() * sizeof(OfFrame) + contents.size() * sizeof(Contents) +
           slots.size() * sizeof(Bytes) + references.size() * sizeof(Reference);
}

// ------------------------------------------------------------------------------------------------------- comparison

bool Comparison::same_id(std::vector<Pair>& pairs, u32 old, u32 now) {
    if (old == 0 || now == 0) return old == now;
    for (const Pair& pair : pairs)
        if (pair.old == old || pair.now == now) return pair.old == old && pair.now == now;
    pairs.push_back({old, now});
    return true;
}

bool Comparison::linked(std::vector<Pair>& pairs, u32 old, u32 now) {
    for (const Pair& pair : pairs)
        if (pair.old == old) return pair.now == now;
    pairs.push_back({old, now});
    return true;
}

// What is known to lie at a distance from another in old must lie there in now.
bool Comparison::same_distance(const Reg& old, const Reg& now) {
    const i64 moved = i64{now.off} - old.off;
    const bool alike = old.frame == now.frame;
    for (const Base& base : bases_)
        if (base.old == old.base()) return base.now == now.base() && base.moved == moved && base.alike && alike;
    bases_.push_back({old.base(), now.base(), moved, alike});
    return true;
}

void Comparison::begin(bool equal) {
    equal_ = equal;
    values_ids_.clear();
    nulls_.clear();
    references_.clear();
    packets_.clear();
    bases_.clear();
}

const Reg* Place::find(const State& state) const {
    if (frame >= state.frames.size()) return nullptr;
    const Frame& of = state.frames[frame];
    if (reg != in_slot) return &of.regs[reg];
    if (slot >= of.stack.size()) return nullptr;
    const Slot& at = of.stack[slot];
    return at.bytes[0] == Byte::saved || at.bytes[0] == Byte::object ? &at.saved : nullptr;
}

bool Comparison::covers(const Kept& old, const State& now, Difference& difference) {
    difference.type = Type::uninit;
    const std::size_t count = now.frames.size();
    begin(false);
    if (old.frames.size() != count || old.references.size() != now.references.size()) return false;
    const std::span<const Lock> outer(old.outer_locks.begin(), old.outer_locks.size());
    if (!locks(old.lock, outer, now) || !old.sections.alike(now.sections)) return false;
    auto next = old.contents.begin();
    for (std::size_t i = 0; i < count; ++i) {
        const Kept::OfFrame& a = old.frames[i];
        const Frame& b = now.frames[count - 1 - i];
        if (a.subprogram != b.subprogram || a.call_site != b.call_site || a.callback != b.callback) return false;
        if (a.async != b.async) return false;
        if (a.rounds > b.rounds) return false;  // old had more of them before it
        for (const auto end = next + a.contents; next != end; ++next) {
            const Reg* reg = next->place.find(now);
            if (reg != nullptr && regs(next->value, *reg)) continue;
            difference.note(next->place, next->value);
            return false;
        }
        for (u32 numbers = a.numbers; numbers != 0; numbers &= numbers - 1)
            if (!b.regs[static_cast<u32>(std::countr_zero(numbers))].is_scalar()) return false;
    }
    static constexpr Slot none{};
    for (const Kept::Bytes& a : old.slots) {
        const Frame& frame = now.frames[a.frame];
        const Slot& b = a.slot < frame.stack.size() ? frame.stack[a.slot] : none;
        if (a.bytes == b.bytes) continue;  // what they hold is compared above
        const bool pointer = b.has_pointer();
        if (a.bytes[0] == Byte::object || b.bytes[0] == Byte::object) {
            if (a.bytes[0] == b.bytes[0]) continue;  // compared above
            // One that holds nothing may stand where nothing was.
            if (a.bytes != none.bytes || b.saved.has(flag::referenced)) return false;
            continue;
        }
        if (a.bytes[0] == Byte::saved) {
            for (std::size_t i = 0; i < 8; ++i)
                if ((a.bytes[i] == Byte::saved) != (b.bytes[i] == Byte::saved)) return false;
        } else if (pointer) {
            if (a.bytes != none.bytes) return false;  // a pointer may stand only where nothing was
            continue;
        }
        for (std::size_t i = 0; i < 8; ++i) {
            if (a.bytes[i] == Byte::zero && b.bytes[i] != Byte::zero) return false;
            if (a.bytes[i] == Byte::misc && b.bytes[i] == Byte::invalid) return false;
        }
    }
    return references({old.references.begin(), old.references.size()}, now.references);
}

bool Comparison::covers(const State& old, const State& now, u32 pc, const Liveness& live, How how,
                        Difference& difference) {
    difference.type = Type::uninit;
    begin(how == How::equal);
    if (old.frames.size() != now.frames.size() || old.references.size() != now.references.size()) return false;
    for (std::size_t i = 0; i < old.frames.size(); ++i) {
        const Frame &a = old.frames[i], &b = now.frames[i];
        if (a.subprogram != b.subprogram || a.call_site != b.call_site || a.callback != b.callback) return false;
        if (a.async != b.async) return false;
        if (a.rounds > b.rounds) return false;  // old had more of them before it
    }
    if (!locks(old.lock, old.outer_locks, now) || !old.sections.alike(now.sections)) return false;
    // The running frame first: it differs most often.
    for (std::size_t i = old.frames.size(); i-- > 0;) {
        const u16 mask = live_registers(old, i, pc, live);
        const Frame &a = old.frames[i], &b = now.frames[i];
        for (u32 r = 0; r < 10; ++r) {
            if ((mask >> r & 1) == 0 || regs(a.regs[r], b.regs[r])) continue;
            difference.note({static_cast<u8>(r), static_cast<u8>(i), 0}, a.regs[r]);
            return false;
        }
    }
    for (std::size_t i = old.frames.size(); i-- > 0;)
        if (!stacks(old.frames[i], now.frames[i])) return false;
    return references(old.references, now.references);
}

bool Comparison::locks(const Lock& old, const Lock& now) {
    if (old.held != now.held || !old.held) return old.held == now.held;
    return old.map == now.map && old.own == now.own && old.resilient == now.resilient &&
           old.interrupts == now.interrupts && same_id(old.own ? references_ : nulls_, old.id, now.id);
}

bool Comparison::locks(const Lock& old, std::span<const Lock> outer, const State& now) {
    if (outer.size() != now.outer_locks.size() || !locks(old, now.lock)) return false;
    for (std::size_t i = 0; i < outer.size(); ++i)
        if (!locks(outer[i], now.outer_locks[i])) return false;
    return true;
}

bool Comparison::references(std::span<const Reference> old, const std::vector<Reference>& now) {
    for (std::size_t i = 0; i < old.size(); ++i)
        if (!same_id(references_, old[i].id, now[i].id)) return false;
    return true;
}

bool Comparison::within(const Number& old, const Number& now) const {
    return old.includes(now) && (!equal_ || now.includes(old));
}

bool Comparison::regs(const Reg& old, const Reg& now) {
    if (old.type == Type::uninit) return !equal_ || now.type == Type::uninit;
    if (old.type != now.type) return false;
    switch (old.type) {
        case Type::uninit:
            return true;
        case Type::scalar:
            return within(old.value, now.value) &&
                   (old.value.is_constant() || (linked(values_ids_, old.id, now.id) && same_distance(old, now)));
        case Type::stack:
            return old.frame == now.frame && within(old.value, now.value);
        case Type::map_value_or_null:
        case Type::inner_map_or_null:
        case Type::map:
        case Type::map_value:
            return old.object == now.object && within(old.value, now.value) && same_id(nulls_, old.id, now.id) &&
                   (old.off == 0 ? now.off == 0
                                 : same_id(nulls_, static_cast<u32>(old.off), static_cast<u32>(now.off)));
        case Type::sock_common:
        case Type::sock_common_or_null:
        case Type::socket:
        case Type::socket_or_null:
        case Type::tcp_sock:
        case Type::tcp_sock_or_null:
        case Type::xdp_sock:
        case Type::xdp_sock_or_null:
        case Type::cast_socket:
        case Type::cast_socket_or_null:
            return old.off == now.off && within(old.value, now.value) && same_id(nulls_, old.id, now.id) &&
                   same_id(references_, old.object, now.object);
        case Type::record:
        case Type::record_or_null:
            return old.object == now.object && within(old.value, now.value) && same_id(references_, old.id, now.id);
        case Type::packet:
        case Type::packet_meta:
            return old.off == now.off && within(old.value, now.value) &&
                   (equal_ ? old.object == now.object : old.object <= now.object) &&
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
                   (!equal_ || old.off == now.off) && same_id(references_, old.id, now.id);
        case Type::interrupts:
            return old.flags == now.flags && (old.object == 0) == (now.object == 0) &&
                   same_id(references_, old.id, now.id) &&
                   (old.object == 0 || same_id(references_, old.object, now.object));
        case Type::ctx:
        case Type::task:
        case Type::function:
        case Type::packet_end:
        case Type::map_key:
        case Type::flow_keys:
        case Type::trace_buffer:
        case Type::kernel_object:
            return old.object == now.object && within(old.value, now.value);
    }
    return false;
}

bool Comparison::stacks(const Frame& old, const Frame& now) {
    static constexpr Slot none{};
    const std::size_t count = equal_ ? std::max(old.stack.size(), now.stack.size()) : old.stack.size();
    for (std::size_t i = 0; i < count; ++i)
        if (!slots(i < old.stack.size() ? old.stack[i] : none, i < now.stack.size() ? now.stack[i] : none))
            return false;
    return true;
}

bool Comparison::slots(const Slot& old, const Slot& now) {
    if (equal_ && old.bytes != now.bytes) return false;
    const bool old_object = old.bytes[0] == Byte::object, now_object = now.bytes[0] == Byte::object;
    if (old_object || now_object) {
        if (old_object && now_object) return regs(old.saved, now.saved);
        // One that holds nothing may stand where nothing was.
        return !old_object && !now.saved.has(flag::referenced) && old.bytes == std::array<Byte, 8>{};
    }
    if (old.bytes[0] == Byte::saved) {
        if (now.bytes[0] != Byte::saved || old.saved_bytes() != now.saved_bytes() || !regs(old.saved, now.saved))
            return false;
    } else if (now.has_pointer()) {
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

void inherit_marks(const Kept& old, const State& now, Values& values) {
    for (const Kept::Contents& what : old.contents) {
        const Reg* to = what.place.find(now);
        if (to != nullptr && to->is_scalar()) values.mark(to->id, what.decides);
    }
    for (const Kept::Bytes& bytes : old.slots) {
        const Frame& frame = now.frames[bytes.frame];
        if (bytes.slot < frame.stack.size()) values.mark(frame.stack[bytes.slot].version);
    }
}

void inherit_marks(const State& now, u32 pc, const Liveness& live, Values& values) {
    const auto mark = [&](const Reg& reg) {
        if (reg.is_scalar()) values.mark(reg.id, false);
    };
    for (std::size_t i = 0; i < now.frames.size(); ++i) {
        const Frame& frame = now.frames[i];
        const u16 mask = live_registers(now, i, pc, live);
        for (u32 r = 0; r < 10; ++r)
            if ((mask >> r & 1) != 0) mark(frame.regs[r]);
        for (const Slot& slot : frame.stack) {
            values.mark(slot.version);
            if (slot.bytes[0] == Byte::saved) mark(slot.saved);
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
        if (state.lock.held) add("lock");
    }
    return text;
}

}  // namespace anybpf::verifier

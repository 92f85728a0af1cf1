// SPDX-License-Identifier: Apache-2.0
#include "state.hpp"

#include <algorithm>

namespace anybpf::verifier {

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

namespace {

void draft(const State& state, u32 pc, u32 time, const Liveness& live, const Values& values, Kept::Draft& draft) {
    draft.frames.clear(), draft.contents.clear(), draft.slots.clear();
    const auto decides = [&](const Reg& reg) { return reg.is_scalar() && values.decides(reg.id); };
    const auto any_number = [&](const Reg& reg) { return reg.is_scalar() && !values.used_since(reg.id, time); };
    for (std::size_t f = state.frames.size(); f-- > 0;) {
        const Frame& frame = state.frames[f];
        Kept::OfFrame of{frame.subprogram, frame.call_site, frame.rounds, 0, 0, frame.callback, frame.async};
        const std::size_t first = draft.contents.size();
        for (u32 mask = live_registers(state, f, pc, live) & 0x3ffU; mask != 0; mask &= mask - 1) {
            const u8 r = static_cast<u8>(std::countr_zero(mask));
            const Reg& reg = frame.regs[r];
            if (reg.type == Type::uninit) continue;
            if (any_number(reg))
                of.numbers |= static_cast<u16>(1U << r);
            else
                draft.contents.push_back({{r, static_cast<u8>(f), 0}, decides(reg), &reg});
        }
        for (std::size_t s = 0; s < frame.stack.size(); ++s) {
            const Slot& slot = frame.stack[s];
            // One that was never written to says nothing: what a state holds there instead may be forgotten.
            if (slot.version == 0 || !values.used_since(slot.version, time)) continue;
            Kept::InSlot kept{static_cast<u16>(f), static_cast<u16>(s), slot.bytes};
            if (slot.bytes[0] == Byte::saved && any_number(slot.saved))
                std::ranges::replace(kept.bytes, Byte::saved, Byte::misc);
            else if (slot.bytes[0] == Byte::saved || slot.bytes[0] == Byte::object)
                draft.contents.push_back(
                    {{Place::in_slot, static_cast<u8>(f), kept.slot}, decides(slot.saved), &slot.saved});
            draft.slots.push_back(kept);
        }
        of.contents = static_cast<u32>(draft.contents.size() - first);
        draft.frames.push_back(of);
    }
}

}  // namespace

Kept::Kept(const State& state, u32 pc, u32 time, const Liveness& live, const Values& values, Arena& arena,
           Draft& draft) {
    verifier::draft(state, pc, time, live, values, draft);
    const auto padded = [](std::size_t bytes) { return (bytes + 7) & ~std::size_t{7}; };
    const std::size_t size =
        sizeof(Lists) + draft.contents.size() * sizeof(Contents) + padded(std::span(draft.frames).size_bytes()) +
        padded(std::span(draft.slots).size_bytes()) + padded(std::span(state.references).size_bytes()) +
        padded(std::span(state.outer_locks).size_bytes());
    auto* at = static_cast<std::byte*>(arena.take(size));
    lists_ = reinterpret_cast<Lists*>(at);
    auto* contents = reinterpret_cast<Contents*>(at + sizeof(Lists));
    at += sizeof(Lists) + draft.contents.size() * sizeof(Contents);
    const std::span found(contents, draft.contents.size());
    for (const Draft::Found& each : draft.contents)
        std::construct_at(contents++, each.place, each.decides, *each.value);
    const auto lay = [&]<class T>(const std::vector<T>& from) {
        static_assert(std::is_trivially_destructible_v<T> && alignof(T) <= 8);
        T* const to = reinterpret_cast<T*>(at);
        std::uninitialized_copy(from.begin(), from.end(), to);
        at += padded(from.size() * sizeof(T));
        return std::span<const T>(to, from.size());
    };
    std::construct_at(lists_, lay(draft.frames), found, lay(draft.slots), lay(state.references), lay(state.outer_locks),
                      state.lock, state.sections, static_cast<u32>(size), &arena);
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
    if (old->frames.size() != count || old->references.size() != now.references.size()) return false;
    if (!locks(old->lock, old->outer_locks, now) || !old->sections.alike(now.sections)) return false;
    auto next = old->contents.begin();
    for (std::size_t i = 0; i < count; ++i) {
        const Kept::OfFrame& a = old->frames[i];
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
    for (const Kept::InSlot& a : old->slots) {
        const Frame& frame = now.frames[a.frame];
        const Slot& b = a.slot < frame.stack.size() ? frame.stack[a.slot] : none;
        if (a.bytes == b.bytes) continue;  // what they hold is compared above
        const bool pointer = b.has_pointer();
        if (a.bytes[0] == Byte::object || b.bytes[0] == Byte::object) {
            if (a.bytes[0] == b.bytes[0]) continue;  // compared above
            // One that holds nothing may stand where nothing was.
            if (!a.bytes.untouched() || b.saved.has(flag::referenced)) return false;
            continue;
        }
        if (a.bytes[0] == Byte::saved) {
            if (a.bytes.leading(Byte::saved) != b.saved_bytes()) return false;
        } else if (pointer) {
            if (!a.bytes.untouched()) return false;  // a pointer may stand only where nothing was
            continue;
        }
        for (std::size_t i = 0; i < 8; ++i) {
            if (a.bytes[i] == Byte::zero && b.bytes[i] != Byte::zero) return false;
            if (a.bytes[i] == Byte::misc && b.bytes[i] == Byte::invalid) return false;
        }
    }
    return references(old->references, now.references);
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
        case Type::arena:
            return true;
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
    // An object that holds nothing may stand where nothing was, and so may a pointer.
    if (old.bytes.untouched()) return !now_object || !now.saved.has(flag::referenced);
    if (old_object || now_object) return old_object && now_object && regs(old.saved, now.saved);
    if (old.bytes[0] == Byte::saved) {
        if (now.bytes[0] != Byte::saved || old.saved_bytes() != now.saved_bytes() || !regs(old.saved, now.saved))
            return false;
    } else if (now.has_pointer()) {
        return false;
    }
    if (old.bytes == now.bytes) return true;
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
    for (const Kept::Contents& what : old->contents) {
        const Reg* to = what.place.find(now);
        if (to != nullptr && to->is_scalar()) values.mark(to->id, what.decides);
    }
    u32 marked = 0;
    for (const Kept::InSlot& at : old->slots) {
        const Stack& stack = now.frames[at.frame].stack;
        if (at.slot >= stack.size()) continue;
        const u32 version = stack[at.slot].version;
        if (version != marked) values.mark(version);  // often written together
        marked = version;
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

}  // namespace anybpf::verifier

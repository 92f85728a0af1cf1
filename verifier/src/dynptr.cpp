// SPDX-License-Identifier: Apache-2.0
// Objects that live in slots of the stack and that only the kernel's functions may touch: dynptrs, iterators, and saved
// interrupt flags. Each slot of one holds Byte::object in all bytes, and in `saved` what it is: its type, kind
// (`object`), which slot of it (`frame`), and the reference that goes with it (`id`).
#include <algorithm>
#include <string_view>

#include "anybpf/abi/context.hpp"
#include "walker.hpp"

namespace anybpf::verifier {

using btf::Kind;
namespace kfunc = abi::kfunc;

namespace {

bool ends(std::string_view text, std::string_view suffix) { return text.ends_with(suffix); }

// Kinds of dynptrs: Reg::object.
enum DynptrKind : u32 { any = 0, local = 1, ring = 2, packet_of_skb = 3, packet_of_xdp = 4, metadata = 5 };
constexpr u32 dynptr_slots = 2;

}  // namespace

// Slots of the stack that begin at the address in the register, or nothing where they cannot be there.
bool Walker::object_slots(u32 index, u32 count, u32& frame, i64& at) {
    const Reg& base = reg(index);
    if (base.type != Type::stack || !base.value.is_constant()) return fail(Finding::object_place, index);
    at = base.value.smin;
    frame = base.frame;
    if (at % 8 != 0 || at < -i64{stack_limit()} || at + 8 * i64{count} > 0) return fail(Finding::object_place, index);
    use_stack(frame, at);
    return true;
}

// Makes an object of fresh slots; what was there is lost.
bool Walker::make_object(u32 frame, i64 at, u32 count, Reg what) {
    for (u32 i = 0; i < count; ++i)
        if (!spoil_object(frame, at + 8 * i)) return false;
    const u32 made = values_.fresh();
    for (u32 i = 0; i < count; ++i) {
        Slot& slot = slot_at(frame, at + 8 * i);
        what.frame = static_cast<u8>(i);
        slot.bytes.fill(Byte::object);
        slot.saved = what;
        slot.version = made;
    }
    return true;
}

// The whole object that begins there; null where there is none of that type.
const Reg* Walker::find_object(u32 frame, i64 at, u32 count, Type type) {
    for (u32 i = 0; i < count; ++i) {
        const Slot& slot = slot_seen(frame, at + 8 * i);
        values_.mark(slot.version);
        if (slot.bytes[0] != Byte::object || slot.saved.type != type || slot.saved.frame != i) return nullptr;
        if (slot.saved.id != slot_seen(frame, at).saved.id) return nullptr;
    }
    return &slot_seen(frame, at).saved;
}

void Walker::unmake_object(u32 frame, i64 at, u32 count) {
    for (u32 i = 0; i < count; ++i) slot_at(frame, at + 8 * i) = {.bytes = {}, .version = values_.fresh(), .saved = {}};
}

// A write to the slot would destroy what is there: a dynptr that holds nothing goes, one that does must not.
bool Walker::spoil_object(u32 frame, i64 at) {
    const Slot& slot = slot_seen(frame, at);
    if (slot.bytes[0] != Byte::object) return true;
    values_.mark(slot.version);
    const Reg what = slot.saved;
    if (what.type != Type::dynptr) {
        slot_at(frame, at) = {.bytes = {}, .version = values_.fresh(slot.version), .saved = {}};
        return true;
    }
    if (what.has(flag::referenced)) return fail(Finding::dynptr_overwritten, at);
    unmake_object(frame, (at & ~i64{7}) - 8 * what.frame, dynptr_slots);
    lose_slices(what.id);
    return true;
}

// Memory that was reached through a dynptr is not to be used after it.
void Walker::lose_slices(u32 id) {
    lose([&](const Reg& reg) { return reg.type == Type::memory && static_cast<u32>(reg.off) == id; });
}

// ------------------------------------------------------------------------------------------------------------- dynptrs

// The dynptr that the register points to, initialized; null, with a finding, where there is none.
const Reg* Walker::dynptr_at(u32 index) {
    u32 frame = 0;
    i64 at = 0;
    const Reg& base = reg(index);
    if (base.type == Type::dynptr && base.value.is_constant(0)) return &base;
    if (!object_slots(index, dynptr_slots, frame, at)) return nullptr;
    const Reg* found = find_object(frame, at, dynptr_slots, Type::dynptr);
    if (found == nullptr) fail(Finding::dynptr_missing, index);
    return found;
}

bool Walker::make_dynptr(u32 index, u32 kind, u16 flags, u32 id) {
    u32 frame = 0;
    i64 at = 0;
    if (!object_slots(index, dynptr_slots, frame, at)) return false;
    Reg what = Reg::pointer(Type::dynptr, kind, id);
    what.flags = flags;
    return make_object(frame, at, dynptr_slots, what);
}

// Memory in the dynptr that the call was given.
Reg Walker::dynptr_memory(u32 size, bool read_only) {
    const Reg& dynptr = dynptr_argument_;
    Reg out = Reg::pointer(Type::memory, size, next_id_++);
    out.flags = static_cast<u16>(flag::null | (read_only ? flag::read_only : 0) | (dynptr.flags & flag::in_packet));
    out.off = static_cast<i32>(dynptr.id);
    return out;
}

// An argument `struct bpf_dynptr *` of a kernel function.
bool Walker::dynptr_argument(u32 index, const btf::Parameter& parameter) {
    const std::string_view name = kfunc_.row->name;
    if (!ends(parameter.name, "__uninit")) {
        const Reg* found = dynptr_at(index);
        if (found == nullptr) return false;
        const bool constant = reg(index).type == Type::dynptr;
        if (constant && name == "bpf_dynptr_adjust") return fail(Finding::dynptr_missing, index);
        if (index == 1 || name != "bpf_dynptr_copy") dynptr_argument_ = *found;
        if (name == "bpf_dynptr_slice_rdwr" && found->has(flag::in_packet) && !abi::writes_packets(program_.type))
            return fail(Finding::packet_read_only, static_cast<i64>(program_.type));
        return true;
    }
    if (name == "bpf_dynptr_clone")
        return make_dynptr(index, dynptr_argument_.object, dynptr_argument_.flags,
                           dynptr_argument_.has(flag::referenced) ? dynptr_argument_.id : next_id_++);
    const u32 kind = name == "bpf_dynptr_from_xdp"        ? packet_of_xdp
                     : name == "bpf_dynptr_from_skb_meta" ? metadata
                                                          : packet_of_skb;
    return make_dynptr(index, kind, kind == metadata ? u16{0} : flag::in_packet, next_id_++);
}

// ... and of a helper.
bool Walker::helper_dynptr(u32 index, abi::ArgKind kind) {
    if (kind == abi::ArgKind::dynptr_out) {
        if (reg(1).type != Type::map_value) return wrong_argument(1, abi::ArgKind::mem_write);
        return make_dynptr(index, local, 0, next_id_++);
    }
    if (kind == abi::ArgKind::dynptr_ring_out) {
        const u32 id = next_id_++;
        state_.references.push_back({id, pc_});
        return make_dynptr(index, ring, flag::referenced, id);
    }
    const Reg* found = dynptr_at(index);
    if (found == nullptr) return false;
    dynptr_argument_ = *found;
    if (kind == abi::ArgKind::dynptr) return true;
    if (found->object != ring || !found->has(flag::referenced)) return fail(Finding::dynptr_missing, index);
    release(dynptr_argument_.id);
    return true;
}

// ----------------------------------------------------------------------------------------------------------- iterators

// The id of the iterator whose next element is asked for here; 0 elsewhere.
u32 Walker::iterator_here() {
    const abi::Kfunc* row = kfunc_at(pc_);
    if (row == nullptr || !row->has(kfunc::iter_next)) return 0;
    const Reg& base = reg(1);
    if (base.type != Type::stack || !base.value.is_constant() || base.value.smin % 8 != 0 || base.value.smin >= 0 ||
        base.value.smin < -i64{stack_limit()})
        return 0;
    const Slot& slot = slot_seen(base.frame, base.value.smin);
    return slot.bytes[0] == Byte::object && slot.saved.type == Type::iterator ? slot.saved.id : 0;
}

bool Walker::iterator_argument(u32 index, u32 type) {
    const abi::Kfunc& row = *kfunc_.row;
    const u32 count = (program_.kernel_btf->size(type).value_or(0) + 7) / 8;
    u32 frame = 0;
    i64 at = 0;
    if (!object_slots(index, count, frame, at)) return false;
    kfunc_.frame = frame;
    kfunc_.at = at;
    kfunc_.slots = count;
    if (row.has(kfunc::iter_new)) {
        for (u32 i = 0; i < count; ++i)
            if (const Slot& slot = slot_seen(frame, at + 8 * i);
                slot.bytes[0] == Byte::object && slot.saved.type == Type::iterator)
                return fail(Finding::iterator_twice, index);
        Reg what = Reg::pointer(Type::iterator, type, next_id_++);
        what.flags = static_cast<u16>(flag::referenced | (row.has(kfunc::rcu_protected) ? flag::rcu : 0));
        what.off = 0;
        if (!make_object(frame, at, count, what)) return false;
        state_.references.push_back({what.id, pc_});
        return true;
    }
    const Reg* found = find_object(frame, at, count, Type::iterator);
    if (found == nullptr || found->object != type) return fail(Finding::iterator_missing, index);
    if (found->has(flag::untrusted)) return fail(Finding::kfunc_needs_rcu, insn().imm);
    if (row.has(kfunc::iter_destroy)) {
        const u32 id = found->id;
        unmake_object(frame, at, count);
        release(id);
        kfunc_.released = id;
    }
    return true;
}

// One path goes on where the iterator has ended; the other has an element, which may be so any number of times: what a
// round changes is widened, so that the rounds converge. (process_iter_next_call() of Linux 6.18.)
bool Walker::next_element() {
    const Reg iterator = slot_seen(kfunc_.frame, kfunc_.at).saved;
    const auto set = [&](State& state, bool ended) {
        for (u32 i = 0; i < kfunc_.slots; ++i) {
            auto& stack = state.frames[kfunc_.frame].stack;
            Slot& slot = stack[static_cast<std::size_t>((-(kfunc_.at + 8 * i) - 1) / 8)];
            if (ended)
                slot.saved.flags |= flag::null;
            else
                ++slot.saved.off;
        }
    };
    if (!iterator.has(flag::null)) {
        State other = state_;
        if (!kfunc_pointer(program_.kernel_btf->skip_modifiers(
                program_.kernel_btf->type(program_.kernel_btf->skip_modifiers(kfunc_.prototype.target())).target())))
            return false;
        Reg element = reg(0);
        element.flags = static_cast<u16>(element.flags & ~flag::null);
        element.id = 0;
        if (element.type == Type::btf) element.flags = iterator.has(flag::rcu) ? flag::rcu : flag::trusted;
        other.frame().regs[0] = element;
        set(other, false);
        widen(other, before_);
        if (!set_aside(std::move(other), pc_ + 1)) return false;
    }
    set(state_, true);
    reg(0) = constant(0);
    return true;
}

// ---------------------------------------------------------------------------------------------------------- interrupts

// bpf_local_irq_save() and bpf_local_irq_restore(): what was saved last is restored first.
bool Walker::interrupt_argument(u32 index) {
    u32 frame = 0;
    i64 at = 0;
    if (!object_slots(index, 1, frame, at)) return false;
    const std::string_view name = kfunc_.row->name;
    const bool by_lock = name != "bpf_local_irq_save" && name != "bpf_local_irq_restore";
    if (name == "bpf_local_irq_save" || name == "bpf_res_spin_lock_irqsave") {
        const Slot& slot = slot_seen(frame, at);
        if (slot.bytes[0] == Byte::object && slot.saved.type == Type::interrupts)
            return fail(Finding::interrupts_order, index);
        Reg what = Reg::pointer(Type::interrupts, state_.sections.interrupts_off, next_id_++);
        what.flags = static_cast<u16>(flag::referenced | (by_lock ? flag::by_lock : 0));
        if (!make_object(frame, at, 1, what)) return false;
        state_.references.push_back({what.id, pc_});
        state_.sections.interrupts_off = what.id;
        return true;
    }
    const Reg* found = find_object(frame, at, 1, Type::interrupts);
    if (found == nullptr || found->id != state_.sections.interrupts_off || found->has(flag::by_lock) != by_lock)
        return fail(Finding::interrupts_order, index);
    const u32 id = found->id;
    state_.sections.interrupts_off = found->object;
    unmake_object(frame, at, 1);
    release(id);
    return true;
}

}  // namespace anybpf::verifier

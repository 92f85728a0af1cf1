// SPDX-License-Identifier: Apache-2.0
// Locks in map values and in objects that the program has allocated: struct bpf_spin_lock, of which one may be held,
// and struct bpf_res_spin_lock, of which any number may, given back in the reverse order (process_spin_lock() of Linux
// 6.18).
#include <algorithm>

#include "walker.hpp"

namespace anybpf::verifier {

using abi::ArgKind;
using abi::HelperId;

// The lock that the register points to.
bool Walker::find_lock(u32 index, FieldKind kind, Lock& out) {
    const Reg& at = reg(index);
    if (may_be_null(at)) return fail(Finding::maybe_null, index, static_cast<i64>(at.type));
    const bool resilient = kind == FieldKind::resilient_lock;
    if (at.type != Type::map_value && !is_owned(at))
        return resilient ? fail(Finding::kfunc_argument, index, insn().imm) : wrong_argument(index, ArgKind::spin_lock);
    const ValueField* field = find_field(*record_of(at), kind);
    if (field == nullptr && at.type == Type::map_value && !resilient) return fail(Finding::no_lock, at.object);
    if (field == nullptr) return fail(Finding::no_field, index, static_cast<i64>(kind));
    if (!at.value.is_constant(field->offset)) return fail(Finding::not_the_lock, index, field->offset);
    out = {.held = true, .resilient = resilient, .own = at.type == Type::btf, .id = at.id, .insn = pc_};
    if (!out.own) out.map = at.object;
    return true;
}

bool Walker::take_lock(const Lock& lock) {
    if (state_.lock.held) {
        const auto again = [&](const Lock& held) { return held.resilient && held.same(lock); };
        if (again(state_.lock) || std::ranges::any_of(state_.outer_locks, again))
            return fail(Finding::lock_again, state_.lock.insn);
        state_.outer_locks.push_back(state_.lock);
    }
    state_.lock = lock;
    return true;
}

bool Walker::give_lock(const Lock& lock) {
    const auto is_it = [&](const Lock& held) {
        return held.resilient == lock.resilient && held.interrupts == lock.interrupts && held.same(lock);
    };
    if (!state_.lock.held) return fail(Finding::lock_not_held);
    if (!is_it(state_.lock)) {
        const bool outer = std::ranges::any_of(state_.outer_locks, is_it);
        return fail(outer ? Finding::lock_order : Finding::other_lock, state_.lock.insn);
    }
    state_.lock = {};
    if (!state_.outer_locks.empty()) {
        state_.lock = state_.outer_locks.back();
        state_.outer_locks.pop_back();
    }
    lose_borrowed();
    return true;
}

bool Walker::lock_argument(u32 index, HelperId helper) {
    Lock lock;
    if (in_less()) return fail(Finding::less_locks);
    if (!find_lock(index, FieldKind::spin_lock, lock)) return false;
    return helper == HelperId::spin_lock ? take_lock(lock) : give_lock(lock);
}

bool Walker::resilient_lock_argument(u32 index) {
    Lock lock;
    if (!find_lock(index, FieldKind::resilient_lock, lock)) return false;
    const std::string_view name = kfunc_.row->name;
    lock.interrupts = name.ends_with("_irqsave") || name.ends_with("_irqrestore");
    return name.starts_with("bpf_res_spin_lock") ? take_lock(lock) : give_lock(lock);
}

// The path on which a resilient lock is not taken.
bool Walker::lock_failure() {
    constexpr i64 max_errno = 4095;
    State other = state_;
    for (u32 r = 1; r <= 5; ++r) other.frame().regs[r] = {};
    other.frame().regs[0] = unknown(Number::of_range(-max_errno, -1));
    return set_aside(std::move(other), pc_ + 1);
}

// Kernel functions that may be called while a lock is held (kfunc_spin_allowed()).
bool Walker::allowed_under_lock() const {
    const std::string_view name = kfunc_.row->name;
    for (const std::string_view allowed :
         {"bpf_list_", "bpf_rbtree_", "bpf_refcount_acquire", "bpf_iter_num_", "bpf_res_spin_", "bpf_arena_"})
        if (name.starts_with(allowed)) return true;
    return false;
}

// A lock in the object that the register points into is held.
bool Walker::allocation_locked(u32 index) {
    const Reg& at = reg(index);
    if (!state_.lock.held) return fail(Finding::lock_required, index);
    Lock wanted{.own = at.type == Type::btf, .id = at.id};
    if (!wanted.own) wanted.map = at.object;
    const auto holds = [&](const Lock& held) { return held.same(wanted); };
    if (holds(state_.lock) || std::ranges::any_of(state_.outer_locks, holds)) return true;
    return fail(Finding::lock_elsewhere, index, state_.lock.insn);
}

}  // namespace anybpf::verifier

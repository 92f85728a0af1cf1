// SPDX-License-Identifier: Apache-2.0
// Virtual CPUs (DESIGN decision 4): a run owns a slot from entry to exit, so that per-CPU values have one writer. A
// slot's owner word is a robust futex announced through the thread's list_op_pending: when the owner dies, by SIGKILL,
// exec or exit, the kernel itself marks it.
//
//   0 --acquire--> tid --release--> 0        tid --death--> FUTEX_OWNER_DIED --acquire--> tid, generation + 1
//
// An owner signs the locks that it takes with its lock word: slot and generation. A generation that has ended never
// stores again, so a lock signed by it can be taken away.
#pragma once

#include <atomic>
#include <optional>
#include <span>

#include "anybpf/base/result.hpp"

struct robust_list;
struct robust_list_head;

namespace anybpf::maps {

[[gnu::hot]] u32 current_cpu();  // the real one, of the moment

// One per thread, filled in on the thread itself; again in the child after fork, and after set_robust_list(2). The
// address of the kernel's list head is all that matters, so a host may fill in tid and robust itself.
struct VcpuThread {
    u32 tid = 0;
    robust_list_head* robust = nullptr;
    const u32* cpu_word = nullptr;  // the kernel keeps the CPU there (rseq); null: current_cpu() asks

    u32 cpu() const {
        const auto known = cpu_word != nullptr ? static_cast<i32>(__atomic_load_n(cpu_word, __ATOMIC_RELAXED)) : -1;
        return known >= 0 ? static_cast<u32>(known) : current_cpu();
    }

    // `own`, zeroed and outliving the thread, is registered as the list of a thread that has none (a raw clone); a
    // vfork child passes its parent's. Without a list the thread can hold no slot.
    static VcpuThread current(robust_list_head* own = nullptr);

  private:
    friend class VcpuTable;
    mutable robust_list* outer_ = nullptr;  // what list_op_pending held before the claim
};

class VcpuTable {
  public:
    static constexpr u32 default_slots = 64;
    static constexpr u32 max_slots = 4095;
    static std::size_t bytes(u32 slots);  // of the shared memory it lies in
    static void format(std::span<std::byte> memory, u32 slots);
    // The memory, aligned to 128, must outlive the table; contents are not trusted.
    static Result<VcpuTable> open(std::span<std::byte> memory);

    u32 count() const { return count_; }
    // The slot of this CPU by preference, which is the thread's, else the next free one; nothing when none is free, and
    // nothing for a thread that holds one already (a signal handler inside a run). A slot whose owner died is taken
    // over: the caller should then run `recover(slot)` of every map it will touch (see Map::recover).
    struct Claim {
        u32 slot;
        bool owner_died;
    };
    std::optional<Claim> acquire(const VcpuThread& thread, u32 cpu) {
        const u64 claimed = claim(thread, cpu);
        if (claimed == nothing) return std::nullopt;
        return Claim{static_cast<u32>(claimed), claimed >> 32 != 0};
    }
    std::optional<Claim> acquire(const VcpuThread& thread) { return acquire(thread, thread.cpu()); }
    [[gnu::hot]] void release(const VcpuThread& thread, u32 slot);
    // Marked by the kernel as dead, or owned by nobody.
    bool owner_dead(u32 slot) const;

    // What the slot's present owner writes into a lock: slot + 1 below, the generation above; never 0.
    u32 lock_word(u32 slot) const;
    // Whether the owner that wrote this lock word is dead. Stays true once it was.
    bool lock_owner_dead(u32 word) const;
    static u32 slot_of(u32 word) { return (word & slot_mask) - 1; }

  private:
    static constexpr u32 slot_bits = 12, slot_mask = (1U << slot_bits) - 1;
    struct Slot;
    // The slot, with bit 32 where its owner died: a number, since it returns in a register.
    static constexpr u64 nothing = ~u64{0};
    [[gnu::hot]] u64 claim(const VcpuThread& thread, u32 cpu);
    VcpuTable(Slot* slots, u32 count) : slots_(slots), count_(count) {}
    bool holds(const VcpuThread& thread, const robust_list* pending) const;

    Slot* slots_;
    u32 count_;
};

}  // namespace anybpf::maps

// SPDX-License-Identifier: Apache-2.0
// Virtual CPUs (DESIGN decision 4): a run owns a slot from entry to exit, so that per-CPU values have one writer. A
// slot's owner word is a robust futex announced through the thread's list_op_pending: when the owner dies, the kernel
// marks it.
#pragma once

#include <atomic>
#include <optional>
#include <span>

#include "anybpf/base/result.hpp"

struct robust_list_head;

namespace anybpf::maps {

// One per thread, filled in on the thread itself (and again in the child after fork).
struct VcpuThread {
    u32 tid = 0;
    robust_list_head* robust = nullptr;
    static VcpuThread current();
};

class VcpuTable {
  public:
    static constexpr u32 default_slots = 64;
    static std::size_t bytes(u32 slots);  // of the shared memory it lies in
    static void format(std::span<std::byte> memory, u32 slots);
    static Result<VcpuTable> open(
        std::span<std::byte> memory);  // the memory must outlive the table; contents are not trusted

    u32 count() const;
    // The slot of this thread's rseq CPU by preference, else the next free one within a bound; nothing when none is
    // free. A slot whose owner died is taken over: the caller must then run `recover(slot)` of every map it will touch
    // (see Map::recover).
    struct Claim {
        u32 slot;
        bool owner_died;
    };
    std::optional<Claim> acquire(const VcpuThread& thread);
    void release(const VcpuThread& thread, u32 slot);
    // Marked by the kernel as dead, or owned by nobody: what a waiter at a lock held by this slot asks.
    bool owner_dead(u32 slot) const;

  private:
    struct Slot;
    explicit VcpuTable(std::span<std::byte> memory) : memory_(memory) {}
    std::span<std::byte> memory_;
};

}  // namespace anybpf::maps

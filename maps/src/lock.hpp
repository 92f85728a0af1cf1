// SPDX-License-Identifier: Apache-2.0
// A lock in shared memory that survives its owner: one word, 0 or the owner's lock word (VcpuTable::lock_word). A
// waiter that finds the owner dead first completes what the owner left in its journal, then takes the lock away from
// it. A waiter at an owner that lives but does not let go (stopped, or preempted for long) gives up after a while.
//
// A stopped owner would cost every waiter that while; so the first one leaves a mark, and those that follow it give up
// soon, until the lock word changes or the owner takes the mark away as it goes on.
#pragma once

#include <atomic>

#include "anybpf/maps/vcpu.hpp"

namespace anybpf::maps {

constexpr u32 long_patience = 1U << 20, short_patience = 1U << 11;  // turns of `pause`, of 10 to 45 ns each

// `recover(word)` completes the dead owner's work and returns whether that succeeded. `patience` may be 0: one try.
template <class Recover>
bool lock_slowly(std::atomic<u32>& lock, u32 me, const VcpuTable& vcpus, u32 patience, Recover&& recover) {
    for (u32 turn = 0;; ++turn) {
        u32 seen = lock.load(std::memory_order_acquire);
        if (seen == 0) {
            if (lock.compare_exchange_strong(seen, me, std::memory_order_acquire)) return true;
        } else if (turn % 64 == 0 && seen != me && vcpus.lock_owner_dead(seen)) {
            const bool recovered = recover(seen);
            if (recovered && lock.compare_exchange_strong(seen, me, std::memory_order_acquire)) return true;
            if (!recovered) turn += short_patience;  // it has waited for somebody else who recovers
        }
        if (turn >= patience) return false;
        __builtin_ia32_pause();
    }
}

template <class Recover>
bool lock(std::atomic<u32>& lock, u32 me, const VcpuTable& vcpus, u32 patience, Recover&& recover) {
    u32 free = 0;
    if (lock.compare_exchange_strong(free, me, std::memory_order_acquire)) [[likely]]
        return true;
    return lock_slowly(lock, me, vcpus, patience, recover);
}

// With the patience that suits an owner who may have been preempted. `mark_of(word)` is where the mark for that owner
// lies, or null.
template <class Recover, class MarkOf>
bool lock_patiently(std::atomic<u32>& word, u32 me, const VcpuTable& vcpus, Recover&& recover, MarkOf&& mark_of) {
    if (lock(word, me, vcpus, short_patience, recover)) [[likely]]
        return true;
    const u32 holder = word.load(std::memory_order_relaxed);
    std::atomic<u32>* mark = mark_of(holder);
    if (mark != nullptr && mark->load(std::memory_order_relaxed) == holder) return false;
    if (lock_slowly(word, me, vcpus, long_patience, recover)) return true;
    if (mark != nullptr && word.load(std::memory_order_relaxed) == holder)
        mark->store(holder, std::memory_order_relaxed);
    return false;
}

// For locks whose protected state is whole at every instruction: there is nothing to complete.
inline bool nothing_to_recover(u32) { return true; }

inline void unlock(std::atomic<u32>& lock) { lock.store(0, std::memory_order_release); }

// The owner goes on, so a mark that was left for it while it stood means nothing any more.
inline void unlock(std::atomic<u32>& lock, std::atomic<u32>& mark) {
    if (mark.load(std::memory_order_relaxed) != 0) [[unlikely]]
        mark.store(0, std::memory_order_relaxed);
    unlock(lock);
}

// On behalf of a dead owner: somebody else may have taken the lock away already.
inline void unlock_for(std::atomic<u32>& lock, u32 owner) {
    lock.compare_exchange_strong(owner, 0, std::memory_order_release, std::memory_order_relaxed);
}

}  // namespace anybpf::maps

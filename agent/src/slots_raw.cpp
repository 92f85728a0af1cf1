// SPDX-License-Identifier: Apache-2.0
// Sites and their stubs: a slot for each, found by the address behind the site's instruction. Safe because a slot is
// filled before the index names it, and never changes its site afterwards; where its guest goes on may change at any
// moment, since both places stay good.
#include <array>
#include <atomic>

#include "state.hpp"

namespace anybpf::agent {
namespace {

constexpr u32 index_size = 4096;
// Where slots are by (address, number): open addressing, entries are published last. Global because signal handlers
// have no parameter to carry it.
std::array<std::atomic<u16>, index_size> slot_index;
std::atomic<u32> next_slot{1};  // slot 0 is libc's syscall()
std::atomic<u32> marked{0};     // how often mark_quiet() began

u32 hash(u64 after, u32 nr) {
    return static_cast<u32>((after * 0x9e3779b97f4a7c15ULL + nr * 0x85ebca6bULL) >> 40) % index_size;
}

void mark(Slot& slot) {
    slot.special = slot.nr >= 512 || is_special(slot.nr);
    slot.entry_busy = slot.special || process.hooks->wants_entry(slot.nr);
    slot.exit_busy = slot.special || process.hooks->wants_exit(slot.nr);
}

void fill(Slot& slot, u64 after, u32 nr, u64 start) {
    const u64 number = static_cast<u64>(&slot - anybpf_slots);
    slot.go = reinterpret_cast<u64>(anybpf_stubs) + number * stub_size + stub_syscall;
    slot.nr = nr;
    slot.patched = start != 0 ? static_cast<u8>(after - start) : 0;
    slot.resume = resumed(after);
    __atomic_store_n(&slot.after, after, __ATOMIC_RELEASE);
    // A slot that mark_quiet() goes over at this moment must not keep what was known before.
    u32 before = 0;
    do {
        before = marked.load();
        mark(slot);
        std::atomic_thread_fence(std::memory_order_seq_cst);
    } while (marked.load() != before);
}

Slot* find(u64 after, u32 nr, u32& at) {
    for (at = hash(after, nr);; at = (at + 1) % index_size) {
        const u16 number = slot_index[at].load(std::memory_order_acquire);
        if (number == 0) return nullptr;
        Slot& slot = anybpf_slots[number];
        if (slot.after == after && slot.nr == nr) return &slot;
    }
}

}  // namespace

Slot* add_slot(u64 after, u32 nr, u64 start) {
    u32 at = 0;
    if (Slot* known = find(after, nr, at)) return known;
    const u32 number = next_slot.load();
    if (number >= last_slot) return nullptr;
    next_slot.store(number + 1);
    fill(anybpf_slots[number], after, nr, start);
    slot_index[at].store(static_cast<u16>(number), std::memory_order_release);
    return &anybpf_slots[number];
}

std::span<Slot> used_slots() { return std::span(anybpf_slots).first(next_slot.load(std::memory_order_acquire)); }

void fill_generic_slot(u64 after, u64 start) { fill(anybpf_slots[0], after, any_number, start); }

Slot* slot_at(u64 after) {
    u32 at = 0;
    return find(after, any_number, at);
}

const Slot* slot_patched_at(u64 start) {
    for (u32 i = 0; i < next_slot.load(std::memory_order_acquire); ++i)
        if (anybpf_slots[i].is_patched_at(start)) return &anybpf_slots[i];
    return nullptr;
}

const Slot* slot_patched_in_place(u64 start) {
    const Slot* const slot = slot_at(start + call_size);
    return slot != nullptr && slot->is_patched_at(start) ? slot : nullptr;
}

void resume_slots_at(u64 after, u64 resume) {
    for (u32 i = 1; i < next_slot.load(); ++i)
        if (anybpf_slots[i].after == after) __atomic_store_n(&anybpf_slots[i].resume, resume, __ATOMIC_RELEASE);
}

u64 resumed(u64 ip) {
    const Slot* const slot = slot_at(ip);
    return slot != nullptr ? slot->resume : ip;
}

u64 way_on(u64 ip, u64 ax) {
    if (process.scans) {
        u32 at = 0;
        const u64 after = ip + call_size;
        const Slot& generic = anybpf_slots[0];
        const Slot* const slot = generic.after == after ? &generic : find(after, static_cast<u32>(ax), at);
        if (slot != nullptr && slot->patched > call_size) return slot->go - stub_syscall + stub_call;
    }
    return resumed(ip);
}

Slot* slot_for(u64 after, u32 nr) {
    u32 at = 0;
    if (Slot* known = find(after, nr, at)) return known;
    lock(process.slot_lock);
    Slot* slot = add_slot(after, nr, 0);
    unlock(process.slot_lock);
    return slot;
}

void mark_quiet() {
    marked.fetch_add(1);
    for (u32 i = 0; i < next_slot.load(); ++i)
        if (anybpf_slots[i].filled()) mark(anybpf_slots[i]);
    anybpf_epoch = &process.hooks->epoch();
    __atomic_store_n(&anybpf_seen, process.hooks->seen() & 0xffffffff, __ATOMIC_RELEASE);
}

}  // namespace anybpf::agent

// SPDX-License-Identifier: Apache-2.0
// Raw: the kernel's robust-list head of this thread, and the thread's rseq area. Safe because the head is the one that
// get_robust_list(2) names, of which one word is written and put back, and the rseq area is glibc's, of which one word
// is read; the announced address lies in the caller's table.
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "anybpf/maps/vcpu.hpp"
#include "shared_raw.hpp"

// Of glibc 2.35 and newer, which names them so.
extern "C" {
extern const std::ptrdiff_t __rseq_offset __attribute__((weak));
extern const unsigned int __rseq_size __attribute__((weak));
}

namespace anybpf::maps {

struct alignas(128) VcpuTable::Slot {
    std::atomic<u32> owner;       // 0, a tid, or what the kernel makes of it at its death: FUTEX_OWNER_DIED
    std::atomic<u32> generation;  // written by the owner alone: owners before it that died
    std::array<u8, 120> reserved;
};

namespace {
constexpr u32 table_magic = 0x76726261;  // "abrv"
struct alignas(128) TableHeader {
    u32 magic;
    u32 slots;
    std::array<u8, 120> reserved;
};
static_assert(sizeof(TableHeader) == 128);

using Pending = std::atomic_ref<robust_list*>;

}  // namespace

u32 current_cpu() {
    const int cpu = ::sched_getcpu();
    return cpu < 0 ? 0 : static_cast<u32>(cpu);
}

VcpuThread VcpuThread::current(robust_list_head* own) {
    VcpuThread thread;
    if (&__rseq_size != nullptr && __rseq_size != 0) {
        constexpr std::ptrdiff_t cpu_id_offset = 4;  // struct rseq: cpu_id_start, cpu_id
        thread.cpu_word = reinterpret_cast<const u32*>(static_cast<const std::byte*>(__builtin_thread_pointer()) +
                                                       __rseq_offset + cpu_id_offset);
    }
    thread.tid = static_cast<u32>(::syscall(SYS_gettid));
    std::size_t size = 0;
    if (::syscall(SYS_get_robust_list, 0, &thread.robust, &size) != 0) thread.robust = nullptr;
    if (thread.robust == nullptr && own != nullptr) {
        if (own->list.next == nullptr) own->list.next = &own->list;
        if (::syscall(SYS_set_robust_list, own, sizeof *own) == 0) thread.robust = own;
    }
    return thread;
}

std::size_t VcpuTable::bytes(u32 slots) { return sizeof(TableHeader) + slots * sizeof(Slot); }

void VcpuTable::format(std::span<std::byte> memory, u32 slots) {
    static_assert(sizeof(Slot) == 128 && std::atomic<u32>::is_always_lock_free);
    ANYBPF_ASSERT(slots > 0 && slots <= max_slots && memory.size() >= bytes(slots));
    std::memset(memory.data(), 0, bytes(slots));
    auto* header = overlay<TableHeader>(memory, 0);
    header->slots = slots;
    header->magic = table_magic;
}

Result<VcpuTable> VcpuTable::open(std::span<std::byte> memory) {
    if (memory.size() < sizeof(TableHeader) || reinterpret_cast<std::uintptr_t>(memory.data()) % alignof(Slot) != 0)
        return fail(Errc::malformed, "the table of virtual CPUs is too short or not aligned");
    const TableHeader header = *overlay<TableHeader>(memory, 0);
    if (header.magic != table_magic) return fail(Errc::malformed, "the table of virtual CPUs has a wrong magic number");
    if (header.slots == 0 || header.slots > max_slots || bytes(header.slots) > memory.size())
        return fail(Errc::malformed, "the table of virtual CPUs has an impossible number of slots");
    return VcpuTable(overlay<Slot>(memory, sizeof(TableHeader), header.slots), header.slots);
}

// Whether list_op_pending announces a slot of this table that the thread owns. One that it does not own was left by a
// signal handler that never came back (siglongjmp) to a claim or release, or belongs to one that it has interrupted.
bool VcpuTable::holds(const VcpuThread& thread, const robust_list* pending) const {
    const auto word =
        reinterpret_cast<std::uintptr_t>(pending) + static_cast<std::uintptr_t>(thread.robust->futex_offset);
    const auto offset = word - reinterpret_cast<std::uintptr_t>(slots_);
    return offset < count_ * sizeof(Slot) &&
           slots_[offset / sizeof(Slot)].owner.load(std::memory_order_relaxed) == thread.tid;
}

u64 VcpuTable::claim(const VcpuThread& thread, u32 cpu) {
    if (thread.robust == nullptr) return nothing;
    const Pending pending(thread.robust->list_op_pending);
    const long futex_offset = thread.robust->futex_offset;
    robust_list* const outer = pending.load(std::memory_order_relaxed);
    if (holds(thread, outer)) return nothing;

    if (cpu >= count_) {
        ANYBPF_ASSERT(count_ != 0);
        cpu %= count_;
    }
    u32 at = cpu;
    for (u32 tried = 0; tried < count_; ++tried, at = at + 1 == count_ ? 0 : at + 1) {
        Slot& slot = slots_[at];
        u32 seen = slot.owner.load(std::memory_order_relaxed);
        const bool died = (seen & FUTEX_OWNER_DIED) != 0;
        if (seen != 0 && !died) continue;
        // Announced before it is owned: no instruction lies between owning and being known as the owner. Should the
        // thread die here without owning it, the kernel finds another tid in the word and leaves it alone.
        auto* const entry = reinterpret_cast<std::byte*>(&slot.owner) - futex_offset;
        pending.store(reinterpret_cast<robust_list*>(entry), std::memory_order_relaxed);
        std::atomic_signal_fence(std::memory_order_seq_cst);
        if (slot.owner.compare_exchange_strong(seen, thread.tid, std::memory_order_acquire)) {
            thread.outer_ = outer;
            if (!died) return at;
            slot.generation.store(slot.generation.load(std::memory_order_relaxed) + 1, std::memory_order_release);
            return u64{1} << 32 | at;
        }
        pending.store(outer, std::memory_order_relaxed);
        std::atomic_signal_fence(std::memory_order_seq_cst);
    }
    return nothing;
}

void VcpuTable::release(const VcpuThread& thread, u32 slot) {
    ANYBPF_ASSERT(slot < count_);
    slots_[slot].owner.store(0, std::memory_order_release);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    Pending(thread.robust->list_op_pending).store(thread.outer_, std::memory_order_relaxed);
}

bool VcpuTable::owner_dead(u32 slot) const {
    ANYBPF_ASSERT(slot < count_);
    const u32 owner = slots_[slot].owner.load(std::memory_order_acquire);
    return owner == 0 || (owner & FUTEX_OWNER_DIED) != 0;
}

u32 VcpuTable::lock_word(u32 slot) const {
    ANYBPF_ASSERT(slot < count_);
    return slots_[slot].generation.load(std::memory_order_relaxed) << slot_bits | (slot + 1);
}

// A slot that nobody owns is no proof: its owner may have unlocked and left since the lock word was read, and the next
// one signs with the same word.
bool VcpuTable::lock_owner_dead(u32 word) const {
    const u32 slot = slot_of(word);
    if (slot >= count_) return true;  // nobody's signature: the file was spoilt
    if ((slots_[slot].owner.load(std::memory_order_acquire) & FUTEX_OWNER_DIED) != 0) {
        // Dead now, whichever generation it was; but an older word's owner is dead just as well.
        return true;
    }
    return lock_word(slot) != word;
}

}  // namespace anybpf::maps

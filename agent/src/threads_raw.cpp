// SPDX-License-Identifier: Apache-2.0
// Threads and processes that the guest makes. The parent prepares the child's state before the system call, because a
// child that shares memory runs at once and has nothing of its own:
//   fork            a copy of everything; the child re-arms the dispatcher and forgets the other threads
//   vfork           shares memory and gs base while the parent sleeps: a state of its own, in the parent's place
//   anything else   that shares memory: a state and a gs base of its own, which it takes itself (anybpf_newborn)
// Safe because a thread writes the state of another one only before that one exists.
#include <linux/futex.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstring>

#include "anybpf/abi/types.hpp"
#include "state.hpp"

namespace anybpf::agent {
namespace {

constexpr u64 clone_vm = 0x100, clone_vfork = 0x4000, clone_sighand = 0x800;
// The state begins in the middle of a page, so that what a watched call uses of it and of the stack are two pages.
constexpr u64 guard_size = 4096, stack_pages = 256UL << 10, stack_size = stack_pages + 2048;
// Programs run on this stack, not on the guest's, with as much as a host may allow, and as much again for all else.
static_assert(stack_pages >= 2 * (abi::max_stack_size + abi::max_frames * abi::stack_size));
constexpr u64 stack_used = 2UL * 4096;  // by a signal, in whole pages
constexpr u64 state_pages = (stack_size - stack_pages + sizeof(ThreadState) + 4095) & ~4095ULL;

// All but what the memory is, and its place in the list, which others walk meanwhile.
void reset(ThreadState* state) {
    const auto clear = [state](std::size_t from, std::size_t to) {
        std::memset(reinterpret_cast<std::byte*>(state) + from, 0, to - from);
    };
    clear(0, offsetof(ThreadState, in_use));
    clear(offsetof(ThreadState, nr), offsetof(ThreadState, spare));
    clear(offsetof(ThreadState, awaited), sizeof(ThreadState));
    state->altstack = AltStack{};
    state->actions = &process.actions;
}

// While it tells of the thread before it is nobody's and not yet anybody's (2).
bool claim(ThreadState* state) {
    u32 free = 0;
    if (!state->in_use.compare_exchange_strong(free, 2)) return false;
    reset(state);
    state->in_use.store(1, std::memory_order_release);
    return true;
}

// Where no question may be asked: what the kernel has told the C library, and of the rest what its maker knew.
void introduce_sealed(ThreadState* state, const hooks::SyscallThread& maker) {
    auto& thread = state->thread();
    thread.task = maker.task;
    thread.task.forget();
    u32 tid = 0;
    if (state->tid_at != 0 && fetch(tid, state->tid_at) && tid != 0) thread.task.tid = tid;
    thread.running = false;
    thread.vcpu = {};  // its C library registers a list soon
    thread.vcpu.tid = thread.task.tid;
}

// A run of a program is announced through the thread's robust list, which the kernel forgets at every clone. The C
// library registers its own soon; until then, and where it does not (vfork), the one that this memory had before
// serves: the kernel acts only on what carries the dying thread's own id.
void introduce(ThreadState* state, robust_list_head* known) {
    static_assert(sizeof(state->robust_list) == sizeof(robust_list_head));
    auto* list = known != nullptr ? known : reinterpret_cast<robust_list_head*>(&state->robust_list);
    process.hooks->attach_thread(state->thread(), list);
}

constexpr u64 state_room = guard_size + stack_pages + state_pages;

// In memory that is mapped: guard | stack | state.
ThreadState* place_state(u64 at) {
    const u64 base = at + guard_size;
    auto* state = reinterpret_cast<ThreadState*>(base + stack_size);
    state->stack_base = base;
    state->stack_size = stack_size;
    state->altstack = AltStack{};
    state->actions = &process.actions;
    state->in_use.store(1);
    state->following = process.states.load();
    while (!process.states.compare_exchange_weak(state->following, state)) {
    }
    return state;
}

// Without a mapping of its own where the kernel can (Linux 6.13).
void guard(u64 at) {
    constexpr long guard_install = 102;
    if (raw(SYS_madvise, at, guard_size, guard_install) != 0) raw(SYS_mprotect, at, guard_size, PROT_NONE);
}

// With room for something else behind it. The pages from `used` before the state to `used_behind` after it are
// made in one call instead of by a fault each.
ThreadState* map_state(u64 room, u64 used, u64 used_behind) {
    const long at =
        raw(SYS_mmap, 0, state_room + room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at < 0) return nullptr;
    guard(static_cast<u64>(at));
    const u64 base = static_cast<u64>(at) + guard_size;
    raw(SYS_madvise, base + stack_pages - used, used + state_pages + used_behind, madvise_populate_write);
    list_mapping(static_cast<u64>(at), state_room + room);
    return place_state(static_cast<u64>(at));
}

// For the threads of a sealed process: so many at once are followed.
constexpr u32 reserved_states = 64;
u64 reserve = 0;
std::atomic<u32> reserve_used{0};

ThreadState* reserved_state() {
    if (reserve == 0) return nullptr;
    const u32 number = reserve_used.fetch_add(1);
    if (number < reserved_states) return place_state(reserve + number * state_room);
    reserve_used.store(reserved_states);
    return nullptr;
}

// Threads on the way that are not followed: where the child finds what it must know, by its stack pointer.
struct Stranger {
    std::atomic<u64> stack;  // 0: free
    Slot* slot;
    SignalSet mask;
    bool masked;
};
ANYBPF_TABLE std::array<Stranger, 64> strangers;

// Marked in its gs selector, which nothing in 64-bit user space uses; entry_raw.S looks at it.
void become_stranger() {
    constexpr u32 user_data = 0x2b;
    asm volatile("mov %0, %%gs" ::"r"(user_data) : "memory");
}

void pause() { asm volatile("pause"); }

bool has_wrgsbase() {
    constexpr u64 hwcap2_fsgsbase = 2;
    return (auxiliary(AT_HWCAP2) & hwcap2_fsgsbase) != 0;
}
bool has_gs_base() { return has_wrgsbase() || !process.sealed || process.allowed.gs_base; }

bool may_mask() { return !process.sealed || process.allowed.masks; }

Stranger& announce_stranger(u64 stack, Slot* slot, SignalSet mask) {
    for (u32 i = 0;; i = (i + 1) % strangers.size()) {
        u64 none = 0;
        if (!strangers[i].stack.compare_exchange_strong(none, 1)) {
            pause();
            continue;
        }
        strangers[i].slot = slot;
        strangers[i].mask = mask;
        strangers[i].masked = may_mask();
        strangers[i].stack.store(stack, std::memory_order_release);
        return strangers[i];
    }
}

void leave_locks() {
    unlock(process.slot_lock);
    unlock(process.refresh_lock);
    unlock(process.fork_lock);
    unlock(process.list_lock);
}

void restore_mask(const ThreadState* state) {
    if (may_mask()) raw(SYS_rt_sigprocmask, SIG_SETMASK, &state->set, 0, 8);
}

void fork_child(ThreadState* state) {
    leave_locks();
    for (ThreadState* each = process.states.load(); each != nullptr; each = each->following)
        each->in_use.store(each == state ? 1 : 0);
    if (state->spare != nullptr) state->spare->in_use.store(1);
    if (state->actions != &process.actions) process.actions = *state->actions;
    state->actions = &process.actions;
    state->parent = nullptr;
    state->held_count = 0;
    process.threaded = false;
    state->armed = arm();
    const u32* const cpu_word = state->thread().vcpu.cpu_word;
    if (process.sealed) {
        introduce_sealed(state, state->thread());
        state->thread().task.pid = state->thread().task.tid;
        state->thread().vcpu.cpu_word = cpu_word;
        return;
    }
    introduce(state, state->thread().vcpu.robust);
    state->thread().vcpu.cpu_word = cpu_word;
}

// Blocks all signals but ours until the child knows who it is. Ours may be blocked where a call that was not seen did
// it.
void close_mask(ThreadState* state) {
    const SignalSet all = all_but_ours;
    if (may_mask()) raw(SYS_rt_sigprocmask, SIG_SETMASK, &all, &state->set, 8);
    state->set &= all_but_ours;
}

void prepare_child(const ThreadState& state, ThreadState* child, const Newborn& newborn) {
    child->nr = state.nr;
    child->tid_at = newborn.tid_at;
    child->cleared = newborn.cleared;
    child->bare = process.sealed;
    child->shadow = state.shadow;
    child->actions = state.actions;
    if ((newborn.flags & clone_sighand) != 0) return;
    child->own_actions = *state.actions;
    child->actions = &child->own_actions;
}

i64 before_vfork(ThreadState* state, const Newborn& newborn) {
    ThreadState* const child = state->spare != nullptr ? state->spare : make_state();
    if (child == nullptr) return -EAGAIN;
    if (child == state->spare) reset(child);
    prepare_child(*state, child, newborn);
    child->maker = state;
    state->spare = child;
    state->pending = Pending::vfork;
    child->parent = state;
    child->altstack = state->altstack;
    state->publish = child;
    return 0;
}

}  // namespace

void lock(std::atomic<u32>& word) {
    while (!try_lock(word)) {
        if (process.sealed)
            pause();
        else
            raw(SYS_sched_yield);
    }
}
bool try_lock(std::atomic<u32>& word) { return word.exchange(1, std::memory_order_acquire) == 0; }
void unlock(std::atomic<u32>& word) { word.store(0, std::memory_order_release); }

ThreadState* make_state() {
    for (ThreadState* each = process.states.load(std::memory_order_acquire); each != nullptr; each = each->following) {
        if (each->in_use.load(std::memory_order_relaxed) == 0 && claim(each)) return each;
    }
    return process.sealed ? reserved_state() : map_state(0, stack_used, 0);
}

void forget_left(u64 begin, u64 size) {
    const ThreadState* const self = own().state;
    for (ThreadState* each = process.states.load(std::memory_order_acquire); each != nullptr; each = each->following) {
        u32 left = 1;
        if (__atomic_load_n(&each->born, __ATOMIC_ACQUIRE) && each->cleared && each->tid_at - begin < size &&
            each != self)
            each->in_use.compare_exchange_strong(left, 0);
    }
}

void reserve_states() {
    const long at = raw(SYS_mmap, 0, reserved_states * state_room, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at < 0) return;
    list_mapping(static_cast<u64>(at), reserved_states * state_room);
    for (u32 i = 0; i < reserved_states; ++i) guard(static_cast<u64>(at) + i * state_room);
    reserve = static_cast<u64>(at);
}

// Every exec pays for this: one mapping for the state and the first of the heap.
ThreadState* make_first_state() {
    constexpr u64 heap_size = 1 << 16, heap_used = 2UL * 4096;
    ThreadState* const state = map_state(heap_size, stack_used, heap_used);
    if (state != nullptr) give_heap(reinterpret_cast<char*>(state->stack_base) + stack_pages + state_pages, heap_size);
    return state;
}

void release_state(ThreadState* state) { state->in_use.store(0, std::memory_order_release); }

bool arm() {
    if (process.sealed || process.scans) return false;
    process.scans = raw(SYS_prctl, set_dispatch, 1, anybpf_arena_begin, anybpf_arena_end - anybpf_arena_begin, 0) != 0;
    return !process.scans;
}

// On the new thread itself.
void birth(ThreadState* state) {
    if (process.sealed) {
        state->bare = true;
        introduce_sealed(state, state->maker->thread());
        // Last: from here on forget_left() may take it for a thread that has ended.
        __atomic_store_n(&state->born, true, __ATOMIC_RELEASE);
        return;
    }
    const AltStack stack{.base = state->stack_base, .flags = 0, .size = state->stack_size};
    raw(SYS_sigaltstack, &stack, 0);
    state->armed = arm();
    introduce(state, state->parent != nullptr ? state->parent->thread().vcpu.robust : nullptr);
    __atomic_store_n(&state->born, true, __ATOMIC_RELEASE);
}

i64 before_clone(ThreadState* state, const Newborn& newborn) {
    const u64 flags = newborn.flags, stack = newborn.stack;
    if ((flags & clone_vm) == 0) {
        state->pending = Pending::fork;
        state->tid_at = newborn.tid_at;
        lock(process.fork_lock);
        lock(process.refresh_lock);
        lock(process.slot_lock);
        lock(process.list_lock);
        return 0;
    }
    if ((flags & clone_vfork) != 0) return before_vfork(state, newborn);
    process.threaded = true;
    close_mask(state);
    if (process.sealed && newborn.tid_at != 0) forget_left(newborn.tid_at, 1);
    ThreadState* const child = has_gs_base() ? make_state() : nullptr;
    if (child == nullptr && !process.sealed) {
        restore_mask(state);
        return -EAGAIN;
    }
    state->pending = Pending::thread;
    state->other = child;
    own().clone_slot = state->slot;
    if (child == nullptr) {
        state->stranger = &announce_stranger(stack, state->slot, state->set).stack;
        return 0;
    }
    prepare_child(*state, child, newborn);
    child->maker = state;
    child->own = Own{.self = &child->own, .active = child, .state = child, .clone_slot = state->slot};
    child->set = state->set;
    child->awaited.store(stack, std::memory_order_release);
    return 0;
}

void undo_clone(ThreadState* state) {
    if (state->pending == Pending::fork) leave_locks();
    if (state->pending != Pending::thread) return;
    if (state->other != nullptr) {
        state->other->awaited.store(0);
        state->other->in_use.store(0);
    } else if (state->stranger != nullptr) {
        state->stranger->store(0);
    }
    restore_mask(state);
}

void take_own(Own* own) {
    constexpr u64 set_gs = 0x1001;
    if (has_wrgsbase())
        asm volatile("wrgsbase %0" ::"r"(own) : "memory");
    else
        raw(SYS_arch_prctl, set_gs, own);
}

ThreadState* after_clone(ThreadState* owner, i64 result) {
    if (result == 0) {
        if (owner->born) {
            fork_child(owner);
        } else {
            birth(owner);
            if (owner->parent == nullptr) restore_mask(owner);
        }
        owner->pending = Pending::none;
        return owner;
    }
    if (owner->pending == Pending::thread && result > 0) {
        restore_mask(owner);
        return owner;
    }
    if (owner->pending == Pending::fork || owner->pending == Pending::thread) {
        undo_clone(owner);
        return owner;
    }
    if (owner->parent == nullptr) return owner;
    forget_exec(owner);  // the child is gone, and left this in our memory
    return owner->parent;
}

void before_thread_exit(ThreadState* state) {
    if (state->parent != nullptr || !may_mask()) return;
    const SignalSet all = all_but_ours;
    raw(SYS_rt_sigprocmask, SIG_SETMASK, &all, 0, 8);
    if (state->spare != nullptr) release_state(state->spare);
    state->spare = nullptr;
    state->publish = nullptr;
}

}  // namespace anybpf::agent

// On the new thread, which still has its creator's gs base and nothing else of its own. The clone's slot.
extern "C" const anybpf::agent::Slot* anybpf_newborn(anybpf::u64 stack) {
    using namespace anybpf::agent;
    for (ThreadState* each = process.states.load(std::memory_order_acquire); each != nullptr; each = each->following) {
        anybpf::u64 expected = stack;
        if (!each->awaited.compare_exchange_strong(expected, 0)) continue;
        const Slot* const slot = each->own.clone_slot;
        take_own(&each->own);
        return slot;
    }
    for (Stranger& each : strangers) {
        if (each.stack.load(std::memory_order_acquire) != stack) continue;
        const Stranger mine{.stack{}, .slot = each.slot, .mask = each.mask, .masked = each.masked};
        each.stack.store(0, std::memory_order_release);
        become_stranger();
        if (mine.masked) raw(SYS_rt_sigprocmask, SIG_SETMASK, &mine.mask, 0, 8);
        return mine.slot;
    }
    __builtin_trap();
}

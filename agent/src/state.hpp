// SPDX-License-Identifier: Apache-2.0
// What the agent keeps: per thread, per system call site, per process. entry_raw.S reads these by offset; the
// assertions at the end of this file pin them.
//
// A thread owns one block of memory, most of it the stack that the agent's C++ code runs on:
//
//     guard page | ... agent stack, grows down ... | ThreadState: registers of the guest, then the rest
//                ^ what the kernel knows as the thread's alternate signal stack ^
//
// The guest's own sigaltstack is virtual. So a signal never lands on a stack that the agent or the guest is using:
// while the agent runs, the kernel pushes frames below its stack pointer; while the guest runs, the agent's stack is
// empty.
#pragma once

#include <signal.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <span>

#include "anybpf/agent/arrival.hpp"
#include "anybpf/agent/exec_channel.hpp"
#include "anybpf/agent/lender.hpp"
#include "anybpf/agent/visit.hpp"
#include "anybpf/hooks/syscall.hpp"

namespace anybpf::agent {

// Of a large table that is zero at first, and of which few pages are ever touched (order.ld).
#define ANYBPF_TABLE [[gnu::section(".bss.anybpf_tables")]]

using hooks::SyscallRegisters;
constexpr SignalSet all_but_ours = ~our_signals;
constexpr bool is_ours(int signal) { return (our_signals & bit_of(signal)) != 0; }

// One system call instruction of the guest, and the stub that stands in for it. Slot i belongs to stub i of the arena.
// A site whose number is not fixed by its own `mov $nr,%eax` has nr == any_number.
//
// A number that no program is attached to, and that the agent takes no part in, passes without the agent (quiet): its
// slot says so until the root's epoch moves on.
struct Slot {
    u64 go = 0;                                  // the stub's own syscall instruction
    u64 after = 0;                               // behind the guest's instruction
    u32 nr = 0;                                  // the number, or any_number
    u8 patched = 0;                              // how many bytes before `after` it is patched; 0: it is not
    bool entry_busy = false, exit_busy = false;  // not quiet
    bool special = false;                        // it may be a number that the agent takes part in
    u64 resume = 0;                              // where the guest goes on: after, or what stands for it (Pun)

    bool filled() const { return __atomic_load_n(&after, __ATOMIC_ACQUIRE) != 0; }
    bool is_patched_at(u64 start) const { return patched != 0 && after - patched == start; }
    bool is_pun() const { return resume != after; }
};
constexpr u32 any_number = ~0U;

// In place of a site's instruction and of the one behind it, on the arena. (patch_raw.cpp tells what for.)
struct Pun {
    std::array<u8, 28> code{};  // a jump to the site's stub, the instruction behind the site, a jump behind that
    u32 slot = 0;               // 0: free

    static constexpr u32 copied_at = 5;  // where in `code` the instruction is
};
static_assert(sizeof(Pun) == 32);
constexpr long madvise_populate_write = 23;
constexpr u32 slot_count = 2048, last_slot = slot_count - 8;  // behind it: the 32-bit gate's
constexpr u64 call_size = 2;                                  // of a system call instruction
constexpr u64 stub_size = 32, stub_call = 6, stub_syscall = 18, stub_after = 20;

struct KernelAction {  // struct sigaction as the kernel has it
    u64 handler = 0, flags = 0, restorer = 0;
    SignalSet mask = 0;
};

using Actions = std::array<KernelAction, 65>;

struct AltStack {  // stack_t
    u64 base = 0;
    i32 flags = 2 /* SS_DISABLE */;
    i32 reserved = 0;
    u64 size = 0;
};

// The frame that the kernel pushes for a signal.
struct UserContext {
    u64 flags, link;
    AltStack stack;
    u64 r8, r9, r10, r11, r12, r13, r14, r15, di, si, bp, bx, dx, ax, cx, sp, ip, eflags;
    u16 cs, gs, fs, ss;
    u64 err, trapno, oldmask, cr2;
    u64 fpstate;
    u64 reserved[8];
    SignalSet mask;
};
struct SignalFrame {
    u64 restorer;
    UserContext context;
    siginfo_t info;
};
static_assert(sizeof(UserContext) == 304 && sizeof(SignalFrame) == 440 && sizeof(AltStack) == 24);

// What on_enter did for the system call that is under way, to be finished after it, or undone if it does not happen.
enum class Pending : u8 { none, action, mask, temporary_mask, set, fork, vfork, thread, exec, name, place, text };

struct ThreadState;

// What a thread finds at its gs base: who it is. A vfork child runs with its parent's.
struct Own {
    Own* self = nullptr;
    ThreadState* active = nullptr;  // null while the agent runs, so that its own system calls pass
    ThreadState* state = nullptr;
    u64 next = 0, flags = 0;     // while leaving
    Slot* clone_slot = nullptr;  // of the clone under way, or that made it
    int error = 0;               // the agent's errno
};

struct ThreadState {
    SyscallRegisters registers;  // of the guest, saved at entry of the agent
    ThreadState* publish;        // who this thread is when it leaves the agent; null: still busy
    u32 deferred_count;          // signals that arrived while the agent ran
    u32 leaving_by_trap;         // they are delivered at the trap that leaves the agent
    Slot* slot;
    u64 next;     // where to go on when leaving
    u64 trap_ip;  // and where the guest is then, when it leaves by the trap
    std::atomic<u32> in_use;
    u32 nr;         // of the system call under way
    bool entering;  // between enter and the system call, not after it
    bool born;      // dispatch armed, known to the hooks
    bool armed;
    bool bare;    // the kernel knows no signal stack of this thread
    bool masked;  // real mask is full because of a deferred signal; deferred_mask is what it should be
    SignalSet deferred_mask;
    SignalSet shadow;   // of our signals: those that the guest believes to be blocked
    AltStack altstack;  // as the guest set it
    // Of frames of handlers that have not returned: where the address of our restorer stands, and what the guest's is.
    std::array<std::array<u64, 2>, 16> frames;
    u32 frame_count;

    Pending pending;
    bool substituted;  // arguments of the system call are not the guest's
    std::array<u64, 6> arguments;
    u64 guest_pointer;  // where a result must be corrected
    KernelAction old_action, new_action, kernel_action;
    SignalSet new_shadow, set;        // set: a mask without our signals, handed to the kernel
    std::array<u64, 2> set_argument;  // {pointer, size}, as pselect6 wants it
    ThreadState* other;               // child of the vfork or clone under way
    std::atomic<u64>* stranger;       // what announces a child that is not followed
    ThreadState* maker;               // of this thread, at its birth
    u64 tid_at;                       // where the kernel puts the child's id; 0: nowhere
    bool cleared;                     // it is zeroed there when the child has ended
    u64 exec_memory, exec_size;
    bool injected;  // an injector waits for the execve
    bool lent;      // its image will not see the agent's file, and takes a descriptor of it along
    int agent_fd;

    // Raw, so that this struct keeps a layout that entry_raw.S can count on; all zero is its value at birth.
    alignas(hooks::SyscallThread) std::byte thread_memory[sizeof(hooks::SyscallThread)];

    ThreadState* parent;  // the thread whose memory this vfork child borrows
    // From here to stack_size: what a state keeps when it becomes another thread's.
    ThreadState* spare;      // for the next vfork
    ThreadState* following;  // every state there is, for reuse
    u64 stack_base, stack_size;
    std::atomic<u64> awaited;  // the stack pointer with which the thread of this state will begin; 0: it has begun
    std::array<siginfo_t, 8> deferred;
    Actions* actions;  // what the guest set with sigaction: the process's, or a vfork child's own copy
    Actions own_actions;
    u32 held_count;  // our signals, sent while the guest had them blocked
    std::array<siginfo_t, 4> held;
    std::array<u64, 3> robust_list;  // for a thread whose C library has not registered one
    Own own;
    hooks::SyscallThread& thread() { return *reinterpret_cast<hooks::SyscallThread*>(thread_memory); }
};

// Of a sealed process: what its filters let the agent do.
struct Allowed {
    bool handlers = false;  // rt_sigreturn
    bool masks = false;     // rt_sigprocmask
    bool gs_base = false;   // arch_prctl(ARCH_SET_GS)
};

struct Process {
    hooks::SyscallHooks* hooks = nullptr;
    bool sealed = false;  // a seccomp filter is in force that would punish us: no system call of our own any more
    Allowed allowed;
    bool scans = false;     // the kernel hands no system calls to us: sites are found by scanning
    bool threaded = false;  // a second thread was made, once; other threads may run
    u32 tree = 0;
    u64 text_begin = 0, text_end = 0;  // of the agent
    FileId agent_file, root_file;
    std::array<char, 512> agent_path{}, root{};
    bool away = false;  // the root's path leads elsewhere
    LoanKey key;
    ExecChannel* channel = nullptr;
    std::atomic<ThreadState*> states{nullptr};
    std::atomic<u32> refresh_lock{0}, slot_lock{0}, fork_lock{0}, list_lock{0};
    Actions actions{};
};
extern Process process;  // before the slots, on their first page

// --- what the parts offer each other ---------------------------------------------------------------------------

// image_raw.cpp
void relocate_self();  // before anything else that reads an address from memory
void find_self();
void read_auxiliary(const u64* vector);
u64 auxiliary(u64 type);                // what is kept of it
u64 vdso_clock();                       // its clock_gettime; 0: there is none
void vdso_leaves(u64 begin, u64 size);  // the guest unmaps or moves this (valgrind): the kernel is asked from now on

// libc_raw.cpp: what is mapped here is listed, so that it can be taken away.
void list_mapping(u64 begin, u64 size);
std::span<const MemoryRange> listed_mappings();
void give_heap(char* memory, u64 size);  // zeroed memory, before the first allocation

// slots_raw.cpp
Slot* slot_for(u64 after, u32 nr);             // null: the table is full
void mark_quiet();                             // at start, and after each refresh of the hooks
Slot* add_slot(u64 after, u32 nr, u64 start);  // with slot_lock held
void fill_generic_slot(u64 after, u64 start);
std::span<Slot> used_slots();  // all that may be filled: the rest of the table is pages that nobody has touched
Slot* slot_at(u64 after);      // of any number; null: there is none
const Slot* slot_patched_at(u64 start);        // null: none is
const Slot* slot_patched_in_place(u64 start);  // the same, where that is the system call itself
void resume_slots_at(u64 after, u64 resume);   // with slot_lock held
u64 resumed(u64 ip);                           // where to go on for ip: the same, but behind a pun
// The same for who returns to the guest with the registers of a call that starts over: without dispatch nobody would
// see a call that is made by its own instruction, where the jump stands before it.
u64 way_on(u64 ip, u64 ax);

// patch_raw.cpp
void find_first_text();                               // at start, once
void text_mapped(u64 begin, u64 size, bool of_file);  // executable; of_file: a private mapping of a file, just made
void warm(u64 after);                                 // a signal was spent on this site
bool write_text(u64 at, const u8* bytes, u64 size);
bool is_loader_text(u64 at);  // of the dynamic loader's file, and not writable
void give_back_text();
void patch_all(bool puns);  // that is known
void remove_traps();        // from here on only jumps

// threads_raw.cpp
ThreadState* make_state();
ThreadState* make_first_state();  // at start, once
void release_state(ThreadState* state);
// Of a sealed process: threads that ended by a call that was not seen. Where their C library kept their ids is given to
// another thread, or given back.
void forget_left(u64 begin, u64 size);
void birth(ThreadState* state);
bool arm();
void reserve_states();  // for a process that will be sealed
struct Newborn {
    u64 flags = 0, stack = 0;
    u64 tid_at = 0;        // where the kernel puts its id
    bool cleared = false;  // and zeroes it when it has ended
};
i64 before_clone(ThreadState* state, const Newborn& newborn);  // negative: it cannot be made
void take_own(Own* own);                                       // null: no longer one of ours
ThreadState* after_clone(ThreadState* owner, i64 result);
void undo_clone(ThreadState* state);
void before_thread_exit(ThreadState* state);
void lock(std::atomic<u32>& word);
bool try_lock(std::atomic<u32>& word);
void unlock(std::atomic<u32>& word);

// start_raw.cpp
bool start(u64 stack, const Inheritance& inherited);

// visit_raw.cpp
void arrived_late(Visit& visit);  // in a program that runs already

// signals_raw.cpp
void start_signals(SignalSet blocked, SignalSet ignored);
void take_actions();  // of a program that runs already
void give_back_actions();
ThreadState* settle(ThreadState* state, UserContext& context);  // puts who stands in a stub back to its site
void give_back_frames(ThreadState* state);
bool before_action(ThreadState* state);  // true: answered, registers.ax is the result
void after_action(ThreadState* state, i64 result);
bool before_mask(ThreadState* state);
void after_mask(ThreadState* state, i64 result);
void before_temporary_mask(ThreadState* state, u64 SyscallRegisters::* argument);
void before_pselect(ThreadState* state);
void after_pending(ThreadState* state, i64 result);
i64 set_altstack(ThreadState* state);
SignalSet ignored_signals(const ThreadState* state);

// reach_raw.cpp
bool identify(const char* path, FileId& id);  // false: it cannot be reached
bool is_file(const char* path, const FileId& id);
void look_for_root();
// The system calls on paths, which reach what lies below the root wherever the process is; -errno.
long open_path(const char* path, int flags, u32 mode = 0);
long borrow_agent();  // its file
// Calls with a directory, a path from there, and flags: its own, or those for a descriptor of the file itself.
long at_path(const char* path, int flags, long (*call)(int from, const char* path, int flags, const void* arguments),
             const void* arguments);
template <class Call>
long at_path(const char* path, int flags, const Call& call) {
    return at_path(
        path, flags,
        [](int from, const char* to, int how, const void* made) {
            return (*static_cast<const Call*>(made))(from, to, how);
        },
        &call);
}

// exec_raw.cpp
void before_exec(ThreadState* state);
void after_exec(ThreadState* state);   // it failed, or did not happen
void forget_exec(ThreadState* state);  // of a vfork child that is gone
void before_leaving();                 // the root may be out of sight soon

// seal_raw.cpp
void seal(ThreadState* state, u64 program_at);  // before a filter is installed; 0: the strict mode

// calls_raw.cpp
void interrupted_before(ThreadState* state, SyscallRegisters& registers);                // the call did not happen
[[gnu::hot]] ThreadState* settle_exit(ThreadState* owner, SyscallRegisters& registers);  // finish it, report its exit
[[gnu::hot]] void report_enter(ThreadState* state, const SyscallRegisters& registers, u32 nr);
[[gnu::hot]] void report_exit(ThreadState* state, const SyscallRegisters& registers, u32 nr);
[[gnu::hot]] void refresh_if_stale(const ThreadState* state);  // of the calling thread
bool is_special(u32 nr);                                       // a call that the agent takes part in

// Copies without ever faulting: false when the guest's memory is not there.
bool copy(void* to, const void* from, std::size_t size);
template <class T>
bool fetch(T& to, u64 address) {
    return copy(&to, reinterpret_cast<const void*>(address), sizeof(T));
}
template <class T>
bool put(u64 address, const T& from) {
    return copy(reinterpret_cast<void*>(address), &from, sizeof(T));
}

// The calling thread's.
inline Own& own() {
    Own* self;
    asm("mov %%gs:0, %0" : "=r"(self));
    return *self;
}

template <class... Args>
long raw(long number, Args... args);

}  // namespace anybpf::agent

// entry_raw.S
extern "C" {
extern anybpf::agent::Slot anybpf_slots[anybpf::agent::slot_count];
// The root's epoch, and what it was when slots were marked quiet.
extern const std::atomic<anybpf::u64>* anybpf_epoch;
extern anybpf::u64 anybpf_seen;
extern const char anybpf_enter[], anybpf_enter_passed[], anybpf_exit[], anybpf_exit_passed[];
extern const char anybpf_arena_begin[], anybpf_arena_end[], anybpf_stubs[], anybpf_stubs_end[];
extern const anybpf::agent::Pun anybpf_puns[], anybpf_puns_end[];
extern const char anybpf_int80[], anybpf_int80_end[], anybpf_stub_r9[];
extern const char anybpf_bare_syscall[], anybpf_thread_exit[], anybpf_agent_restorer[], anybpf_guest_restorer[];
extern const char anybpf_fault_restorer[];
extern const char anybpf_clone[], anybpf_clone_end[];
extern const char anybpf_leave_check[], anybpf_leave_end[], anybpf_trap[];
extern const char anybpf_copy_begin[], anybpf_copy_end[], anybpf_copy_failed[];
void anybpf_signal();
long anybpf_raw(long number, long, long, long, long, long, long);
unsigned long anybpf_copy(void* to, const void* from, unsigned long size);           // 0, or not 0 after a fault
void anybpf_with_vectors(void (*function)(void*, const void*), void*, const void*);  // xmm registers survive it
}

template <class... Args>
long anybpf::agent::raw(long number, Args... args) {
    const long a[6] = {(long)(args)...};
    return anybpf_raw(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

namespace anybpf::agent {
static_assert(sizeof(Slot) == 32 && offsetof(Slot, go) == 0 && offsetof(Slot, after) == 8 && offsetof(Slot, nr) == 16 &&
              offsetof(Slot, entry_busy) == 21 && offsetof(Slot, exit_busy) == 22 && offsetof(Slot, resume) == 24);
static_assert(offsetof(ThreadState, publish) == 168 && offsetof(ThreadState, deferred_count) == 176 &&
              offsetof(ThreadState, slot) == 184 && offsetof(ThreadState, in_use) == 208 &&
              offsetof(ThreadState, bare) == 219);
static_assert(offsetof(Own, active) == 8 && offsetof(Own, state) == 16 && offsetof(Own, next) == 24 &&
              offsetof(Own, flags) == 32 && offsetof(Own, clone_slot) == 40);
}  // namespace anybpf::agent

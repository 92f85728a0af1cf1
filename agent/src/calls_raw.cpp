// SPDX-License-Identifier: Apache-2.0
// A system call, from the stub's point of view: report its entry, prepare it if it is one that the agent takes part in,
// let the stub make it, finish it, report its exit. Safe because the registers in ThreadState are the whole of the
// guest's integer state, written and read by entry_raw.S only outside these functions, and because this code is built
// without vector registers.
#include <sys/mman.h>
#include <sys/syscall.h>

#include <cerrno>
#include <ctime>

#include "state.hpp"

namespace anybpf::agent {
namespace {

// The calls that the agent takes part in; the rest pass with a report only.
constexpr auto special_numbers = std::to_array<u32>({
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigpending,   SYS_rt_sigtimedwait, SYS_rt_sigsuspend, SYS_sigaltstack,
    SYS_ppoll,        SYS_pselect6,       SYS_epoll_pwait,     SYS_epoll_pwait2,    SYS_clone,         SYS_fork,
    SYS_vfork,        SYS_clone3,         SYS_execve,          SYS_execveat,        SYS_exit,          SYS_prctl,
    SYS_seccomp,      SYS_arch_prctl,     SYS_set_robust_list, SYS_setuid,          SYS_setgid,        SYS_setreuid,
    SYS_setregid,     SYS_setresuid,      SYS_setresgid,       SYS_io_pgetevents,   SYS_mmap,          SYS_mprotect,
    SYS_rseq,         SYS_chroot,         SYS_pivot_root,      SYS_setns,           SYS_unshare,
});
constexpr u32 number_limit = 512;

constexpr auto special_table = [] {
    std::array<bool, number_limit> table{};
    for (const u32 nr : special_numbers) table[nr] = true;
    return table;
}();
constexpr bool is_clone(u32 nr) { return nr == SYS_clone || nr == SYS_clone3 || nr == SYS_fork || nr == SYS_vfork; }

// prctl.h and the 6.18 numbers
constexpr u64 pr_set_name = 15, pr_set_seccomp = 22;
constexpr u64 clone_vm = 0x100, clone_vfork = 0x4000, clone_parent_settid = 0x100000, clone_child_cleartid = 0x200000,
              clone_child_settid = 0x1000000;
constexpr i64 restart_system_call =
    -512;  // ERESTARTSYS, what the kernel's own sys_exit shows for a call that starts over

constexpr u64 arch_set_gs = 0x1001, arch_get_gs = 0x1004;

// Where the kernel keeps the number of this thread's CPU, once its C library has asked for it.
const u32* rseq_cpu_word(const SyscallRegisters& registers) {
    constexpr u64 cpu_id_at = 4, unregister = 1;
    return (registers.dx & unregister) != 0 ? nullptr : reinterpret_cast<const u32*>(registers.di + cpu_id_at);
}

void save_arguments(ThreadState* state) {
    const auto& r = state->registers;
    state->arguments = {r.di, r.si, r.dx, r.r10, r.r8, r.r9};
    state->substituted = true;
}

void restore_arguments(ThreadState* state, SyscallRegisters& r) {
    if (!state->substituted) return;
    const auto& a = state->arguments;
    r.di = a[0], r.si = a[1], r.dx = a[2], r.r10 = a[3], r.r8 = a[4], r.r9 = a[5];
    state->substituted = false;
}

struct CloneArguments {  // the first version of struct clone_args
    u64 flags = 0, pidfd = 0, child_tid = 0, parent_tid = 0, exit_signal = 0, stack = 0, stack_size = 0, tls = 0;
};

bool prepare_clone(ThreadState* state, const CloneArguments& a) {
    // Of a child that shares no memory, only what the kernel writes into its own.
    const u64 tid_at = (a.flags & (clone_vm | clone_parent_settid)) == (clone_vm | clone_parent_settid) ? a.parent_tid
                       : (a.flags & clone_child_settid) != 0                                            ? a.child_tid
                                                                                                        : 0;
    const u64 stack = a.stack + a.stack_size;
    const i64 result = before_clone(state, {.flags = a.flags,
                                            .stack = stack != 0 ? stack : state->registers.sp,
                                            .tid_at = tid_at,
                                            .cleared = (a.flags & clone_child_cleartid) != 0 && a.child_tid == tid_at});
    if (result < 0) state->registers.ax = static_cast<u64>(result);
    return result < 0;
}

// What must happen before the call. True: it is answered, registers.ax holds the result.
bool prepare(ThreadState* state) {
    auto& r = state->registers;
    switch (state->nr) {
        case SYS_rt_sigaction:
            save_arguments(state);
            return before_action(state);
        case SYS_rt_sigprocmask:
            save_arguments(state);
            return before_mask(state);
        case SYS_rt_sigsuspend:
            save_arguments(state);
            before_temporary_mask(state, &SyscallRegisters::di);
            return false;
        case SYS_rt_sigtimedwait:
            return false;
        case SYS_rt_sigpending:
            state->pending = Pending::set;
            return false;
        case SYS_ppoll:
            save_arguments(state);
            before_temporary_mask(state, &SyscallRegisters::r10);
            return false;
        case SYS_epoll_pwait:
        case SYS_epoll_pwait2:
            save_arguments(state);
            before_temporary_mask(state, &SyscallRegisters::r8);
            return false;
        case SYS_pselect6:
        case SYS_io_pgetevents:
            save_arguments(state);
            before_pselect(state);
            return false;
        case SYS_sigaltstack:
            r.ax = static_cast<u64>(set_altstack(state));
            return true;
        case SYS_fork:
            return prepare_clone(state, {});
        case SYS_vfork:
            return prepare_clone(state, {.flags = clone_vm | clone_vfork});
        case SYS_clone:
            return prepare_clone(state, {.flags = r.di, .child_tid = r.r10, .parent_tid = r.dx, .stack = r.si});
        case SYS_clone3: {
            CloneArguments arguments{};  // bad memory or a bad size: the kernel says so
            return r.si >= sizeof(arguments) && fetch(arguments, r.di) && prepare_clone(state, arguments);
        }
        case SYS_execve:
        case SYS_execveat:
            save_arguments(state);
            before_exec(state);
            return false;
        case SYS_exit:
            before_thread_exit(state);
            return false;
        case SYS_prctl:
            if (r.di == pr_set_name) state->pending = Pending::name;
            if (r.di == pr_set_seccomp && (r.si == 1 || r.si == 2)) seal(state, r.si == 2 ? r.dx : 0);
            if (r.di != set_dispatch) return false;
            r.ax = static_cast<u64>(-EINVAL);  // as a kernel without Syscall User Dispatch: it is taken
            return true;
        case SYS_seccomp:
            if (r.di > 1) return false;  // neither SECCOMP_SET_MODE_STRICT nor SECCOMP_SET_MODE_FILTER
            seal(state, r.di == 1 ? r.dx : 0);
            return false;
        case SYS_munmap:
            forget_left(r.di, r.si);
            return false;
        case SYS_mmap:
        case SYS_mprotect:
            if ((r.dx & PROT_EXEC) != 0) state->pending = Pending::text;
            return false;
        case SYS_arch_prctl:
            if (r.di == arch_set_gs) {  // it is taken
                r.ax = static_cast<u64>(-EPERM);
                return true;
            }
            if (r.di != arch_get_gs) return false;
            r.ax = put(r.si, u64{0}) ? 0 : static_cast<u64>(-EFAULT);
            return true;
        case SYS_chroot:
        case SYS_pivot_root:
        case SYS_setns:
        case SYS_unshare:
            before_leaving();
            state->pending = Pending::place;
            return false;
        case SYS_setuid:
        case SYS_setgid:
        case SYS_setreuid:
        case SYS_setregid:
        case SYS_setresuid:
        case SYS_setresgid:
            before_leaving();
            state->pending = Pending::name;
            return false;
        case SYS_rseq:
        case SYS_set_robust_list:
            state->pending = Pending::name;
            return false;
        default:
            return false;
    }
}

// What must happen after it. owner holds the registers; the thread that goes on may be another (a vfork's parent).
ThreadState* finish(ThreadState* owner, SyscallRegisters& registers, u32 nr) {
    const auto result = static_cast<i64>(registers.ax);
    ThreadState* state = is_clone(nr) ? after_clone(owner, result) : owner;
    restore_arguments(state, registers);
    switch (state->pending) {
        case Pending::action:
            after_action(state, result);
            break;
        case Pending::mask:
            after_mask(state, result);
            break;
        case Pending::set:
            after_pending(state, result);
            break;
        case Pending::exec:
            after_exec(state);
            break;
        case Pending::name:
            if (result >= 0) {
                if (nr == SYS_prctl && !process.sealed)
                    process.hooks->comm_changed(state->thread());
                else if (nr == SYS_set_robust_list)
                    state->thread().vcpu.robust = reinterpret_cast<robust_list_head*>(registers.di);
                else if (nr == SYS_rseq)
                    state->thread().vcpu.cpu_word = rseq_cpu_word(registers);
                else if (nr != SYS_prctl && !process.sealed)
                    process.hooks->ids_changed(state->thread());
            }
            break;
        case Pending::place:
            if (result >= 0 && !process.sealed) look_for_root();
            break;
        case Pending::text:
            if (result < 0) break;
            if (nr == SYS_mmap)
                text_mapped(registers.ax, registers.si, (registers.r10 & (MAP_TYPE | MAP_ANONYMOUS)) == MAP_PRIVATE);
            else
                text_mapped(registers.di, registers.si, false);
            break;
        case Pending::none:
        case Pending::temporary_mask:
        case Pending::fork:
        case Pending::vfork:
        case Pending::thread:
            break;
    }
    state->pending = Pending::none;
    return state;
}

[[gnu::hot]] void call_enter(void* thread, const void* registers) {
    process.hooks->enter(*static_cast<hooks::SyscallThread*>(thread), *static_cast<const SyscallRegisters*>(registers));
}
[[gnu::hot]] void call_exit(void* thread, const void* registers) {
    process.hooks->exit(*static_cast<hooks::SyscallThread*>(thread), *static_cast<const SyscallRegisters*>(registers));
}
void call_prepare(void* state, const void* answered) {
    *static_cast<bool*>(const_cast<void*>(answered)) = prepare(static_cast<ThreadState*>(state));
}

struct Finish {
    ThreadState* owner;
    SyscallRegisters* registers;
    u32 nr;
    ThreadState* state;
};
void call_finish(void* arguments, const void*) {
    auto& f = *static_cast<Finish*>(arguments);
    f.state = finish(f.owner, *f.registers, f.nr);
}

u64 leave_to(ThreadState* state, u64 where) {
    state->next = where;
    return where;
}

}  // namespace

[[gnu::section(".bss.anybpf_process")]] Process process;

bool is_special(u32 nr) { return nr < number_limit && (special_table[nr] || (nr == SYS_munmap && process.sealed)); }

namespace {

// Of the programs that run in this process, the one that began longest ago: as SyscallHooks::reclaim wants it.
u64 oldest_run() {
    u64 oldest = ~u64{0};
    for (ThreadState* each = process.states.load(std::memory_order_acquire); each != nullptr; each = each->following) {
        if (each->in_use.load(std::memory_order_acquire) == 0) continue;
        // A vfork child that was killed left its state as it was; its parent is not in the child's place any more.
        if (each->parent != nullptr && each->parent->publish != each) continue;
        const u64 running = each->thread().running.load(std::memory_order_acquire);
        if (running != 0 && running < oldest) oldest = running;
    }
    return oldest;
}

void call_refresh(void*, const void*) {
    process.hooks->refresh();
    process.hooks->reclaim(oldest_run());
}

u64 now_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
}

// While another thread refreshes: what this one reports must go by the new links, too. False: it takes too long (a
// clone that waits for its child holds the lock), and nobody waits for this holder again.
bool wait_for_refresh() {
    constexpr u64 patience_ns = 1'000'000'000;
    constexpr u32 held = 1, given_up = 2;
    const u64 start = now_ns();
    while (process.refresh_lock.load(std::memory_order_acquire) == held && !process.sealed) {
        if (now_ns() - start > patience_ns) {
            u32 expected = held;
            process.refresh_lock.compare_exchange_strong(expected, given_up);
            return false;
        }
        raw(SYS_sched_yield);
    }
    return process.refresh_lock.load(std::memory_order_acquire) != given_up;
}

// A vfork child goes by what its parent knew at the vfork: killed in here it would leave the lock taken.
[[gnu::cold, gnu::noinline]] void refresh(const ThreadState* state) {
    if (state->parent != nullptr) return;
    while (!process.sealed && process.hooks->stale()) {
        u32 free = 0;
        if (!process.refresh_lock.compare_exchange_strong(free, 1, std::memory_order_acquire)) {
            if (!wait_for_refresh()) return;
            continue;
        }
        if (process.hooks->stale()) {
            anybpf_with_vectors(call_refresh, nullptr, nullptr);
            mark_quiet();
        }
        return unlock(process.refresh_lock);
    }
}

}  // namespace

void refresh_if_stale(const ThreadState* state) {
    if (process.hooks->stale()) [[unlikely]]
        refresh(state);
}

void report_enter(ThreadState* state, const SyscallRegisters& registers, u32 nr) {
    refresh_if_stale(state);
    if (process.hooks->wants_entry(nr)) anybpf_with_vectors(call_enter, &state->thread(), &registers);
}

void report_exit(ThreadState* state, const SyscallRegisters& registers, u32 nr) {
    refresh_if_stale(state);
    if (process.hooks->wants_exit(nr)) anybpf_with_vectors(call_exit, &state->thread(), &registers);
}

// A signal arrived between the entry's report and the system call, or the kernel wants the call to start over after the
// guest's handler: what was prepared is undone, and the report shows what the kernel's own would, a call that restarts.
// ax holds the number.
void interrupted_before(ThreadState* state, SyscallRegisters& r) {
    if (!state->entering) return;
    state->entering = false;
    undo_clone(state);
    if (state->pending == Pending::exec) after_exec(state);
    state->pending = Pending::none;
    restore_arguments(state, r);
    const u64 number = r.ax;
    r.orig_ax = number;
    r.ax = static_cast<u64>(restart_system_call);
    report_exit(state, r, static_cast<u32>(number));
    r.ax = number;
}

ThreadState* settle_exit(ThreadState* owner, SyscallRegisters& registers) {
    Finish arguments{owner, &registers, static_cast<u32>(registers.orig_ax), owner};
    owner->entering = false;
    if (is_special(arguments.nr)) anybpf_with_vectors(call_finish, &arguments, nullptr);
    arguments.state->entering = false;
    report_exit(arguments.state, registers, arguments.nr);
    return arguments.state;
}

}  // namespace anybpf::agent

using namespace anybpf;
using namespace anybpf::agent;

// Called by entry_raw.S on the agent's stack; the result is where to go.
extern "C" [[gnu::hot]] u64 anybpf_on_enter(ThreadState* state) {
    auto& r = state->registers;
    state->publish = state;
    const u64 number = r.ax;
    r.orig_ax = number;
    r.cs = 0x33;
    r.ss = 0x2b;
    state->nr = static_cast<u32>(number);
    if (state->deferred_count != 0) [[unlikely]] {  // before anything was reported: as if the guest stood at the site
        state->entering = false;
        return leave_to(state, state->slot->go);
    }
    if (state->nr == SYS_rt_sigreturn) [[unlikely]] {  // by the way that handlers take
        state->entering = false;
        return leave_to(state, reinterpret_cast<u64>(anybpf_guest_restorer) + 7);
    }
    state->entering = true;
    r.ax = static_cast<u64>(-ENOSYS);
    report_enter(state, r, state->nr);
    r.ax = number;
    if (state->slot->special && is_special(state->nr)) [[unlikely]] {
        if (is_clone(state->nr) && state->slot->nr == any_number) {
            // After a vfork only the address can tell the parent which call it made.
            if (Slot* fixed = slot_for(state->slot->after, state->nr)) state->slot = fixed;
        }
        bool answered = false;
        anybpf_with_vectors(call_prepare, state, &answered);
        if (answered) {
            restore_arguments(state, r);
            state->entering = false;
            state->pending = Pending::none;
            report_exit(state, r, state->nr);
            return leave_to(state, state->slot->resume);
        }
        if (state->nr == SYS_exit && state->publish == nullptr)
            return leave_to(state, reinterpret_cast<u64>(anybpf_thread_exit));
        if (state->pending == Pending::thread) return leave_to(state, reinterpret_cast<u64>(anybpf_clone));
    }
    return leave_to(state, state->slot->go);
}

extern "C" [[gnu::hot]] u64 anybpf_on_exit(ThreadState* owner) {
    auto& r = owner->registers;
    r.orig_ax = owner->slot->nr != any_number ? owner->slot->nr : owner->nr;
    r.cs = 0x33;
    r.ss = 0x2b;
    owner->publish = settle_exit(owner, r);
    return leave_to(owner, owner->slot->resume);
}

// Signals wait and everything is blocked: go back to where the guest can be interrupted, by way of the trap.
extern "C" u64 anybpf_on_late(ThreadState* state) {
    if (state->leaving_by_trap == 0) {
        state->leaving_by_trap = 1;
        auto& r = state->registers;
        state->trap_ip = state->slot->after;
        if (state->next == state->slot->go || state->next == reinterpret_cast<u64>(anybpf_clone) ||
            state->next == reinterpret_cast<u64>(anybpf_thread_exit)) {
            r.ax = r.orig_ax;
            interrupted_before(state, r);
            state->publish = state;
            state->trap_ip = state->slot->after - 2;
        } else if (state->next != state->slot->after && state->next != state->slot->resume) {
            state->trap_ip = state->next;
        }
    }
    return reinterpret_cast<u64>(anybpf_trap);
}

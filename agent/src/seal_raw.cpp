// SPDX-License-Identifier: Apache-2.0
// A process that installs a seccomp filter. What the filter will say of the agent's own system calls is asked of the
// filter itself, before it is in force: where it lets them all through, nothing changes. Else the process is sealed: it
// goes on to be traced at the sites that are known by then, and the agent makes no system call any more but those that
// the filter allows. Safe because the guest's filter is copied before it is looked at; the kernel may see another one
// only when the guest changes it while it installs it.
#include <linux/audit.h>
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <span>

#include "seccomp_filter.hpp"
#include "state.hpp"

namespace anybpf::agent {
namespace {

constexpr u64 set_gs = 0x1001;

struct Call {
    u32 nr;
    u64 first = 0, second = 0, third = 0, fourth = 0;
};
// What must succeed wherever the agent is at work without being sealed.
constexpr auto needed = std::to_array<Call>({
    Call{SYS_rt_sigreturn},
    Call{SYS_rt_sigprocmask, 2},
    Call{SYS_rt_sigaction, 11},
    Call{SYS_sigaltstack, 4096},
    Call{SYS_mmap, 0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE},
    Call{SYS_mprotect, 4096, 4096, PROT_NONE},
    Call{SYS_munmap, 4096, 4096},
    Call{SYS_madvise, 4096, 4096, 23},
    Call{SYS_prctl, set_dispatch, 1},
    Call{SYS_arch_prctl, set_gs, 4096},
    Call{SYS_gettid},
    Call{SYS_getpid},
    Call{SYS_get_robust_list},
    Call{SYS_set_robust_list, 4096, 24},
    Call{SYS_sched_yield},
    Call{SYS_close, 3},
});
// What may fail, but only by an error.
constexpr auto useful = std::to_array<Call>({
    Call{SYS_open, 4096},
    Call{SYS_openat, 3, 4096},
    Call{SYS_read, 3, 4096, 4096},
    Call{SYS_pread64, 3, 4096, 4096},
    Call{SYS_pwrite64, 3, 4096, 4096},
    Call{SYS_write, 3, 4096, 1},
    Call{SYS_fstat, 3, 4096},
    Call{SYS_newfstatat, 3, 4096, 4096},
    Call{SYS_faccessat, 3, 4096, 1},
    Call{SYS_getdents64, 3, 4096, 4096},
    Call{SYS_fcntl, 3, 1},
    Call{SYS_flock, 3, 1},
    Call{SYS_ftruncate, 3, 4096},
    Call{SYS_memfd_create, 4096},
    Call{SYS_mmap, 0, 4096, PROT_READ | PROT_EXEC, MAP_SHARED},
    Call{SYS_mprotect, 4096, 4096, PROT_READ | PROT_EXEC},
    Call{SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE},
    Call{SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE},
    Call{SYS_futex, 4096, 1, 1},
    Call{SYS_futex, 4096, 0, 1},
    Call{SYS_prctl, PR_GET_NAME, 4096},
    Call{SYS_getppid},
    Call{SYS_getuid},
    Call{SYS_geteuid},
    Call{SYS_getgid},
    Call{SYS_getegid},
    Call{SYS_nanosleep, 4096},
    Call{SYS_clock_gettime, 1, 4096},
    Call{SYS_process_vm_writev, 3},
    Call{SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC},
    Call{SYS_setsockopt, 3, SOL_SOCKET, SO_RCVTIMEO, 4096},
    Call{SYS_connect, 3, 4096, sizeof(sockaddr_un)},
    Call{SYS_sendto, 3, 4096, sizeof(LoanRequest), MSG_NOSIGNAL},
    Call{SYS_recvmsg, 3, 4096, MSG_CMSG_CLOEXEC},
});

u32 asked(std::span<const sock_filter> filter, const Call& call) {
    const seccomp_data data{.nr = static_cast<int>(call.nr),
                            .arch = AUDIT_ARCH_X86_64,
                            .instruction_pointer = reinterpret_cast<u64>(anybpf_bare_syscall) + 2,
                            .args = {call.first, call.second, call.third, call.fourth, 0, 0}};
    return answer_of(filter, data);
}

bool allows(std::span<const sock_filter> filter, const Call& call) {
    const u32 action = asked(filter, call) & SECCOMP_RET_ACTION_FULL;
    return action == SECCOMP_RET_ALLOW || action == SECCOMP_RET_LOG;
}

bool fails_at_most(std::span<const sock_filter> filter, const Call& call) {
    const u32 answer = asked(filter, call);
    const bool error = (answer & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ERRNO && (answer & SECCOMP_RET_DATA) != 0;
    return error || allows(filter, call);
}

bool harmless(std::span<const sock_filter> filter) {
    for (const Call& call : needed)
        if (!allows(filter, call)) return false;
    for (const Call& call : useful)
        if (!fails_at_most(filter, call)) return false;
    return true;
}

// True: it is harmless. A filter that cannot be read allows nothing, and is none for the kernel either.
bool judge(u64 program_at, Allowed& allowed) {
    ANYBPF_TABLE static std::array<sock_filter, BPF_MAXINSNS> copied;
    std::span<const sock_filter> filter;
    sock_fprog program{};
    lock(process.refresh_lock);
    if (fetch(program, program_at) && program.len <= copied.size() &&
        copy(copied.data(), program.filter, program.len * sizeof(sock_filter)))
        filter = {copied.data(), program.len};
    allowed = {.handlers = allows(filter, {SYS_rt_sigreturn}),
               .masks = allows(filter, {SYS_rt_sigprocmask, 2}),
               .gs_base = allows(filter, {SYS_arch_prctl, set_gs, 4096})};
    const bool lets_us_be = harmless(filter);
    unlock(process.refresh_lock);
    return lets_us_be;
}

}  // namespace

void seal(ThreadState* state, u64 program_at) {
    const bool strict = program_at == 0;
    Allowed now{.handlers = true};  // of the strict mode
    if (!strict && judge(program_at, now)) return;
    if (!process.sealed) {
        reserve_states();
        // Where no handler may return nobody may meet a breakpoint, as who stands behind a site now would.
        if (state->parent == nullptr) patch_all(now.handlers || !process.threaded);
        // Threads that are not followed may block the signal of a trap, and others may be unable to return from it.
        if (process.scans) remove_traps();
        process.allowed = now;
    }
    process.allowed.handlers &= now.handlers;
    process.allowed.masks &= now.masks;
    process.allowed.gs_base &= now.gs_base;
    if (!now.handlers && state->armed) {  // a call handed to us ends with rt_sigreturn
        raw(SYS_prctl, set_dispatch, 0, 0, 0, 0);
        state->armed = false;
    }
    process.sealed = true;
}

}  // namespace anybpf::agent

// SPDX-License-Identifier: Apache-2.0
// What an attaching process and the agent in a running program tell each other: a block of memory in the program, the
// visitor's to write while all threads stand still, and functions of the agent that run on a thread in turn, with the
// block in rdi, on the block's own stack. The addresses of the functions stand before the agent's entry
// (anybpf_directory in entry_raw.S).
#pragma once

#include <signal.h>

#include <array>

#include "anybpf/agent/arrival.hpp"

namespace anybpf::agent {

constexpr int set_dispatch = 59;  // PR_SET_SYSCALL_USER_DISPATCH, of <linux/prctl.h> since 5.11

using SignalSet = u64;  // the kernel's sigset_t: bit n - 1 is signal n
constexpr SignalSet bit_of(int signal) { return 1ULL << (signal - 1); }
// Signals that are never blocked for real: SIGSYS carries the dispatch, SIGTRAP a site that is being patched, the
// others a fault inside a helper's read.
constexpr auto our_signal_numbers = std::to_array({SIGSYS, SIGTRAP, SIGSEGV, SIGBUS});
constexpr SignalSet our_signals = [] {
    SignalSet set = 0;
    for (const int signal : our_signal_numbers) set |= bit_of(signal);
    return set;
}();

struct MemoryRange {
    u64 begin = 0, size = 0;
};

// The registers of a stopped thread that the agent may change, in the order of the kernel's sigcontext.
struct VisitRegisters {
    u64 r8, r9, r10, r11, r12, r13, r14, r15, di, si, bp, bx, dx, ax, cx, sp, ip, eflags;
};

struct Visit {
    Arrival arrival;  // first: its address is the block's
    u64 mask = 0;     // the thread's signal mask, in and out
    u64 rseq = 0;     // in: its rseq area, or 0
    u64 problem = 0;  // out: 0, or an errno
    VisitRegisters registers{};
    u64 range_count = 0;  // out, of finish: what the agent has mapped besides its image and this block
    std::array<MemoryRange, 1024> ranges{};
    std::array<u64, 64> auxiliary{};  // in: the auxiliary vector
};

constexpr u64 visit_stack = 64UL << 10, visit_size = visit_stack + ((sizeof(Visit) + 4095) & ~4095ULL);

// Before the entry of the agent's image: distances from the directory's own beginning.
struct VisitDirectory {
    u32 magic, join, leave, finish, stubs, stubs_end, clone, clone_end;
    u32 call;  // a system call and a breakpoint: what the thread itself would be dispatched for
    std::array<u32, 3> reserved;
};
constexpr u32 visit_magic = 0x76726261, visit_directory_size = 48;
static_assert(sizeof(VisitDirectory) == visit_directory_size);

}  // namespace anybpf::agent

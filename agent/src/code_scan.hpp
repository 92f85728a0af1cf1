// SPDX-License-Identifier: Apache-2.0
// Finds system call instructions in machine code, without symbols: for a kernel that does not hand system calls to the
// agent. Pure: reads the bytes it is given.
#pragma once

#include <span>

#include "anybpf/base/types.hpp"

namespace anybpf::agent {

// Length of the 64-bit instruction at the beginning of code; 0: none, or none that compilers make, or cut off.
u32 instruction_length(std::span<const u8> code);

// Whether the bytes 0f 05 at `at` are a system call of the code around them, and not part of another instruction or
// data: wrong answers are nearly all "no" (code_scan_test has the numbers). Wants scan_before bytes before it, where
// there are such, and scan_after behind it.
bool is_system_call(std::span<const u8> code, u64 at);
constexpr u64 scan_before = 64, scan_after = 16;

// cmp $-4096,%rax or $-4095, or the same of eax: how the C libraries look at the result of a call before it.
bool compares_with_errors(std::span<const u8> code, u64 at);

// Length of the instruction at the beginning of code, if it does the same anywhere else; 0: it does not, or is none.
u32 movable_length(std::span<const u8> code);

// Whether bytes of the code could be a branch to `target` in it.
bool may_branch_to(std::span<const u8> code, u64 target);

// Where 0f 05 comes next, from `from` on; code.size(): nowhere.
u64 next_candidate(std::span<const u8> code, u64 from);

}  // namespace anybpf::agent

// SPDX-License-Identifier: Apache-2.0
// What compiled code and the C++ around it must agree on: registers, and the memory that both of them read.
//
// A subprogram is a function of the C calling convention f(Run*, r1, ..., r5), so that a helper's call needs no
// shuffle:
//
//   r0   r1   r2   r3   r4  r5  r6   r7   r8   r9   r10  |  Run*, kept  Run*, for calls    scratch
//   rax  rsi  rdx  rcx  r8  r9  rbx  r13  r14  r15  rbp  |  r12         rdi (else scratch) r10, r11
//
// There are two kinds of programs. A leaf calls nothing but helpers: it is one function, entered as it is, and needs
// nothing else. Any other is entered by a function that keeps the caller's registers and notes the stack pointer in
// State::unwind, so that a run can be given up from any depth. Its subprograms find the Run in r12 and, on entry, their
// depth in r11; those that make calls keep that in their frames, so that counting frames costs no memory cell that all
// of them share.
#pragma once

#include <cstddef>
#include <type_traits>

#include "anybpf/abi/run.hpp"
#include "anybpf/base/types.hpp"
#include "anybpf/engine/code.hpp"

namespace anybpf::engine {

// Enters a subprogram: body is its address, depth that of its frame.
using Enter = u64 (*)(abi::Run*, u64 r1, u64 r2, u64 r3, u64 r4, u64 r5, u64 body, u64 depth);

// A loop's state; a call gives them back.
inline constexpr u16 loop_registers = 1 << 6 | 1 << 7 | 1 << 8;
inline constexpr u32 loop_register_count = 3;

// Lies behind the code of a program that is no leaf; distances are from the table's own address.
struct Table {
    i32 enter;  // an Enter
    u32 count;
    // i32 body[count] follows: the subprograms
};
static_assert(sizeof(Table) == 8);

// One run of a program that is no leaf: abi::Run::engine.
struct State {
    const Table* table = nullptr;  // of the program whose helper call is under way, if it has functions to call back
    u64 unwind = 0;                // the stack pointer of the Enter that was entered last
    u32 depth = 0;                 // of the frame whose helper call is under way
    u32 tail_calls = 0;
    u32 loops = 0;  // left for may_goto
};

// A class of standard layout, since compiled code reads one of its members.
class JitProgram {
  public:
    explicit JitProgram(CodeMemory& owner) : memory(&owner) {}
    JitProgram(const JitProgram&) = delete;
    JitProgram& operator=(const JitProgram&) = delete;
    ~JitProgram() {
        if (!code.empty()) memory->release(code);
    }

    u64 tail_body = 0;  // where a tail call enters: as body, with the Run in rdi, too
    u64 body = 0;       // the first subprogram
    u64 enter = 0;      // its Enter; 0 in a leaf
    std::size_t instruction_bytes = 0;
    std::span<std::byte> code;
    CodeMemory* memory;
};
static_assert(std::is_standard_layout_v<JitProgram> && std::is_standard_layout_v<State>);

}  // namespace anybpf::engine

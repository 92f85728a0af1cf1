// SPDX-License-Identifier: Apache-2.0
// What the compiler must know of a program before it emits the first instruction: which registers and how much stack
// each of its functions needs, and where jumps lead.
#pragma once

#include <span>
#include <vector>

#include "anybpf/engine/engine.hpp"
#include "anybpf/engine/op.hpp"
#include "anybpf/program/lowered.hpp"

namespace anybpf::engine {

// A set of BPF registers.
using Registers = u16;
constexpr Registers only(unsigned reg) { return static_cast<Registers>(1U << reg); }

// Whether the next instruction is never reached from this one.
constexpr bool ends_flow(Op op) { return op == Op::exit || op == Op::jump; }

struct Function {
    u32 first = 0, end = 0;  // instructions
    u32 stack_bytes = 0;
    Registers named = 0;  // the registers in it
    bool calls_helpers = false;
    bool reads_run = false;        // abi::Run, other than in calls
    bool calls_functions = false;  // or makes tail calls
    bool loops = false;
};

struct Analysis {
    std::vector<Function> functions;  // those of Lowered::subprograms; of a leaf, one that holds everything
    std::vector<bool> is_target;      // of a jump
    Registers unset = 0;              // a leaf's registers that it may read before it sets them
    bool leaf = false;
    bool has_functions = false;  // values that helpers may call back
    bool open_end = false;       // the last instruction can be passed
};

// bound_helpers: whether bodies are known when code is made. The program has been checked (engine/check.hpp).
Analysis analyse(const program::Lowered& lowered, std::span<const BoundMap> maps, bool bound_helpers);

}  // namespace anybpf::engine

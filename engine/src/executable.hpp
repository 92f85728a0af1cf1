// SPDX-License-Identifier: Apache-2.0
// The interpreter's own form of a program: threaded code. Every slot holds the address of the code that runs it, and
// jumps hold the distance to their target, so that one step is one load and one indirect jump.
#pragma once

#include <vector>

#include "anybpf/engine/engine.hpp"

namespace anybpf::engine {

struct Slot {
    const void* handler = nullptr;
    u64 imm = 0;
    i32 off = 0;  // memory offset, or bytes from this slot to the target
    u8 dst = 0, src = 0;
};
static_assert(sizeof(Slot) == 24);

class Executable {
  public:
    // One slot more than instructions: the last one ends the run, so that no path leaves the code.
    std::vector<Slot> code;
    std::vector<u32> subprograms;         // first slots
    std::vector<u32> frame_bytes;         // of the stack of each, a multiple of 16
    bool deep = false;                    // one of them has more stack than the kernel gives
    std::vector<abi::ArrayPlace> arrays;  // of the program's maps; slots point at them
};

// Where the interpreter runs the Op; for op_count, what ends a run that has lost its way. In interp_raw.cpp.
const void* interpreter_handler(u32 op);

}  // namespace anybpf::engine

// SPDX-License-Identifier: Apache-2.0
// Lowered: the one form that every engine runs. Flat, position-independent data without pointers, so that it is stored
// in the program's file and mapped by other processes; binding it to a process replaces map indices by addresses.
//
// Differences to the bytecode: one instruction is one entry also for lddw; jump and call distances are absolute indices
// into the lowered code; instructions no path reaches are gone; helper numbers are checked to have a contract.
#pragma once

#include <vector>

#include "anybpf/base/types.hpp"

namespace anybpf::program {

struct LoweredInsn {
    u16 op = 0;  // engine::lower's Op: dense, one per distinct behaviour
    u8 dst = 0, src = 0;
    i32 off = 0;  // memory offset, or the absolute target of a jump
    i64 imm = 0;  // immediate, sign-extended as the instruction demands; absolute target of a call; helper id
};
static_assert(sizeof(LoweredInsn) == 16);

// An entry whose imm is filled in when the program is bound to a process: a map's address (maps::Map*) or that of a
// value in it.
struct MapUse {
    u32 insn = 0;
    u32 map = 0;     // index into the program's maps
    u32 offset = 0;  // into the value; only where value is set
    u32 value = 0;   // 0: the map itself, 1: the address of its value 0 plus offset
};

struct LoweredSubprogram {
    u32 first = 0;
    u32 stack_bytes = 0;  // of its frame, a multiple of 8
};

struct Lowered {
    std::vector<LoweredInsn> insns;
    std::vector<MapUse> map_uses;
    std::vector<LoweredSubprogram> subprograms;  // sorted by first; [0] starts at 0
    // Of an accepted program: it reads no register that a call has left undefined (r1 to r5 after every call; r0 and r6
    // to r9 at the start of a subprogram), and each frame is as large as it says. An engine may do as it likes with the
    // rest; where the claim is wrong, such a register reads as any number.
    bool proved = false;
};

}  // namespace anybpf::program

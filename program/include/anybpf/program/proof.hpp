// SPDX-License-Identifier: Apache-2.0
// What the verifier proved of an accepted program, as data that engines read.
#pragma once

#include <vector>

#include "anybpf/base/types.hpp"

namespace anybpf::program {

// What a load, store or atomic instruction touches: the same on every path that reaches it.
enum class Region : u8 { none, context, stack, map_value, memory, btf_object, arena };

struct InsnProof {
    bool reached = false;  // false: no path leads here, and an engine may drop it
    Region region = Region::none;
};

struct Subprogram {
    u32 first = 0, last = 0;  // instructions [first, last)
    u32 stack_bytes = 0;      // deepest use of its own frame
    bool is_callback = false;
};

struct Proof {
    std::vector<InsnProof> insns;         // one per instruction slot
    std::vector<Subprogram> subprograms;  // sorted; [0] is the program's entry
    u32 context_bytes = 0;  // the context is not touched beyond: an event whose record is shorter cannot run it
};

}  // namespace anybpf::program

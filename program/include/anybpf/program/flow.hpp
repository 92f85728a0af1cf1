// SPDX-License-Identifier: Apache-2.0
// Where control goes in a program: its subprograms and who calls them. Nothing is checked here: targets outside of the
// program are left out, and the verifier finds them.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "anybpf/isa/insn.hpp"

namespace anybpf::program {

struct Call {
    u32 insn = 0, target = 0;
    bool callback = false;  // target is handed to a helper, by the lddw at insn
};

struct Flow {
    std::vector<u32> starts;  // of the subprograms, sorted; [0] is 0, the program's entry
    std::vector<Call> calls;  // sorted by insn

    // Index of the subprogram that holds the instruction.
    u32 subprogram_of(u32 insn) const;
    // Index of the subprogram that starts there.
    std::optional<u32> starting_at(u32 insn) const;
};

Flow find_flow(std::span<const isa::Insn> insns);

// Where the jump at pc leads (conditional, ja, gotol, may_goto), or nothing for other instructions. May lie outside.
std::optional<i64> jump_target(std::span<const isa::Insn> insns, u32 pc);

}  // namespace anybpf::program

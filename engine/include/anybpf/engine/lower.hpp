// SPDX-License-Identifier: Apache-2.0
// lower: from bytecode to the form that engines run (program/lowered.hpp).
#pragma once

#include <span>

#include "anybpf/base/result.hpp"
#include "anybpf/program/lowered.hpp"
#include "anybpf/program/program.hpp"
#include "anybpf/program/proof.hpp"

namespace anybpf::engine {

// Whether what a program computes of constants alone is computed here. As written is for tests: the two do the same.
enum class Constants : u8 { folded, as_written };

// Of a program that the verifier accepted. Fails on instructions that no engine has: kfuncs, address space casts,
// gotox.
Result<program::Lowered> lower(const program::Program& program, const program::Proof& proof,
                               Constants constants = Constants::folded);

// Of bytes that nobody verified, for conformance runs and fuzzing: checks encodings and that jumps and calls lead to
// instructions, and nothing else. Running the result may do anything to the process. map_count bounds map_idx
// references.
Result<program::Lowered> lower_unverified(std::span<const isa::Insn> insns, u32 map_count = 0);

}  // namespace anybpf::engine

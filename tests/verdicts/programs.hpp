// SPDX-License-Identifier: Apache-2.0
// Random programs near the border of what is accepted: those of the verifier's own tests, and programs of every type
// that call every helper and reach for memory with numbers that comparisons and arithmetic have bounded; changed in one
// or two places.
#pragma once

#include "../differential/shrink.hpp"
#include "program_text.hpp"
#include "testing.hpp"

namespace anybpf::verdicts {

// The program of a seed over the maps.
program::Program make(u64 seed, const std::vector<program::MapInfo>& maps);

// As `like`, with other instructions: what is said of functions fits them.
program::Program with_insns(const program::Program& like, std::vector<isa::Insn> insns);

// One small change.
void mutate(std::vector<isa::Insn>& insns, std::mt19937_64& random);

}  // namespace anybpf::verdicts

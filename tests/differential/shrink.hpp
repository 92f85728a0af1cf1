// SPDX-License-Identifier: Apache-2.0
// Instructions made fewer and simpler, as long as what they show stays.
#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "anybpf/isa/insn.hpp"

namespace anybpf::differential {

using Insns = std::vector<isa::Insn>;

// Without [first, last): what led there leads to what follows. Nothing where that would cut a wide instruction.
std::optional<Insns> without(const Insns& insns, u32 first, u32 last);

// Puts one before pc; what led to pc leads behind it.
void insert(Insns& insns, u32 pc, const isa::Insn& insn);

// Drops instructions and replaces them by constants as long as the result still fails, which it asks of fails; what it
// asks about may be any instructions.
Insns shrink(const Insns& insns, const std::function<bool(const Insns&)>& fails);

}  // namespace anybpf::differential

// SPDX-License-Identifier: Apache-2.0
// fold: what a program computes of constants alone is computed once, when it is lowered. See fold.cpp.
#pragma once

#include <span>

#include "anybpf/program/lowered.hpp"
#include "anybpf/program/program.hpp"

namespace anybpf::engine {

// Of a program that the verifier accepted: all that is relied on is that it reads no register that nothing has set, and
// that no jump leads from one subprogram into another.
void fold(program::Lowered& lowered, std::span<const program::MapInfo> maps);

}  // namespace anybpf::engine

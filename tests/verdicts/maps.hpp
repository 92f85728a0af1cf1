// SPDX-License-Identifier: Apache-2.0
// Maps of every kind, for programs of every type.
#pragma once

#include "live_kernel.hpp"
#include "testing.hpp"

namespace anybpf::verdicts {

// Those of verifier/src/testing.hpp with their numbers, and one of each other kind that the kernel creates.
std::vector<program::MapInfo> every_map();

}  // namespace anybpf::verdicts

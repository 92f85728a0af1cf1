// SPDX-License-Identifier: Apache-2.0
// What every engine asks of the lowered form before it makes code of it: the form may come from a file that somebody
// else wrote.
#pragma once

#include <span>

#include "anybpf/engine/engine.hpp"

namespace anybpf::engine {

// Whether every index in it leads to something: operations, registers, jumps, calls, helpers, maps. With helpers given,
// a call of one that has no body there fails, too. What this accepts may still do anything to the process; only that
// engine code itself is not led astray.
Result<> check(const program::Lowered& lowered, std::span<const BoundMap> maps, const abi::HelperBodies* helpers);

// What a register holds for a reference to a map or to a place in its values.
u64 address_of(const BoundMap& map, const program::MapUse& use);

}  // namespace anybpf::engine

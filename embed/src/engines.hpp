// SPDX-License-Identifier: Apache-2.0
// The engines of this build; another one is another row.
#pragma once

#include <array>

#include "anybpf/engine/any.hpp"
#include "anybpf/engine/jit.hpp"
#include "anybpf/engine/llvm.hpp"

namespace anybpf::embed {

inline constexpr auto engine_rows = std::to_array<engine::AnyEngine>({
    engine::any<engine::Interpreter>,
    engine::any<engine::Jit>,
    engine::any<engine::Llvm>,
});

}  // namespace anybpf::embed

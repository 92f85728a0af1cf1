// SPDX-License-Identifier: Apache-2.0
// AnyEngine: an engine as a row of data, for tables from which one is chosen by name while the program runs.
#pragma once

#include "anybpf/engine/engine.hpp"

namespace anybpf::engine {

struct AnyEngine {
    std::string_view name;
    // As the engine's own functions of these names. What bind gave is run by the same row's run, and what
    // Run::tail_target yields must be of it, too.
    Result<std::shared_ptr<const void>> (*bind)(const program::Lowered& lowered, std::span<const BoundMap> maps,
                                                const abi::HelperBodies* helpers);
    u64 (*run)(const void* executable, abi::Run& run, u64 second);
};

template <class Engine>
inline constexpr AnyEngine any = {
    .name = Engine::name,
    .bind = [](const program::Lowered& lowered, std::span<const BoundMap> maps, const abi::HelperBodies* helpers)
        -> Result<std::shared_ptr<const void>> { return ANYBPF_TRY(Engine::bind(lowered, maps, helpers)); },
    .run =
        [](const void* executable, abi::Run& run, u64 second) {
            using Program = typename decltype(Engine::bind({}, {}, nullptr))::value_type::element_type;
            return Engine::run(*static_cast<Program*>(executable), run, second);
        },
};

}  // namespace anybpf::engine

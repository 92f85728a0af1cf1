// SPDX-License-Identifier: Apache-2.0
// An engine that is chosen while the program runs: what engines have in common as a value.
#pragma once

#include "anybpf/engine/engine.hpp"

namespace anybpf::engine {

struct ChosenEngine {
    std::string_view name;
    Result<std::shared_ptr<const void>> (*bind)(const program::Lowered& lowered, std::span<const BoundMap> maps,
                                                const abi::HelperBodies* helpers);
    // Of what bind returned.
    u64 (*run)(const void* executable, abi::Run& run, u64 second);
};

template <class E>
inline constexpr ChosenEngine chosen = {
    .name = E::name,
    .bind = [](const program::Lowered& lowered, std::span<const BoundMap> maps, const abi::HelperBodies* helpers)
        -> Result<std::shared_ptr<const void>> { return ANYBPF_TRY(E::bind(lowered, maps, helpers)); },
    .run =
        [](const void* executable, abi::Run& run, u64 second) {
            using Bound = typename decltype(E::bind({}, {}, nullptr))::value_type::element_type;
            return E::run(*static_cast<Bound*>(executable), run, second);
        },
};

}  // namespace anybpf::engine

// SPDX-License-Identifier: Apache-2.0
// Division by a constant as a multiplication (Granlund and Montgomery, "Division by invariant integers using
// multiplication"): n / d is the upper half of n * factor, shifted.
#pragma once

#include <bit>

#include "anybpf/base/types.hpp"

namespace anybpf::engine {

struct Magic {
    u64 factor = 0;  // its 65th bit is set where `add` is
    u32 shift = 0;
    bool add = false;
};

// Requires a divisor above 1 that is no power of two.
constexpr Magic magic(u64 divisor) {
    using Wide = unsigned __int128;
    // With floor(log2 d) as shift, 2^(64 + shift) / d lies between 2^63 and 2^64: the quotient rounded up is exact
    // enough when it is too large by no more than 2^shift / d.
    const auto shift = static_cast<u32>(std::bit_width(divisor) - 1);
    const Wide power = Wide{1} << (64 + shift);
    const Wide rounded_up = power / divisor + 1;
    if (rounded_up * divisor - power <= Wide{1} << shift)
        return {.factor = static_cast<u64>(rounded_up), .shift = shift, .add = false};
    // One bit more is, always.
    const Wide more = (power / divisor * 2) + (power % divisor * 2 >= divisor ? 1 : 0) + 1;
    return {.factor = static_cast<u64>(more), .shift = shift, .add = true};
}

// What the emitted instructions compute.
constexpr u64 divide_by(const Magic& magic, u64 n) {
    const auto high = static_cast<u64>(static_cast<unsigned __int128>(n) * magic.factor >> 64);
    return magic.add ? (((n - high) >> 1) + high) >> magic.shift : high >> magic.shift;
}
static_assert(divide_by(magic(1000), ~u64{0}) == ~u64{0} / 1000 && divide_by(magic(7), ~u64{0}) == ~u64{0} / 7);
static_assert(divide_by(magic(3), 2) == 0 && divide_by(magic(~u64{0}), ~u64{0}) == 1);

}  // namespace anybpf::engine

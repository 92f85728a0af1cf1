// SPDX-License-Identifier: Apache-2.0
// Fixed-width names, and numbers that must not mix: an Id is an integer with a tag, ordered and comparable, never
// implicit.
#pragma once

#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>

namespace anybpf {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;
using i8 = std::int8_t;
using i16 = std::int16_t;
using i32 = std::int32_t;
using i64 = std::int64_t;

template <class Tag, std::unsigned_integral Rep>
struct Id {
    Rep v{};
    friend constexpr auto operator<=>(Id, Id) = default;
};

// An instruction's index in its program; a wide instruction (lddw) takes two.
using Pc = Id<struct PcTag, u32>;
// Ids of kernel objects, as bpf(2) gives them; 0 is none.
using MapId = Id<struct MapIdTag, u32>;
using ProgId = Id<struct ProgIdTag, u32>;
using LinkId = Id<struct LinkIdTag, u32>;
using BtfId = Id<struct BtfIdTag, u32>;

}  // namespace anybpf

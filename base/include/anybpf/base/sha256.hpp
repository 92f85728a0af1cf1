// SPDX-License-Identifier: Apache-2.0
// SHA-256 (FIPS 180-4): program tags and the binding of cached verdicts.
#pragma once

#include <array>
#include <span>

#include "anybpf/base/types.hpp"

namespace anybpf {
std::array<u8, 32> sha256(std::span<const std::byte> message);
}

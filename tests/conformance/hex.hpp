// SPDX-License-Identifier: Apache-2.0
// Bytes as the conformance suite writes them: pairs of hex digits with blanks between them.
#pragma once

#include <string_view>
#include <vector>

#include "anybpf/base/result.hpp"

namespace anybpf::conformance {

// Blanks are spaces, tabs and carriage returns. The message names the place, counted in characters.
Result<std::vector<std::byte>> parse_hex(std::string_view text);

}  // namespace anybpf::conformance

// SPDX-License-Identifier: Apache-2.0
#include "hex.hpp"

#include <fmt/format.h>

namespace anybpf::conformance {
namespace {

bool blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

// 16 for what is no digit.
u32 digit(char c) {
    if (c >= '0' && c <= '9') return static_cast<u32>(c - '0');
    const char lower = static_cast<char>(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? static_cast<u32>(lower - 'a' + 10) : 16;
}

}  // namespace

Result<std::vector<std::byte>> parse_hex(std::string_view text) {
    std::vector<std::byte> bytes;
    bytes.reserve(text.size() / 4 + 1);
    for (std::size_t at = 0; at < text.size();) {
        if (blank(text[at])) {
            ++at;
            continue;
        }
        const u32 high = digit(text[at]), low = at + 1 < text.size() ? digit(text[at + 1]) : 16;
        if (high == 16 || low == 16)
            return fail(Errc::malformed,
                        fmt::format("character {}: '{}' is no pair of hex digits", at + 1, text.substr(at, 2)));
        bytes.push_back(static_cast<std::byte>(high << 4 | low));
        at += 2;
    }
    return bytes;
}

}  // namespace anybpf::conformance

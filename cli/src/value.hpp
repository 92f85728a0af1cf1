// SPDX-License-Identifier: Apache-2.0
// Bytes of a map or a record as a value, by their BTF type. A value is JSON from the start: text is another way to
// print it.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "anybpf/btf/btf.hpp"

namespace anybpf::cli {

using Json = nlohmann::ordered_json;
using Bytes = std::span<const std::byte>;

// A field of type at bit_offset (bits > 0: a bitfield). What lies beyond the end of the bytes is left out: arrays end
// early, other fields are null. Character arrays are text up to their NUL, pointers and unions numbers and all members.
Json to_json(const btf::Btf& btf, u32 type, Bytes bytes, u32 bit_offset = 0, u32 bits = 0);

// Without BTF: a number of 1, 2, 4 or 8 bytes, otherwise an array of bytes in hex as bpftool prints it.
Json to_json_untyped(Bytes bytes);

std::string hex(Bytes bytes);
std::string to_text(const Json& value);  // {a: 1, b: [1, 2]}; text without quotes
std::string dump(const Json& value);     // one line of JSON; text that is not UTF-8 is made so

}  // namespace anybpf::cli

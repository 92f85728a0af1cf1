// SPDX-License-Identifier: Apache-2.0
// The text of ANYBPF_EVENT and ANYBPF_MAP: columns with literal text between them (docs/output.md).
//
//   {pid:>7}  {SYSCALL=key:<22syscall}  {{ and }} for braces
//    field     heading  field  aligned, width, kind
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "value.hpp"

namespace anybpf::cli {

enum class Kind : u8 {
#define ANYBPF_KIND(name, width, meaning) name,
#include "output_kinds.def"
};

struct Column {
    std::string before;   // literal text in front of it
    std::string heading;  // the last part of the field's name in upper case, unless given
    std::string field;    // a path of members
    Kind kind = Kind::plain;
    u32 width = 0;
    char align = 0;  // '<', '>' or 0: numbers right, text left
};

struct OutputFormat {
    std::vector<Column> columns;
    std::string after;

    static Result<OutputFormat> parse(std::string_view text);
    // One column a member, for a struct that comes without a format.
    static OutputFormat of_members(const btf::Btf& btf, u32 type);

    // The headings, padded as the columns; nothing where literal text speaks for itself.
    std::optional<std::string> heading() const;
    std::string line(const std::vector<std::string>& cells) const;  // one cell a column
};

// One field as its kind says. raw are the bytes of the field, value what to_json made of them.
std::string show(Kind kind, const Json& value, Bytes raw);

}  // namespace anybpf::cli

// SPDX-License-Identifier: Apache-2.0
// The way both assemblers go through a text: line by line, and an error says in which.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "anybpf/base/result.hpp"

namespace anybpf::isa {

// An assembler has line(text), finish() and line_number(); returns what finish() does.
template <class LineAssembler>
auto assemble_lines(LineAssembler assembler, std::string_view text) -> decltype(assembler.finish()) {
    const auto at_line = [&](Error error) {
        error.message = fmt::format("line {}: {}", assembler.line_number(), error.message);
        return tl::make_unexpected(std::move(error));
    };
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        if (auto done = assembler.line(text.substr(0, end)); !done) return at_line(std::move(done).error());
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    auto insns = assembler.finish();
    if (!insns) return at_line(std::move(insns).error());
    return insns;
}

}  // namespace anybpf::isa

// SPDX-License-Identifier: Apache-2.0
#include "failure.hpp"

#include <fmt/format.h>

namespace anybpf::cli {

std::string exit_code_table() {
    std::string text;
#define ANYBPF_EXIT(name, status, meaning) text += fmt::format("  {:>3}  {}\n", status, meaning);
#include "exit_codes.def"
    return text + "  run exits with CMD's own status otherwise, or with 128 + the signal that killed it.\n";
}

}  // namespace anybpf::cli

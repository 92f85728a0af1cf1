// SPDX-License-Identifier: Apache-2.0
// Extensions (ext): programs that replace a function of another program, which was verified with the function that is
// there. What is put into its place must be called alike, give alike, and do nothing that the other program was not
// prepared for.
#pragma once

#include <optional>
#include <string_view>

#include "anybpf/program/program.hpp"
#include "anybpf/verifier/verifier.hpp"

namespace anybpf::verifier {

enum class ExtensionFlaw : u8 {
#define ANYBPF_EXTENSION_FLAW(name, text) name,
#include "extension_flaws.def"
};
std::string_view describe(ExtensionFlaw flaw);

// As far as the two declarations tell; nothing where the program is no extension.
std::optional<Diagnostic> check_extension(const program::Program& program);

}  // namespace anybpf::verifier

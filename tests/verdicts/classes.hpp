// SPDX-License-Identifier: Apache-2.0
// The differences that docs/differences.md knows, as code that recognises them.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "anybpf/program/program.hpp"

namespace anybpf::verdicts {

struct Difference {
    std::string_view name, reason;
    bool (*is)(const program::Program& program, std::string_view kernel);
};

// What the kernel refuses and we accept, most special first.
std::span<const Difference> more_accepted();
// The first that recognises it; "" where none does.
std::string_view class_of(const program::Program& program, std::string_view kernel);

// Why the kernel has not looked at the program; "" where it has.
std::string_view not_verified(int error, std::string_view kernel);

// The line that says why, with its numbers made alike.
std::string message_of(std::string_view log);
std::string normalised(std::string_view message);

}  // namespace anybpf::verdicts

// SPDX-License-Identifier: Apache-2.0
// Makes a program that fails smaller, and keeps it as a file.
#pragma once

#include <filesystem>
#include <functional>

#include "../corpus/case.hpp"
#include "program.hpp"

namespace anybpf::differential {

// shrink() over programs of the differential.
program::Program minimise(const program::Program& program, const std::function<bool(const program::Program&)>& fails);

// A program as text with the seed of its inputs (tests/corpus/case.hpp), and back.
corpus::Case to_case(const program::Program& program, u64 seed, std::string about);
struct Kept {
    program::Program program;
    u64 seed = 0;
};
Result<Kept> from_case(const corpus::Case& kept);

}  // namespace anybpf::differential

// SPDX-License-Identifier: Apache-2.0
// Programs ahead of time: verified, and made into code (or LLVM IR) that an application is linked with.
#pragma once

#include <string>
#include <vector>

#include "failure.hpp"

namespace anybpf::cli {

struct BuildOptions {
    std::string program, only, output, header, prefix, cpu = "x86-64";
    std::vector<std::string> clang;
    bool verbose = false;
};
// anybpf build: an object, or a shared library where the output's name ends in .so; and a C header.
Outcome<int> build(const BuildOptions& options);

// anybpf compile --emit lifted, lifted-raw: as text, to the output or (-) to stdout.
Outcome<> emit_lifted(const BuildOptions& options, bool optimized);

// The LLVM engine is there, or why not.
Outcome<> llvm_available();

}  // namespace anybpf::cli

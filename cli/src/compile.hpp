// SPDX-License-Identifier: Apache-2.0
// C to a BPF object, by clang run as a program.
#pragma once

#include <string>
#include <vector>

#include "failure.hpp"

namespace anybpf::cli {

// The last two are made of the verified program, by emit_lifted().
enum class Emit : u8 { object, llvm, assembly, lifted, lifted_raw };

struct CompileOptions {
    std::string source, output;
    Emit emit = Emit::object;
    std::vector<std::string> includes, defines;
    std::vector<std::string> clang;  // passed through as they are, last
    bool show = false;               // print clang's command line
};

// The clang that would be used: $ANYBPF_CLANG, clang-19, clang-14, clang; empty when there is none.
std::string find_clang();
// A command as execvp would find it, or nothing.
std::string find_in_path(const std::string& name);

// clang's messages go to stderr as they are. Exit::missing, Exit::compile_error.
Outcome<> compile(const CompileOptions& options);

// The same into memory: no file to clean up, whatever ends us.
Outcome<std::vector<std::byte>> compile_to_memory(CompileOptions options);

}  // namespace anybpf::cli

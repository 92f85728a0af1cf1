// SPDX-License-Identifier: Apache-2.0
// C to a BPF object, by clang run as a program.
#pragma once

#include <string>
#include <vector>

#include "failure.hpp"

namespace anybpf::cli {

enum class Emit : u8 { object, llvm, assembly };

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

// A PROG as run, verify and exec take it: the path of an object. C is compiled into a temporary file that lives as long
// as this.
class ProgramFile {
  public:
    static Outcome<ProgramFile> open(const std::string& path, const std::vector<std::string>& clang);
    ProgramFile(ProgramFile&& other) noexcept;
    ~ProgramFile();
    const std::string& object() const { return object_; }

  private:
    ProgramFile(std::string object, bool temporary) : object_(std::move(object)), temporary_(temporary) {}
    std::string object_;
    bool temporary_ = false;
};

}  // namespace anybpf::cli

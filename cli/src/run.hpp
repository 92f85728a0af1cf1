// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "anybpf/kernel/kernel.hpp"
#include "failure.hpp"
#include "sections.hpp"

namespace anybpf::cli {

struct RunOptions {
    std::string program;
    std::vector<std::string> command, clang;
    std::string output;  // our own output's file; empty: stdout
    bool map_dump = false, json = false, verbose = false;
    std::vector<int> pids;  // running processes that are in the root for the time of the run
    double duration = 0;    // seconds; 0: until the command ends
    Where where = Where::user;
    kernel::Limits limits;
    std::string engine = "jit";  // or interp: of what runs often in the traced processes
};

// The command's status, or 0 without one.
Outcome<int> run(const RunOptions& options);

}  // namespace anybpf::cli

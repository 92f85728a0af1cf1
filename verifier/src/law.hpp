// SPDX-License-Identifier: Apache-2.0
// The law that everything else serves: what the verifier accepts does no harm, whatever it is given to read, and what
// it says of registers and stack holds on every run.
#pragma once

#include <string>
#include <string_view>

#include "anybpf/verifier/verifier.hpp"

namespace anybpf::verifier::testing {

struct LawOptions {
    bool privileged = true;     // the rules by which the program is judged
    bool remember_all = false;  // states are remembered wherever they can be
    u64 max_insns = 50'000;     // of the walk
    u64 max_states = 3'000;     // registers and stack are not compared where every path, walked to its end, has more
    u64 runs = 6;
    u64 max_steps = 1'000'000;  // of all runs: a program that takes long is run less often
    Arena* arena = nullptr;
};

struct Trial {
    Finding finding{};  // none: accepted
    std::string_view cannot_run;
    bool compared = false;  // with the states of the walk
    u64 runs = 0, steps = 0, compared_steps = 0;
    u64 bad_run = 0;
    std::string fault;  // what went wrong, with the program; empty when nothing did
};

// Judges the program, and runs it if it is accepted. The seed decides what the runs are given.
Trial try_program(const program::Program& program, u64 seed, const LawOptions& options);

// As text, with the kernel's words.
std::string listing(const program::Program& program);

}  // namespace anybpf::verifier::testing

// SPDX-License-Identifier: Apache-2.0
// What is checked of a program before any path is walked: encodings, targets, subprograms, reachability, recursion; and
// what the walk needs to know of every instruction.
#pragma once

#include <optional>

#include "anybpf/isa/decode.hpp"
#include "anybpf/program/flow.hpp"
#include "anybpf/verifier/verifier.hpp"
#include "state.hpp"
#include "typed.hpp"

namespace anybpf::verifier {

struct Structure {
    std::vector<isa::Form> forms;  // of every slot; of a wide instruction's second half without meaning
    program::Flow flow;
    Liveness live;
    std::vector<bool> remember;  // states are remembered and compared here
    Attach attach;               // of programs that are attached by BTF
};

std::optional<Diagnostic> analyse(const program::Program& program, Structure& out);

}  // namespace anybpf::verifier

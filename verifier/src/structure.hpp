// SPDX-License-Identifier: Apache-2.0
// What is checked of a program before any path is walked: encodings, targets, subprograms, reachability, recursion; and
// what the walk needs to know of every instruction.
#pragma once

#include <optional>

#include "anybpf/abi/helper.hpp"
#include "anybpf/isa/decode.hpp"
#include "anybpf/program/flow.hpp"
#include "anybpf/verifier/verifier.hpp"
#include "state.hpp"
#include "typed.hpp"

namespace anybpf::verifier {

// Helpers that call a function of the program, any number of times, before they return.
constexpr bool calls_back(abi::HelperId helper) {
    using H = abi::HelperId;
    return helper == H::loop || helper == H::for_each_map_elem || helper == H::find_vma ||
           helper == H::user_ringbuf_drain;
}

struct Structure {
    std::vector<isa::Form> forms;  // of every slot; of a wide instruction's second half without meaning
    std::vector<u32> targets;      // of jumps; 0 elsewhere
    program::Flow flow;
    Liveness live;
    std::vector<bool> tail_calls;  // by subprogram: whether it makes any
    std::vector<bool> rounds;      // calls that call a function of the program any number of times
    u32 exception_callback = 0;    // the instruction that it begins at; 0: there is none
    std::vector<bool> remember;    // states are remembered and compared here
    // What is wrong with instructions by themselves that matters where a path leads to them only, as in Linux 6.18.
    std::vector<Diagnostic> faults;
    std::vector<bool> faulty;  // by instruction
    Attach attach;             // of programs that are attached by BTF
};

std::optional<Diagnostic> analyse(const program::Program& program, Structure& out);

}  // namespace anybpf::verifier

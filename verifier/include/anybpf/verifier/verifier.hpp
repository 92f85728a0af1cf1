// SPDX-License-Identifier: Apache-2.0
// The verifier: proves of a program that no run of it reads or writes outside of what it was given, leaks an address,
// calls a helper against its contract or goes on for ever; or refuses it with the first thing it could not prove.
#pragma once

#include <array>
#include <string>

#include "anybpf/program/program.hpp"
#include "anybpf/program/proof.hpp"

namespace anybpf::verifier {

// Part of what a cached verdict is bound to: moves on whenever verdicts or proofs change.
constexpr u32 version = 4;

enum class Finding : u16 {
    none,
#define ANYBPF_FINDING(name, sentence, advice) name,
#include "anybpf/verifier/findings.def"
};

// "out_of_stack"; the name by which tests, JSON and documentation know it.
std::string_view to_string(Finding finding);

struct Diagnostic {
    Finding what = Finding::none;
    Pc pc{};
    std::array<i64, 3> args{};
};

struct Options {
    // As in bpf(2): 1 logs instructions and what they change, 2 the whole state at each, 4 only the statistics line; 0
    // nothing.
    u32 log_level = 0;
    u64 max_insns = 1'000'000;           // walked, over all paths
    u64 max_log_bytes = 16ULL << 20;     // of a longer log the first part is dropped
    u64 max_state_bytes = 512ULL << 20;  // of remembered states; beyond it nothing more is remembered
    // Addresses may be stored into maps, compared, returned and passed on, as a load with CAP_PERFMON may.
    bool allow_ptr_leaks = false;
};

struct Report {
    bool accepted = false;
    Diagnostic diagnostic;  // of a refused program
    std::string state;      // registers and stack where it was refused, as the log prints them
    program::Proof proof;   // of an accepted program
    u64 processed = 0, states = 0, peak_states = 0, max_states_per_insn = 0;
    std::string log;  // ends in the kernel's "processed N insns (limit M) max_states_per_insn A ..." line
};

// Never throws and always ends; memory is bounded by the options.
Report verify(const program::Program& program, const Options& options);

// The diagnostic for a person: what and why, the instruction, the source line where BTF has it, the registers, and what
// would satisfy the verifier. Several lines; empty for an accepted program.
std::string explain(const Report& report, const program::Program& program);

// Only the sentence, in one line.
std::string message(const Diagnostic& diagnostic, const program::Program& program);

}  // namespace anybpf::verifier

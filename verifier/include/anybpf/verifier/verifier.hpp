// SPDX-License-Identifier: Apache-2.0
// The verifier: proves of a program that no run of it reads or writes outside of what it was given, leaks an address,
// calls a helper against its contract or goes on for ever; or refuses it with the first thing it could not prove.
#pragma once

#include <array>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "anybpf/program/program.hpp"
#include "anybpf/program/proof.hpp"
#include "anybpf/verifier/arena.hpp"

namespace anybpf::verifier {

// Part of what a cached verdict is bound to: moves on whenever verdicts or proofs change.
constexpr u32 version = 7;

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
    u32 argument = 0;  // of the helper called at pc, that was looked at: 1 to 5; 0: none
};

struct Options {
    // As in bpf(2): 1 logs instructions and what they change, 2 the whole state at each, 4 only the statistics line; 0
    // nothing.
    u32 log_level = 0;
    u64 max_insns = 1'000'000;  // walked, over all paths
    // Of a frame, and of a chain of calls: the kernel's 512, or up to abi::max_stack_size where engines have as much.
    u32 stack_bytes = abi::stack_size;
    u32 cpus = 8192;                     // processors have numbers below it: as many as Linux can be built for
    bool strict_alignment = false;       // loads and stores are aligned everywhere, as on machines that need it
    u64 max_log_bytes = 16ULL << 20;     // of a longer log the first part is dropped
    u64 max_state_bytes = 512ULL << 20;  // of remembered states; beyond it nothing more is remembered
    // Addresses may be stored into maps, compared, returned and passed on, as a load with CAP_PERFMON may; false: the
    // rules for everybody else.
    bool allow_ptr_leaks = true;
    Arena* arena = nullptr;  // whose memory is used; null: it is got and given back
};

struct Report {
    bool accepted = false;
    Options options;        // under which this was found
    Diagnostic diagnostic;  // of a refused program
    std::string state;      // registers and stack where it was refused, as the log prints them
    program::Proof proof;   // of an accepted program
    u64 processed = 0, states = 0, peak_states = 0, max_states_per_insn = 0;
    u64 peak_bytes = 0;  // of states
    std::string log;     // ends in the kernel's "processed N insns (limit M) max_states_per_insn A ..." line
};

// Never throws and always ends; memory is bounded by the options.
Report verify(const program::Program& program, const Options& options);

// A refusal in words: what is refused and why, what was required and what was known, how it came to that along the path
// that was walked, and what would satisfy the verifier.
struct Told {
    struct Place {
        std::string file, text;  // text: the line, without what it is indented by
        u32 line = 0, column = 0;
    };
    struct Link {
        std::optional<u32> insn;  // nothing where something is missing
        std::string code;         // the instruction
        std::optional<Place> source;
        std::string text;
    };
    std::string finding, message;
    u32 insn = 0;
    std::string code;
    std::optional<Place> source;
    std::vector<Place> around;  // other lines that BTF has of the file, near
    std::string required, known;
    std::string state;         // registers and stack, as the log prints them
    std::vector<Link> causes;  // in the order of the path
    std::string advice, mend;  // mend: C
};
// Walks a refused program again for it; of an accepted one nothing is to tell.
Told tell(const Report& report, const program::Program& program);

struct Style {
    bool colour = false;
    bool state = false;  // registers and stack, too
    // How a file is called, and a line of it as it stands there; as BTF has them where these are empty.
    std::function<std::string(const std::string& file)> name;
    std::function<std::optional<std::string>(const std::string& file, u32 line)> line;
};
// For a person: a screen of lines; empty where nothing is told.
std::string show(const Told& told, const Style& style = {});

// Both at once, with the registers.
std::string explain(const Report& report, const program::Program& program);

// Only the sentence, in one line.
std::string message(const Diagnostic& diagnostic, const program::Program& program);

}  // namespace anybpf::verifier

// SPDX-License-Identifier: Apache-2.0
// How a refusal came about: the walk is done again with its path recorded, and what it was about is followed backwards
// along the path to where it was lost, or never gained. Data, not words: report.cpp prints it.
#pragma once

#include <optional>

#include "state.hpp"
#include "structure.hpp"

namespace anybpf::verifier {

enum class Link : u8 {
#define ANYBPF_LINK(name, sentence) name,
#include "links.def"
};
enum class Mend : u8 {
#define ANYBPF_MEND(name, text, advice) name,
#include "mends.def"
};

struct Cause {
    Link what{};
    std::optional<u32> pc;  // nothing: something that is missing
    std::array<i64, 5> args{};
};

struct Explanation {
    std::vector<Cause> causes;  // as the path came to them
    std::optional<u32> reg;     // what it is about, and what was known of it
    Reg known;
    Mend mend = Mend::none;
    std::array<i64, 3> numbers{};  // of the mend
    // Instructions whose source may name the variable that the mend is about, the best first; likewise the packet's
    // end.
    std::vector<u32> names;
    std::optional<u32> end_name;
    bool in_function = false;  // called by the program's
    u32 argument = 0;          // of the helper that is called where it was refused; 0: none
};

Explanation trace(const Report& report, const program::Program& program);

// Whether a finding's first argument is the register that it is about.
bool names_register(Finding finding);

// Between which two numbers a value lies, as signed numbers, for {v0}.
std::pair<i64, i64> bounds(const Number& value);

}  // namespace anybpf::verifier

// SPDX-License-Identifier: Apache-2.0
// The differences that docs/differences.md knows, as code that recognises them.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "anybpf/program/program.hpp"
#include "anybpf/verifier/verifier.hpp"

namespace anybpf::verdicts {

// A program that we accept and the kernel refuses.
struct Disagreement {
    const program::Program& program;
    std::string_view message;  // the kernel's
    bool walked = false;       // the kernel looked at instructions
    bool excluded = false;     // ... in an order in which ours knows that none runs them
    // What our verifier says when it compares no state with an earlier one.
    verifier::Finding walked_out{};
    // Whether the kernel accepts other instructions in the program's place.
    std::function<bool(std::vector<isa::Insn>)> kernel_accepts;
};

struct Difference {
    std::string_view name, reason;
    bool (*is)(const Disagreement& disagreement);
};

// Most special first.
std::span<const Difference> more_accepted();
// The name of the first that recognises it; "" where none does.
std::string_view class_of(const Disagreement& disagreement);

// Why the kernel has not looked at the program; "" where it has.
std::string_view not_verified(int error, std::string_view log);

// The line of a log that says why, without and with its numbers made alike.
std::string message_of(std::string_view log);
std::string normalised(std::string_view message);
// The instructions at the end of a log of level 1, of one path, in the order in which it was walked.
std::vector<u32> last_path(std::string_view log);

}  // namespace anybpf::verdicts

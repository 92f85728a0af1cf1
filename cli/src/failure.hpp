// SPDX-License-Identifier: Apache-2.0
// How a command ends early: an exit status from cli/exit_codes.def and one message for a person.
#pragma once

#include <string>

#include "anybpf/base/result.hpp"

namespace anybpf::cli {

enum class Exit : u8 {
#define ANYBPF_EXIT(name, status, meaning) name = status,
#include "exit_codes.def"
};

struct Failure {
    Exit exit{};
    std::string message;  // without "anybpf: " and without a newline at the end
};

template <class T = void>
using Outcome = tl::expected<T, Failure>;

inline tl::unexpected<Failure> stop(Exit exit, std::string message) {
    return tl::make_unexpected(Failure{exit, std::move(message)});
}

// The words of a table, for --help and the man page.
std::string exit_code_table();

template <class T>
T take_outcome(Outcome<T>&& outcome) {
    if constexpr (!std::is_void_v<T>) return std::move(*outcome);
}

}  // namespace anybpf::cli

// Yields the value of an Outcome or ends the enclosing function with its failure.
#define CLI_TRY(expression)                                                \
    ({                                                                     \
        auto cli_outcome_ = (expression);                                  \
        if (!cli_outcome_) [[unlikely]]                                    \
            return ::tl::make_unexpected(std::move(cli_outcome_).error()); \
        ::anybpf::cli::take_outcome(std::move(cli_outcome_));              \
    })

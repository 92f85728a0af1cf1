// SPDX-License-Identifier: Apache-2.0
// Result<T>: how bad input and failing system calls are reported. An Error says what kind, what exactly, where and of
// which object; nothing of ours throws.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

#include "anybpf/base/types.hpp"

namespace anybpf {

enum class Errc : u8 {
#define ANYBPF_ERRC(name, text) name,
#include "anybpf/base/errc.def"
};

std::string_view to_string(Errc code);

struct Error {
    Errc code{};
    std::string message;  // complete sentence for a person, without a trailing full stop
    int sys_errno = 0;    // the errno behind it where a system call failed or bpf(2) prescribes one; 0 otherwise
};

template <class T = void>
using Result = tl::expected<T, Error>;

[[gnu::cold]] inline tl::unexpected<Error> fail(Errc code, std::string message, int sys_errno = 0) {
    return tl::make_unexpected(Error{code, std::move(message), sys_errno});
}

// For a system call that has just failed: what was tried, on which object; reads errno.
[[gnu::cold]] tl::unexpected<Error> fail_errno(std::string_view what, std::string_view object = {});

}  // namespace anybpf

// Yields the value of a Result or returns its error from the enclosing function.
#define ANYBPF_TRY(expression)                                               \
    ({                                                                       \
        auto anybpf_result_ = (expression);                                  \
        if (!anybpf_result_) [[unlikely]]                                    \
            return ::tl::make_unexpected(std::move(anybpf_result_).error()); \
        ::anybpf::detail::take(std::move(anybpf_result_));                   \
    })

namespace anybpf::detail {
template <class T>
T take(Result<T>&& result) {
    if constexpr (!std::is_void_v<T>) return std::move(*result);
}
}  // namespace anybpf::detail

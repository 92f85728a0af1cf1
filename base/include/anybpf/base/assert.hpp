// SPDX-License-Identifier: Apache-2.0
// ANYBPF_ASSERT stops the process on a bug of ours, in every build: a broken invariant in a safety tool must not run
// on.
#pragma once

namespace anybpf {
[[noreturn]] void assertion_failed(const char* what, const char* file, int line) noexcept;
}

#define ANYBPF_ASSERT(condition)                                              \
    (__builtin_expect(static_cast<bool>(condition), 1) ? static_cast<void>(0) \
                                                       : ::anybpf::assertion_failed(#condition, __FILE__, __LINE__))

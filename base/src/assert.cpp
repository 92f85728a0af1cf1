// SPDX-License-Identifier: Apache-2.0
#include "anybpf/base/assert.hpp"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace anybpf {
// Plain write(2) of a buffer on the stack: the process may be in any state, and in the agent stdio belongs to the host.
[[noreturn]] void assertion_failed(const char* what, const char* file, int line) noexcept {
    char text[512];
    const int length = std::snprintf(text, sizeof text, "anybpf: bug: %s does not hold (%s:%d)\n", what, file, line);
    if (length > 0) [[maybe_unused]]
        const auto written = ::write(
            2, text, static_cast<unsigned>(length) < sizeof text ? static_cast<unsigned>(length) : sizeof text - 1);
    std::abort();
}
}  // namespace anybpf

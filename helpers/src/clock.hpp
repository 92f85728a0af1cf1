// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ctime>

#include "anybpf/base/types.hpp"

namespace anybpf::helpers {

// No system call: libc reads these clocks through the vDSO.
inline u64 clock_ns(clockid_t clock) {
    timespec now{};
    ::clock_gettime(clock, &now);
    return static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
}

}  // namespace anybpf::helpers

// SPDX-License-Identifier: Apache-2.0
// Raw because it maps memory. The page is zero, which is what fresh counters are; they are lock-free, so that it does
// not matter in which process they are.
#include "progress_raw.hpp"

#include <sys/mman.h>

namespace anybpf::law {

Result<std::span<Progress>> shared_progress(u32 jobs) {
    void* const memory =
        ::mmap(nullptr, jobs * sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return fail_errno("map memory for the progress");
    return std::span(static_cast<Progress*>(memory), jobs);
}

}  // namespace anybpf::law

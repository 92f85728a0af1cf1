// SPDX-License-Identifier: Apache-2.0
// How far each process is, for the one that waits for them: also when they end badly.
#pragma once

#include <atomic>
#include <memory>
#include <span>

#include "anybpf/base/result.hpp"
#include "anybpf/base/types.hpp"

namespace anybpf::law {

struct Progress {
    std::atomic<u64> seed, programs, runs;
};
static_assert(std::atomic<u64>::is_always_lock_free);

// In memory that children share with their parent, for as long as the process lives.
Result<std::span<Progress>> shared_progress(u32 jobs);

}  // namespace anybpf::law

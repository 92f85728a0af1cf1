// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "anybpf/base/result.hpp"
#include "tally.hpp"

namespace anybpf::verdicts {

// Calls work(n) in a process of its own for each n below jobs; what they made, added up.
Result<Tally> in_processes(u32 jobs, const std::function<Tally(u32)>& work);

}  // namespace anybpf::verdicts

// SPDX-License-Identifier: Apache-2.0
// The work of so many processes.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "anybpf/base/result.hpp"
#include "anybpf/base/types.hpp"

namespace anybpf::verdicts {

// Forks `jobs` children; what work(n) of each returned, in their order.
Result<std::vector<std::string>> in_processes(u32 jobs, const std::function<std::string(u32)>& work);

}  // namespace anybpf::verdicts

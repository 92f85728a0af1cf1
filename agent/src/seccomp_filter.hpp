// SPDX-License-Identifier: Apache-2.0
// What a seccomp filter will say, asked before it is installed. Pure.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>

#include <span>

#include "anybpf/base/types.hpp"

namespace anybpf::agent {

// The filter's answer (SECCOMP_RET_…) for the call; SECCOMP_RET_KILL_PROCESS for a filter that is none.
u32 answer_of(std::span<const sock_filter> filter, const seccomp_data& call);

}  // namespace anybpf::agent

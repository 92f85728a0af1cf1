// SPDX-License-Identifier: Apache-2.0
// The agent in a program that runs already, and out of it again. All threads are stopped (ptrace) for that moment, in
// system calls and handlers as well. After detach() nothing of the agent is left: text, masks, dispositions, signal
// stacks and mappings are what they were.
#pragma once

#include <sys/types.h>

#include <string>

#include "anybpf/base/result.hpp"

namespace anybpf::agent {

// Paths are absolute. tree: 0 for what is attached to every process of the root. Errors: not_found, permission_denied
// (ptrace), already_exists, busy (a thread that does not stop), invalid_argument (what cannot be traced).
Result<> attach(pid_t pid, const std::string& agent, const std::string& root, u32 tree);
// Errors: as above; not_found also where the agent is not there.
Result<> detach(pid_t pid, const std::string& agent);

}  // namespace anybpf::agent

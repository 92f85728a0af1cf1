// SPDX-License-Identifier: Apache-2.0
// What a supervisor and the agent tell a new image, by two variables at the end of its environment, which the agent
// takes out again before any code of the program runs:
//     LD_PRELOAD=<agent>[:<the program's own>]     ANYBPF_AGENT=<tree>[,<nr>,<blocked>,<ignored>,<files>]:<root>
// tree: the process tree it belongs to. nr: the system call whose exit the image reports when it stands (59, execve; 0:
// none). blocked, ignored: signal sets, in hex, of those signals that the agent keeps from the kernel. files: device
// and inode of the agent, and of the root, as the old image saw them at this exec.
#pragma once

#include <string>
#include <vector>

#include "anybpf/base/types.hpp"

namespace anybpf::agent {

constexpr char variable[] = "ANYBPF_AGENT=", padding_variable[] = "ANYBPF_AGENT_=", preload_variable[] = "LD_PRELOAD=";

// The environment to start the first traced process with; environment is of the form NAME=VALUE. Both paths absolute.
std::vector<std::string> traced_environment(std::vector<std::string> environment, const std::string& agent,
                                            const std::string& root, u32 tree);

}  // namespace anybpf::agent

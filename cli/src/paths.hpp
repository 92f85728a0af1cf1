// SPDX-License-Identifier: Apache-2.0
// Where the command finds what belongs to it. Build tree and install tree have one shape below the folder of bin/:
// include/, lib/, share/anybpf/programs/; so everything is found beside the executable and nothing is compiled in.
#pragma once

#include <string>
#include <vector>

namespace anybpf::cli {

std::string prefix();           // the folder that holds bin/anybpf
std::string cache_directory();  // $XDG_CACHE_HOME/anybpf or ~/.cache/anybpf, made if need be; the temporary folder
                                // where there is none
std::string agent_path();       // $ANYBPF_AGENT_PATH, or the agent beside us; empty when it is not there

// A program that ships, by its bare name ("execsnoop"); empty when there is none.
std::string shipped_program(const std::string& name);

// The names among `known` that are nearest to `name`, best first, at most three; none that shares nothing with it.
std::vector<std::string> nearest(const std::string& name, const std::vector<std::string>& known);
// ", did you mean 'a', 'b'?" or nothing.
std::string suggestion(const std::string& name, const std::vector<std::string>& known);

}  // namespace anybpf::cli

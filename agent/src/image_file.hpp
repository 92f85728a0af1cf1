// SPDX-License-Identifier: Apache-2.0
// The agent's file as those read it who bring it into processes.
#pragma once

#include <string>

#include "anybpf/agent/arrival.hpp"
#include "anybpf/base/result.hpp"

namespace anybpf::agent {

// Below 2 GiB: where the agent must be for the jumps of text that lies there, as that of static programs does that are
// not position independent.
constexpr u64 low_text_end = 0x80000000, low_image = 0x7d000000;

Result<AgentImage> read_image(const std::string& path);
Result<FileId> identity(const std::string& path);
// What every arrival has in common. Paths are absolute.
Result<Arrival> arrival_of(const std::string& agent, const std::string& root, u32 tree);

}  // namespace anybpf::agent

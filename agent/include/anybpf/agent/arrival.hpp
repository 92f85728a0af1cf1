// SPDX-License-Identifier: Apache-2.0
// What an injector leaves in a new image for the agent, before the image's first instruction runs: code over that
// instruction (bootstrap_raw.S), which maps the agent, and this block, below what the kernel laid out on the stack. The
// agent puts the instructions back before they run, and clears the block.
//
//     text:   ... | bootstrap over what Arrival::text keeps | ...
//     stack:  ... | Arrival | arrival_below - sizeof(Arrival) | sp -> argument count, arguments, ...
#pragma once

#include <array>
#include <cstddef>

#include "anybpf/agent/lender.hpp"
#include "anybpf/base/types.hpp"

namespace anybpf::agent {

struct FileId {
    u64 device = 0, inode = 0;
    bool operator==(const FileId&) const = default;
};

// How the agent's file lies in memory: code and constants from its beginning, data, zeros behind. Sizes in whole pages
// but for data_size.
struct AgentImage {
    u64 address = 0;  // where it should be; 0: anywhere
    u64 size = 0;
    u64 data_at = 0, data_offset = 0, data_size = 0;
    u64 zeros_at = 0, zeros_size = 0;
    u64 entry = 0;
};

// What the old image, or the supervisor, knows of the new one.
struct Inheritance {
    u32 tree = 0;
    u32 nr = 0;                    // the system call whose exit the image reports when it stands (59, execve; 0: none)
    u64 blocked = 0, ignored = 0;  // signals of those that the agent keeps from the kernel
    FileId agent{}, root{};
};

constexpr u64 arrival_below = 2048, bootstrap_most = 256;

struct Arrival {
    AgentImage image;
    Inheritance inheritance;
    u64 ip = 0, sp = 0;  // of the image's first instruction; 0: the program runs already (attach.hpp)
    u64 text_at = 0, text_size = 0;
    i32 agent_fd = -1;  // the image's, where it does not see the agent's file by its path
    LoanKey key;
    std::array<u8, bootstrap_most> text{};
    std::array<char, 512> agent_path{}, root_path{};
};
static_assert(sizeof(Arrival) <= arrival_below && offsetof(Arrival, agent_fd) == 152 &&
              offsetof(Arrival, agent_path) == 440);

}  // namespace anybpf::agent

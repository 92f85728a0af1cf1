// SPDX-License-Identifier: Apache-2.0
// What an injector leaves in a new image for the agent: one page of the process, which nothing else uses, with the code
// that maps the agent (bootstrap) and behind it this block. Written before the image's first instruction runs; the
// agent unmaps the page before that instruction.
//
//     page:  bootstrap code | Arrival | ...
#pragma once

#include <array>

#include "anybpf/base/types.hpp"

namespace anybpf::agent {

struct FileId {
    u64 device = 0, inode = 0;
    bool operator==(const FileId&) const = default;
};

// How the agent's file lies in memory: one segment of code and constants, one of data, zeros behind it.
struct AgentImage {
    u64 size = 0;                                          // of all, in whole pages
    u64 code_size = 0;                                     // from offset 0, in whole pages
    u64 data_at = 0, data_offset = 0, data_file_size = 0;  // in whole pages, but for the size
    u64 entry = 0;
};

// What the old image, or the supervisor, knows of the new one.
struct Inheritance {
    u32 tree = 0;
    u32 nr = 0;                    // the system call whose exit the image reports when it stands (59, execve; 0: none)
    u64 blocked = 0, ignored = 0;  // signals of those that the agent keeps from the kernel
    FileId agent{}, root{};
};

struct Arrival {
    AgentImage image;
    u64 ip = 0, sp = 0;  // of the image's first instruction
    u64 page = 0;        // where this lies
    Inheritance inheritance;
    std::array<char, 512> agent_path{}, root_path{};
};

constexpr u64 arrival_size = 4096;
static_assert(sizeof(Arrival) < arrival_size / 2);  // the code before it has the rest

}  // namespace anybpf::agent

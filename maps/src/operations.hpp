// SPDX-License-Identifier: Apache-2.0
// Every operation that changes what processes share, each to be done in a world by a process that does not live to see
// its end; and what those who come after it must find.
#pragma once

#include "stepping.hpp"

namespace anybpf::maps::testing {

struct Operation {
    const char* name;
    std::function<void(World&)> prepare;
    // Done in one run, on slot 0. What readers see changes at one instruction of each step.
    std::vector<std::function<void(World&, u32 vcpu)>> steps;
    // A death may cut it between words of 8 bytes (docs/formats/map.md).
    bool between_words = false;
};
const std::vector<Operation>& operations();

// The operation's run, up to this step.
void perform(World& world, const VcpuThread& thread, const Operation& operation, std::size_t steps = ~0U);

// All that readers can see, as words, by nothing but reading. A key that is there twice, a lookup that fails for one
// that is there, or records that do not follow each other are failures.
using Contents = std::vector<u64>;
Contents contents_of_maps(World& world);
Contents contents_of_buffers(World& world);
Contents contents(World& world);  // both

// What must still work: every element can be had, each map does what maps do, records arrive. By the slot's next owner
// (even variants) or by another; who tells the maps of the death, or not; beginning in this bucket or that.
// `told`: losses of the perf buffer that a reader knows of already.
constexpr u32 audit_variants = 8;
void audit(World& world, u32 variant, u64 told = 0);

// What another process does on slot 1 while one is stopped. Each operation is done, or ends with -EBUSY (records: are
// lost), or finds no room where the stopped one holds some; what is done is undone.
struct Beside {
    u32 refused = 0, written = 0, read = 0;  // records of this process
    u64 told = 0;
    void work(World& world, u32 round);
    void read_all(World& world);
};

}  // namespace anybpf::maps::testing

// SPDX-License-Identifier: Apache-2.0
// What the tests' hooks record, in a file that all processes of a test share.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace anybpf::agent {

struct CountedEvent {
    std::uint32_t pid, tid, nr, is_exit;
    std::int64_t value;  // first argument, or the result
};

struct Counts {
    static constexpr std::uint32_t log_size = 1 << 16;
    std::atomic<std::uint32_t> wants_nothing, orphaned, logging, stack_misaligned;
    std::atomic<std::uint64_t> epoch;
    std::atomic<std::uint64_t> bad_thread;  // events on a thread whose ids are not its own
    std::array<std::atomic<std::uint64_t>, 512> enters, exits, restarts;
    std::atomic<std::uint64_t> logged;
    std::array<CountedEvent, log_size> log;
};

}  // namespace anybpf::agent

// SPDX-License-Identifier: Apache-2.0
// What bpf_trace_printk leaves: helpers write it, kernel/ and the command read it.
#pragma once

#include <array>

#include "anybpf/abi/types.hpp"

namespace anybpf::abi {

// One line of bpf_trace_printk, a record of the trace ring buffer; `length` bytes of text follow, without NUL.
struct TraceRecord {
    u64 time_ns;  // CLOCK_BOOTTIME
    u32 tid, cpu;
    std::array<char, name_size> comm;
    u32 length;
    u32 reserved;
};
static_assert(sizeof(TraceRecord) == 40);

}  // namespace anybpf::abi

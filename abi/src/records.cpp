// SPDX-License-Identifier: Apache-2.0
// What the hooks ask of the system call table, from numbers alone: a traced process does not carry the names, each of
// which is a relocation.
#include <array>
#include <initializer_list>

#include "anybpf/abi/syscalls.hpp"
#include "anybpf/base/assert.hpp"

namespace anybpf::abi {
namespace {

constexpr u8 no_call = 0xff;

constexpr auto argument_counts = [] {
    std::array<u8, syscall_numbers> counts{};
    counts.fill(no_call);
#define ANYBPF_SYSCALL(number, name, function, ...) \
    counts[number] = static_cast<u8>(std::initializer_list<SyscallArgument>{__VA_ARGS__}.size());
#include "anybpf/abi/syscalls.def"
    return counts;
}();

}  // namespace

bool tracepoint_exists(TracepointId id) {
    if (is_raw(id)) return true;
    return id.v > raw_sys_enter.v && number_of(id) < syscall_numbers && argument_counts[number_of(id)] != no_call;
}

// As the kernel's trace_event_get_offsets: the end of the last field.
u32 record_size(TracepointId id) {
    ANYBPF_ASSERT(tracepoint_exists(id));
    if (!is_entry(id)) return 24;
    if (is_raw(id)) return 64;
    const u32 arguments = argument_counts[number_of(id)];
    return arguments == 0 ? 12 : 16 + 8 * arguments;
}

}  // namespace anybpf::abi

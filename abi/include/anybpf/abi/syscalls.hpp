// SPDX-License-Identifier: Apache-2.0
// System calls and their events as Linux 6.18 names them. A call has three names: that of its number (stat), of the
// kernel's function (__x64_sys_newstat), and of its tracepoints (syscalls:sys_enter_newstat), which follow the
// function's.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "anybpf/base/types.hpp"

namespace anybpf::abi {

struct SyscallArgument {
    std::string_view type, name;
};

struct Syscall {
    u32 number = 0;
    std::string_view name;      // "stat"
    std::string_view function;  // "newstat": the kernel's is __x64_sys_newstat, the tracepoint's sys_enter_newstat
    std::array<SyscallArgument, 6> argument_table;
    u32 argument_count = 0;
    std::span<const SyscallArgument> arguments() const { return std::span(argument_table).first(argument_count); }
};

constexpr u32 syscall_numbers = 470;  // numbers lie below; some are not in use

std::span<const Syscall> syscalls();  // sorted by number
const Syscall* find_syscall(u32 number);
const Syscall* syscall_by_name(std::string_view name);          // "stat"
const Syscall* syscall_by_function(std::string_view function);  // "newstat"
// "__x64_sys_newstat", the only symbol of a call that a kprobe can rely on: __se_sys_* and __do_sys_* are inlined into
// it.
const Syscall* syscall_by_kernel_symbol(std::string_view symbol);
std::string kernel_symbol(const Syscall& syscall);
// What get_func_ip and /proc/kallsyms show for the function: an address where no code of this process can lie.
constexpr u64 kernel_address(u32 number) { return 0xffffffff81000000 + 0x1000 + u64{number} * 64; }

// A tracepoint's id, as tracefs events/CATEGORY/NAME/id shows it and a record's common_type holds it: even for exits,
// odd for entries, the raw_syscalls pair first.
using TracepointId = Id<struct TracepointTag, u32>;
constexpr TracepointId raw_sys_exit{1022}, raw_sys_enter{1023};
constexpr TracepointId sys_exit_of(u32 number) { return {1024 + 2 * number}; }
constexpr TracepointId sys_enter_of(u32 number) { return {1025 + 2 * number}; }
constexpr bool is_raw(TracepointId id) { return id == raw_sys_exit || id == raw_sys_enter; }
constexpr bool is_entry(TracepointId id) { return id.v % 2 == 1; }
constexpr u32 number_of(TracepointId id) { return (id.v - 1024) / 2; }  // not of the raw pair

bool tracepoint_exists(TracepointId id);
std::vector<TracepointId> tracepoints();
// "raw_syscalls", "sys_enter"; nothing where there is no such event.
std::optional<TracepointId> find_tracepoint(std::string_view category, std::string_view name);
std::string_view category(TracepointId id);
std::string tracepoint_name(TracepointId id);  // "sys_enter_newstat"; the id must exist
// The text of the event's tracefs `format` file.
std::string format_text(TracepointId id);
// Bytes of the record that a program may read; bpf(2) refuses to attach one that reads further (EACCES).
u32 record_size(TracepointId id);

// attr.type of perf_event_open(2) for kprobes and uprobes, as /sys/bus/event_source/devices/*/type shows them; bit 0 of
// attr.config asks for the return probe.
constexpr u32 perf_type_kprobe = 8, perf_type_uprobe = 9;

// Names that a misspelt one may have meant, best first, at most `count`: of events ("syscalls:sys_enter_opnat") or of
// kernel symbols ("__x64_sys_opnat").
std::vector<std::string> nearest_tracepoints(std::string_view name, std::size_t count = 3);
std::vector<std::string> nearest_kernel_symbols(std::string_view name, std::size_t count = 3);

}  // namespace anybpf::abi

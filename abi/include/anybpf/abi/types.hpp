// SPDX-License-Identifier: Apache-2.0
// Map, program and attach types of Linux 6.18, by the uapi's names and numbers.
#pragma once

#include <string_view>

#include "anybpf/base/types.hpp"

namespace anybpf::abi {

enum class MapType : u32 {
#define ANYBPF_MAP_TYPE(name, value, major, minor, inside) name = value,
#include "anybpf/abi/map_types.def"
};

enum class ProgType : u32 {
#define ANYBPF_PROG_TYPE(name, value, major, minor) name = value,
#include "anybpf/abi/prog_types.def"
};

enum class AttachType : u32 {
#define ANYBPF_ATTACH_TYPE(name, value, major, minor) name = value,
#include "anybpf/abi/attach_types.def"
};

// The name in lower case as the tables have it; "unknown" for a number that 6.18 does not have.
std::string_view to_string(MapType type);
std::string_view kernel_struct(MapType type);  // "bpf_array": what such a map is inside of the kernel
std::string_view to_string(ProgType type);
std::string_view to_string(AttachType type);

// kprobe, tracepoint, raw_tracepoint(_writable), perf_event, tracing.
constexpr bool is_tracing(ProgType type) {
    return type == ProgType::kprobe || type == ProgType::tracepoint || type == ProgType::raw_tracepoint ||
           type == ProgType::perf_event || type == ProgType::raw_tracepoint_writable || type == ProgType::tracing;
}

// Map flags and update flags (uapi).
constexpr u32 map_no_prealloc = 1U << 0, map_rdonly = 1U << 3, map_wronly = 1U << 4, map_rdonly_prog = 1U << 7,
              map_wronly_prog = 1U << 8, map_mmapable = 1U << 10;
constexpr u64 update_any = 0, update_noexist = 1, update_exist = 2;
// perf_event_output and ring buffer flags (uapi).
constexpr u64 current_cpu = 0xffffffff;
constexpr u64 ringbuf_no_wakeup = 1, ringbuf_force_wakeup = 2;

constexpr u32 max_frames = 8;              // frames of bpf-to-bpf calls
constexpr u32 stack_size = 512;            // bytes
constexpr u32 max_stack_size = 64U << 10;  // to which a host may raise it
constexpr u32 tail_call_stack_size = 256;  // less than that in the callers of a function that makes tail calls
constexpr u32 max_tail_calls = 33;
constexpr u32 max_loop_iterations = 1U << 23;  // of bpf_loop

// In the log of a program that the verifier accepted and that still cannot be loaded, before the reason.
constexpr std::string_view cannot_run_here = "accepted, but it cannot run here: ";

// Names in programs, maps and tasks: 15 characters and a NUL.
constexpr std::size_t name_size = 16;

}  // namespace anybpf::abi

// SPDX-License-Identifier: Apache-2.0
// The kernel's objects as programs see them here: structs of our own, under a vmlinux BTF of our own (DESIGN decision
// 7). Structs and BTF come from one table, kernel_types.def.
//
// The current task is synthesized: itself, its group leader, its ancestors, and at the end a "swapper" that is its own
// parent, so that a walk along real_parent never leaves memory.
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "anybpf/base/types.hpp"

namespace anybpf::helpers {

namespace kernel_types {
#define ANYBPF_INT(cpp, name, encoding)
#define ANYBPF_TYPEDEF(name, target) using name = target;
#define ANYBPF_WRAPPED(name, type) \
    struct name {                  \
        type val;                  \
    };
#define ANYBPF_STRUCT(name) struct name {
#define ANYBPF_FIELD(type, name) type name;
#define ANYBPF_POINTER(type, name) type* name;
#define ANYBPF_ARRAY(type, name, count) type name[count];
#define ANYBPF_END(name) \
    }                    \
    ;
#include "anybpf/helpers/kernel_types.def"

// The kernel's ABI, where the table must meet it.
static_assert(sizeof(pt_regs) == 168 && offsetof(pt_regs, orig_ax) == 120 && offsetof(pt_regs, sp) == 152);
static_assert(sizeof(trace_entry) == 8 && offsetof(trace_event_raw_sys_enter, args) == 16);
static_assert(sizeof(trace_event_raw_sys_enter) == 64 && sizeof(trace_event_raw_sys_exit) == 24);
static_assert(offsetof(syscall_trace_enter, args) == 16 && offsetof(syscall_trace_exit, ret) == 16);
static_assert(sizeof(sockaddr_in) == 16 && offsetof(sockaddr_in, sin_addr) == 4);
}  // namespace kernel_types

using Task = kernel_types::task_struct;
using Cred = kernel_types::cred;

// The tasks that one thread's programs can reach. They point at each other: the object must not move once it is filled.
struct Tasks {
    static constexpr std::size_t max_ancestors =
        3;  // each costs reading a file; of a longer chain the rest is left out
    bool filled = false;
    u64 checked_ns = 0;  // when it was last asked who the parent is, on the coarse clock
    Task self{}, leader{}, swapper{};
    std::array<Task, max_ancestors> ancestors{};
    Cred cred{};
};

// Our vmlinux BTF: what /sys/kernel/btf/vmlinux answers here, and what btf_task pointers are of. Built on first use,
// constant afterwards.
std::span<const std::byte> own_vmlinux_btf();

}  // namespace anybpf::helpers

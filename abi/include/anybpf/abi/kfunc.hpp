// SPDX-License-Identifier: Apache-2.0
// Kernel functions that programs may call, as a contract: what abi/kfuncs.def says beside the kernel's BTF.
#pragma once

#include <string_view>

#include "anybpf/abi/types.hpp"
#include "anybpf/base/text.hpp"

namespace anybpf::abi {

namespace kfunc {
constexpr u16 none = 0;
constexpr u16 acquire = 1;          // what it returns has to be released
constexpr u16 release = 2;          // what it is given was acquired, and is gone
constexpr u16 ret_null = 4;         // may return null
constexpr u16 trusted = 8;          // takes only objects that the kernel vouches for
constexpr u16 sleepable = 16;       // may sleep
constexpr u16 rcu = 32;             // takes what RCU keeps, too
constexpr u16 iter_new = 64;        // begins an iterator, which is its first argument
constexpr u16 iter_next = 128;      // gives the iterator's next element, or null at the end
constexpr u16 iter_destroy = 256;   // ends it
constexpr u16 rcu_protected = 512;  // to be called inside an RCU section
constexpr u16 fastcall = 1024;      // keeps r1 to r5 where the compiler saved them
}  // namespace kfunc

enum class KfuncFor : u8 {
    all,
    generic,  // tracing, XDP, sched_cls, cgroups, struct_ops, syscall
    tracing,  // tracepoint, perf_event, tracing, lsm
    tracing_and_ops,
    iterators,
    kprobe_session,
    struct_ops,
    syscall,
    lsm,
    cgroups,
    packets,
    tc,
    sched_cls,
    sched_cls_xdp,
    tc_xdp,
    xdp,
};

struct Kfunc {
    Text<35> name;
    KfuncFor who;
    u16 flags;
    bool has(u16 wanted) const { return (flags & wanted) != 0; }
};

// Null where the table does not have it.
const Kfunc* find_kfunc(std::string_view name);
bool may_call(KfuncFor who, ProgType type, AttachType attach);

}  // namespace anybpf::abi

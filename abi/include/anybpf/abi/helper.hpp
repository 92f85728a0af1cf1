// SPDX-License-Identifier: Apache-2.0
// Helpers as a contract: their numbers, and what each takes and returns, for the verifier, the engines and the
// printers. The bodies live in helpers/.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "anybpf/abi/types.hpp"

namespace anybpf::abi {

enum class HelperId : u32 {
#define ANYBPF_HELPER_NAME(name, id) name = id,
#include "anybpf/abi/helper_names.def"
};
constexpr u32 helper_count = 212;  // __BPF_FUNC_MAX_ID of 6.18

enum class ArgKind : u8 {
    none,               // not an argument
    anything,           // any initialized value; a pointer only where the program type may leak one
    variadic,           // the same, or never set: whether it is used depends on the arguments before it
    const_map,          // a map, known when the program is loaded
    map_key,            // readable memory of the map's key size
    map_value,          // readable memory of the map's value size
    mem_read,           // readable memory, size in the next argument
    mem_read_or_null,   // the same, or zero
    mem_write,          // writable memory that need not be initialized, size in the next argument
    mem_write_or_null,  // the same, or zero
    size,               // bytes of the argument before it, known to be at least 1 and bounded
    size_or_zero,       // bytes of the argument before it, bounded
    alloc_size,         // a constant
    context,            // the program's context, unmodified
    ringbuf_record,     // what ringbuf_reserve gave, unmodified; the call releases it
    const_string,       // NUL-terminated text in a frozen read-only map
    callback,           // a subprogram, by a lddw of function kind
    stack_or_null,      // a pointer to the program's stack, or zero
    mem_update,         // initialized memory that is written, too, size in the next argument
    map_value_out,      // writable memory of the map's value size
    long_out,           // writable memory of 8 bytes, aligned
    map_value_or_null,  // readable memory of the map's value size, or zero
    // Pointers to objects of the kernel's BTF that it vouches for.
    btf_task,
    btf_task_or_null,
    btf_cgroup_or_null,
    btf_file,
    btf_path,
    btf_inode_or_null,
    btf_seq_file,
    btf_skb,
    btf_xdp,
    percpu_object,  // a variable of each CPU
    // Dynptrs, in two slots of the stack.
    dynptr,           // one that was initialized
    dynptr_ring,      // one over a ring buffer record, which is gone afterwards
    dynptr_out,       // a place for one, over the memory that is the first argument
    dynptr_ring_out,  // a place for one, over a ring buffer record
};

enum class RetKind : u8 {
    nothing,  // r0 is unreadable afterwards
    scalar,
    map_value_or_null,
    ringbuf_record_or_null,
    btf_task,  // a trusted pointer to the BTF struct task_struct
    btf_socket_or_null,
    btf_pt_regs,
    cpu_object,  // one CPU's variable
    cpu_object_or_null,
    dynptr_memory_or_null,
};

// Which programs may call a helper: a row of the function may_call().
enum class HelperFor : u8 {
    all,
    sleepable,      // all that may sleep
    tracing,        // and lsm, here and in the next three
    typed_tracing,  // those with typed arguments
    iterators,      // those that the kernel runs for each of its objects
    typed_calls,    // fentry, fexit and modify_return
    outputs,        // all but sk_reuseport, flow_dissector and netfilter
    clocked,        // all but tracing ones and some of cgroups
    skb_load,
    skb_load_relative,
    skb_change,
    skb_pull,
    tc,
    tc_xdp,
    tc_lwt,
    tc_lwt_xmit,
    tc_sk_skb,
    tc_cgroup_skb,
    redirecting,
    checksum,
    xdp,
    socket_cookie,
    socket_uid,
};
bool may_call(HelperFor who, ProgType type, AttachType attach);

enum class PacketUse : u8 {
    kept,
    arguments,  // its memory arguments may lie in the packet
    moved,      // the packet may be elsewhere afterwards: addresses in it are lost
};

struct HelperProto {
    HelperId id;
    HelperFor who;
    bool gpl_only;
    bool provided;  // has a body here
    PacketUse packet;
    RetKind returns;
    std::array<ArgKind, 5> args;
};

// The helper's contract, or nothing where it is not known.
const HelperProto* find_helper(u32 id);
// Whether programs that call it can run here.
bool provides_helper(u32 id);
// "map_lookup_elem"; "unknown" for a number that 6.18 does not have.
std::string_view helper_name(u32 id);
std::optional<HelperId> helper_by_name(std::string_view name);

}  // namespace anybpf::abi

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
#define ANYBPF_HELPER_NAME(name, id, major, minor) name = id,
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
    int_update,         // initialized memory of 4 bytes, aligned, that is written, too
    ipv4_header,        // readable memory of 20 bytes
    ipv6_header,        // of 40 bytes
    tcp_header,         // of 20 bytes
    context_or_null,
    sock_common,  // any socket that is not described by BTF
    any_sock,     // any socket
    any_sock_or_null,
    socket_or_null,  // a full socket
    released_sock,   // any socket with a reference of its own, which the call releases
    spin_lock,       // the lock in a map value
    timer,           // the timer in a map value
    kernel_object,   // a structure of the kernel described by BTF
    kernel_object_or_null,
    kptr_slot,          // where a map value keeps a pointer to a kernel object
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
    map_value,
    sock_common_or_null,  // of a lookup or a conversion: with the reference that the argument has, or one of its own
    socket_or_null,
    tcp_sock_or_null,
    cast_socket_or_null,  // a socket described by BTF
    kernel_object,
    kernel_object_or_null,
    btf_socket_or_null,
    btf_pt_regs,
    cpu_object,  // one CPU's variable
    cpu_object_or_null,
    dynptr_memory_or_null,
};

// Which programs may call a helper: a set of helper_users.def.
enum class HelperFor : u8 {
    all,
    nobody,  // where the kernel is locked down, or built without error injection
#define ANYBPF_HELPER_FOR(name, ...) name,
#include "anybpf/abi/helper_users.def"
};
bool may_call(HelperFor who, ProgType type, AttachType attach);
// With some attach type.
bool may_call(HelperFor who, ProgType type);

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
// The one that holds for programs of that type; for those that may not call it any.
const HelperProto* find_helper(u32 id, ProgType type, AttachType attach);
// Whether it may sleep, so that only programs that may, too, call it.
bool sleeps(HelperId id);
// Whether it gives -EFAULT and the like, or how many bytes of its buffer it has filled.
bool returns_length(HelperId id);
// Whether programs that call it can run here.
bool provides_helper(u32 id);
// "map_lookup_elem"; "unknown" for a number that 6.18 does not have.
std::string_view helper_name(u32 id);
std::optional<HelperId> helper_by_name(std::string_view name);

}  // namespace anybpf::abi

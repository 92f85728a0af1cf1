// SPDX-License-Identifier: Apache-2.0
// What each program type sees at the address in r1: abi/contexts.def as questions. And what it may do with the packet
// that it finds there, and may return.
#pragma once

#include <array>
#include <cstddef>
#include <optional>

#include "anybpf/abi/types.hpp"

namespace anybpf::abi {

// struct __sk_buff and struct xdp_md of <linux/bpf.h>.
struct SkBuff {
    u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto, priority, ingress_ifindex,
        ifindex, tc_index;
    std::array<u32, 5> cb;
    u32 hash, tc_classid, data, data_end, napi_id, family, remote_ip4, local_ip4;
    std::array<u32, 4> remote_ip6, local_ip6;
    u32 remote_port, local_port, data_meta;
    u64 flow_keys, tstamp;
    u32 wire_len, gso_segs;
    u64 sk;
    u32 gso_size;
    u8 tstamp_type;
    std::array<u8, 3> reserved;
    u64 hwtstamp;
};
struct XdpMd {
    u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};
static_assert(sizeof(SkBuff) == 192 && offsetof(SkBuff, data_meta) == 140 && sizeof(XdpMd) == 24);

enum class Yield : u8 {
    number,
    packet,
    packet_meta,
    packet_end,
    socket,  // a full one
    socket_or_null,
    sock_common_or_null,  // one that may be no full socket
    flow_keys,
    sk_buff,     // described by BTF
    hook_state,  // the same, netfilter's
    trace_buffer,
};
// Whether the context keeps an address for it that only Linux has.
constexpr bool is_kernel_address(Yield yields) {
    return yields != Yield::number && yields != Yield::packet && yields != Yield::packet_meta &&
           yields != Yield::packet_end;
}

// What a load of `size` bytes at `offset` of the context yields; nothing where the program may not load that.
std::optional<Yield> context_load(ProgType type, AttachType attach, i64 offset, u32 size);
bool context_store(ProgType type, AttachType attach, i64 offset, u32 size);
// Whether anything of the context may be written.
bool context_writable(ProgType type, AttachType attach);
// Types whose contexts the table knows.
bool knows_context(ProgType type);

// Sockets that are not described by BTF, and what a program may load of them.
enum class ObjectKind : u8 { sock_common, socket, tcp_sock, xdp_sock };
bool object_load(ObjectKind kind, i64 offset, u32 size);
constexpr u32 flow_keys_size = 56;  // struct bpf_flow_keys, which programs may load and store as they like

// Whether packet loads (LD_ABS, LD_IND) are for the type; whether it may write to a packet that it has addresses in.
bool loads_packets(ProgType type);
bool writes_packets(ProgType type);
// Whether it may pass such an address to a helper that takes (`helper_may`) or does not take those of packets.
bool passes_packets(ProgType type, bool helper_may);

// Where the context of a program that sees addresses of its packet has them here: behind the kernel's struct, whose own
// fields of 32 bits hold none. PacketAddresses of run.hpp lies there. Nothing for other types.
std::optional<u32> packet_addresses_at(ProgType type);

struct ReturnRange {
    i64 least, most;
};
// What a program must return; nothing where it may return any number.
std::optional<ReturnRange> return_range(ProgType type, AttachType attach);

}  // namespace anybpf::abi

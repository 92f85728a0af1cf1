// SPDX-License-Identifier: Apache-2.0
#include "anybpf/abi/context.hpp"

#include <array>

namespace anybpf::abi {
namespace {

enum class ContextFamily : u8 {
    skb,
    skb_mark,
    skb_tc,
    skb_packet,
    skb_addresses,
    skb_times,
    skb_cb,
    skb_set_mark,
    skb_set_priority,
    skb_set_tc_index,
    flow,
    xdp,
    xdp_devmap,
    registers,
    trace_record,
    raw_arguments,
    perf_event,
    sock,
    sock_made,
    sock_bound4,
    sock_bound6,
    address,
    address4,
    address6,
    address_sent4,
    address_sent6,
    device,
    sysctl,
    sock_ops,
    sk_msg,
    sk_reuseport,
    sk_lookup,
    sockopt,
    sockopt_get,
    sockopt_set,
    netfilter,
    writable_args,
    syscall,
    lirc,
    common_socket,
    full_socket,
    tcp_socket,
    xdp_socket,
};

constexpr u8 head = 16;

struct Row {
    ContextFamily family;
    u16 first, last;
    u8 reads, writes;
    Yield yields;
};
constexpr auto rows = std::to_array<Row>({
#define ANYBPF_CONTEXT(family, field, first, last, reads, writes, yields) \
    Row{ContextFamily::family, first, last, reads, writes, Yield::yields},
#include "anybpf/abi/contexts.def"
});

template <class... F>
constexpr u64 all_of(F... family) {
    return ((u64{1} << static_cast<u8>(family)) | ... | 0);
}

u64 families(ProgType type, AttachType attach) {
    using F = ContextFamily;
    using A = AttachType;
    switch (type) {
        case ProgType::socket_filter:
            return all_of(F::skb, F::skb_mark, F::skb_cb);
        case ProgType::sched_cls:
        case ProgType::sched_act:
            return all_of(F::skb, F::skb_mark, F::skb_tc, F::skb_packet, F::skb_times, F::skb_cb, F::skb_set_mark,
                          F::skb_set_priority, F::skb_set_tc_index);
        case ProgType::cgroup_skb:
            return all_of(F::skb, F::skb_mark, F::skb_packet, F::skb_addresses, F::skb_times, F::skb_cb,
                          F::skb_set_mark, F::skb_set_priority);
        case ProgType::lwt_in:
        case ProgType::lwt_out:
        case ProgType::lwt_xmit:
        case ProgType::lwt_seg6local:
            return all_of(F::skb, F::skb_mark, F::skb_packet, F::skb_cb, F::skb_set_mark, F::skb_set_priority);
        case ProgType::sk_skb:
            return all_of(F::skb, F::skb_packet, F::skb_addresses, F::skb_set_priority, F::skb_set_tc_index);
        case ProgType::flow_dissector:
            return all_of(F::flow);
        case ProgType::xdp:
            return all_of(F::xdp) | (attach == A::xdp_devmap ? all_of(F::xdp_devmap) : 0);
        case ProgType::kprobe:
            return all_of(F::registers);
        case ProgType::tracepoint:
            return all_of(F::trace_record);
        case ProgType::raw_tracepoint:
            return all_of(F::raw_arguments);
        case ProgType::perf_event:
            return all_of(F::perf_event);
        case ProgType::cgroup_sock:
            return all_of(F::sock) | (attach == A::cgroup_inet4_post_bind   ? all_of(F::sock_bound4)
                                      : attach == A::cgroup_inet6_post_bind ? all_of(F::sock_bound6)
                                                                            : all_of(F::sock_made));
        case ProgType::cgroup_sock_addr:
            // Those of UNIX sockets have none of the addresses.
            if (attach == A::cgroup_udp4_sendmsg) return all_of(F::address, F::address4, F::address_sent4);
            if (attach == A::cgroup_udp6_sendmsg) return all_of(F::address, F::address6, F::address_sent6);
            for (const A four : {A::cgroup_inet4_bind, A::cgroup_inet4_connect, A::cgroup_udp4_recvmsg,
                                 A::cgroup_inet4_getpeername, A::cgroup_inet4_getsockname})
                if (attach == four) return all_of(F::address, F::address4);
            for (const A six : {A::cgroup_inet6_bind, A::cgroup_inet6_connect, A::cgroup_udp6_recvmsg,
                                A::cgroup_inet6_getpeername, A::cgroup_inet6_getsockname})
                if (attach == six) return all_of(F::address, F::address6);
            return all_of(F::address);
        case ProgType::cgroup_device:
            return all_of(F::device);
        case ProgType::cgroup_sysctl:
            return all_of(F::sysctl);
        case ProgType::sock_ops:
            return all_of(F::sock_ops);
        case ProgType::sk_msg:
            return all_of(F::sk_msg);
        case ProgType::lirc_mode2:
            return all_of(F::lirc);
        case ProgType::sk_reuseport:
            return all_of(F::sk_reuseport);
        case ProgType::raw_tracepoint_writable:
            return all_of(F::writable_args);
        case ProgType::cgroup_sockopt:
            return all_of(F::sockopt, attach == A::cgroup_setsockopt ? F::sockopt_set : F::sockopt_get);
        case ProgType::sk_lookup:
            return all_of(F::sk_lookup);
        case ProgType::syscall:
            return all_of(F::syscall);
        case ProgType::netfilter:
            return all_of(F::netfilter);
        case ProgType::unspec:
        case ProgType::tracing:
        case ProgType::struct_ops:
        case ProgType::ext:
        case ProgType::lsm:
            break;
    }
    return 0;
}

const Row* find(u64 mine, i64 offset, u32 size, u8 Row::* sizes) {
    if (offset < 0 || offset % size != 0) return nullptr;
    for (const Row& row : rows) {
        if ((mine >> static_cast<u8>(row.family) & 1) == 0 || (row.*sizes & size) == 0) continue;
        if (offset < row.first || offset + size > row.last) continue;
        if ((row.*sizes & head) != 0 && offset % 4 != 0) continue;
        return &row;
    }
    return nullptr;
}

}  // namespace

std::optional<Yield> context_load(ProgType type, AttachType attach, i64 offset, u32 size) {
    const Row* row = find(families(type, attach), offset, size, &Row::reads);
    return row != nullptr ? std::optional(row->yields) : std::nullopt;
}

bool context_store(ProgType type, AttachType attach, i64 offset, u32 size) {
    return find(families(type, attach), offset, size, &Row::writes) != nullptr;
}

bool context_writable(ProgType type, AttachType attach) {
    const u64 mine = families(type, attach);
    for (const Row& row : rows)
        if ((mine >> static_cast<u8>(row.family) & 1) != 0 && row.writes != 0) return true;
    return false;
}

bool object_load(ObjectKind kind, i64 offset, u32 size) {
    using F = ContextFamily;
    constexpr std::array<u64, 4> of = {all_of(F::common_socket), all_of(F::common_socket, F::full_socket),
                                       all_of(F::tcp_socket), all_of(F::xdp_socket)};
    return find(of[static_cast<std::size_t>(kind)], offset, size, &Row::reads) != nullptr;
}

bool knows_context(ProgType type) { return families(type, AttachType{}) != 0; }

bool loads_packets(ProgType type) {
    return type == ProgType::socket_filter || type == ProgType::sched_cls || type == ProgType::sched_act;
}

bool writes_packets(ProgType type) {
    return type == ProgType::sched_cls || type == ProgType::sched_act || type == ProgType::xdp ||
           type == ProgType::lwt_xmit || type == ProgType::sk_skb || type == ProgType::sk_msg ||
           type == ProgType::cgroup_sockopt;
}

bool passes_packets(ProgType type, bool helper_may) {
    return type == ProgType::cgroup_sockopt || (helper_may && type != ProgType::sock_ops);
}

std::optional<u32> packet_addresses_at(ProgType type) {
    if (type == ProgType::xdp) return sizeof(XdpMd);
    if (type == ProgType::flow_dissector || (families(type, AttachType{}) & all_of(ContextFamily::skb_packet)) == 0)
        return std::nullopt;
    return sizeof(SkBuff);
}

std::optional<ReturnRange> return_range(ProgType type, AttachType attach) {
    using A = AttachType;
    const auto one_of = [&](auto... types) { return ((attach == types) || ...); };
    const auto is = [&](auto... types) { return ((type == types) || ...); };
    using P = ProgType;
    if (type == P::cgroup_skb) return ReturnRange{0, attach == A::cgroup_inet_egress ? 3 : 1};
    if (type == P::cgroup_sock_addr) {
        if (one_of(A::cgroup_udp4_recvmsg, A::cgroup_udp6_recvmsg, A::cgroup_inet4_getpeername,
                   A::cgroup_inet6_getpeername, A::cgroup_inet4_getsockname, A::cgroup_inet6_getsockname,
                   A::cgroup_unix_recvmsg, A::cgroup_unix_getpeername, A::cgroup_unix_getsockname))
            return ReturnRange{1, 1};
        return ReturnRange{0, one_of(A::cgroup_inet4_bind, A::cgroup_inet6_bind) ? 3 : 1};
    }
    if (is(P::cgroup_sock, P::cgroup_device, P::cgroup_sysctl, P::cgroup_sockopt, P::sock_ops, P::sk_lookup,
           P::netfilter))
        return ReturnRange{0, 1};
    return std::nullopt;
}

}  // namespace anybpf::abi

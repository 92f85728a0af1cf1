// SPDX-License-Identifier: Apache-2.0
// The program types whose contexts are known, with the attach types that make a difference to them.
#pragma once

#include <vector>

#include "anybpf/abi/types.hpp"

namespace anybpf::verifier::testing {

struct Kind {
    abi::ProgType type;
    abi::AttachType attach{};
    int returns = 0;  // what it may
    bool sleepable = false;
};

inline std::vector<Kind> kinds() {
    using P = abi::ProgType;
    using A = abi::AttachType;
    return {{P::socket_filter},
            {P::kprobe},
            {P::sched_cls},
            {P::sched_act},
            {P::tracepoint},
            {P::xdp},
            {P::xdp, A::xdp_devmap},
            {P::perf_event},
            {P::cgroup_skb, A::cgroup_inet_ingress},
            {P::cgroup_skb, A::cgroup_inet_egress},
            {P::cgroup_sock, A::cgroup_inet_sock_create},
            {P::cgroup_sock, A::cgroup_inet_sock_release},
            {P::cgroup_sock, A::cgroup_inet4_post_bind},
            {P::cgroup_sock, A::cgroup_inet6_post_bind},
            {P::lwt_in},
            {P::lwt_out},
            {P::lwt_xmit},
            {P::lwt_seg6local},
            {P::sk_skb, A::sk_skb_stream_parser},
            {P::sk_skb, A::sk_skb_stream_verdict},
            {P::cgroup_device, A::cgroup_device},
            {P::raw_tracepoint},
            {P::cgroup_sock_addr, A::cgroup_inet4_bind},
            {P::cgroup_sock_addr, A::cgroup_inet6_bind},
            {P::cgroup_sock_addr, A::cgroup_inet4_connect},
            {P::cgroup_sock_addr, A::cgroup_inet6_connect},
            {P::cgroup_sock_addr, A::cgroup_udp4_sendmsg},
            {P::cgroup_sock_addr, A::cgroup_udp6_sendmsg},
            {P::cgroup_sock_addr, A::cgroup_udp4_recvmsg, 1},
            {P::cgroup_sock_addr, A::cgroup_udp6_recvmsg, 1},
            {P::cgroup_sock_addr, A::cgroup_inet4_getpeername, 1},
            {P::flow_dissector, A::flow_dissector},
            {P::cgroup_sysctl, A::cgroup_sysctl},
            {P::cgroup_sock_addr, A::cgroup_inet6_getpeername, 1},
            {P::cgroup_sock_addr, A::cgroup_inet4_getsockname, 1},
            {P::cgroup_sock_addr, A::cgroup_inet6_getsockname, 1},
            {P::cgroup_sock_addr, A::cgroup_unix_connect},
            {P::cgroup_sock_addr, A::cgroup_unix_sendmsg},
            {P::cgroup_sock_addr, A::cgroup_unix_recvmsg, 1},
            {P::cgroup_sock_addr, A::cgroup_unix_getpeername, 1},
            {P::cgroup_sock_addr, A::cgroup_unix_getsockname, 1},
            {P::sk_skb, A::sk_skb_verdict},
            {P::sock_ops, A::cgroup_sock_ops},
            {P::sk_msg, A::sk_msg_verdict},
            {P::sk_lookup, A::sk_lookup},
            {P::sk_reuseport, A::sk_reuseport_select},
            {P::sk_reuseport, A::sk_reuseport_select_or_migrate},
            {P::cgroup_sockopt, A::cgroup_getsockopt},
            {P::cgroup_sockopt, A::cgroup_setsockopt},
            {P::netfilter, A::netfilter},
            {P::raw_tracepoint_writable},
            {P::syscall, {}, 0, true}};
}

}  // namespace anybpf::verifier::testing

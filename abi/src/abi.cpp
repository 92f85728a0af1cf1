// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <utility>

#include "anybpf/abi/helper.hpp"
#include "anybpf/abi/types.hpp"
#include "anybpf/base/text.hpp"

namespace anybpf::abi {
namespace {

constexpr auto protos = std::to_array<HelperProto>({
#define ANYBPF_PROTO(name, who, gpl, given, packet, returns, a1, a2, a3, a4, a5) \
    HelperProto{HelperId::name,                                                  \
                HelperFor::who,                                                  \
                gpl,                                                             \
                given,                                                           \
                PacketUse::packet,                                               \
                RetKind::returns,                                                \
                {ArgKind::a1, ArgKind::a2, ArgKind::a3, ArgKind::a4, ArgKind::a5}},
#define ANYBPF_HELPER(name, who, gpl, packet, returns, a1, a2, a3, a4, a5) \
    ANYBPF_PROTO(name, who, gpl, true, packet, returns, a1, a2, a3, a4, a5)
#define ANYBPF_ABSENT_HELPER(name, who, gpl, packet, returns, a1, a2, a3, a4, a5) \
    ANYBPF_PROTO(name, who, gpl, false, packet, returns, a1, a2, a3, a4, a5)
#include "anybpf/abi/helpers.def"
#undef ANYBPF_PROTO
});

constexpr auto proto_index = [] {
    std::array<u8, helper_count> index{};
    for (std::size_t i = 0; i < protos.size(); ++i) index[static_cast<u32>(protos[i].id)] = static_cast<u8>(i + 1);
    return index;
}();

constexpr auto names = texts<[] {
    return std::array<std::string_view, helper_count>{
        "unspec",
#define ANYBPF_HELPER_NAME(name, id) #name,
#include "anybpf/abi/helper_names.def"
    };
}>();
static_assert(names[helper_count - 1] == "cgrp_storage_delete");

}  // namespace

const HelperProto* find_helper(u32 id) {
    if (id >= helper_count || proto_index[id] == 0) return nullptr;
    return &protos[proto_index[id] - 1U];
}

bool provides_helper(u32 id) {
    const HelperProto* proto = find_helper(id);
    return proto != nullptr && proto->provided;
}

// After the func_proto functions of Linux 6.18, and what that kernel says to each type (live_kernel_test.cpp).
bool may_call(HelperFor who, ProgType type, AttachType attach) {
    using P = ProgType;
    const auto one_of = [&](auto... types) { return ((type == types) || ...); };
    const bool tc = one_of(P::sched_cls, P::sched_act);
    const bool lwt = one_of(P::lwt_in, P::lwt_out, P::lwt_xmit, P::lwt_seg6local);
    const bool xmit = type == P::lwt_xmit;
    switch (who) {
        case HelperFor::all:
        case HelperFor::sleepable:
            return true;
        case HelperFor::tracing:
            return is_tracing(type) || type == P::lsm;
        case HelperFor::typed_tracing:
            return one_of(P::tracing, P::lsm);
        case HelperFor::iterators:
            return type == P::tracing && attach == AttachType::trace_iter;
        case HelperFor::typed_calls:
            return type == P::lsm ||
                   (type == P::tracing && (attach == AttachType::trace_fentry || attach == AttachType::trace_fexit ||
                                           attach == AttachType::modify_return));
        case HelperFor::outputs:
            return !one_of(P::sk_reuseport, P::flow_dissector, P::netfilter);
        case HelperFor::clocked:
            return !is_tracing(type) && !one_of(P::cgroup_device, P::cgroup_sockopt, P::netfilter);
        case HelperFor::skb_load:
            return tc || lwt || one_of(P::socket_filter, P::cgroup_skb, P::sk_skb, P::sk_reuseport, P::flow_dissector);
        case HelperFor::skb_load_relative:
            return tc || one_of(P::socket_filter, P::cgroup_skb, P::sk_reuseport);
        case HelperFor::skb_change:
            return tc || xmit || type == P::sk_skb;
        case HelperFor::skb_pull:
            return tc || lwt || type == P::sk_skb;
        case HelperFor::tc:
            return tc;
        case HelperFor::tc_xdp:
            return tc || type == P::xdp;
        case HelperFor::tc_lwt:
            return tc || lwt;
        case HelperFor::tc_lwt_xmit:
            return tc || xmit;
        case HelperFor::tc_sk_skb:
            return tc || type == P::sk_skb;
        case HelperFor::tc_cgroup_skb:
            return tc || type == P::cgroup_skb;
        case HelperFor::redirecting:
            return tc || xmit || type == P::xdp;
        case HelperFor::checksum:
            return tc || lwt || type == P::xdp;
        case HelperFor::xdp:
            return type == P::xdp;
        case HelperFor::socket_cookie:
            return tc || one_of(P::socket_filter, P::cgroup_skb, P::cgroup_sock, P::sock_ops, P::sk_skb,
                                P::cgroup_sock_addr, P::sk_reuseport);
        case HelperFor::socket_uid:
            return tc || one_of(P::socket_filter, P::cgroup_skb, P::sk_skb);
    }
    return false;
}

std::string_view helper_name(u32 id) { return id > 0 && id < helper_count ? names[id] : "unknown"; }

std::optional<HelperId> helper_by_name(std::string_view name) {
    for (u32 id = 1; id < helper_count; ++id)
        if (names[id] == name) return static_cast<HelperId>(id);
    return std::nullopt;
}

std::string_view to_string(MapType type) {
    switch (type) {
#define ANYBPF_MAP_TYPE(name, value) \
    case MapType::name:              \
        return #name;
#include "anybpf/abi/map_types.def"
    }
    return "unknown";
}

std::string_view to_string(ProgType type) {
    switch (type) {
#define ANYBPF_PROG_TYPE(name, value) \
    case ProgType::name:              \
        return #name;
#include "anybpf/abi/prog_types.def"
    }
    return "unknown";
}

std::string_view to_string(AttachType type) {
    switch (type) {
#define ANYBPF_ATTACH_TYPE(name, value) \
    case AttachType::name:              \
        return #name;
#include "anybpf/abi/attach_types.def"
    }
    return "unknown";
}

}  // namespace anybpf::abi

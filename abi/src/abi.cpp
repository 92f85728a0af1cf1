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
});

constexpr auto variants = std::to_array<HelperProto>({
#define ANYBPF_HELPER(...)
#define ANYBPF_HELPER_VARIANT(name, who, gpl, packet, returns, a1, a2, a3, a4, a5) \
    ANYBPF_PROTO(name, who, gpl, false, packet, returns, a1, a2, a3, a4, a5)
#include "anybpf/abi/helpers.def"
#undef ANYBPF_PROTO
});

// Bit t for program type t.
constexpr auto users = [] {
    using enum ProgType;
    const auto set = [](auto... types) { return ((u64{1} << static_cast<u32>(types)) | ... | u64{0}); };
    return std::to_array<u64>({
        ~u64{0},
        0,
#define ANYBPF_HELPER_FOR(name, ...) set(__VA_ARGS__),
#include "anybpf/abi/helper_users.def"
    });
}();

constexpr auto proto_index = [] {
    std::array<u8, helper_count> index{};
    for (std::size_t i = 0; i < protos.size(); ++i) index[static_cast<u32>(protos[i].id)] = static_cast<u8>(i + 1);
    return index;
}();

constexpr auto names = texts<[] {
    return std::array<std::string_view, helper_count>{
        "unspec",
#define ANYBPF_HELPER_NAME(name, id, major, minor) #name,
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

const HelperProto* find_helper(u32 id, ProgType type, AttachType attach) {
    for (const HelperProto& variant : variants)
        if (static_cast<u32>(variant.id) == id && may_call(variant.who, type, attach)) return &variant;
    return find_helper(id);
}

bool sleeps(HelperId id) {
    return id == HelperId::copy_from_user || id == HelperId::copy_from_user_task || id == HelperId::ima_inode_hash ||
           id == HelperId::ima_file_hash;
}

bool returns_length(HelperId id) {
    return id == HelperId::probe_read_str || id == HelperId::probe_read_user_str ||
           id == HelperId::probe_read_kernel_str || id == HelperId::get_stack || id == HelperId::get_task_stack;
}

bool may_call(HelperFor who, ProgType type) {
    return (users[static_cast<std::size_t>(who)] >> static_cast<u32>(type) & 1) != 0;
}

// After the func_proto functions of Linux 6.18, and what that kernel says to each type (live_packet_test.cpp).
bool may_call(HelperFor who, ProgType type, AttachType attach) {
    using A = AttachType;
    if (!may_call(who, type)) return false;
    const auto at = [&](auto... types) { return ((attach == types) || ...); };
    const bool trampoline = at(A::trace_fentry, A::trace_fexit, A::modify_return);
    if (type == ProgType::cgroup_sockopt && (who == HelperFor::socket_options || who == HelperFor::cgroup_sockopt))
        return at(A::cgroup_setsockopt);
    if (type == ProgType::cgroup_sock_addr && who == HelperFor::binding)
        return at(A::cgroup_inet4_connect, A::cgroup_inet6_connect);
    if (who == HelperFor::cgroup_results) {
        // What only tells of something has no result. cgroup_inet_ingress is how a program of sockets says nothing.
        if (type == ProgType::cgroup_sock || type == ProgType::lsm) return true;
        return !at(A::cgroup_inet_ingress, A::cgroup_inet_egress, A::cgroup_sock_ops, A::cgroup_udp4_recvmsg,
                   A::cgroup_udp6_recvmsg, A::cgroup_unix_recvmsg, A::cgroup_inet4_getpeername,
                   A::cgroup_inet6_getpeername, A::cgroup_unix_getpeername, A::cgroup_inet4_getsockname,
                   A::cgroup_inet6_getsockname, A::cgroup_unix_getsockname);
    }
    if (type != ProgType::tracing) return true;
    if (who == HelperFor::iterators) return at(A::trace_iter);
    if (who == HelperFor::attach_cookie) return trampoline || at(A::trace_raw_tp);
    if (who == HelperFor::traced_function || who == HelperFor::probed_function) return trampoline;
    return who != HelperFor::traced_return || at(A::trace_fexit, A::modify_return);
}

std::string_view helper_name(u32 id) { return id > 0 && id < helper_count ? names[id] : "unknown"; }

std::optional<HelperId> helper_by_name(std::string_view name) {
    for (u32 id = 1; id < helper_count; ++id)
        if (names[id] == name) return static_cast<HelperId>(id);
    return std::nullopt;
}

std::string_view to_string(MapType type) {
    switch (type) {
#define ANYBPF_MAP_TYPE(name, value, major, minor, inside) \
    case MapType::name:                                    \
        return #name;
#include "anybpf/abi/map_types.def"
    }
    return "unknown";
}

std::string_view kernel_struct(MapType type) {
    switch (type) {
#define ANYBPF_MAP_TYPE(name, value, major, minor, inside) \
    case MapType::name:                                    \
        return #inside;
#include "anybpf/abi/map_types.def"
    }
    return "bpf_map";
}

std::string_view to_string(ProgType type) {
    switch (type) {
#define ANYBPF_PROG_TYPE(name, value, major, minor) \
    case ProgType::name:                            \
        return #name;
#include "anybpf/abi/prog_types.def"
    }
    return "unknown";
}

std::string_view to_string(AttachType type) {
    switch (type) {
#define ANYBPF_ATTACH_TYPE(name, value, major, minor) \
    case AttachType::name:                            \
        return #name;
#include "anybpf/abi/attach_types.def"
    }
    return "unknown";
}

}  // namespace anybpf::abi

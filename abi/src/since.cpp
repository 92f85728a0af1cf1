// SPDX-License-Identifier: Apache-2.0
#include "anybpf/abi/since.hpp"

#include <algorithm>
#include <charconv>

namespace anybpf::abi {

namespace {

struct KfuncRow {
    std::string_view name;
    KernelVersion since;
};
constexpr KfuncRow kfuncs[] = {
#define ANYBPF_KFUNC(name, major, minor) {#name, {major, minor}},
#include "anybpf/abi/kfunc_since.def"
};
static_assert(std::ranges::is_sorted(kfuncs, {}, &KfuncRow::name));

// The last minor number of each major one that is judged.
constexpr KernelVersion last_of_five = {5, 19};
static_assert(long_term_kernels.back() == reference_kernel);

bool sees_skb(ProgType type) {
    for (const ProgType skb :
         {ProgType::socket_filter, ProgType::sched_cls, ProgType::sched_act, ProgType::cgroup_skb, ProgType::lwt_in,
          ProgType::lwt_out, ProgType::lwt_xmit, ProgType::lwt_seg6local, ProgType::sk_skb, ProgType::flow_dissector})
        if (type == skb) return true;
    return false;
}

}  // namespace

std::string to_string(KernelVersion version) {
    return std::to_string(version.major) + "." + std::to_string(version.minor);
}

std::optional<KernelVersion> kernel_version(std::string_view text) {
    KernelVersion version;
    const char *const begin = text.data(), *const end = begin + text.size();
    const auto major = std::from_chars(begin, end, version.major);
    if (major.ec != std::errc() || major.ptr == end || *major.ptr != '.') return std::nullopt;
    const auto minor = std::from_chars(major.ptr + 1, end, version.minor);
    if (minor.ec != std::errc() || minor.ptr != end || to_string(version) != text) return std::nullopt;
    const bool known = version >= long_term_kernels.front() && version <= reference_kernel &&
                       (version.major != last_of_five.major || version <= last_of_five);
    return known ? std::optional(version) : std::nullopt;
}

std::string_view to_string(Feature feature) {
    switch (feature) {
#define ANYBPF_FEATURE(name, major, minor, words) \
    case Feature::name:                           \
        return words;
#include "anybpf/abi/since.def"
    }
    return "unknown";
}

KernelVersion since(Feature feature) {
    switch (feature) {
#define ANYBPF_FEATURE(name, major, minor, words) \
    case Feature::name:                           \
        return {major, minor};
#include "anybpf/abi/since.def"
    }
    return never;
}

KernelVersion since(MapType type) {
    switch (type) {
#define ANYBPF_MAP_TYPE(name, value, major, minor, inside) \
    case MapType::name:                                    \
        return {major, minor};
#include "anybpf/abi/map_types.def"
    }
    return never;
}

KernelVersion since(ProgType type) {
    switch (type) {
#define ANYBPF_PROG_TYPE(name, value, major, minor) \
    case ProgType::name:                            \
        return {major, minor};
#include "anybpf/abi/prog_types.def"
    }
    return never;
}

KernelVersion since(AttachType type) {
    switch (type) {
#define ANYBPF_ATTACH_TYPE(name, value, major, minor) \
    case AttachType::name:                            \
        return {major, minor};
#include "anybpf/abi/attach_types.def"
    }
    return never;
}

KernelVersion since(HelperId helper) {
    switch (helper) {
#define ANYBPF_HELPER_NAME(name, id, major, minor) \
    case HelperId::name:                           \
        return {major, minor};
#include "anybpf/abi/helper_names.def"
    }
    return never;
}

KernelVersion since(HelperId helper, ProgType type) {
    struct Row {
        HelperId helper;
        KernelVersion since;
    };
    struct PairRow {
        HelperId helper;
        ProgType type;
        KernelVersion since;
    };
    static constexpr PairRow pairs[] = {
#define ANYBPF_HELPER_FOR(helper, type, major, minor) {HelperId::helper, ProgType::type, {major, minor}},
#include "anybpf/abi/since.def"
    };
    static constexpr Row outside_tracing[] = {
#define ANYBPF_HELPER_OUTSIDE_TRACING(helper, major, minor) {HelperId::helper, {major, minor}},
#include "anybpf/abi/since.def"
    };
    static constexpr Row widely[] = {
#define ANYBPF_HELPER_WIDELY(helper, major, minor) {HelperId::helper, {major, minor}},
#include "anybpf/abi/since.def"
    };
    for (const PairRow& row : pairs)
        if (row.helper == helper && row.type == type) return row.since;
    const bool traces = is_tracing(type) || type == ProgType::lsm || type == ProgType::syscall;
    for (const Row& row : outside_tracing)
        if (row.helper == helper && !traces) return row.since;
    for (const Row& row : widely)
        if (row.helper == helper) return row.since;
    return since(helper);
}

std::optional<HelperId> stand_in(HelperId helper) {
    struct Pair {
        HelperId helper, stand_in;
    };
    static constexpr Pair pairs[] = {
#define ANYBPF_HELPER_STAND_IN(helper, stand_in) {HelperId::helper, HelperId::stand_in},
#include "anybpf/abi/since.def"
    };
    for (const Pair& row : pairs)
        if (row.helper == helper) return row.stand_in;
    return std::nullopt;
}

KernelVersion sleepable_since(ProgType type, AttachType attach) {
#define ANYBPF_SLEEPABLE(type_, attach_, major, minor) \
    if (type == ProgType::type_ && attach == AttachType::attach_) return {major, minor};
#define ANYBPF_SLEEPABLE_TYPE(type_, major, minor) \
    if (type == ProgType::type_) return {major, minor};
#include "anybpf/abi/since.def"
    return never;
}

std::optional<KernelVersion> kfunc_since(std::string_view name) {
    const auto* row = std::ranges::lower_bound(kfuncs, name, {}, &KfuncRow::name);
    return row != std::end(kfuncs) && row->name == name ? std::optional(row->since) : std::nullopt;
}

std::optional<NamedSince> map_flags_since(u32 flags) {
    std::optional<NamedSince> latest;
    const auto add = [&](unsigned bit, KernelVersion since, std::string_view name) {
        if ((flags >> bit & 1) != 0 && (!latest || since > latest->since)) latest = NamedSince{since, name};
    };
#define ANYBPF_MAP_FLAG(bit, major, minor, name) add(bit, {major, minor}, name);
#include "anybpf/abi/since.def"
    return latest;
}

std::optional<NamedSince> context_since(ProgType type, i64 offset, u32 size) {
    if (!sees_skb(type)) return std::nullopt;
#define ANYBPF_SKB_FIELD(first, past, major, minor, words) \
    if (offset < (past) && offset + i64{size} > (first)) return NamedSince{{major, minor}, words};
#include "anybpf/abi/since.def"
    return std::nullopt;
}

}  // namespace anybpf::abi

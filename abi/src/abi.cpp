// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <utility>

#include "anybpf/abi/helper.hpp"
#include "anybpf/abi/types.hpp"
#include "anybpf/base/text.hpp"

namespace anybpf::abi {
namespace {

constexpr auto protos = std::to_array<HelperProto>({
#define ANYBPF_HELPER(name, who, gpl, returns, a1, a2, a3, a4, a5) \
    HelperProto{HelperId::name,                                    \
                HelperFor::who,                                    \
                gpl,                                               \
                RetKind::returns,                                  \
                {ArgKind::a1, ArgKind::a2, ArgKind::a3, ArgKind::a4, ArgKind::a5}},
#include "anybpf/abi/helpers.def"
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

// SPDX-License-Identifier: Apache-2.0
#include "maps.hpp"

#include "object_programs.hpp"

namespace anybpf::verdicts {
namespace {

using abi::MapType;

program::MapInfo map(MapType type, u32 key, u32 value, u32 entries, u32 flags = 0) {
    return {.id = 1,
            .type = type,
            .key_size = key,
            .value_size = value,
            .max_entries = entries,
            .flags = flags,
            .name = std::string(abi::to_string(type)),
            .frozen = {}};
}

program::MapInfo of_maps(MapType type) {
    program::MapInfo out = map(type, 4, 4, 4);
    out.inner = std::make_shared<program::MapInfo>(map(MapType::array, 4, 48, 2));
    return out;
}

// Values of local storage are described by BTF.
program::MapInfo storage(MapType type) {
    program::MapInfo out = map(type, 4, 8, 0, abi::map_no_prealloc);
    btf::Builder builder;
    out.btf_key_type_id = builder.add_int("int", 4, btf::IntEncoding::signed_);
    out.btf_value_type_id = builder.add_int("long", 8, btf::IntEncoding::signed_);
    auto parsed = btf::Btf::parse(builder.finish());
    if (parsed) out.btf = *parsed;
    return out;
}

// Values that hold a lock or a timer.
program::MapInfo holding(std::string name, MapType type, u32 value, u32 type_id) {
    program::MapInfo out = map(type, 4, value, 4);
    const auto& types = verifier::testing::value_types();
    out.name = std::move(name);
    out.btf = types.btf, out.btf_key_type_id = types.number, out.btf_value_type_id = type_id;
    return out;
}

}  // namespace

std::vector<program::MapInfo> every_map() {
    const auto& types = verifier::testing::value_types();
    auto out = verifier::testing::maps();
    for (const auto& more : {map(MapType::percpu_hash, 4, 24, 4),
                             map(MapType::percpu_array, 4, 32, 4),
                             map(MapType::lru_hash, 8, 64, 4),
                             map(MapType::lru_percpu_hash, 4, 16, 64),
                             map(MapType::lpm_trie, 8, 16, 4, abi::map_no_prealloc),
                             map(MapType::stack_trace, 4, 64, 4),
                             map(MapType::queue, 0, 16, 4),
                             map(MapType::stack, 0, 8, 4),
                             map(MapType::bloom_filter, 0, 8, 4),
                             map(MapType::cgroup_array, 4, 4, 4),
                             map(MapType::devmap, 4, 4, 4),
                             map(MapType::devmap_hash, 4, 8, 4),
                             map(MapType::cpumap, 4, 4, 2),
                             map(MapType::xskmap, 4, 4, 4),
                             map(MapType::sockmap, 4, 4, 4),
                             map(MapType::sockhash, 4, 4, 4),
                             map(MapType::reuseport_sockarray, 4, 8, 4),
                             map(MapType::cgroup_storage, 8, 16, 0),
                             map(MapType::percpu_cgroup_storage, 8, 16, 0),
                             map(MapType::user_ringbuf, 0, 0, 4096),
                             map(MapType::arena, 0, 0, 4, abi::map_mmapable),
                             of_maps(MapType::array_of_maps),
                             of_maps(MapType::hash_of_maps),
                             storage(MapType::sk_storage),
                             storage(MapType::inode_storage),
                             storage(MapType::task_storage),
                             storage(MapType::cgrp_storage),
                             holding("locked", MapType::hash, 16, types.locked),
                             holding("timed", MapType::array, 24, types.timed),
                             map(MapType::array, 4, 64, 16)})
        out.push_back(more);
    return out;
}

}  // namespace anybpf::verdicts

// SPDX-License-Identifier: Apache-2.0
// For the tests of maps: a table of virtual CPUs and maps in shared memory, and keys and values as plain objects.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vector>

#include "anybpf/base/fd.hpp"
#include "anybpf/maps/map.hpp"

namespace anybpf::maps::testing {

inline Fd memory_file(std::size_t size) {
    Fd fd(::memfd_create("anybpf-test", MFD_CLOEXEC));
    EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size)), 0);
    return fd;
}

// Memory that forked children share.
inline std::span<std::byte> shared_memory(std::size_t size) {
    const Fd fd = memory_file(size);
    return Mapping::shared(fd.get(), size, Access::read_write).value().release();
}

inline VcpuTable make_table(u32 slots = VcpuTable::default_slots) {
    const auto memory = shared_memory(VcpuTable::bytes(slots));
    VcpuTable::format(memory, slots);
    return VcpuTable::open(memory).value();
}

inline Spec spec_of(abi::MapType type, u32 key, u32 value, u32 entries, u32 flags = 0) {
    Spec spec;
    spec.type = type;
    spec.key_size = key;
    spec.value_size = value;
    spec.max_entries = entries;
    spec.flags = flags;
    return spec;
}

// The mapping is left to the process: maps of tests live as long as it.
inline std::unique_ptr<Map> make_map(const Spec& spec, VcpuTable table, u32 id = 7) {
    const auto size = Map::file_size(spec, table.count());
    EXPECT_TRUE(size) << size.error().message;
    if (!size) return nullptr;
    const Fd fd = memory_file(*size);
    const Mapping flat = Mapping::shared(fd.get(), *size, Access::read_write).value();
    EXPECT_TRUE(Map::format(flat.bytes(), spec, id, table.count()));
    auto map = Map::open(map_file(fd.get()).value().release(), table);
    EXPECT_TRUE(map) << map.error().message;
    return map ? std::move(*map) : nullptr;
}

template <class Value, class Key>
Value* find(Map& map, const Key& key, u32 vcpu = 0) {
    return static_cast<Value*>(map.lookup(&key, vcpu));
}
template <class Key, class Value>
int put(Map& map, const Key& key, const Value& value, u64 flags = 0, u32 vcpu = 0) {
    return map.update(&key, &value, flags, vcpu);
}
template <class Key>
int take(Map& map, const Key& key, u32 vcpu = 0) {
    return map.erase(&key, vcpu);
}
template <class Key>
std::vector<Key> keys_of(Map& map) {
    std::vector<Key> keys;
    Key key{};
    for (int error = map.next_key(nullptr, &key); error == 0; error = map.next_key(&key, &key)) {
        keys.push_back(key);
        if (keys.size() > map.spec().max_entries) break;
    }
    return keys;
}

}  // namespace anybpf::maps::testing

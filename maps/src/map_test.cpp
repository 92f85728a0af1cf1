// SPDX-License-Identifier: Apache-2.0
// What every map type does with one writer, errno by errno; and what many threads add up to.
#include <cerrno>
#include <cstring>
#include <set>
#include <thread>

#include "testing.hpp"

namespace anybpf::maps {
namespace {
using namespace testing;
using abi::MapType;

int refusal(const Spec& spec) {
    const auto size = Map::file_size(spec, 64);
    return size ? 0 : size.error().sys_errno;
}

TEST(MapCreate, RefusesAsTheKernelDoes) {
    EXPECT_EQ(refusal(spec_of(MapType::array, 4, 8, 1)), 0);
    EXPECT_EQ(refusal(spec_of(MapType::array, 8, 8, 1)), EINVAL);
    EXPECT_EQ(refusal(spec_of(MapType::array, 4, 0, 1)), EINVAL);
    EXPECT_EQ(refusal(spec_of(MapType::array, 4, 8, 0)), EINVAL);
    EXPECT_EQ(refusal(spec_of(MapType::array, 4, 0x80000000, 1)), E2BIG);
    EXPECT_EQ(refusal(spec_of(MapType::array, 4, 8, 1, abi::map_no_prealloc)), EINVAL);
    EXPECT_EQ(refusal(spec_of(MapType::array, 4, 8, 1, abi::map_mmapable | abi::map_rdonly_prog)), 0);
    EXPECT_EQ(refusal(spec_of(MapType::array, 4, 8, 1, abi::map_wronly_prog | abi::map_rdonly_prog)), EINVAL);
    EXPECT_EQ(refusal(spec_of(MapType::array, 4, 8, 1, abi::map_rdonly | abi::map_wronly)), EINVAL);
    EXPECT_EQ(refusal(spec_of(MapType::array, 4, 1U << 30, 1U << 31)), ENOMEM);
    EXPECT_EQ(refusal(spec_of(MapType::percpu_array, 4, 8, 1, abi::map_mmapable)), EINVAL);
    EXPECT_EQ(refusal(spec_of(MapType::percpu_array, 4, 32769, 1)), E2BIG);
    EXPECT_EQ(refusal(spec_of(MapType::percpu_array, 4, 32768, 1)), 0);
    EXPECT_EQ(refusal(spec_of(MapType::hash, 0, 8, 1)), EINVAL);
    EXPECT_EQ(refusal(spec_of(MapType::hash, 8, 8, 1, abi::map_no_prealloc)), 0);
    EXPECT_EQ(refusal(spec_of(MapType::hash, 8, 8, 1, abi::map_mmapable)), EINVAL);
    EXPECT_EQ(refusal(spec_of(MapType::hash, 8, 4U << 20, 1)), E2BIG);
    EXPECT_EQ(refusal(spec_of(MapType::hash, 8, 8, ~0U)), E2BIG);
    EXPECT_EQ(refusal(spec_of(MapType::hash, 8, 4096, 1U << 30)), ENOMEM);
    EXPECT_EQ(refusal(spec_of(MapType::percpu_hash, 8, 32769, 1)), E2BIG);
    EXPECT_EQ(refusal(spec_of(MapType::prog_array, 4, 4, 1)), 0);
    EXPECT_EQ(refusal(spec_of(MapType::prog_array, 4, 8, 1)), EINVAL);
    EXPECT_EQ(refusal(spec_of(MapType::perf_event_array, 4, 4, 1, abi::map_rdonly_prog)), EINVAL);
    EXPECT_EQ(refusal(spec_of(MapType::ringbuf, 0, 0, 4096)), 0);
    EXPECT_EQ(refusal(spec_of(MapType::ringbuf, 0, 0, 4096 * 3)), EINVAL);
    EXPECT_EQ(refusal(spec_of(MapType::ringbuf, 0, 0, 2048)), EINVAL);
    EXPECT_EQ(refusal(spec_of(MapType::ringbuf, 4, 0, 4096)), EINVAL);
    EXPECT_EQ(refusal(spec_of(MapType::lpm_trie, 8, 8, 1)), EINVAL);
}

TEST(MapFile, OpenChecksWhatItReliesOn) {
    const auto table = make_table(2);
    const auto spec = spec_of(MapType::hash, 8, 8, 100);
    const auto size = Map::file_size(spec, 2).value();
    const auto memory = shared_memory(size);
    EXPECT_FALSE(Map::open(memory, table));  // not formatted
    ASSERT_TRUE(Map::format(memory, spec, 42, 2));
    EXPECT_FALSE(Map::format(memory.first(size - 4096), spec, 42, 2));
    EXPECT_TRUE(Map::open(memory, table));
    EXPECT_FALSE(Map::open(memory, make_table(3)));
    EXPECT_FALSE(Map::open(memory.subspan(4096), table));  // the front is missing
    EXPECT_FALSE(Map::open(memory.first(0), table));
}

TEST(MapFile, TheHeaderKeepsTheSpec) {
    const auto table = make_table(2);
    Spec spec = spec_of(MapType::hash, 8, 24, 100, abi::map_no_prealloc);
    std::strcpy(spec.name.data(), "fifteen_letters");
    spec.btf_id = 5;
    spec.btf_key_type_id = 6;
    spec.btf_value_type_id = 7;
    const auto map = make_map(spec, table, 42);
    EXPECT_EQ(map->id(), 42U);
    EXPECT_EQ(map->spec().type, MapType::hash);
    EXPECT_EQ(map->spec().value_size, 24U);
    EXPECT_EQ(map->spec().flags, abi::map_no_prealloc);
    EXPECT_STREQ(map->spec().name.data(), "fifteen_letters");
    EXPECT_EQ(map->spec().btf_id, 5U);
    EXPECT_EQ(map->spec().btf_key_type_id, 6U);
    EXPECT_EQ(map->spec().btf_value_type_id, 7U);
}

TEST(Array, LookupUpdateDelete) {
    const auto map = make_map(spec_of(MapType::array, 4, 12, 3), make_table());
    using Value = std::array<u32, 3>;
    EXPECT_EQ(map->values(), static_cast<void*>(find<Value>(*map, u32{0})));
    EXPECT_EQ(static_cast<std::byte*>(map->lookup(std::array<u32, 1>{2}.data(), 0)) - map->values(), 32);
    EXPECT_EQ(find<Value>(*map, u32{3}), nullptr);
    EXPECT_EQ(put(*map, u32{1}, Value{7, 8, 9}), 0);
    EXPECT_EQ(*find<Value>(*map, u32{1}), (Value{7, 8, 9}));
    EXPECT_EQ(put(*map, u32{1}, Value{}, abi::update_noexist), -EEXIST);
    EXPECT_EQ(put(*map, u32{1}, Value{}, abi::update_exist), 0);
    EXPECT_EQ(put(*map, u32{1}, Value{}, 3), -EINVAL);
    EXPECT_EQ(put(*map, u32{3}, Value{}), -E2BIG);
    EXPECT_EQ(take(*map, u32{1}), -EINVAL);
    EXPECT_EQ(keys_of<u32>(*map), (std::vector<u32>{0, 1, 2}));
    u32 next = 9;
    const u32 beyond = 77;
    EXPECT_EQ(map->next_key(&beyond, &next), 0);
    EXPECT_EQ(next, 0U);
}

TEST(Array, FrozenRefusesTheSystemCallOnly) {
    const auto map = make_map(spec_of(MapType::array, 4, 4, 1), make_table());
    const u32 key = 0;
    std::array<std::byte, 4> value{};
    EXPECT_EQ(map->copy_in(&key, value, 0, 0), 0);
    map->freeze();
    EXPECT_TRUE(map->frozen());
    EXPECT_EQ(map->copy_in(&key, value, 0, 0), -EPERM);
    EXPECT_EQ(map->copy_out(&key, value, 0), 0);
    EXPECT_EQ(put(*map, key, u32{5}), 0);
}

TEST(PercpuArray, EachCpuHasItsValue) {
    const auto map = make_map(spec_of(MapType::percpu_array, 4, 4, 2), make_table(4));
    EXPECT_EQ(map->syscall_value_size(), 32U);
    for (u32 vcpu = 0; vcpu < 4; ++vcpu) EXPECT_EQ(put(*map, u32{1}, u32{100 + vcpu}, 0, vcpu), 0);
    const u32 key = 1;
    std::array<u64, 4> all{};
    EXPECT_EQ(map->copy_out(&key, std::as_writable_bytes(std::span(all)), 0), 0);
    EXPECT_EQ(all, (std::array<u64, 4>{100, 101, 102, 103}));
    all = {1, 2, 3, 4};
    EXPECT_EQ(map->copy_in(&key, std::as_bytes(std::span(all)), 0, 0), 0);
    EXPECT_EQ(*find<u32>(*map, key, 2), 3U);
    EXPECT_EQ(map->copy_in(&key, std::as_bytes(std::span(all)).first(8), 0, 0), -EINVAL);
    EXPECT_EQ(map->copy_in(&key, std::as_bytes(std::span(all)), abi::update_noexist, 0), -EEXIST);
    EXPECT_EQ(take(*map, key), -EINVAL);
    EXPECT_EQ(find<u32>(*map, u32{2}, 0), nullptr);
}

TEST(ObjectArray, HoldsIds) {
    const auto map = make_map(spec_of(MapType::prog_array, 4, 4, 2), make_table());
    u32 out = 0;
    const u32 key = 1, beyond = 2;
    const auto bytes = std::as_writable_bytes(std::span(&out, 1));
    EXPECT_EQ(map->copy_out(&key, bytes, 0), -ENOENT);
    EXPECT_EQ(put(*map, key, u32{33}), 0);
    EXPECT_EQ(map->copy_out(&key, bytes, 0), 0);
    EXPECT_EQ(out, 33U);
    EXPECT_EQ(*find<u32>(*map, key), 33U);
    EXPECT_EQ(put(*map, key, u32{33}, abi::update_exist), -EINVAL);
    EXPECT_EQ(put(*map, beyond, u32{33}), -E2BIG);
    EXPECT_EQ(map->copy_out(&beyond, bytes, 0), -ENOENT);
    EXPECT_EQ(take(*map, key), 0);
    EXPECT_EQ(take(*map, key), -ENOENT);
    EXPECT_EQ(take(*map, beyond), -E2BIG);
    const auto events = make_map(spec_of(MapType::perf_event_array, 4, 4, 2), make_table());
    EXPECT_EQ(put(*events, key, u32{5}), 0);
    EXPECT_EQ(*find<u32>(*events, key), 5U);
    EXPECT_EQ(events->copy_out(&key, bytes, 0), -524);
}

class HashMaps : public ::testing::TestWithParam<MapType> {};
INSTANTIATE_TEST_SUITE_P(Types, HashMaps, ::testing::Values(MapType::hash, MapType::percpu_hash),
                         [](const auto& type) { return std::string(abi::to_string(type.param)); });

TEST_P(HashMaps, LookupUpdateDelete) {
    const auto map = make_map(spec_of(GetParam(), 8, 8, 3), make_table(4));
    EXPECT_EQ(find<u64>(*map, u64{1}), nullptr);
    EXPECT_EQ(take(*map, u64{1}), -ENOENT);
    EXPECT_EQ(put(*map, u64{1}, u64{10}, abi::update_exist), -ENOENT);
    EXPECT_EQ(put(*map, u64{1}, u64{10}, abi::update_noexist), 0);
    EXPECT_EQ(put(*map, u64{1}, u64{11}, abi::update_noexist), -EEXIST);
    EXPECT_EQ(put(*map, u64{1}, u64{11}, 3), -EINVAL);
    EXPECT_EQ(*find<u64>(*map, u64{1}), 10U);
    EXPECT_EQ(put(*map, u64{1}, u64{12}, abi::update_exist), 0);
    EXPECT_EQ(*find<u64>(*map, u64{1}), 12U);
    EXPECT_EQ(put(*map, u64{2}, u64{20}, 0, 1), 0);
    EXPECT_EQ(put(*map, u64{3}, u64{30}, 0, 2), 0);
    EXPECT_EQ(put(*map, u64{4}, u64{40}, 0, 3), -E2BIG);
    EXPECT_EQ(put(*map, u64{3}, u64{31}, 0, 2), 0);  // a full map still replaces
    EXPECT_EQ(keys_of<u64>(*map).size(), 3U);
    EXPECT_EQ(take(*map, u64{1}, 3), 0);
    EXPECT_EQ(put(*map, u64{4}, u64{40}, 0, 0), 0);  // freed by another virtual CPU
    const auto keys = keys_of<u64>(*map);
    EXPECT_EQ(std::set<u64>(keys.begin(), keys.end()), (std::set<u64>{2, 3, 4}));
    u64 next = 0;
    const u64 absent = 99;
    EXPECT_EQ(map->next_key(&absent, &next), 0);
    EXPECT_EQ(next, keys.front());
    EXPECT_EQ(map->next_key(&keys.back(), &next), -ENOENT);
}

TEST_P(HashMaps, ExactlyMaxEntriesFit) {
    for (const u32 entries : {1U, 2U, 63U, 64U, 1000U}) {
        const auto map = make_map(spec_of(GetParam(), 4, 4, entries), make_table(8));
        for (u32 round = 0; round < 3; ++round) {
            for (u32 key = 0; key < entries; ++key) ASSERT_EQ(put(*map, key, key, 0, (key + round) % 8), 0) << key;
            EXPECT_EQ(put(*map, entries, u32{0}, 0, round), -E2BIG);
            EXPECT_EQ(keys_of<u32>(*map).size(), entries);
            for (u32 key = 0; key < entries; ++key) ASSERT_EQ(take(*map, key, (key * 7 + round) % 8), 0);
            EXPECT_TRUE(keys_of<u32>(*map).empty());
        }
    }
}

TEST_P(HashMaps, KeysAndValuesOfEverySize) {
    for (const u32 key_size : {1U, 3U, 4U, 7U, 8U, 9U, 12U, 16U, 20U, 33U})
        for (const u32 value_size : {1U, 5U, 8U, 12U, 256U}) {
            const auto map = make_map(spec_of(GetParam(), key_size, value_size, 100), make_table(2));
            std::vector<std::byte> key(key_size), value(value_size), out(map->syscall_value_size());
            for (u32 i = 0; i < 100; ++i) {
                key[i % key_size] = static_cast<std::byte>(i + 1);
                value[i % value_size] = static_cast<std::byte>(i + 1);
                ASSERT_EQ(map->update(key.data(), value.data(), 0, 1), 0);
                const auto* found = map->lookup(key.data(), 1);
                ASSERT_NE(found, nullptr);
                EXPECT_EQ(std::memcmp(found, value.data(), value_size), 0);
                ASSERT_EQ(map->copy_out(key.data(), out, 0), 0);
                const std::size_t mine = GetParam() == MapType::hash ? 0 : out.size() / 2;
                EXPECT_EQ(std::memcmp(out.data() + mine, value.data(), value_size), 0);
            }
        }
}

TEST(PercpuHash, ANewElementIsZeroElsewhere) {
    const auto map = make_map(spec_of(MapType::percpu_hash, 4, 4, 1), make_table(3));
    const u32 key = 5;
    std::array<u64, 3> all{~0ULL, ~0ULL, ~0ULL};
    EXPECT_EQ(map->copy_in(&key, std::as_bytes(std::span(all)), 0, 0), 0);
    EXPECT_EQ(take(*map, key), 0);
    EXPECT_EQ(put(*map, key, u32{9}, 0, 1), 0);
    EXPECT_EQ(map->copy_out(&key, std::as_writable_bytes(std::span(all)), 0), 0);
    EXPECT_EQ(all, (std::array<u64, 3>{0, 9, 0}));
}

// --- many threads: a run is acquire, lookup, add, release

constexpr u32 threads = 8;

template <class Body>
void run_threads(Body body) {
    std::vector<std::thread> running;
    for (u32 i = 0; i < threads; ++i) running.emplace_back([&body, i] { body(i); });
    for (auto& thread : running) thread.join();
}

template <class Run>
void with_vcpu(VcpuTable table, const VcpuThread& thread, Run run) {
    const auto claim = table.acquire(thread);
    ASSERT_TRUE(claim);
    run(claim->slot);
    table.release(thread, claim->slot);
}

TEST(Threads, PerCpuCountsAreExact) {
    constexpr u32 hits = 100'000;
    const auto table = make_table();
    for (const MapType type : {MapType::percpu_array, MapType::percpu_hash}) {
        const auto map = make_map(spec_of(type, 4, 8, 16), table);
        run_threads([&](u32) {
            const auto thread = VcpuThread::current();
            for (u32 i = 0; i < hits; ++i)
                with_vcpu(table, thread, [&](u32 vcpu) {
                    const u32 key = i % 16;
                    if (auto* count = find<volatile u64>(*map, key, vcpu))
                        *count = *count + 1;
                    else if (put(*map, key, u64{1}, abi::update_noexist, vcpu) != 0)
                        ++*const_cast<u64*>(find<u64>(*map, key, vcpu));
                });
        });
        u64 total = 0;
        for (u32 key = 0; key < 16; ++key)
            for (u32 vcpu = 0; vcpu < table.count(); ++vcpu) total += *find<u64>(*map, key, vcpu);
        EXPECT_EQ(total, u64{threads} * hits);
    }
}

TEST(Threads, SharedHashCountsAreExact) {
    constexpr u32 hits = 100'000;
    const auto table = make_table();
    const auto map = make_map(spec_of(MapType::hash, 16, 8, 64), table);
    run_threads([&](u32) {
        const auto thread = VcpuThread::current();
        for (u32 i = 0; i < hits; ++i)
            with_vcpu(table, thread, [&](u32 vcpu) {
                const std::array<u64, 2> key{i % 50, 1};
                for (;;) {
                    if (auto* count = find<u64>(*map, key, vcpu)) {
                        __atomic_fetch_add(count, 1, __ATOMIC_RELAXED);
                        break;
                    }
                    if (put(*map, key, u64{1}, abi::update_noexist, vcpu) == 0) break;
                }
            });
    });
    u64 total = 0;
    for (const auto& key : keys_of<std::array<u64, 2>>(*map)) total += *find<u64>(*map, key);
    EXPECT_EQ(total, u64{threads} * hits);
}

// A key that always exists is always found, whole, while others replace it and delete its neighbours.
TEST(Threads, AReplacedKeyIsNeverMissing) {
    const auto table = make_table();
    const auto map = make_map(spec_of(MapType::hash, 4, 64, 8), table);
    using Value = std::array<u64, 8>;
    ASSERT_EQ(put(*map, u32{1}, Value{}), 0);
    std::atomic<bool> stop{false};
    std::atomic<u32> missing{0}, torn{0};
    run_threads([&](u32 self) {
        const auto thread = VcpuThread::current();
        for (u32 i = 0; i < 20'000 && !stop; ++i)
            if (self < 4) {
                with_vcpu(table, thread, [&](u32 vcpu) {
                    Value value;
                    value.fill(i);
                    put(*map, u32{1}, value, 0, vcpu);
                    put(*map, 2 + self, value, 0, vcpu);
                    take(*map, 2 + self, vcpu);
                });
            } else {
                const u32 key = 1;
                Value value{};
                const int error = map->copy_out(&key, std::as_writable_bytes(std::span(value)), 0);
                if (error == -ENOENT) ++missing;
                for (const u64 word : value)
                    if (error == 0 && word != value[0]) ++torn;
            }
    });
    EXPECT_EQ(missing, 0U);
    EXPECT_EQ(torn, 0U);
    EXPECT_EQ(keys_of<u32>(*map), std::vector<u32>{1});
}

// Some insert what others delete: elements must wander back, and exactly max_entries fit afterwards.
TEST(Threads, FreeListsAccountForEverything) {
    constexpr u32 entries = 64;
    const auto table = make_table();
    const auto map = make_map(spec_of(MapType::hash, 4, 8, entries), table);
    run_threads([&](u32 self) {
        const auto thread = VcpuThread::current();
        u32 random = self + 1;
        for (u32 i = 0; i < 30'000; ++i)
            with_vcpu(table, thread, [&](u32 vcpu) {
                random = random * 1664525 + 1013904223;
                const u32 key = (random >> 16) % 200;
                if (self % 2 == 0)
                    put(*map, key, u64{1}, 0, vcpu);
                else
                    take(*map, key, vcpu);
            });
    });
    for (const u32 key : keys_of<u32>(*map)) EXPECT_EQ(take(*map, key), 0);
    for (u32 key = 0; key < entries; ++key) EXPECT_EQ(put(*map, key, u64{1}, 0, key % 64), 0);
    EXPECT_EQ(put(*map, entries, u64{1}), -E2BIG);
}

}  // namespace
}  // namespace anybpf::maps

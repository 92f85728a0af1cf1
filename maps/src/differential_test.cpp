// SPDX-License-Identifier: Apache-2.0
// The same operations on a map of ours and on one of the running kernel's: results, errno and values must be equal.
// Skipped with a reason where bpf(2) does not let us make maps.
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>

#include "testing.hpp"

namespace anybpf::maps {
namespace {
using namespace testing;
using abi::MapType;

long bpf(int command, bpf_attr& attr) {
    const long result = ::syscall(SYS_bpf, command, &attr, sizeof attr);
    return result < 0 ? -errno : result;
}

u64 address(const void* memory) { return std::bit_cast<u64>(memory); }

struct KernelMap {
    int fd;
    explicit KernelMap(const Spec& spec) {
        bpf_attr attr{};
        attr.map_type = static_cast<u32>(spec.type);
        attr.key_size = spec.key_size;
        attr.value_size = spec.value_size;
        attr.max_entries = spec.max_entries;
        attr.map_flags = spec.flags;
        fd = static_cast<int>(bpf(BPF_MAP_CREATE, attr));
    }
    ~KernelMap() {
        if (fd >= 0) ::close(fd);
    }
    KernelMap(const KernelMap&) = delete;
    KernelMap& operator=(const KernelMap&) = delete;

    int run(int command, const void* key, void* value, u64 flags = 0) const {
        bpf_attr attr{};
        attr.map_fd = static_cast<u32>(fd);
        attr.key = address(key);
        attr.value = address(value);
        attr.flags = flags;
        return static_cast<int>(bpf(command, attr));
    }
};

std::string kernel_refusal() {
    const KernelMap probe(spec_of(MapType::array, 4, 4, 1));
    return probe.fd >= 0 ? "" : std::string("bpf(2) does not make maps here: ") + std::strerror(-probe.fd);
}

u32 possible_cpus() {
    u32 first = 0, last = 0;
    char dash = 0;
    std::ifstream file("/sys/devices/system/cpu/possible");
    file >> first >> dash >> last;
    return dash == '-' ? last + 1 : 1;
}

// What MAP_CREATE says to each combination of type, sizes and flags.
TEST(Differential, MapCreate) {
    if (const auto reason = kernel_refusal(); !reason.empty()) GTEST_SKIP() << reason;
    const u32 cpus = possible_cpus();
    u32 compared = 0;
    const auto compare = [&](const Spec& spec) {
        const auto ours = Map::file_size(spec, cpus);
        const KernelMap theirs(spec);
        const int error = ours ? 0 : -ours.error().sys_errno, expected = std::min(theirs.fd, 0);
        EXPECT_EQ(error, expected) << "type " << static_cast<u32>(spec.type) << " key " << spec.key_size << " value "
                                   << spec.value_size << " entries " << spec.max_entries << " flags " << spec.flags;
        ++compared;
    };
    for (const MapType type : {MapType::hash, MapType::array, MapType::prog_array, MapType::perf_event_array,
                               MapType::percpu_hash, MapType::percpu_array, MapType::ringbuf}) {
        for (const u32 key : {0U, 1U, 4U, 8U, 513U})
            for (const u32 value : {0U, 4U, 8U, 32768U, 32769U})
                for (const u32 entries : {0U, 3U, 4096U}) compare(spec_of(type, key, value, entries));
        for (u32 bit = 0; bit < 12; ++bit)
            if (bit != 2) {  // BPF_F_NUMA_NODE wants a node in another field
                const bool ring = type == MapType::ringbuf;
                compare(spec_of(type, ring ? 0 : 4, ring ? 0 : 4, 4096, 1U << bit));
            }
        compare(spec_of(type, 4, 4, 1, abi::map_rdonly | abi::map_wronly));
        compare(spec_of(type, 4, 4, 1, abi::map_rdonly_prog | abi::map_wronly_prog));
        compare(spec_of(type, 4, 4, 1, abi::map_rdonly | abi::map_wronly_prog));
        compare(spec_of(type, 4, 4, 1, 1U << 31));
    }
    for (const u32 value : {(4U << 20) - 100, (4U << 20) - 57, (4U << 20) - 56, (4U << 20) - 49, 4U << 20, 1U << 31})
        for (const u32 key : {1U, 8U}) compare(spec_of(MapType::hash, key, value, 1));
    compare(spec_of(MapType::hash, 4, 4, 0xffffffff));
    compare(spec_of(MapType::array, 4, 0x80000000, 1));
    compare(spec_of(MapType::ringbuf, 0, 0, 12288));
    EXPECT_GT(compared, 500U);
}

struct Random {
    u32 state;
    u32 operator()(u32 below) {
        state = state * 1664525 + 1013904223;
        return (state >> 8) % below;
    }
};

// Random operations through bpf(2) there and through copy_in, copy_out, erase and next_key here.
void compare_operations(const Spec& spec, u32 seed, u32 operations) {
    const u32 cpus = possible_cpus();
    const KernelMap theirs(spec);
    ASSERT_GE(theirs.fd, 0);
    const auto ours = make_map(spec, make_table(cpus));
    const bool indexed = spec.type == MapType::array || spec.type == MapType::percpu_array;
    std::vector<std::byte> key(spec.key_size), mine(ours->syscall_value_size()), kernels(mine.size());
    Random random{seed};
    for (u32 i = 0; i < operations; ++i) {
        std::fill(key.begin(), key.end(), std::byte{0});
        key[0] = static_cast<std::byte>(random(spec.max_entries * 2));
        if (key.size() > 4) key.back() = key[0];
        const u32 what = random(10);
        if (what < 4) {
            for (auto& byte : mine) byte = static_cast<std::byte>(random(256));
            const u64 flags = random(8) < 5 ? 0 : random(6);
            if (flags == 4) continue;  // BPF_F_LOCK
            EXPECT_EQ(ours->copy_in(key.data(), mine, flags, 0),
                      theirs.run(BPF_MAP_UPDATE_ELEM, key.data(), mine.data(), flags))
                << "flags " << flags << " operation " << i;
        } else if (what < 8) {
            // Both start from the same, since the padding of a per-CPU value is not the map's.
            std::fill(mine.begin(), mine.end(), std::byte{0});
            std::fill(kernels.begin(), kernels.end(), std::byte{0});
            EXPECT_EQ(ours->copy_out(key.data(), mine, 0), theirs.run(BPF_MAP_LOOKUP_ELEM, key.data(), kernels.data()));
            const std::size_t stride = mine.size() == spec.value_size ? mine.size() : mine.size() / cpus;
            for (std::size_t at = 0; at < mine.size(); at += stride)
                EXPECT_EQ(std::memcmp(mine.data() + at, kernels.data() + at, spec.value_size), 0) << "operation " << i;
        } else if (what == 8) {
            EXPECT_EQ(ours->erase(key.data(), 0), theirs.run(BPF_MAP_DELETE_ELEM, key.data(), nullptr));
        } else if (indexed) {
            std::vector<std::byte> next(key.size()), kernels_next(key.size());
            EXPECT_EQ(ours->next_key(key.data(), next.data()),
                      theirs.run(BPF_MAP_GET_NEXT_KEY, key.data(), kernels_next.data()));
            EXPECT_EQ(next, kernels_next);
        } else {
            // A hash has no order; but a walk from nothing, and one from a key that is not there, give every key once.
            std::vector<std::byte> absent(key.size(), std::byte{0xff});
            const auto walk = [&](auto&& next_key) {
                std::multiset<std::vector<std::byte>> keys;
                std::vector<std::byte> at(absent);
                for (int error = next_key(keys.size() % 2 != 0 ? nullptr : at.data(), at.data()); error == 0;
                     error = next_key(at.data(), at.data())) {
                    keys.insert(at);
                    if (keys.size() > spec.max_entries) break;
                }
                return keys;
            };
            EXPECT_EQ(walk([&](const void* from, void* to) { return ours->next_key(from, to); }),
                      walk([&](const void* from, void* to) { return theirs.run(BPF_MAP_GET_NEXT_KEY, from, to); }));
        }
        if (::testing::Test::HasFailure()) return;
    }
}

TEST(Differential, RandomOperations) {
    if (const auto reason = kernel_refusal(); !reason.empty()) GTEST_SKIP() << reason;
    for (u32 seed = 1; seed <= 4; ++seed) {
        compare_operations(spec_of(MapType::array, 4, 12, 8), seed, 2000);
        compare_operations(spec_of(MapType::percpu_array, 4, 12, 8), seed, 2000);
        for (const u32 flags : {0U, abi::map_no_prealloc})
            for (const u32 key_size : {1U, 4U, 8U, 13U}) {
                compare_operations(spec_of(MapType::hash, key_size, 20, 8, flags), seed, 2000);
                compare_operations(spec_of(MapType::percpu_hash, key_size, 20, 8, flags), seed, 2000);
            }
    }
}

TEST(Differential, FrozenAndObjectMaps) {
    if (const auto reason = kernel_refusal(); !reason.empty()) GTEST_SKIP() << reason;
    const auto table = make_table();
    {
        const auto spec = spec_of(MapType::array, 4, 4, 2);
        const KernelMap theirs(spec);
        const auto ours = make_map(spec, table);
        u32 key = 0, value = 1;
        EXPECT_EQ(theirs.run(BPF_MAP_FREEZE, nullptr, nullptr), 0);
        ours->freeze();
        EXPECT_EQ(ours->copy_in(&key, std::as_bytes(std::span(&value, 1)), 0, 0),
                  theirs.run(BPF_MAP_UPDATE_ELEM, &key, &value));
    }
    for (const MapType type : {MapType::prog_array, MapType::perf_event_array, MapType::ringbuf}) {
        const bool ring = type == MapType::ringbuf;
        const auto spec = ring ? spec_of(type, 0, 0, 4096) : spec_of(type, 4, 4, 2);
        const KernelMap theirs(spec);
        ASSERT_GE(theirs.fd, 0);
        const auto ours = make_map(spec, table);
        for (const u32 key : {0U, 1U, 2U}) {
            u32 value = 0, next = 0, kernels_next = 0;
            // A ring buffer's keys have no bytes: none are passed.
            const void* where = ring ? nullptr : &key;
            EXPECT_EQ(ours->copy_out(where, std::as_writable_bytes(std::span(&value, ring ? 0 : 1)), 0),
                      theirs.run(BPF_MAP_LOOKUP_ELEM, where, &value));
            EXPECT_EQ(ours->erase(where, 0), theirs.run(BPF_MAP_DELETE_ELEM, where, nullptr));
            EXPECT_EQ(ours->next_key(where, &next), theirs.run(BPF_MAP_GET_NEXT_KEY, where, &kernels_next));
            EXPECT_EQ(next, kernels_next);
        }
    }
}

}  // namespace
}  // namespace anybpf::maps

// SPDX-License-Identifier: Apache-2.0
// What a run pays: the virtual CPU, lookups and updates, and the two ways out. `perf stat`-like noise is the machine's;
// compare within one run.
#include <benchmark/benchmark.h>

#include <cstring>

#include "anybpf/maps/ring.hpp"
#include "testing.hpp"

namespace anybpf::maps {
namespace {
using namespace testing;
using abi::MapType;

VcpuTable& table() {
    static VcpuTable shared = make_table();
    return shared;
}

template <class Operation>
void each_with_vcpu(benchmark::State& state, Operation operation) {
    const auto thread = VcpuThread::current();
    for (auto _ : state) {
        const auto claim = table().acquire(thread);
        if (!claim) continue;
        operation(claim->slot);
        table().release(thread, claim->slot);
    }
    state.SetItemsProcessed(state.iterations());
}

void vcpu(benchmark::State& state) {
    each_with_vcpu(state, [](u32 slot) { benchmark::DoNotOptimize(slot); });
}
BENCHMARK(vcpu)->Threads(1)->Threads(8);

template <MapType type>
Map& counted() {
    static const auto map = [] {
        auto made = make_map(spec_of(type, 16, 8, 1024), table());
        for (u64 key = 0; key < 512; ++key) put(*made, std::array<u64, 2>{key, key}, u64{0});
        return made;
    }();
    return *map;
}

template <MapType type>
void lookup(benchmark::State& state) {
    Map& map = counted<type>();
    std::array<u64, 2> key{};
    for (auto _ : state) {
        key[0] = key[1] = (key[0] + 1) & 511;
        benchmark::DoNotOptimize(map.lookup(&key, 0));
    }
}
BENCHMARK(lookup<MapType::hash>);
BENCHMARK(lookup<MapType::percpu_hash>);

void lookup_of_u32(benchmark::State& state) {
    static const auto map = make_map(spec_of(MapType::hash, 4, 8, 1024), table());
    for (u32 key = 0; key < 512; ++key) put(*map, key, u64{0});
    u32 key = 0;
    for (auto _ : state) {
        key = (key + 1) & 511;
        benchmark::DoNotOptimize(map->lookup(&key, 0));
    }
}
BENCHMARK(lookup_of_u32);

void lookup_and_atomic_add(benchmark::State& state) {
    Map& map = counted<MapType::hash>();
    const std::array<u64, 2> key{3, 3};
    for (auto _ : state) __atomic_fetch_add(find<u64>(map, key), 1, __ATOMIC_RELAXED);
}
BENCHMARK(lookup_and_atomic_add);

void count_per_cpu(benchmark::State& state) {
    static const auto map = make_map(spec_of(MapType::percpu_array, 4, 8, 4), table());
    each_with_vcpu(state, [](u32 slot) {
        auto* count = find<volatile u64>(*map, u32{1}, slot);
        *count = *count + 1;
    });
}
BENCHMARK(count_per_cpu)->Threads(1)->Threads(8);

template <u32 bytes>
void update_with_vcpu(benchmark::State& state) {
    static const auto map = make_map(spec_of(MapType::hash, 8, bytes, 1024), table());
    std::array<std::byte, bytes> value{};
    u64 key = 0;
    each_with_vcpu(state, [&](u32 slot) {
        key = (key + 1) & 511;
        put(*map, key, value, 0, slot);
    });
}
BENCHMARK(update_with_vcpu<8>);
BENCHMARK(update_with_vcpu<256>);

void insert_and_delete_with_vcpu(benchmark::State& state) {
    static const auto map = make_map(spec_of(MapType::hash, 8, 8, 1024), table());
    u64 key = 0;
    each_with_vcpu(state, [&](u32 slot) {
        ++key;
        put(*map, key, key, 0, slot);
        take(*map, key, slot);
    });
}
BENCHMARK(insert_and_delete_with_vcpu);

void ring_output(benchmark::State& state) {
    const auto spec = spec_of(MapType::ringbuf, 0, 0, 1U << 16);
    const auto bytes = Map::file_size(spec, table().count()).value();
    const Fd fd = memory_file(bytes);
    const auto flat = Mapping::shared(fd.get(), bytes, Access::read_write).value();
    if (!Map::format(flat.bytes(), spec, 1, table().count())) return;
    const auto mapping = map_file(fd.get()).value();
    const auto map = Map::open(mapping.bytes(), table()).value();
    RingBuffer& ring = *RingBuffer::of(*map);
    const std::array<u64, 4> data{};
    for (auto _ : state) {
        bool wake = false;
        ring.output(data.data(), sizeof data, 0, 0, &wake);
        const u64 position = ring.query(3);
        std::memcpy(mapping.data(), &position, sizeof position);  // a reader that keeps up
    }
}
BENCHMARK(ring_output);

void perf_output(benchmark::State& state) {
    const auto memory = shared_memory(PerfBuffer::file_size(16));
    if (!PerfBuffer::format(memory, 16)) return;
    const auto buffer = PerfBuffer::open(memory, table()).value();
    const std::array<std::byte, 36> data{};
    for (auto _ : state) {
        bool wake = false;
        buffer->output(data, 0, &wake);
        std::memcpy(memory.data() + 1032, memory.data() + 1024, 8);
    }
}
BENCHMARK(perf_output);

}  // namespace
}  // namespace anybpf::maps

BENCHMARK_MAIN();

// SPDX-License-Identifier: Apache-2.0
// Writers that die: killed at random by the hundred, killed at every instruction of an operation (single-stepped with
// ptrace), killed again while they recover what another one left, and stopped while they hold a lock. What must hold
// afterwards: every element is whole, there once, before or after the operation; exactly max_entries fit; nobody hangs.
#include <linux/futex.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <bit>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <thread>

#include "anybpf/maps/ring.hpp"
#include "testing.hpp"

namespace anybpf::maps {
namespace {
using namespace testing;
using abi::MapType;

// --- values that show when they are torn: 32 words that all say which key and which write

constexpr u32 words = 32;
using Value = std::array<u64, words>;
Value value_of(u32 key, u32 write) {
    Value value;
    value.fill(u64{key} << 32 | write);
    return value;
}
bool is_whole(u32 key, const Value& value) {
    for (const u64 word : value)
        if (word != value[0] || word >> 32 != key) return false;
    return true;
}

// --- a run as a program's host makes it; recovery is left to the map where `forget` says so

template <class Run>
bool with_vcpu(VcpuTable table, const VcpuThread& thread, std::initializer_list<Map*> maps, bool forget, Run run) {
    const auto claim = table.acquire(thread);
    if (!claim) return false;
    if (claim->owner_died && !forget)
        for (Map* map : maps) map->recover(claim->slot);
    run(claim->slot);
    table.release(thread, claim->slot);
    return true;
}

// The keys, after checking that each is there once, is found, and has a whole value.
std::map<u32, u32> contents(Map& map) {
    std::map<u32, u32> found;
    for (const u32 key : keys_of<u32>(map)) {
        Value value{};
        EXPECT_EQ(map.copy_out(&key, std::as_writable_bytes(std::span(value)), 0), 0);
        EXPECT_TRUE(is_whole(key, value)) << key;
        EXPECT_TRUE(found.emplace(key, static_cast<u32>(value[0])).second) << "twice: " << key;
    }
    return found;
}

// From every slot in turn the map can be emptied and filled with exactly max_entries elements.
void expect_accounted(VcpuTable table, Map& map) {
    std::vector<std::thread> holders;
    std::atomic<u32> holding{0};
    std::atomic<bool> go{false};
    std::mutex turn;
    const u32 entries = map.spec().max_entries;
    for (u32 i = 0; i < table.count(); ++i)
        holders.emplace_back([&] {
            const auto thread = VcpuThread::current();
            const auto claim = table.acquire(thread);
            ++holding;
            ASSERT_TRUE(claim) << "a slot is lost";
            while (!go) ::usleep(100);
            {
                const std::lock_guard lock(turn);
                const u32 vcpu = claim->slot;
                for (const auto& [key, write] : contents(map)) EXPECT_EQ(take(map, key, vcpu), 0) << key;
                EXPECT_TRUE(contents(map).empty());
                for (u32 key = 0; key < entries; ++key) EXPECT_EQ(put(map, key, value_of(key, 1), 0, vcpu), 0) << key;
                EXPECT_EQ(put(map, entries, value_of(entries, 1), 0, vcpu), -E2BIG);
                EXPECT_EQ(put(map, u32{0}, value_of(0, 2), 0, vcpu), 0);
                EXPECT_EQ(contents(map).size(), entries);
            }
            table.release(thread, claim->slot);
        });
    while (holding < table.count()) ::usleep(100);
    go = true;
    for (auto& holder : holders) holder.join();
}

int wait_for(pid_t child) {
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return status;
}

// --- the kernel marks the slot

pid_t fork_owner(VcpuTable table, const std::function<void()>& then) {
    const pid_t child = ::fork();
    if (child != 0) return child;
    if (!table.acquire(VcpuThread::current())) ::_exit(1);
    then();
    ::_exit(0);
}

bool dead_slot_is_taken_over(VcpuTable table) {
    const auto me = VcpuThread::current();
    const auto claim = table.acquire(me);
    if (!claim) return false;
    const bool died = claim->owner_died;
    table.release(me, claim->slot);
    return died;
}

TEST(VcpuDeath, ByKill) {
    auto table = make_table(1);
    for (u32 i = 0; i < 100; ++i) {
        const u32 word = table.lock_word(0);
        const pid_t child = fork_owner(table, [] { ::pause(); });
        while (table.owner_dead(0)) ::usleep(50);
        ::kill(child, SIGKILL);
        wait_for(child);
        EXPECT_TRUE(table.owner_dead(0));
        EXPECT_TRUE(table.lock_owner_dead(word));
        ASSERT_TRUE(dead_slot_is_taken_over(table));
        EXPECT_TRUE(table.lock_owner_dead(word));  // for ever
        EXPECT_FALSE(table.lock_owner_dead(table.lock_word(0)));
    }
}

TEST(VcpuDeath, ByExec) {
    auto table = make_table(1);
    for (u32 i = 0; i < 20; ++i) {
        wait_for(fork_owner(table, [] { ::execl("/bin/true", "true", nullptr); }));
        ASSERT_TRUE(dead_slot_is_taken_over(table));
    }
}

TEST(VcpuDeath, InAPidNamespace) {
    auto table = make_table(1);
    const pid_t outer = ::fork();
    if (outer == 0) {
        if (::unshare(CLONE_NEWPID) != 0 && ::unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0) ::_exit(77);
        int status = 0;
        const pid_t child = fork_owner(table, [] {
            ::raise(SIGKILL);
            ::_exit(3);
        });  // pid 1 is spared by itself
        ::waitpid(child, &status, 0);
        ::_exit(0);
    }
    if (WEXITSTATUS(wait_for(outer)) == 77) GTEST_SKIP() << "no pid namespace may be made here";
    EXPECT_TRUE(dead_slot_is_taken_over(table));
}

// --- storms

struct Shared {
    u32 slots;
    std::span<std::byte> table_memory, hash_memory, ring_memory, perf_memory;
    VcpuTable table;
    std::unique_ptr<Map> hash, ring;
    std::unique_ptr<PerfBuffer> perf;

    Shared(u32 slot_count, u32 entries, u32 ring_bytes, u32 perf_pages)
        : slots(slot_count), table_memory(shared_memory(VcpuTable::bytes(slots))), table(formatted_table()) {
        hash = make(spec_of(MapType::hash, 4, sizeof(Value), entries), &hash_memory);
        ring = make(spec_of(MapType::ringbuf, 0, 0, ring_bytes), &ring_memory);
        perf_memory = shared_memory(PerfBuffer::file_size(perf_pages));
        EXPECT_TRUE(PerfBuffer::format(perf_memory, perf_pages));
        perf = PerfBuffer::open(perf_memory, table).value();
    }

  private:
    VcpuTable formatted_table() {
        VcpuTable::format(table_memory, slots);
        return VcpuTable::open(table_memory).value();
    }
    std::unique_ptr<Map> make(const Spec& spec, std::span<std::byte>* memory) {
        const auto bytes = Map::file_size(spec, slots).value();
        const Fd fd = memory_file(bytes);
        EXPECT_TRUE(Map::format(Mapping::shared(fd.get(), bytes, Access::read_write)->bytes(), spec, 1, slots));
        *memory = map_file(fd.get()).value().release();
        return Map::open(*memory, table).value();
    }
};

u64 load(const std::byte* at) {
    u64 word;
    std::memcpy(&word, at, sizeof word);
    return word;
}

// Reads what the ring holds and counts the records; each must be whole.
u32 drain_ring(std::span<std::byte> memory, u64 size) {
    u32 records = 0;
    u64 consumer = load(memory.data());
    const u64 producer = load(memory.data() + 4096);
    while (consumer < producer) {
        const std::byte* at = memory.data() + 8192 + (consumer & (size - 1));
        u32 length;
        std::memcpy(&length, at, sizeof length);
        if ((length & 1U << 31) != 0) break;
        const u32 bytes = length & ~(3U << 30);
        if ((length & 1U << 30) == 0) {
            ++records;
            for (u32 i = 16; i < bytes; i += 8) EXPECT_EQ(load(at + 8 + i), load(at + 16));
        }
        consumer += (bytes + 15) & ~7U;
        std::memcpy(memory.data(), &consumer, sizeof consumer);
    }
    return records;
}

u32 drain_perf(std::span<std::byte> memory, u64 size, u64* lost) {
    u32 records = 0;
    u64 tail = load(memory.data() + 1032);
    const u64 head = load(memory.data() + 1024);
    const auto word = [&](u64 at) { return load(memory.data() + 4096 + (at & (size - 1))); };
    while (tail < head) {
        const u64 header = word(tail);
        const u64 bytes = header >> 48;
        EXPECT_EQ(bytes % 8, 0U);
        if ((header & 0xffffffff) == 2) {
            EXPECT_EQ(bytes, 24U);
            *lost += word(tail + 16);
        } else {
            EXPECT_EQ(header & 0xffffffff, 9U);
            ++records;
            for (u64 i = 24; i + 8 <= bytes; i += 8) EXPECT_EQ(word(tail + i), word(tail + 16));
        }
        if (bytes == 0) break;
        tail += bytes;
    }
    EXPECT_EQ(tail, head);
    std::memcpy(memory.data() + 1032, &tail, sizeof tail);
    return records;
}

[[noreturn]] void write_for_ever(Shared& shared, u32 seed) {
    const auto thread = VcpuThread::current();
    u32 random = seed * 2654435761U + 1;
    for (;;) {
        random = random * 1664525 + 1013904223;
        const u32 key = (random >> 20) % 60, what = (random >> 10) % 8;
        with_vcpu(shared.table, thread, {shared.hash.get(), shared.ring.get()}, (random >> 30) == 0, [&](u32 vcpu) {
            bool wake = false;
            if (what < 4) put(*shared.hash, key, value_of(key, random), 0, vcpu);
            if (what >= 4 && what < 6) take(*shared.hash, key, vcpu);
            if (what == 6) {
                const u64 size = 16 + (random >> 18 & 31) * 8;
                if (void* record = RingBuffer::of(*shared.ring)->reserve(size, vcpu)) {
                    std::fill_n(static_cast<u64*>(record), size / 8, random);
                    RingBuffer::of(*shared.ring)->commit(record, (random & 1024) != 0, 0, vcpu);
                }
            }
            if (what == 7) {
                std::array<u64, 20> raw;
                raw.fill(u64{random} << 32 | random);  // any word of it, wherever it is cut to 8 bytes
                shared.perf->output(std::as_bytes(std::span(raw)).first(4 + 8 * (random >> 16 & 15)), vcpu, &wake);
            }
        });
    }
}

TEST(Storm, KilledAtRandom) {
    constexpr u32 writers = 5, kills = 300;
    Shared shared(8, 40, 1U << 16, 16);
    std::array<pid_t, writers> children{};
    const auto start = [&](u32 i, u32 seed) {
        children[i] = ::fork();
        if (children[i] == 0) write_for_ever(shared, seed);
    };
    u32 random = 1, ring_records = 0, perf_records = 0;
    u64 lost = 0;
    for (u32 i = 0; i < writers; ++i) start(i, i);
    for (u32 kill = 0; kill < kills; ++kill) {
        random = random * 1664525 + 1013904223;
        ::usleep(200 + (random >> 16) % 3000);
        const u32 i = kill % writers;
        ::kill(children[i], SIGKILL);
        wait_for(children[i]);
        start(i, kill + writers);
        ring_records += drain_ring(shared.ring_memory, 1U << 16);
        perf_records += drain_perf(shared.perf_memory, 1U << 16, &lost);
        if (::testing::Test::HasFailure()) break;
    }
    for (const pid_t child : children) {
        ::kill(child, SIGKILL);
        wait_for(child);
    }
    EXPECT_GT(ring_records, 100U);
    EXPECT_GT(perf_records, 100U);
    contents(*shared.hash);

    // Nobody writes any more: the reader's side gets rid of the dead's reservations.
    const auto me = VcpuThread::current();
    ASSERT_TRUE(with_vcpu(shared.table, me, {shared.hash.get()}, false,
                          [&](u32 vcpu) { RingBuffer::of(*shared.ring)->discard_dead(vcpu); }));
    drain_ring(shared.ring_memory, 1U << 16);
    EXPECT_EQ(RingBuffer::of(*shared.ring)->query(0), 0U) << "a reservation of the dead holds the reader back";
    expect_accounted(shared.table, *shared.hash);
}

}  // namespace
}  // namespace anybpf::maps

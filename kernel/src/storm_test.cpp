// SPDX-License-Identifier: Apache-2.0
// A storm: writers run a program and make bpf(2) calls, are killed and stopped at random, and come again; readers look
// all the while. What is counted is exact:
//
//   begun        a writer counts it in memory of its own, when it has its virtual CPU; ended: when its run is over
//   in flight    begun - ended, once nobody runs: what those had begun who were killed. One for each kill at most
//   the map      the program counts in per-CPU values when it begins and when it ends; summed over virtual CPUs,
//                ended <= map's ended <= map's begun <= begun. Without kills all four are the same, however often
//                writers are stopped
//   records      a writer counts submissions that its runs report; the reader gets those, in their order and once
//                each, and of runs in flight at most one more each
//
// At the end every element can be had, no record waits behind what a dead one left, no process hangs, and when all is
// closed the root is empty. With ctest 250 kills and 50 stops; 10,000 and 1,000, in a minute or two, by
//
//     ANYBPF_FULL=1 build/dev/kernel/kernel_process_test --gtest_filter='Storm.*'
#include <chrono>
#include <random>

#include "anybpf/engine/jit.hpp"
#include "counting.hpp"
#include "processes.hpp"
#include "readers.hpp"

namespace anybpf::kernel {
namespace {

using abi::MapType;
using maps::testing::word_at;

constexpr u32 writers = 5, entries = 40, keys = 60, ring_bytes = 1U << 16;

struct State {
    struct alignas(64) Writer {
        std::atomic<u64> begun{0}, ended{0}, submitted{0};
        std::atomic<u64> last_read{0}, read{0};
    };
    std::array<Writer, writers> writer;
    std::atomic<u64> looks{0}, elements{0}, refused{0};
    std::atomic<u32> failures{0};
    std::atomic<bool> writers_leave{false}, readers_leave{false};
};

// What words are full of: who, which run, and the key.
constexpr u64 word_of(u32 writer, u64 run, u32 key) { return u64{writer} << 56 | run << 8 | key; }

void fail(const Shared<State>& state, const std::string& what) {
    if (state->failures.fetch_add(1) < 20) std::fprintf(stderr, "storm: %s\n", what.c_str());
}

bool is_whole(const Counting::Value& value, u32 key) {
    for (const u64 word : value)
        if (word != value[0] || (word & 0xff) != key) return false;
    return true;
}

// --- those who are killed

void call_as_a_tool(Counting& machine, std::mt19937& random, const Shared<State>& state, u32 key) {
    Counting::Value value;
    value.fill(word_of(0, 0, key));
    const auto done = [&](long error, std::initializer_list<long> also) {
        if (error == -EBUSY) state->refused.fetch_add(1);
        if (error != 0 && error != -EBUSY && std::find(also.begin(), also.end(), error) == also.end())
            fail(state, "bpf(2) ends with " + std::to_string(error));
    };
    switch (random() % 8) {
        case 0:
            return done(machine.element(Command::map_delete_elem, machine.values, &key, nullptr), {-ENOENT});
        case 1: {
            auto attr = Caller::map_attr(MapType::ringbuf, 0, 0, 4096);
            const long ring = machine.call(Command::map_create, attr);
            if (const auto object = machine.kernel().owns(static_cast<int>(ring))) {
                ::close(static_cast<int>(ring));
                machine.kernel().closed(*object);
            }
            return done(std::min(ring, 0L), {});
        }
        default:
            return done(machine.element(Command::map_update_elem, machine.values, &key, value.data()), {-E2BIG});
    }
}

void write(Counting& machine, const Shared<State>& state, u32 who, u32 seed) {
    (void)!::nice(10);  // who kills must not wait for them
    std::mt19937 random(seed);
    auto& mine = state->writer[who];
    while (!state->writers_leave) {
        const auto key = static_cast<u32>(random() % keys);
        if (random() % 16 == 0) call_as_a_tool(machine, random, state, key);
        const u64 run = mine.begun.load(std::memory_order_relaxed) + 1;
        const Counting::Arguments arguments{.key = key, .word = word_of(who, run, key), .what = random() % 4};
        const auto submitted = machine.run(arguments, [&] { mine.begun.store(run); });
        if (!submitted) continue;
        if (*submitted) mine.submitted.fetch_add(1);
        mine.ended.fetch_add(1);
    }
}

// --- those who look on

void read_maps(Counting& machine, const Shared<State>& state) {
    for (u64 begun = 0; !state->readers_leave; state->looks.fetch_add(1)) {
        const u64 ended_before = machine.total(1), now = machine.total(0);
        if (now < begun) fail(state, "a count has become less");
        if (now < ended_before) fail(state, "more runs have ended than had begun");
        begun = now;
        std::set<u32> seen;
        u32 key = 0;
        const auto next = [&](const u32* after) {
            uapi::MapElement attr{};
            attr.map_fd = static_cast<u32>(machine.values);
            attr.key = address(after);
            attr.value = address(&key);
            return machine.call(Command::map_get_next_key, attr) == 0;
        };
        for (bool more = next(nullptr); more && seen.size() < 1000; more = next(&key)) {
            Counting::Value value{};
            const long error = machine.element(Command::map_lookup_elem, machine.values, &key, value.data());
            if (error == 0 && !is_whole(value, key)) fail(state, "a value is torn");
            if (error != 0 && error != -ENOENT) fail(state, "a lookup ends with " + std::to_string(error));
            seen.insert(key);
            state->elements.fetch_add(1, std::memory_order_relaxed);
        }
        if (seen.size() > keys) fail(state, "more keys than were ever used");
    }
}

// Returns whether there was a record.
bool read_record(Counting& machine, const Shared<State>& state) {
    const auto record = machine.ring().front();
    if (!record) return false;
    Counting::Value value{};
    if (record->size() != sizeof value) fail(state, "a record has another size");
    std::memcpy(value.data(), record->data(), std::min(record->size(), sizeof value));
    const u64 word = value[0], who = word >> 56, run = word << 8 >> 16;
    if (!is_whole(value, word & 0xff) || who >= writers) {
        fail(state, "a record is torn");
    } else {
        auto& from = state->writer[who];
        if (run <= from.last_read.load()) fail(state, "a record comes twice, or too late");
        from.last_read.store(run);
        from.read.fetch_add(1);
    }
    machine.ring().pop();
    return true;
}

void read_records(Counting& machine, const Shared<State>& state) {
    while (!state->readers_leave)
        if (!read_record(machine, state)) ::usleep(300);
}

// --- afterwards

void expect_exact(Counting& machine, const Shared<State>& state, u32 kills) {
    u64 begun = 0, ended = 0;
    for (const auto& writer : state->writer) {
        begun += writer.begun;
        ended += writer.ended;
        EXPECT_GE(writer.read, writer.submitted);
        EXPECT_LE(writer.read - writer.submitted, writer.begun - writer.ended);
    }
    const u64 counted_begun = machine.total(0), counted_ended = machine.total(1);
    EXPECT_LE(begun - ended, kills);
    EXPECT_LE(counted_begun, begun);
    EXPECT_LE(counted_ended, counted_begun);
    EXPECT_LE(ended, counted_ended);
    EXPECT_GT(ended, 1000U);
}

void expect_sound(Counting& machine) {
    for (const long map : {machine.values, machine.counts}) {
        std::array<u64, maps::VcpuTable::default_slots> value{};
        const auto there = machine.keys(map);
        EXPECT_EQ(std::set(there.begin(), there.end()).size(), there.size()) << "a key is there twice";
        for (const u32 key : there) EXPECT_EQ(machine.element(Command::map_delete_elem, map, &key, nullptr), 0);
        for (u32 key = 100; key < 100 + entries; ++key)
            EXPECT_EQ(machine.element(Command::map_update_elem, map, &key, value.data()), 0);
        const u32 one_more = 99;
        EXPECT_EQ(machine.element(Command::map_update_elem, map, &one_more, value.data()), -E2BIG);
    }
    EXPECT_FALSE(machine.kernel().readable(static_cast<int>(machine.records)));
    EXPECT_EQ(machine.ring().query(0), 0U) << "a reservation of the dead holds the reader back";
}

void rage(Counting& machine, const Shared<State>& state, u32 kills, u32 stops) {
    std::mt19937 random(1);
    std::vector<Child> children;
    const auto start = [&](u32 who, u32 seed) { return Child([&, who, seed] { write(machine, state, who, seed); }); };
    for (u32 who = 0; who < writers; ++who) children.push_back(start(who, who));
    u32 killed = 0, stopped = 0;
    const auto kill = [&](u32 who) {
        const auto& victim = state->writer[who];
        children[who].kill();
        ++killed;
        EXPECT_LE(victim.begun - victim.ended, killed);
        children[who] = start(who, killed + writers);
    };
    while ((killed < kills || stopped < stops) && state->failures == 0) {
        ::usleep(static_cast<useconds_t>(200 + random() % 2500));
        const auto who = static_cast<u32>(random() % writers);
        const bool stop = killed == kills || (stopped < stops && u64{stopped} * kills < u64{killed} * stops);
        if (!stop) {
            kill(who);
            continue;
        }
        children[who].signal(SIGSTOP);
        ++stopped;
        ::usleep(static_cast<useconds_t>(random() % 3000));
        if (killed < kills && random() % 8 == 0)
            kill(who);
        else
            children[who].signal(SIGCONT);
    }
    std::array<u64, writers> before{};
    for (u32 who = 0; who < writers; ++who) before[who] = state->writer[who].ended;
    EXPECT_TRUE(soon([&] {
        for (u32 who = 0; who < writers; ++who)
            if (state->writer[who].ended < before[who] + 10) return false;
        return true;
    })) << "a writer makes no progress";
    state->writers_leave = true;
    for (auto& child : children) EXPECT_EQ(child.wait(), 0);
    std::printf("%u kills, %u stops, ", killed, stopped);
}

void storm(const engine::AnyEngine& engine, u32 kills, u32 stops) {
    const Scratch scratch;
    const Shared<State> state;
    {
        Counting machine(scratch.path(), engine, entries, ring_bytes);
        {
            Child maps([&] { read_maps(machine, state); }), records([&] { read_records(machine, state); });
            rage(machine, state, kills, stops);
            EXPECT_TRUE(soon([&, before = state->looks.load()] { return state->looks > before + 2; }));
            state->readers_leave = true;
            EXPECT_EQ(maps.wait(), 0);
            EXPECT_EQ(records.wait(), 0);
        }
        while (machine.kernel().readable(static_cast<int>(machine.records)) && read_record(machine, state)) {
        }
        expect_exact(machine, state, kills);
        expect_sound(machine);
    }
    EXPECT_EQ(state->failures, 0U);
    sweep_by_anybody(scratch.path());
    EXPECT_EQ(scratch.entries(), std::vector<std::string>{});
    u64 ended = 0, read = 0, in_flight = 0;
    for (const auto& writer : state->writer)
        ended += writer.ended, read += writer.read, in_flight += writer.begun - writer.ended;
    std::printf(
        "%llu runs ended, %llu in flight at a kill, %llu records, %llu elements looked at, %llu calls refused\n",
        static_cast<unsigned long long>(ended), static_cast<unsigned long long>(in_flight),
        static_cast<unsigned long long>(read), static_cast<unsigned long long>(state->elements.load()),
        static_cast<unsigned long long>(state->refused.load()));
}

const bool full = std::getenv("ANYBPF_FULL") != nullptr;

TEST(Storm, OfKillsAndStops) { storm(engine::any<engine::Jit>, full ? 10'000 : 250, full ? 1'000 : 50); }
TEST(Storm, OfTheInterpreter) { storm(engine::any<engine::Interpreter>, full ? 1'000 : 50, full ? 200 : 10); }
// Nobody dies: all counts are the same.
TEST(Storm, OfStopsAlone) { storm(engine::any<engine::Jit>, 0, full ? 1'000 : 50); }

}  // namespace
}  // namespace anybpf::kernel

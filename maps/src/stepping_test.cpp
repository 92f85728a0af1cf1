// SPDX-License-Identifier: Apache-2.0
// Each operation of operations.cpp, killed at every instruction; killed while it recovers what another one left; and
// stopped at every instruction while others work. What must hold is in `contents` and `audit`.
//
// ctest runs a share of what is dear: kills at every 29th instruction (all deaths are looked at by copies), every 31st
// death to be recovered from by one who dies himself, stops by SIGSTOP at every 19th store. All of them, in about two
// minutes, and the figures:
//
//     ANYBPF_FULL=1 build/dev/maps/maps_process_test --gtest_filter='EveryInstruction.*'
#include <sys/wait.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <set>

#include "operations.hpp"
#include "readers.hpp"

namespace anybpf::maps {
namespace {
using namespace testing;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr u32 coarser = 17;  // operations have several times the instructions, and each check takes as much longer
#else
constexpr u32 coarser = 1;
#endif

// One in so many, or all where the environment asks for it.
u32 share(u32 one_in) {
    static const bool all = std::getenv("ANYBPF_FULL") != nullptr;
    return all ? 1 : one_in * coarser;
}

using Bytes = std::vector<std::byte>;

// What a child that performs an operation leaves if it dies after 0, 1, 2... of its instructions.
struct Deaths {
    Stepper::Trace trace;
    std::vector<u32> image_after;  // by steps: its index in `images`
    std::vector<Bytes> images;     // those that differ from the one before

    u32 instructions() const { return trace.size() - 1; }
};

// `live` is as the child finds it.
Deaths deaths_of(World& live, World& image, const std::function<void(const VcpuThread&)>& body) {
    Deaths deaths;
    Stepper child(body);
    World& last = image;
    static World now;
    do {
        now.copy_from(live);
        now.let_die(child, live);
        if (deaths.images.empty() || !now.same_as(last)) {
            deaths.images.push_back(now.bytes());
            last.copy_from(now);
        }
        deaths.trace.add(child.address());
        deaths.image_after.push_back(static_cast<u32>(deaths.images.size() - 1));
    } while (child.step());
    return deaths;
}

// What is visible at last: after a takeover of slot 0, or with the reader's side alone on the other one.
Contents recover(World& world, u32 slot) {
    if (world.owner(slot) == 1) return contents(world);
    world.run_on(slot, false, [&](u32 vcpu) { world.records().discard_dead(vcpu); });
    return contents(world);
}

// What may be visible after a death in an operation that begins in this world: the contents after each of its steps, as
// they are and as they are once the dead one is out of the way.
struct Allowed {
    std::vector<Contents> seen, recovered;

    Allowed(World& scratch, const Bytes& start, const Operation& operation, u32 slot) {
        for (std::size_t steps = 0; steps <= operation.steps.size(); ++steps) {
            scratch.copy_from(start);
            const pid_t child = ::fork();
            if (child == 0) {
                const auto thread = VcpuThread::current();
                if (slot == 0)
                    perform(scratch, thread, operation, steps);
                else
                    scratch.run(thread, slot, false, [&](u32 vcpu) {
                        for (std::size_t i = 0; i < steps; ++i) operation.steps[i](scratch, vcpu);
                    });
                ::_exit(0);
            }
            EXPECT_EQ(wait_for(child), 0);
            seen.push_back(contents(scratch));
            recovered.push_back(recover(scratch, slot));
        }
    }
};

// The step whose contents these are, not before `from`; -1: none.
int find_state(const std::vector<Contents>& allowed, const Contents& found, bool between_words, int from = 0) {
    for (auto i = static_cast<std::size_t>(from); i < allowed.size(); ++i)
        if (allowed[i] == found) return static_cast<int>(i);
    if (!between_words || found.size() != allowed.front().size()) return -1;
    for (std::size_t i = 0; i < found.size(); ++i)
        if (found[i] != allowed.front()[i] && found[i] != allowed.back()[i]) return -1;
    return from;
}

Bytes prepared(World& world, const World& fresh, const Operation& operation) {
    world.copy_from(fresh);
    operation.prepare(world);
    return world.bytes();
}

TEST(EveryInstruction, ADeathLeavesTheWorldSound) {
    const Pinned pinned;
    const World fresh;
    World live, image, last;
    u64 instructions = 0, images = 0;
    for (const auto& operation : operations()) {
        SCOPED_TRACE(operation.name);
        const Bytes start = prepared(live, fresh, operation);
        const Allowed allowed(image, start, operation, 0);
        live.copy_from(start);
        const Deaths deaths =
            deaths_of(live, last, [&](const VcpuThread& thread) { perform(live, thread, operation); });
        int step = 0, recovered_step = 0;
        for (std::size_t at = 0; at < deaths.images.size(); ++at) {
            image.copy_from(deaths.images[at]);
            step = find_state(allowed.seen, contents(image), operation.between_words, step);
            recovered_step = find_state(allowed.recovered, recover(image, static_cast<u32>(at % 2)),
                                        operation.between_words, recovered_step);
            ASSERT_GE(step, 0) << "store " << at;
            ASSERT_GE(recovered_step, 0) << "store " << at;
            for (u32 variant = 0; variant < audit_variants; ++variant) {
                image.copy_from(deaths.images[at]);
                audit(image, variant);
                ASSERT_FALSE(HasFailure()) << "store " << at << ", variant " << variant;
            }
        }
        EXPECT_EQ(contents(live), allowed.seen.back());
        EXPECT_GT(deaths.instructions(), 30U);
        instructions += deaths.instructions();
        images += deaths.images.size();
    }
    std::printf("%zu operations, %llu instructions, %llu different deaths\n", operations().size(),
                static_cast<unsigned long long>(instructions), static_cast<unsigned long long>(images));
}

// The same by real kills: what they leave is what the copies show, byte for byte.
TEST(EveryInstruction, AKillIsSuchADeath) {
    const Pinned pinned;
    const World fresh;
    World live, image;
    u32 kills = 0;
    for (const auto& operation : operations()) {
        SCOPED_TRACE(operation.name);
        const Bytes start = prepared(live, fresh, operation);
        const auto body = [&](const VcpuThread& thread) { perform(live, thread, operation); };
        const Deaths deaths = deaths_of(live, image, body);
        for (u32 at = kills % 29; at < deaths.trace.size(); at += share(29), ++kills) {
            live.copy_from(start);
            Stepper child(body);
            ASSERT_TRUE(child.run_to(deaths.trace, at)) << "instruction " << at;
            child.kill();
            image.copy_from(deaths.images[deaths.image_after[at]]);
            ASSERT_TRUE(live.same_as(image)) << "instruction " << at;
        }
    }
    std::printf("%u kills\n", kills);
}

// One dies, and who comes across what it left dies too, at any of its instructions: the slot's next owner, who recovers
// and goes on to do the same, or another one, who wants the same as the dead one had.
TEST(EveryInstruction, ADeathInsideRecoveryLeavesTheWorldSound) {
    const Pinned pinned;
    const World fresh;
    World live, second, image, scratch;
    u64 instructions = 0, images = 0;
    u32 first_deaths = 0, variant = 0, turn = 0;
    for (const auto& operation : operations()) {
        SCOPED_TRACE(operation.name);
        prepared(live, fresh, operation);
        if (live.owner(0) == 1) continue;
        const Deaths deaths =
            deaths_of(live, image, [&](const VcpuThread& thread) { perform(live, thread, operation); });
        for (std::size_t first = 0; first < deaths.images.size(); ++first)
            for (const u32 slot : {0U, 1U}) {
                if (turn++ % share(31) != 0) continue;
                ++first_deaths;
                const Bytes& start = deaths.images[first];
                const Allowed allowed(scratch, start, operation, slot);
                second.copy_from(start);
                const Contents found = contents(second);
                const Deaths next = deaths_of(second, image, [&](const VcpuThread& thread) {
                    second.run(thread, slot, false, [&](u32 vcpu) {
                        for (const auto& step : operation.steps) step(second, vcpu);
                    });
                });
                for (std::size_t at = 0; at < next.images.size(); ++at) {
                    image.copy_from(next.images[at]);
                    const Contents now = contents(image);
                    EXPECT_TRUE(now == found || find_state(allowed.seen, now, operation.between_words) >= 0 ||
                                find_state(allowed.recovered, now, operation.between_words) >= 0);
                    audit(image, variant++ % audit_variants);
                    ASSERT_FALSE(HasFailure()) << "store " << first << ", then " << at << " on slot " << slot;
                }
                instructions += next.instructions();
                images += next.images.size();
            }
    }
    std::printf("%u deaths, %llu instructions of those who came next, %llu different deaths of theirs\n", first_deaths,
                static_cast<unsigned long long>(instructions), static_cast<unsigned long long>(images));
}

// --- stopped

// Of the processor's time, for all that work() does: a machine that is busy otherwise is no stopped process's doing.
constexpr auto bound = std::chrono::milliseconds(500 * (coarser > 1 ? 10 : 1));

bool in_bounded_time(const std::function<void()>& work) {
    const auto used = [] {
        timespec time{};
        ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
        return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
    };
    const auto start = used();
    work();
    return used() - start < bound;
}

// What waiters left at a lock whose owner they took for stopped (docs/formats/map.md) is gone once that one goes on.
u32 marks(const World& world) {
    const auto word = [](std::span<const std::byte> memory, std::size_t at) {
        return static_cast<u32>(word_at(memory.data() + at));
    };
    return word(world.ring_memory(), 8192 + 2 * std::size_t{World::ring_bytes} + 4) |
           word(world.perf_memory(), 4096 + World::perf_bytes + 16);
}

// The child has ended: its work is done, and nothing of the others' is in the way or lost.
void expect_finished(World& world, Beside& beside, const Contents& maps_after) {
    beside.read_all(world);
    EXPECT_EQ(contents_of_maps(world), maps_after);
    EXPECT_EQ(beside.read, beside.written);
    EXPECT_EQ(marks(world), 0U);
    audit(world, beside.written % audit_variants, beside.told);
}

// One instruction of the child, then all that others do, and so on; behind instructions that store nothing the others
// find what they found, and are let out but for the first and every seventh.
TEST(EveryInstruction, OthersWorkBetweenAnyTwo) {
    const Pinned pinned;
    const World fresh;
    World live, last;
    u32 rounds = 0, refused = 0;
    for (const auto& operation : operations()) {
        SCOPED_TRACE(operation.name);
        const Bytes start = prepared(live, fresh, operation);
        if (live.owner(0) == 1) continue;
        const Contents after = [&] {
            perform(live, VcpuThread::current(), operation);
            return contents_of_maps(live);
        }();
        live.copy_from(start);
        Beside beside;
        last.copy_from(live);
        Stepper child([&](const VcpuThread& thread) { perform(live, thread, operation); });
        for (u32 at = 0; child.step(); ++at) {
            if (at % 7 != 0 && live.same_as(last)) continue;
            EXPECT_TRUE(in_bounded_time([&] { beside.work(live, rounds++); }));
            last.copy_from(live);
            ASSERT_FALSE(HasFailure()) << "after " << at << " instructions";
        }
        expect_finished(live, beside, after);
        refused += beside.refused;
        ASSERT_FALSE(HasFailure());
    }
    std::printf("%u rounds of the others, %u of their operations refused\n", rounds, refused);
}

// By SIGSTOP, behind every store; others do all that they can, then it goes on.
TEST(EveryInstruction, AStoppedOneHarmsNobody) {
    const Pinned pinned;
    const World fresh;
    World live, image;
    u32 stops = 0, refused = 0, turn = 0;
    for (const auto& operation : operations()) {
        SCOPED_TRACE(operation.name);
        const Bytes start = prepared(live, fresh, operation);
        if (live.owner(0) == 1) continue;
        const auto body = [&](const VcpuThread& thread) { perform(live, thread, operation); };
        const Deaths deaths = deaths_of(live, image, body);
        const Contents after = contents_of_maps(live);
        for (u32 at = 1; at < deaths.trace.size(); ++at) {
            if (deaths.image_after[at] == deaths.image_after[at - 1] || turn++ % share(19) != 0) continue;
            live.copy_from(start);
            Stepper child(body);
            ASSERT_TRUE(child.run_to(deaths.trace, at)) << "instruction " << at;
            child.stop();
            Beside beside;
            for (u32 round = 0; round < 8; ++round) EXPECT_TRUE(in_bounded_time([&] { beside.work(live, round); }));
            EXPECT_TRUE(child.go_on());
            expect_finished(live, beside, after);
            ASSERT_FALSE(HasFailure()) << "instruction " << at;
            ++stops;
            refused += beside.refused;
        }
    }
    std::printf("%u stops, %u operations of others refused\n", stops, refused);
}

// A writer looks at a record that is not finished, and is stopped in the middle of that, for long: the record's owner
// finishes it, leaves, and is killed in a run thereafter. The record stays.
TEST(EveryInstruction, ARecordThatWasSubmittedStays) {
    const Pinned pinned;
    World live;
    const Bytes start = live.bytes();
    const VcpuThread owner = VcpuThread::current();
    const auto reserve = [&] {
        const auto claim = live.table().acquire(owner, 0);
        ASSERT_TRUE(claim && claim->slot == 0);
        live.reserved[0] = live.records().reserve(8, 0);
        ASSERT_NE(live.reserved[0], nullptr);
        *static_cast<u64*>(live.reserved[0]) = 7;
    };
    const auto submit_and_die = [&] {
        live.records().commit(live.reserved[0], false, 0, 0);
        live.table().release(owner, 0);
        const pid_t next = ::fork();
        if (next == 0) perform(live, VcpuThread::current(), operations().at(30), 0);
        EXPECT_EQ(wait_for(next), 0);
        EXPECT_EQ(live.owner(0), FUTEX_OWNER_DIED);
    };
    const auto body = [&](const VcpuThread& thread) {
        live.run(thread, 1, false, [&](u32 vcpu) {
            const u64 eight = 8;
            bool wake = false;
            live.records().output(&eight, sizeof eight, 0, vcpu, &wake);
        });
    };
    World image;
    reserve();
    const auto trace = deaths_of(live, image, body).trace;
    live.table().release(owner, 0);
    for (u32 at = 0; at < trace.size(); at += share(3)) {
        live.copy_from(start);
        reserve();
        Stepper child(body);
        ASSERT_TRUE(child.run_to(trace, at)) << at;
        submit_and_die();
        child.finish();
        std::vector<u64> seen;
        read_ring(live.ring_memory(), World::ring_bytes, Reading::consume,
                  [&](const std::byte* data, u32) { seen.push_back(word_at(data)); });
        ASSERT_EQ(seen, (std::vector<u64>{7, 8})) << "after " << at << " instructions";
    }
    EXPECT_GT(trace.size(), 50U);
}

}  // namespace
}  // namespace anybpf::maps

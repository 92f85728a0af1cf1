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

// --- killed at every instruction

// A child that stops before each instruction of `body`.
class Stepper {
  public:
    explicit Stepper(const std::function<void()>& body) {
        child_ = ::fork();
        if (child_ == 0) {
            ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
            ::raise(SIGSTOP);
            body();
            ::_exit(0);
        }
        int status = 0;
        ::waitpid(child_, &status, 0);
        alive_ = WIFSTOPPED(status);
    }
    ~Stepper() { kill(); }
    Stepper(const Stepper&) = delete;
    Stepper& operator=(const Stepper&) = delete;

    // False when the child has ended.
    bool step(u32 instructions = 1) {
        for (u32 i = 0; alive_ && i < instructions; ++i) {
            int status = 0;
            ::ptrace(PTRACE_SINGLESTEP, child_, nullptr, nullptr);
            ::waitpid(child_, &status, 0);
            alive_ = WIFSTOPPED(status);
        }
        return alive_;
    }
    void kill() {
        if (!alive_) return;
        ::kill(child_, SIGKILL);
        wait_for(child_);
        alive_ = false;
    }
    void go_on() {
        ::ptrace(PTRACE_DETACH, child_, nullptr, nullptr);
        wait_for(child_);
        alive_ = false;
    }
    u32 pid() const { return static_cast<u32>(child_); }
    // Whether the kernel, were the child to die now, would look at this word. (A forked child's list head lies where
    // its parent's does.)
    bool announces(const std::atomic<u32>& word) const {
        const robust_list_head* head = VcpuThread::current().robust;
        const long entry = ::ptrace(PTRACE_PEEKDATA, child_, &head->list_op_pending, nullptr);
        return std::bit_cast<long>(&word) == entry + head->futex_offset;
    }

  private:
    pid_t child_ = -1;
    bool alive_ = false;
};

// All that processes share, small enough to be copied at every instruction: the copy is what they would find if the
// writer died there, once `let_die` has done to the slot what the kernel does.
struct World {
    static constexpr u32 slots = 2, entries = 4;
    Shared shared{slots, entries, 4096, 1};

    World() = default;
    void copy_from(const World& other) {
        for (std::size_t i = 0; i < spans().size(); ++i)
            std::memcpy(spans()[i].data(), other.spans()[i].data(), spans()[i].size());
    }
    std::array<std::span<std::byte>, 4> spans() const {
        return {shared.table_memory, shared.hash_memory, shared.ring_memory, shared.perf_memory};
    }
    std::atomic<u32>& owner(u32 slot) const {  // docs/formats/map.md: the slots follow a header of 128 bytes
        return *std::launder(static_cast<std::atomic<u32>*>(
            static_cast<void*>(shared.table_memory.data() + 128 + slot * std::size_t{128})));
    }
    // This world is a copy of one in which the child stands. Now it is one in which the child has died: the kernel
    // marks the slot that it owned and announced, and a slot that only seemed taken (run_on) is as it was.
    void let_die(const Stepper& child, const World& original, u32 seeming) const {
        for (u32 slot = 0; slot < slots; ++slot) {
            if (owner(slot) == 1) owner(slot) = seeming;
            if (owner(slot) == child.pid() && child.announces(original.owner(slot))) owner(slot) = FUTEX_OWNER_DIED;
        }
    }
    // A run on this slot and no other: that one seems taken while the run chooses, and is as it was thereafter.
    template <class Run>
    void run_on(u32 slot, bool forget, Run run) {
        const auto thread = VcpuThread::current();
        std::atomic<u32>& other = owner(1 - slot);
        const u32 before = other.exchange(1);
        const auto claim = shared.table.acquire(thread);
        other = before;
        EXPECT_TRUE(claim && claim->slot == slot);
        if (!claim) return;
        if (claim->owner_died && !forget) shared.hash->recover(slot);
        if (claim->owner_died && !forget) shared.ring->recover(slot);
        run(slot);
        shared.table.release(thread, slot);
    }
    std::function<void()> child_on(u32 slot, const std::function<void(u32)>& run) {
        return [this, slot, run] { run_on(slot, false, run); };
    }
};

using Keys = std::map<u32, u32>;  // key -> write
struct Case {
    const char* name;
    u32 prepared;  // keys 1.. that exist before
    std::function<int(Map&, u32 vcpu)> operation;
    Keys after;
    // Where the elements are that are free before: on the list of the slot that runs the operation, or on the other's.
    u32 freed_on = 0;
};

std::vector<Case> cases() {
    const Keys three{{1, 1}, {2, 1}, {3, 1}}, four{{1, 1}, {2, 1}, {3, 1}, {4, 1}};
    auto replaced = four, removed = four, inserted = three;
    replaced[2] = 9;
    removed.erase(2);
    inserted[9] = 9;
    const auto put_9 = [](u32 key) {
        return [key](Map& map, u32 vcpu) { return put(map, key, value_of(key, 9), 0, vcpu); };
    };
    return {
        {"insert", 3, put_9(9), inserted},
        {"insert what another freed", 3, put_9(9), inserted, 1},
        {"replace in a full map", 4, put_9(2), replaced},
        {"remove", 4, [](Map& map, u32 vcpu) { return take(map, u32{2}, vcpu); }, removed},
    };
}

Keys before(const Case& c) {
    Keys keys;
    for (u32 key = 1; key <= c.prepared; ++key) keys[key] = 1;
    return keys;
}

void prepare(World& world, const Case& c) {
    world.run_on(c.freed_on, false, [&](u32 vcpu) {
        // All elements pass through the lists once, so that none is as a new file has it.
        Map& map = *world.shared.hash;
        for (u32 key = 1; key <= World::entries; ++key) EXPECT_EQ(put(map, key, value_of(key, 0), 0, vcpu), 0);
        for (u32 key = 1; key <= World::entries; ++key) EXPECT_EQ(take(map, key, vcpu), 0);
        for (u32 key = 1; key <= c.prepared; ++key) EXPECT_EQ(put(map, key, value_of(key, 1), 0, vcpu), 0);
    });
}

// Every element can be had: at once the one that the dead one may have been about to insert, then all; and each
// replacement's spare is its own. Variants: by the slot's next owner, or by a waiter or searcher on another slot; in
// each the owner tells the map, or forgets to.
void expect_accounted(World& world, u32 variant) {
    Map& map = *world.shared.hash;
    const bool room = contents(map).size() < World::entries;
    world.run_on(variant % 2, variant / 2 % 2 != 0, [&](u32 vcpu) {
        const u32 first = 40 + variant % 8;
        EXPECT_EQ(put(map, first, value_of(first, 3), 0, vcpu), room ? 0 : -E2BIG);
        for (const u32 key : keys_of<u32>(map)) EXPECT_EQ(take(map, key, vcpu), 0);
        for (u32 key = 20; key < 20 + World::entries; ++key) EXPECT_EQ(put(map, key, value_of(key, 3), 0, vcpu), 0);
        EXPECT_EQ(put(map, u32{30}, value_of(30, 3), 0, vcpu), -E2BIG);
        for (u32 key = 20; key < 20 + World::entries; ++key) EXPECT_EQ(put(map, key, value_of(key, 4), 0, vcpu), 0);
    });
    EXPECT_EQ(contents(map).size(), World::entries);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr u32 coarser = 17;  // operations have several times the instructions, and each check takes as much longer
#else
constexpr u32 coarser = 1;
#endif

TEST(EveryInstruction, ADeathLeavesTheHashSound) {
    World live, image;
    const World fresh;
    for (const auto& c : cases()) {
        SCOPED_TRACE(c.name);
        live.copy_from(fresh);
        prepare(live, c);
        Stepper child(live.child_on(0, [&](u32 vcpu) { c.operation(*live.shared.hash, vcpu); }));
        u32 instructions = 0, not_yet = 0, done = 0;
        for (; child.step(); ++instructions)
            for (u32 variant = 0; instructions % coarser == 0 && variant < 8; ++variant) {
                image.copy_from(live);
                image.let_die(child, live, 0);
                const auto found = contents(*image.shared.hash);
                EXPECT_TRUE(found == before(c) || found == c.after);
                ++(found == c.after ? done : not_yet);
                expect_accounted(image, variant);
                ASSERT_FALSE(HasFailure()) << "after " << instructions << " instructions, variant " << variant;
            }
        EXPECT_GT(not_yet, 50U / coarser);
        EXPECT_GT(done, 10U / coarser);
    }
}

// One dies at some instruction, and the next one dies while it recovers, or goes on with an operation of its own.
TEST(EveryInstruction, ADeathInsideRecoveryLeavesTheHashSound) {
    World live, second, image;
    const World fresh;
    const char* all = std::getenv("ANYBPF_EVERY_INSTRUCTION");  // takes minutes
    const u32 stride = all != nullptr ? 1 : 61 * coarser;
    u32 deaths = 0;
    for (const auto& c : cases()) {
        SCOPED_TRACE(c.name);
        live.copy_from(fresh);
        prepare(live, c);
        Stepper child(live.child_on(0, [&](u32 vcpu) { c.operation(*live.shared.hash, vcpu); }));
        for (u32 first = 0; child.step(); ++first) {
            if (first % stride != 0 || live.owner(0) != child.pid()) continue;
            for (const u32 slot : {0U, 1U}) {
                second.copy_from(live);
                second.let_die(child, live, 0);
                const Keys found = contents(*second.shared.hash);
                Keys found_less_1 = found;
                found_less_1.erase(1);
                Stepper other(second.child_on(slot, [&](u32 vcpu) { take(*second.shared.hash, u32{1}, vcpu); }));
                for (u32 next = 0; other.step(); ++next) {
                    if (next % (3 * coarser) != 0) continue;
                    image.copy_from(second);
                    image.let_die(other, second, slot == 0 ? 0 : FUTEX_OWNER_DIED);
                    const auto now = contents(*image.shared.hash);
                    EXPECT_TRUE(now == found || now == found_less_1);
                    expect_accounted(image, deaths++);
                    ASSERT_FALSE(HasFailure()) << "after " << first << " and " << next << " instructions";
                }
            }
        }
    }
    EXPECT_GT(deaths, 1000U / coarser);
}

// The same by real kills, at a share of the instructions: the kernel does to the slot what `let_die` does.
TEST(EveryInstruction, AKillIsSuchADeath) {
    World live;
    const World fresh;
    for (const auto& c : cases()) {
        SCOPED_TRACE(c.name);
        for (u32 step = 0;; step += 97 * coarser) {
            live.copy_from(fresh);
            prepare(live, c);
            Stepper child(live.child_on(0, [&](u32 vcpu) { c.operation(*live.shared.hash, vcpu); }));
            if (!child.step(step)) break;
            child.kill();
            EXPECT_NE(live.owner(0), child.pid());
            if (live.owner(1) == 1) live.owner(1) = 0;
            const auto found = contents(*live.shared.hash);
            EXPECT_TRUE(found == before(c) || found == c.after);
            expect_accounted(live, step);
            ASSERT_FALSE(HasFailure()) << "after " << step << " instructions";
        }
    }
}

TEST(EveryInstruction, ADeathLeavesRingAndPerfBufferSound) {
    World live, image;
    const std::array<u64, 4> sevens{7, 7, 7, 7}, eights{8, 8, 8, 8};
    // So many writes that positions and data wrap; one loss is due to be told.
    for (u32 i = 0; i < 300; ++i)
        live.run_on(0, false, [&](u32 vcpu) {
            bool wake = false;
            u64 lost = 0;
            EXPECT_EQ(RingBuffer::of(*live.shared.ring)->output(sevens.data(), 32, 0, vcpu, &wake), 0);
            EXPECT_EQ(live.shared.perf->output(std::as_bytes(std::span(sevens)).first(28), vcpu, &wake), 0);
            drain_ring(live.shared.ring_memory, 4096);
            if (i < 200) drain_perf(live.shared.perf_memory, 4096, &lost);
            if (i != 299) return;
            while (live.shared.perf->output(std::as_bytes(std::span(sevens)).first(28), vcpu, &wake) == 0) {
            }
            drain_perf(live.shared.perf_memory, 4096, &lost);
        });
    Stepper child(live.child_on(0, [&](u32 vcpu) {
        bool wake = false;
        if (void* record = RingBuffer::of(*live.shared.ring)->reserve(32, vcpu)) {
            std::memcpy(record, sevens.data(), 32);
            RingBuffer::of(*live.shared.ring)->commit(record, false, 0, vcpu);
        }
        live.shared.perf->output(std::as_bytes(std::span(sevens)).first(28), vcpu, &wake);
    }));
    std::set<std::pair<u32, u32>> seen;
    u32 instructions = 0;
    for (; child.step(); ++instructions) {
        image.copy_from(live);
        image.let_die(child, live, 0);
        Shared& shared = image.shared;
        u64 lost = 0;
        const u32 ring_before = drain_ring(shared.ring_memory, 4096);
        const u32 perf_before = drain_perf(shared.perf_memory, 4096, &lost);
        EXPECT_EQ(lost, perf_before);  // told together with the record, and once
        seen.emplace(ring_before, perf_before);
        // The next writer is not held up, and what it writes arrives: the dead one's reservation is out of the way.
        image.run_on(instructions % 2, instructions / 2 % 2 != 0, [&](u32 vcpu) {
            bool wake = false;
            EXPECT_EQ(RingBuffer::of(*shared.ring)->output(eights.data(), 32, 0, vcpu, &wake), 0);
            EXPECT_TRUE(wake) << "the reader sleeps at what the dead one reserved";
            EXPECT_EQ(shared.perf->output(std::as_bytes(std::span(eights)).first(28), vcpu, &wake), 0);
        });
        EXPECT_EQ(drain_ring(shared.ring_memory, 4096), 1U);
        EXPECT_EQ(RingBuffer::of(*shared.ring)->query(0), 0U);
        EXPECT_EQ(drain_perf(shared.perf_memory, 4096, &lost), 1U);
        EXPECT_EQ(lost, 1U);
        ASSERT_FALSE(HasFailure()) << "after " << instructions << " instructions";
    }
    EXPECT_EQ(seen, (std::set<std::pair<u32, u32>>{{0, 0}, {1, 0}, {1, 1}}));
}

// --- stopped with a lock

TEST(Stopped, OthersGetBusyAndDoNotHang) {
    const auto c = cases()[2];
    World world;
    prepare(world, c);
    const auto clock = [] { return std::chrono::steady_clock::now(); };
    const auto operation = [&] {
        int error = 0;
        world.run_on(1, false, [&](u32 vcpu) { error = put(*world.shared.hash, u32{2}, value_of(2, 5), 0, vcpu); });
        return error;
    };
    Stepper child(world.child_on(0, [&](u32 vcpu) { c.operation(*world.shared.hash, vcpu); }));
    while (world.owner(0) != child.pid() || world.owner(1) != 0) ASSERT_TRUE(child.step());
    auto start = clock();
    int error = 0;
    while (error == 0 && child.step(20)) {
        start = clock();
        error = operation();
    }
    EXPECT_EQ(error, -EBUSY);
    EXPECT_LT(clock() - start, std::chrono::seconds(2));
    // Those who come later know already.
    start = clock();
    for (u32 i = 0; i < 10; ++i) EXPECT_EQ(operation(), -EBUSY);
    EXPECT_LT(clock() - start, std::chrono::seconds(1));
    EXPECT_EQ(contents(*world.shared.hash).size(), 4U);  // reading needs no lock
    child.go_on();
    EXPECT_EQ(operation(), 0);
    EXPECT_EQ(contents(*world.shared.hash)[2], 5U);
}

}  // namespace
}  // namespace anybpf::maps

// SPDX-License-Identifier: Apache-2.0
// A whole run, from before its virtual CPU is taken until after it is left, in a process that is killed at every
// instruction of it, by each engine that traced processes have. The stepper and what it rests on are those of
// maps/src/stepping.hpp; real kills are compared with the copies at a share of the instructions, at all of them with
//
//     ANYBPF_FULL=1 build/dev/kernel/kernel_process_test --gtest_filter='ProgramDeath.*'
#include <linux/futex.h>

#include "anybpf/engine/jit.hpp"
#include "counting.hpp"
#include "page.hpp"
#include "readers.hpp"
#include "stepping.hpp"

namespace anybpf::kernel {
namespace {

using maps::VcpuThread;
using maps::testing::Pinned;
using maps::testing::Stepper;

constexpr u32 entries = 4, ring_bytes = 4096;

// The files that runs write to, as this process maps them once more: the maps', and of the page the virtual CPUs.
class Files {
  public:
    explicit Files(Counting& machine) {
        add(machine.kernel().root().path() + "/page", page_header, vcpu_bytes());
        for (const long fd : {machine.count, machine.values, machine.counts, machine.records}) add(machine.file_of(fd));
    }
    std::vector<std::byte> bytes() const {
        std::vector<std::byte> all;
        for (const auto part : parts_) all.insert(all.end(), part.begin(), part.end());
        return all;
    }
    bool same_as(const std::vector<std::byte>& all) const {
        std::size_t at = 0;
        for (const auto part : parts_) {
            if (std::memcmp(part.data(), all.data() + at, part.size()) != 0) return false;
            at += part.size();
        }
        return true;
    }
    void restore(const std::vector<std::byte>& all) const {
        std::size_t at = 0;
        for (const auto part : parts_) {
            std::memcpy(part.data(), all.data() + at, part.size());
            at += part.size();
        }
    }
    // What the kernel would do now to slots of this process, which announces what it owns.
    static void let_die(std::vector<std::byte>& all, u32 pid) {
        const u32 died = FUTEX_OWNER_DIED;
        for (std::size_t at = 128; at < vcpu_bytes(); at += 128)
            if (std::memcmp(all.data() + at, &pid, sizeof pid) == 0) std::memcpy(all.data() + at, &died, sizeof died);
    }

  private:
    void add(const std::string& path, std::size_t offset = 0, std::size_t size = 0) {
        const Fd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
        const auto whole = static_cast<std::size_t>(std::filesystem::file_size(path));
        const auto memory = Mapping::shared(file.get(), whole, Access::read_write).value().release();
        parts_.push_back(memory.subspan(offset, size == 0 ? whole : size));
    }
    std::vector<std::span<std::byte>> parts_;
};

// What readers see; a value or a record that is not whole is a failure.
struct Seen {
    std::map<u32, u64> values, counts;
    std::vector<u64> records;
    u64 begun = 0, ended = 0;
    friend bool operator==(const Seen&, const Seen&) = default;
};

Seen look(Counting& machine) {
    Seen seen;
    for (const u32 key : machine.keys(machine.values)) {
        Counting::Value value{};
        EXPECT_EQ(machine.element(Command::map_lookup_elem, machine.values, &key, value.data()), 0);
        for (const u64 word : value) EXPECT_EQ(word, value[0]) << "torn";
        EXPECT_TRUE(seen.values.emplace(key, value[0]).second) << "twice: " << key;
    }
    for (const u32 key : machine.keys(machine.counts)) {
        std::array<u64, maps::VcpuTable::default_slots> each{};
        EXPECT_EQ(machine.element(Command::map_lookup_elem, machine.counts, &key, each.data()), 0);
        EXPECT_TRUE(seen.counts.emplace(key, *std::max_element(each.begin(), each.end())).second) << "twice: " << key;
    }
    seen.begun = machine.total(0);
    seen.ended = machine.total(1);
    return seen;
}
void read_records(Counting& machine, Seen& seen) {
    while (const auto record = machine.ring().front()) {
        for (std::size_t at = 0; at < record->size(); at += 8)
            EXPECT_EQ(maps::testing::word_at(record->data() + at), maps::testing::word_at(record->data())) << "torn";
        seen.records.push_back(maps::testing::word_at(record->data()));
        machine.ring().pop();
    }
}

// Each part is as it was or as it will be, and none is ahead of one that the program does before.
void expect_between(const Seen& seen, const Seen& before, const Seen& after) {
    const auto done = [](const auto& now, const auto& then, const auto& later) {
        EXPECT_TRUE(now == then || now == later);
        return now == later ? 1 : 0;
    };
    const std::array<int, 5> order{
        done(seen.begun, before.begun, after.begun), done(seen.values, before.values, after.values),
        done(seen.counts, before.counts, after.counts), done(seen.records, before.records, after.records),
        done(seen.ended, before.ended, after.ended)};
    EXPECT_TRUE(std::is_sorted(order.rbegin(), order.rend()));
}

// The maps still do all that maps do: runs, and exactly as many elements as were asked for.
void audit(Counting& machine) {
    const Seen before = look(machine);
    const auto submitted = machine.run({.key = 1, .word = 99, .what = 0});
    EXPECT_TRUE(submitted && *submitted) << "no virtual CPU, or no room in the ring buffer";
    Seen now = look(machine);
    read_records(machine, now);
    EXPECT_EQ(now.begun, before.begun + 1);
    EXPECT_EQ(now.ended, before.ended + 1);
    EXPECT_TRUE(!now.records.empty() && now.records.back() == 99) << "a reservation of the dead holds the reader back";
    EXPECT_EQ(machine.ring().query(0), 0U);
    for (const long map : {machine.values, machine.counts}) {
        std::array<u64, maps::VcpuTable::default_slots> value{};
        for (const u32 key : machine.keys(map))
            EXPECT_EQ(machine.element(Command::map_delete_elem, map, &key, nullptr), 0);
        for (u32 key = 20; key < 20 + entries; ++key)
            EXPECT_EQ(machine.element(Command::map_update_elem, map, &key, value.data()), 0);
        const u32 one_more = 30;
        EXPECT_EQ(machine.element(Command::map_update_elem, map, &one_more, value.data()), -E2BIG);
    }
}

void die_everywhere(const engine::AnyEngine& engine, const Counting::Arguments& arguments) {
    const Pinned pinned;
    const Scratch scratch;
    Counting machine(scratch.path(), engine, entries, ring_bytes);
    for (u64 key = 1; key <= entries; ++key) EXPECT_TRUE(machine.run({.key = key, .word = key, .what = 0}));
    Seen before = look(machine);
    read_records(machine, before);
    before.records.clear();
    const Files files(machine);
    const auto start = files.bytes();
    const std::function<void(const VcpuThread&)> body = [&](const VcpuThread&) { machine.run(arguments); };
    const std::function<void()> warm = [&] { machine.warm(); };

    Stepper::Trace trace;
    std::vector<std::vector<std::byte>> images;
    std::vector<std::size_t> image_after;
    {
        Stepper child(body, warm);
        std::vector<std::byte> last;
        do {
            if (last.empty() || !files.same_as(last)) {
                last = files.bytes();
                images.push_back(last);
                Files::let_die(images.back(), child.pid());
            }
            image_after.push_back(images.size() - 1);
            trace.add(child.address());
        } while (child.step());
    }
    Seen after = look(machine);
    read_records(machine, after);
    EXPECT_EQ(after.ended, before.ended + 1);

    for (std::size_t at = 0; at < images.size(); ++at) {
        files.restore(images[at]);
        Seen seen = look(machine);
        read_records(machine, seen);
        expect_between(seen, before, after);
        files.restore(images[at]);
        audit(machine);
        ASSERT_FALSE(::testing::Test::HasFailure()) << "store " << at;
    }
    u32 kills = 0;
    for (u32 at = 0; at < trace.size(); at += std::getenv("ANYBPF_FULL") != nullptr ? 1U : 67U, ++kills) {
        files.restore(start);
        Stepper child(body, warm);
        ASSERT_TRUE(child.run_to(trace, at)) << "instruction " << at;
        child.kill();
        ASSERT_TRUE(files.same_as(images[image_after[at]])) << "instruction " << at;
    }
    std::printf("%s: %u instructions, %zu different deaths, %u kills\n", std::string(engine.name).c_str(),
                trace.size() - 1, images.size(), kills);
}

constexpr Counting::Arguments replacing{.key = 2, .word = 7, .what = 0}, removing{.key = 3, .word = 7, .what = 1};

TEST(ProgramDeath, OfTheInterpreter) { die_everywhere(engine::any<engine::Interpreter>, replacing); }
TEST(ProgramDeath, OfTheInterpreterThatRemoves) { die_everywhere(engine::any<engine::Interpreter>, removing); }
TEST(ProgramDeath, OfTheJit) { die_everywhere(engine::any<engine::Jit>, replacing); }
TEST(ProgramDeath, OfTheJitThatRemoves) { die_everywhere(engine::any<engine::Jit>, removing); }

}  // namespace
}  // namespace anybpf::kernel

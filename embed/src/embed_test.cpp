// SPDX-License-Identifier: Apache-2.0
#include "anybpf/embed.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <set>
#include <thread>

#include "anybpf/abi/helper.hpp"
#include "anybpf/engine/llvm.hpp"
#include "anybpf/isa/text.hpp"

extern "C" int c_interface(const char* root);

namespace anybpf::embed {
namespace {

std::vector<isa::Insn> code(std::string_view text) {
    auto insns = isa::assemble(text, [](std::string_view name) -> std::optional<u32> {
        const auto id = abi::helper_by_name(name);
        return id ? std::optional(static_cast<u32>(*id)) : std::nullopt;
    });
    EXPECT_TRUE(insns.has_value()) << (insns ? "" : insns.error().message);
    return insns.value_or(std::vector<isa::Insn>{});
}

template <class T>
std::span<const std::byte> as_bytes(const T& value) {
    return std::as_bytes(std::span(&value, 1));
}

// A root of the test's own, on the tmpfs that is everywhere.
class Embed : public ::testing::Test {
  protected:
    Embed() : root_("/dev/shm/anybpf-embed-test-" + std::to_string(::getpid())) { std::filesystem::remove_all(root_); }
    ~Embed() override { std::filesystem::remove_all(root_); }
    Machine machine() const { return Machine::open({.root = root_}).value(); }
    std::string root_;
};

// A frame of 40 KiB, and one of 8 KiB that is called from it.
TEST_F(Embed, GivesMoreStackWhereItIsAllowed) {
    const auto deep = code(R"(
        r6 = r10
        r6 += -40960
        *(u64 *)(r6 + 0) = 40
        call f
        r1 = *(u64 *)(r6 + 0)
        r0 += r1
        exit
    f:  r6 = r10
        r6 += -8192
        *(u64 *)(r6 + 0) = 2
        r0 = *(u64 *)(r6 + 0)
        exit)");
    for (const std::string_view engine : engines()) {
        if (engine == "llvm" && !engine::Llvm::available()) continue;
        const auto machine = Machine::open({.root = root_, .engine = std::string(engine)}).value();
        const auto refused = machine.load({.name = "deep", .insns = deep});
        ASSERT_FALSE(refused.has_value());
        EXPECT_NE(refused.error().message.find("--stack BYTES"), std::string::npos) << refused.error().message;
        ASSERT_TRUE(machine.set_limits(1'000'000, 49152 - 16));
        EXPECT_FALSE(machine.load({.name = "deep", .insns = deep}).has_value());
        ASSERT_TRUE(machine.set_limits(1'000'000, 49152));
        const auto program = machine.load({.name = "deep", .insns = deep});
        ASSERT_TRUE(program.has_value()) << program.error().message;
        std::array<u8, 64> packet{};
        EXPECT_EQ(program->filter(as_bytes(packet)).value(), 42U) << engine;

        // A program with little stack whose tail call enters one with much.
        const auto programs = machine.create_map({"next", abi::MapType::prog_array, 4, 4, 1}).value();
        ASSERT_TRUE(programs.put(u32{0}, program->fd()));
        auto insns = code("r2 = map[fd:0] ll\nr3 = 0\ncall tail_call\nr0 = 7\nexit");
        insns[0].imm = programs.fd();
        const auto first = machine.load({.name = "first", .insns = insns});
        ASSERT_TRUE(first.has_value()) << first.error().message;
        EXPECT_EQ(first->filter(as_bytes(packet)).value(), 42U) << engine;
    }
    const auto limited = Machine::open({.root = root_, .max_insns = 5, .stack_bytes = 65536}).value();
    EXPECT_FALSE(limited.load({.name = "deep", .insns = deep}).has_value());
    EXPECT_FALSE(limited.set_limits(0, 512));
    EXPECT_FALSE(limited.set_limits(1'000'000, 65537));
    EXPECT_FALSE(Machine::open({.root = root_, .stack_bytes = 1 << 20}));
}

TEST_F(Embed, FiltersPackets) {
    const auto program = machine().load({.name = "ipv4", .insns = code(R"(
        r6 = r1
        r0 = *(u16 *)skb[12]
        if r0 != 0x800 goto drop
        r0 = *(u32 *)(r6 + 0)
        exit
    drop:
        r0 = 0
        exit)")});
    ASSERT_TRUE(program.has_value()) << program.error().message;
    std::array<u8, 60> packet{};
    packet[12] = 8;
    EXPECT_EQ(program->filter(as_bytes(packet)).value(), 60U);
    packet[13] = 6;
    EXPECT_EQ(program->filter(as_bytes(packet)).value(), 0U);
    EXPECT_EQ(program->filter(as_bytes(packet).first(13)).value(), 0U);  // the load reaches out of it
    EXPECT_EQ(program->filter({}).value(), 0U);
    EXPECT_FALSE(program->run(as_bytes(packet)).has_value());
}

TEST_F(Embed, FiltersManyPacketsAtOnce) {
    const Program program = machine().load({.name = "length", .insns = code("r0 = *(u32 *)(r1 + 0)\nexit")}).value();
    const std::array<u8, 60> bytes{};
    const auto packets = std::to_array<Program::Packet>({as_bytes(bytes), {}, as_bytes(bytes).first(14)});
    std::array<u64, 3> verdicts{};
    EXPECT_TRUE(program.filter(packets, verdicts).has_value());
    EXPECT_EQ(verdicts, (std::array<u64, 3>{60, 0, 14}));
    EXPECT_FALSE(program.filter(packets, std::span(verdicts).first(2)).has_value());
}

TEST_F(Embed, RunsOnRecordsOfTheHost) {
    struct Order {
        u64 hidden;
        u32 amount, country;
    };
    const auto program = machine().load({.name = "rule", .type = abi::ProgType::tracepoint, .insns = code(R"(
        r2 = *(u32 *)(r1 + 8)
        r3 = *(u32 *)(r1 + 12)
        r0 = 0
        if r3 == 41 goto out
        if r2 < 1000 goto out
        r0 = 1
    out:
        exit)")});
    ASSERT_TRUE(program.has_value()) << program.error().message;
    EXPECT_EQ(program->context_bytes(), 16U);
    EXPECT_EQ(program->run(as_bytes(Order{0, 5000, 49})).value(), 1U);
    EXPECT_EQ(program->run(as_bytes(Order{0, 5000, 41})).value(), 0U);
    EXPECT_EQ(program->run(as_bytes(Order{0, 999, 49})).value(), 0U);
    EXPECT_FALSE(program->run(as_bytes(u64{})).has_value()) << "too short";
    EXPECT_FALSE(program->filter(as_bytes(Order{})).has_value());
}

TEST_F(Embed, SharesMaps) {
    const Machine machine = this->machine();
    const Map seen = machine.create_map({"seen", abi::MapType::hash, 8, 8, 100}).value();
    auto insns = code(R"(
        r3 = *(u64 *)(r1 + 0)
        *(u64 *)(r10 - 8) = r3
        r2 = r10
        r2 += -8
        r1 = map[fd:0] ll
        call map_lookup_elem
        if r0 == 0 goto first
        r1 = 1
        lock *(u64 *)(r0 + 0) += r1
        r0 = *(u64 *)(r0 + 0)
        exit
    first:
        *(u64 *)(r10 - 16) = 1
        r3 = r10
        r3 += -16
        r2 = r10
        r2 += -8
        r4 = 0
        r1 = map[fd:0] ll
        call map_update_elem
        r0 = 1
        exit)");
    for (isa::Insn& insn : insns)
        if (insn.code == 0x18) insn.imm = seen.fd();
    const Program program =
        machine.load({.name = "count", .type = abi::ProgType::raw_tracepoint, .insns = insns}).value();
    for (u64 i = 1; i <= 3; ++i) EXPECT_EQ(program.run(as_bytes(u64{77})).value(), i);
    EXPECT_EQ(program.run(as_bytes(u64{78})).value(), 1U);
    EXPECT_EQ(seen.get<u64>(u64{77}).value(), 3U);
    EXPECT_EQ(seen.get<u64>(u64{5}).value(), std::nullopt);
    EXPECT_TRUE(seen.put(u64{77}, u64{10}).has_value());
    EXPECT_EQ(program.run(as_bytes(u64{77})).value(), 11U);
    std::set<u64> keys;
    for (auto key = seen.next_key().value(); key; key = seen.next_key(*key).value()) {
        u64 number = 0;
        std::memcpy(&number, key->data(), sizeof(number));
        keys.insert(number);
    }
    EXPECT_EQ(keys, (std::set<u64>{77, 78}));
    EXPECT_TRUE(seen.erase(as_bytes(u64{78})).value());
    EXPECT_FALSE(seen.erase(as_bytes(u64{78})).value());
    EXPECT_EQ(seen.put(u64{77}, u64{1}, abi::update_noexist).error().code, Errc::already_exists);
    EXPECT_FALSE(seen.put(u32{77}, u64{1}).has_value());
    EXPECT_FALSE(seen.get<u32>(u64{77}).has_value());
    EXPECT_TRUE(seen.values().empty());
}

TEST_F(Embed, RunsOnManyThreadsAtOnce) {
    const Machine machine = this->machine();
    const Map total = machine.create_map({"total", abi::MapType::percpu_array, 4, 8, 1}).value();
    auto insns = code(R"(
        *(u32 *)(r10 - 4) = 0
        r2 = r10
        r2 += -4
        r1 = map[fd:0] ll
        call map_lookup_elem
        if r0 == 0 goto out
        r1 = *(u64 *)(r0 + 0)
        r1 += 1
        *(u64 *)(r0 + 0) = r1
    out:
        r0 = 0
        exit)");
    for (isa::Insn& insn : insns)
        if (insn.code == 0x18) insn.imm = total.fd();
    const Program program =
        machine.load({.name = "count", .type = abi::ProgType::raw_tracepoint, .insns = insns}).value();
    constexpr u64 threads = 4, each = 5000;
    {
        std::vector<std::jthread> running;
        for (u64 i = 0; i < threads; ++i)
            running.emplace_back([&] {
                for (u64 n = 0; n < each; ++n) EXPECT_TRUE(program.run({}).has_value());
            });
    }
    const auto values = total.lookup(as_bytes(u32{0})).value().value();
    EXPECT_EQ(values.size(), total.value_bytes());
    u64 sum = 0;
    for (std::size_t at = 0; at < values.size(); at += 8) {
        u64 value = 0;
        std::memcpy(&value, values.data() + at, sizeof(value));
        sum += value;
    }
    EXPECT_EQ(sum, threads * each);
}

TEST_F(Embed, ValuesOfArraysLieInTheOpen) {
    const Machine machine = this->machine();
    const Map array = machine.create_map({"a", abi::MapType::array, 4, 12, 3}).value();
    ASSERT_EQ(array.values().size(), 48U);
    EXPECT_TRUE(array.put(u32{1}, std::array<u32, 3>{7, 8, 9}).has_value());
    EXPECT_EQ(std::to_integer<int>(array.values()[16]), 7);
    array.values()[20] = std::byte{50};
    EXPECT_EQ((array.get<std::array<u32, 3>>(u32{1}).value()), (std::array<u32, 3>{7, 50, 9}));
}

TEST_F(Embed, RecordsOfARingBuffer) {
    using namespace std::chrono_literals;
    const Machine machine = this->machine();
    const Map ring = machine.create_map({"ring", abi::MapType::ringbuf, 0, 0, 4096}).value();
    auto insns = code(R"(
        r6 = *(u64 *)(r1 + 0)
        r1 = map[fd:0] ll
        r2 = 8
        r3 = 0
        call ringbuf_reserve
        if r0 == 0 goto full
        *(u64 *)(r0 + 0) = r6
        r1 = r0
        r2 = 0
        if r6 == 13 goto unlucky
        call ringbuf_submit
        r0 = 1
        exit
    unlucky:
        call ringbuf_discard
        r0 = 2
        exit
    full:
        r0 = 0
        exit)");
    for (isa::Insn& insn : insns)
        if (insn.code == 0x18) insn.imm = ring.fd();
    const Program program =
        machine.load({.name = "say", .type = abi::ProgType::raw_tracepoint, .insns = insns}).value();
    std::vector<u64> heard;
    const auto hear = [&] {
        return ring
            .consume([&](std::span<const std::byte> record) {
                u64 number = 0;
                ASSERT_EQ(record.size(), sizeof(number));
                std::memcpy(&number, record.data(), sizeof(number));
                heard.push_back(number);
            })
            .value();
    };
    EXPECT_EQ(hear(), 0U);
    EXPECT_FALSE(ring.wait(1ms).value());
    for (const u64 number : {u64{7}, u64{13}, u64{8}}) EXPECT_NE(program.run(as_bytes(number)).value(), 0U);
    EXPECT_TRUE(ring.wait(0ms).value());
    EXPECT_EQ(hear(), 2U);
    EXPECT_EQ(heard, (std::vector<u64>{7, 8}));
    heard.clear();
    // A reader that sleeps is woken; in the end it has all records, in their order.
    constexpr u64 count = 2000;
    {
        const std::jthread writer([&](const std::stop_token& stop) {
            for (u64 i = 100; i < 100 + count && !stop.stop_requested();)
                if (program.run(as_bytes(i)).value() != 0) ++i;
        });
        while (heard.size() < count) {
            ASSERT_TRUE(ring.wait(60s).value());
            hear();
        }
    }
    for (u64 i = 0; i < count; ++i) ASSERT_EQ(heard[i], 100 + i);
    const Map other = machine.create_map({"other", abi::MapType::array, 4, 8, 1}).value();
    EXPECT_FALSE(other.consume([](auto) {}).has_value());
    EXPECT_FALSE(other.wait(0ms).has_value());
}

TEST_F(Embed, TailCalls) {
    const Machine machine = this->machine();
    const Map table = machine.create_map({"table", abi::MapType::prog_array, 4, 4, 2}).value();
    auto insns = code("r2 = map[fd:0] ll\nr3 = 1\ncall tail_call\nr0 = 1\nexit");
    insns[0].imm = table.fd();
    const auto raw = abi::ProgType::raw_tracepoint;
    const Program first = machine.load({.name = "first", .type = raw, .insns = insns}).value();
    EXPECT_EQ(first.run({}).value(), 1U);
    const Program second = machine.load({.name = "second", .type = raw, .insns = code("r0 = 2\nexit")}).value();
    EXPECT_TRUE(table.put(u32{1}, second.fd()).has_value());
    EXPECT_EQ(first.run({}).value(), 2U);
}

TEST_F(Embed, TheVerifierExplains) {
    const Machine machine = this->machine();
    const auto refused = machine.load({.name = "wild", .insns = code("r0 = *(u64 *)(r1 + 4096)\nexit")});
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, Errc::rejected);
    EXPECT_EQ(refused.error().sys_errno, EACCES);
    for (const std::string_view words : {"'wild'", "out_of_context", "instruction 0", "what would do"})
        EXPECT_NE(refused.error().message.find(words), std::string::npos)
            << words << " in: " << refused.error().message;
    EXPECT_FALSE(machine.load({.name = "empty"}).has_value());
    EXPECT_FALSE(
        machine.load({.name = "type", .type = abi::ProgType::cgroup_sock, .insns = code("r0 = 0\nexit")}).has_value());
    EXPECT_FALSE(machine.create_map({"none", abi::MapType::hash, 0, 8, 1}).has_value());
}

TEST_F(Embed, AdoptsDescriptors) {
    const Machine machine = this->machine();
    const Map map = machine.create_map({"m", abi::MapType::array, 4, 8, 1}).value();
    const Program program = machine.load({.name = "p", .insns = code("r0 = 3\nexit")}).value();
    EXPECT_TRUE(map.put(u32{0}, u64{9}).has_value());
    EXPECT_EQ(machine.adopt_map(Fd(::dup(map.fd()))).value().get<u64>(u32{0}).value(), 9U);
    EXPECT_EQ(machine.adopt_program(Fd(::dup(program.fd()))).value().filter({}).value(), 3U);
    EXPECT_FALSE(machine.adopt_map(Fd(::dup(program.fd()))).has_value());
    EXPECT_FALSE(machine.adopt_program(Fd(::dup(map.fd()))).has_value());
    EXPECT_FALSE(machine.adopt_map(Fd(::dup(0))).has_value());
}

TEST_F(Embed, NothingIsLeft) {
    {
        const Machine machine = this->machine();
        const Map map = machine.create_map({"m", abi::MapType::array, 4, 8, 1}).value();
        const Program program = machine.load({.name = "p", .insns = code("r0 = 3\nexit")}).value();
        EXPECT_FALSE(std::filesystem::is_empty(root_));
    }
    EXPECT_TRUE(std::filesystem::is_empty(root_));
}

TEST_F(Embed, EnginesAreChosenByName) {
    ASSERT_FALSE(engines().empty());
    for (const std::string_view name : engines()) {
        if (name == engine::Llvm::name && !engine::Llvm::available()) {
            std::printf("skipped: %s: %s\n", name.data(), engine::Llvm::available().error().message.c_str());
            continue;
        }
        const auto machine = Machine::open({.root = root_, .engine = std::string(name)});
        ASSERT_TRUE(machine.has_value()) << name << ": " << machine.error().message;
        EXPECT_EQ(machine->load({.name = "p", .insns = code("r0 = 3\nexit")}).value().filter({}).value(), 3U) << name;
    }
    EXPECT_EQ(Machine::open({.root = root_, .engine = "warp"}).error().code, Errc::not_found);
    EXPECT_FALSE(Machine::open({.root = "/proc/self"}).has_value());
}

TEST_F(Embed, TiersUp) {
    const Machine machine = this->machine();
    const Map count = machine.create_map({"count", abi::MapType::array, 4, 8, 1}).value();
    auto insns = code("r1 = map[fd:0][0]+0 ll\nr2 = 1\nr0 = 1\nlock *(u64 *)(r1 + 0) += r2\nexit");
    insns[0].imm = count.fd();
    const Program program = machine.load({.name = "p", .type = abi::ProgType::raw_tracepoint, .insns = insns}).value();
    EXPECT_EQ(program.engine(), "jit");
    EXPECT_FALSE(program.tier_up("warp").has_value());
    u64 runs = 0;
    std::atomic<bool> done = false;
    {
        const std::jthread runner([&] {
            for (; !done; ++runs) EXPECT_EQ(program.run({}).value(), 1U);
        });
        for (const std::string_view name : engines())
            if (name != engine::Llvm::name || engine::Llvm::available()) {
                EXPECT_TRUE(program.tier_up(name).has_value()) << name;
                EXPECT_EQ(program.engine(), name);
            }
        done = true;
    }
    EXPECT_EQ(count.get<u64>(u32{0}).value(), runs);
}

TEST_F(Embed, ForC) { EXPECT_EQ(c_interface(root_.c_str()), 0); }

}  // namespace
}  // namespace anybpf::embed

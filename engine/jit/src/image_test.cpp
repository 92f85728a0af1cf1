// SPDX-License-Identifier: Apache-2.0
// Compiled for others: the bytes of an image, read and linked again, run on other maps of the same shape, and nothing
// else.
#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <random>

#include "anybpf/engine/jit.hpp"
#include "anybpf/engine/lower.hpp"
#include "anybpf/engine/op.hpp"
#include "anybpf/isa/text.hpp"

namespace anybpf::engine {
namespace {

using program::Lowered;

u64 add_seven(abi::Run&, u64 r1, u64, u64, u64, u64) { return r1 + 7; }
u64 add_nine(abi::Run&, u64 r1, u64, u64, u64, u64) { return r1 + 9; }

// Looks value `index` up in map 0, adds what value 1 of map 1 holds, and gives the sum to helper 5.
struct Case {
    Lowered lowered;
    std::array<u64, 4> values{10, 20, 30, 40}, others{100, 200, 300, 400};
    abi::HelperBodies helpers{};
    Case() {
        const auto insns = isa::assemble(
            "*(u32 *)(r10 - 4) = 2\nr2 = r10\nr2 += -4\nr6 = r2\nr7 = 0\nr1 = *(u64 *)(r6 + 0)\n"
            "call 5\nexit");
        EXPECT_TRUE(insns) << insns.error().message;
        auto made = lower_unverified(*insns);
        EXPECT_TRUE(made) << made.error().message;
        lowered = std::move(*made);
        // The lowered forms that only verified programs have: r6 = the value's address; r7 = an address in map 1.
        lowered.insns[3] = {.op = static_cast<u16>(Op::lookup_array), .dst = 6, .src = 2, .off = 0, .imm = 0};
        lowered.insns[4] = {.op = static_cast<u16>(Op::mov64_imm), .dst = 7, .src = 0, .off = 0, .imm = 0};
        lowered.map_uses = {{.insn = 4, .map = 1, .offset = 8, .value = 1}};
        helpers[5] = add_seven;
    }
    std::array<BoundMap, 2> maps() {
        return {BoundMap{.map = nullptr,
                         .values = nullptr,
                         .array = {reinterpret_cast<std::byte*>(values.data()), sizeof(u64), 0, 4}},
                BoundMap{.map = nullptr, .values = reinterpret_cast<std::byte*>(others.data()), .array = {}}};
    }
    u64 run(const JitProgram& program) {
        abi::Run run;
        run.helpers = &helpers;
        return run_code(program, run);
    }
};

TEST(Image, RunsOnTheMapsAndHelpersOfWhoLinksIt) {
    Case made;
    const auto image = Jit::compile(made.lowered, made.maps(), &made.helpers);
    ASSERT_TRUE(image) << image.error().message;
    const auto bytes = image->bytes();

    Case other;
    other.values[2] = 1000;
    other.helpers[5] = add_nine;
    const auto read = CodeImage::read(bytes);
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->bytes(), bytes);
    const auto linked = read->link(other.maps(), &other.helpers), first = image->link(made.maps(), &made.helpers);
    ASSERT_TRUE(linked) << linked.error().message;
    ASSERT_TRUE(first) << first.error().message;
    EXPECT_EQ(other.run(**linked), 1009U);
    EXPECT_EQ(made.run(**first), 37U);
}

TEST(Image, AnotherShapeOrAMissingHelperIsRefused) {
    Case made;
    const auto image = Jit::compile(made.lowered, made.maps(), &made.helpers);
    ASSERT_TRUE(image) << image.error().message;
    const auto refused = [&](auto&& change) {
        auto maps = made.maps();
        abi::HelperBodies helpers = made.helpers;
        change(maps, helpers);
        const auto linked = image->link(maps, &helpers);
        EXPECT_FALSE(linked);
        return linked ? std::string() : linked.error().message;
    };
    EXPECT_NE(refused([](auto& maps, auto&) { maps[0].array.entries = 3; }).find("shape"), std::string::npos);
    EXPECT_NE(refused([](auto& maps, auto&) { maps[0].array.stride = 16; }).find("shape"), std::string::npos);
    EXPECT_NE(refused([](auto& maps, auto&) { maps[0].array.block = 64; }).find("shape"), std::string::npos);
    EXPECT_NE(refused([](auto& maps, auto&) { maps[1].values = nullptr; }).find("values"), std::string::npos);
    EXPECT_NE(refused([](auto&, auto& helpers) { helpers[5] = nullptr; }).find("not available"), std::string::npos);
    const auto maps = made.maps();
    EXPECT_FALSE(image->link(std::span(maps).first(1), &made.helpers));
    EXPECT_FALSE(image->link(maps, nullptr));
}

TEST(Image, SpoiltBytesAreNoImageOrStayInside) {
    Case made;
    const auto image = Jit::compile(made.lowered, made.maps(), &made.helpers);
    ASSERT_TRUE(image) << image.error().message;
    const auto bytes = image->bytes();
    for (std::size_t size = 0; size < bytes.size(); ++size)
        EXPECT_FALSE(CodeImage::read(std::span(bytes).first(size))) << size;
    std::mt19937 random(20);
    u32 refused = 0;
    for (u32 round = 0; round < 20'000; ++round) {
        auto spoilt = bytes;
        for (u32 n = 0; n <= round % 3; ++n) spoilt[random() % 120] = static_cast<std::byte>(random());
        const auto read = CodeImage::read(spoilt);
        refused += read ? 0U : 1U;
        // Linking writes within the code, or not at all; it is not run.
        if (read) (void)read->link(made.maps(), &made.helpers);
    }
    EXPECT_GT(refused, 1000U);
}

}  // namespace
}  // namespace anybpf::engine

// SPDX-License-Identifier: Apache-2.0
// What constant folding makes of programs. That they do the same as before is the differential's work, which runs every
// program as it is written, too.
#include <gtest/gtest.h>

#include <algorithm>

#include "anybpf/engine/jit.hpp"
#include "anybpf/engine/lower.hpp"
#include "anybpf/engine/op.hpp"
#include "anybpf/isa/text.hpp"

namespace anybpf::engine {
namespace {

using program::Lowered;
using program::LoweredInsn;

constexpr u32 value_bytes = 64;
constexpr auto frozen_value = [] {
    std::array<std::byte, value_bytes> bytes{};
    for (u32 i = 0; i < value_bytes; ++i) bytes[i] = static_cast<std::byte>(0xf0 + i);
    return bytes;
}();

// With map 0, an array of one value, and map 1, the same and frozen. A function starts at each of `functions`.
Lowered fold(std::string_view text, std::initializer_list<u32> functions = {}) {
    program::Program program;
    program.insns = *isa::assemble(text);
    for (u32 i = 0; i < 2; ++i) {
        program::MapInfo& map = program.maps.emplace_back();
        map.type = abi::MapType::array;
        map.key_size = 4, map.value_size = value_bytes, map.max_entries = 1;
        if (i == 1) map.frozen = frozen_value;
    }
    const auto count = static_cast<u32>(program.insns.size());
    program::Proof proof;
    proof.insns.assign(count, {.reached = true});
    for (u32 pc = 0; pc < count; ++pc)
        if (isa::slots(program.insns[pc]) == 2) proof.insns[pc + 1].reached = false;
    proof.subprograms = {{.first = 0, .last = count, .stack_bytes = 16}};
    for (const u32 first : functions) proof.subprograms.push_back({.first = first, .last = count, .stack_bytes = 0});
    auto lowered = lower(program, proof);
    EXPECT_TRUE(lowered.has_value()) << (lowered ? "" : lowered.error().message);
    return lowered ? *lowered : Lowered{};
}

std::string listing(const Lowered& lowered) {
    std::string text;
    for (u32 at = 0; at < lowered.insns.size(); ++at) {
        const LoweredInsn& insn = lowered.insns[at];
        const Op op{insn.op};
        text += to_string(op);
        const Operands uses = operands(op);
        if (uses.reads_dst || uses.writes_dst) text += " r" + std::to_string(insn.dst);
        if (uses.reads_src || uses.writes_src) text += " r" + std::to_string(insn.src);
        if (insn.off != 0) text += " @" + std::to_string(insn.off);
        if (insn.imm != 0) text += " " + std::to_string(insn.imm);
        for (const program::MapUse& use : lowered.map_uses)
            if (use.insn == at)
                text += " map" + std::to_string(use.map) + (use.value != 0 ? "+" + std::to_string(use.offset) : "");
        text += "\n";
    }
    return text;
}

TEST(Fold, ArithmeticOfConstantsIsItsResult) {
    EXPECT_EQ(listing(fold("r1 = 5\nr1 += 7\nr2 = 3\nr1 *= r2\nr0 = r1\nexit")), "mov64_imm r0 36\nexit\n");
    EXPECT_EQ(listing(fold("w1 = -1\nr1 += 1\nr1 >>= 4\nr0 = be16 r0\nr0 = r1\nexit")),
              "mov64_imm r0 268435456\nexit\n");
    EXPECT_EQ(listing(fold("r1 = 200\nr0 = (s8)r1\nr0 /= 0\nexit")), "mov64_imm r0\nexit\n");
    // A long constant is not copied.
    EXPECT_EQ(listing(fold("r1 = 0x123456789abcdef ll\nr0 = r1\nr0 += r1\nr6 = r1\ncall 5\nr0 = r6\nexit")),
              "mov64_imm r1 81985529216486895\nmov64_reg r6 r1\ncall_helper 5\nmov64_reg r0 r6\nexit\n");
}

TEST(Fold, KnownOperandsAreImmediates) {
    EXPECT_EQ(listing(fold("r2 = 3\nr0 = *(u32 *)(r1 + 0)\nr0 /= r2\nr3 = 67\nr0 <<= r3\nw0 &= w2\nexit")),
              "load_word r0 r1\ndiv64_imm r0 3\nlsh64_imm r0 3\nand_32_imm r0 3\nexit\n");
    EXPECT_EQ(listing(fold("r2 = -1\n*(u16 *)(r10 - 8) = r2\nr0 = *(u16 *)(r10 - 8)\nif r0 > r2 goto +1\nexit\nexit")),
              "store_imm_half r10 @-8 -1\nload_half r0 r10 @-8\njgt64_imm r0 @4 -1\nexit\nexit\n");
    // 64 bits do not fit.
    EXPECT_EQ(listing(fold("r2 = 0x100000000 ll\nr0 = *(u32 *)(r1 + 0)\nr0 += r2\nw0 += w2\nexit")),
              "mov64_imm r2 4294967296\nload_word r0 r1\nadd64_reg r0 r2\nadd32_imm r0\nexit\n");
}

TEST(Fold, JumpsWithOneOutcomeAreNone) {
    EXPECT_EQ(listing(fold("r2 = 3\nif r2 s> 2 goto +2\nr0 = 1\nexit\nr0 = 2\nexit")), "mov64_imm r0 2\nexit\n");
    EXPECT_EQ(listing(fold("r2 = 3\nif r2 == 2 goto +2\nr0 = 1\nexit\nr0 = 2\nexit")), "mov64_imm r0 1\nexit\n");
    // Known on each way to it, the same or not.
    EXPECT_EQ(listing(fold("if r1 == 0 goto +2\nr2 = 1\ngoto +1\nr2 = 1\nr0 = r2\nexit")),
              "jeq64_imm r1 @1\nmov64_imm r0 1\nexit\n");
    EXPECT_EQ(listing(fold("if r1 == 0 goto +2\nr2 = 1\ngoto +1\nr2 = 2\nr0 = r2\nexit")),
              "jeq64_imm r1 @3\nmov64_imm r2 1\njump @4\nmov64_imm r2 2\nmov64_reg r0 r2\nexit\n");
}

TEST(Fold, LoopsStay) {
    EXPECT_EQ(listing(fold("r0 = 0\nr2 = 2\nagain: r0 += r2\nif r0 < 10 goto again\nexit")),
              "mov64_imm r0\nadd64_imm r0 2\njlt64_imm r0 @1 10\nexit\n");
    EXPECT_EQ(listing(fold("r0 = 0\nagain: may_goto out\nr0 += 1\ngoto again\nout: exit")),
              "mov64_imm r0\nmay_goto @4\nadd64_imm r0 1\njump @1\nexit\n");
}

TEST(Fold, PlacesInMapsAreAddresses) {
    EXPECT_EQ(
        listing(fold("r1 = map[idx:0][0]+8 ll\nr2 = r1\nr2 += 16\nr3 = 4\nr3 += r2\nr0 = *(u32 *)(r3 + 4)\nexit")),
        "mov64_imm r3 map0+28\nload_word r0 r3 @4\nexit\n");
    // Not beyond the value.
    EXPECT_EQ(listing(fold("r1 = map[idx:0][0]+8 ll\nr1 += 64\nr1 += -64\nr0 = *(u32 *)(r1 + 0)\nexit")),
              "mov64_imm r1 map0+8\nadd64_imm r1 64\nadd64_imm r1 -64\nload_word r0 r1\nexit\n");
}

TEST(Fold, ValuesThatNeverChangeAreConstants) {
    EXPECT_EQ(listing(fold("r1 = map[idx:1][0]+4 ll\nr0 = *(u16 *)(r1 + 2)\nr2 = *(s8 *)(r1 + 0)\nr0 += r2\nexit")),
              "mov64_imm r0 " + std::to_string(0xf7f6 - 12) + "\nexit\n");
    const std::string outside = listing(fold("r1 = map[idx:1][0]+60 ll\nr0 = *(u64 *)(r1 + 0)\nexit"));
    EXPECT_EQ(outside, "mov64_imm r1 map1+60\nload_dword r0 r1\nexit\n");
    EXPECT_NE(listing(fold("r1 = map[idx:0][0]+4 ll\nr0 = *(u16 *)(r1 + 2)\nexit")).find("load_half"),
              std::string::npos);
}

TEST(Fold, FunctionsKeepTheirPlaces) {
    const Lowered lowered = fold(
        "r6 = 4\nr1 = 3\nr1 += r6\ncall f\nr0 += r6\nr1 = 2\nr2 = g ll\nr3 = 0\nr4 = 0\ncall 181\nexit\n"
        "f: r3 = 1\nr0 = r1\nr0 += r3\nexit\ng: r0 = 1\nr0 -= 1\nexit",
        {12, 16});
    ASSERT_EQ(lowered.subprograms.size(), 3U);
    EXPECT_EQ(listing(lowered),
              "mov64_imm r1 7\ncall_local 7\nmov64_imm r1 2\nmov64_imm r3\nmov64_imm r4\nloop 10\nexit\n"
              "mov64_reg r0 r1\nadd64_imm r0 1\nexit\nmov64_imm r0\nexit\n");
    EXPECT_EQ(lowered.subprograms[1].first, 7U);
    EXPECT_EQ(lowered.subprograms[2].first, 10U);
}

TEST(Fold, ACallMayChangeAnything) {
    EXPECT_EQ(listing(fold("r6 = 1\nr1 = 1\ncall 5\nr0 += r6\nexit")),
              "mov64_imm r1 1\ncall_helper 5\nadd64_imm r0 1\nexit\n");
    EXPECT_EQ(listing(fold("r0 = 0\nr2 = 5\n*(u32 *)(r10 - 4) = 7\nr2 = atomic_fetch_add((u32 *)(r10 - 4), r2)\n"
                           "r0 += r2\nexit")),
              "mov64_imm r0\nmov64_imm r2 5\nstore_imm_word r10 @-4 7\natomic_fetch_add_word r10 r2 @-4\n"
              "add64_reg r0 r2\nexit\n");
}

}  // namespace
}  // namespace anybpf::engine

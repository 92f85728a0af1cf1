// SPDX-License-Identifier: Apache-2.0
#include "anybpf/isa/classic.hpp"

#include <gtest/gtest.h>

#include <random>

namespace anybpf::isa {
namespace {

// "ip and tcp dst port 80" on Ethernet, as `tcpdump -d` prints it.
constexpr std::string_view tcp_port_80 =
    "(000) ldh      [12]\n"
    "(001) jeq      #0x800           jt 2\tjf 10\n"
    "(002) ldb      [23]\n"
    "(003) jeq      #0x6             jt 4\tjf 10\n"
    "(004) ldh      [20]\n"
    "(005) jset     #0x1fff          jt 10\tjf 6\n"
    "(006) ldxb     4*([14]&0xf)\n"
    "(007) ldh      [x + 16]\n"
    "(008) jeq      #0x50            jt 9\tjf 10\n"
    "(009) ret      #262144\n"
    "(010) ret      #0\n";

TEST(Classic, TcpdumpListingRoundTrips) {
    const auto insns = assemble_classic(tcp_port_80);
    ASSERT_TRUE(insns.has_value()) << insns.error().message;
    EXPECT_EQ((*insns)[1], (ClassicInsn{0x15, 0, 8, 0x800}));
    EXPECT_EQ((*insns)[6], (ClassicInsn{0xb1, 0, 0, 14}));
    EXPECT_EQ(listing(*insns), tcp_port_80);
    EXPECT_FALSE(check(*insns));
}

TEST(Classic, BpfAsmSyntax) {
    const auto insns = assemble_classic(R"(
        ldh [12]
        jne #0x806, drop    ; not ARP
        ld vlan_tci
        jlt #5, drop, keep
    keep:
        ldx 4*([14]&0xf)
        ldx len
        ret #-1
    drop:
        ret a
        { 0x15, 1, 2, 0x00000800 },
    )");
    ASSERT_TRUE(insns.has_value()) << insns.error().message;
    const std::vector<ClassicInsn> expected = {
        {0x28, 0, 0, 12},      {0x15, 0, 5, 0x806}, {0x20, 0, 0, 0xfffff000 + 44},
        {0x35, 0, 3, 5},       {0xb1, 0, 0, 14},    {0x81, 0, 0, 0},
        {0x06, 0, 0, ~u32{0}}, {0x16, 0, 0, 0},     {0x15, 1, 2, 0x800}};
    EXPECT_EQ(*insns, expected);
    EXPECT_EQ(assemble_classic("ret #0\nback: ja 1").error().message,
              "line 2: jumps lead forward, conditional ones over at most 255 instructions");
    EXPECT_EQ(assemble_classic("ldh M[3]").error().message, "line 1: there is no instruction 'ldh' with this operand");
}

TEST(Classic, EveryInstructionRoundTrips) {
    std::mt19937_64 random(3);
    for (u32 code = 0; code < 0x200; ++code) {
        for (int round = 0; round < 100; ++round) {
            const u64 bits = random();
            const bool plain = round % 2 == 0;
            const ClassicInsn insn{static_cast<u16>(code), plain ? u8{0} : static_cast<u8>(bits),
                                   plain ? u8{0} : static_cast<u8>(bits >> 8),
                                   round % 3 == 0 ? 0 : static_cast<u32>(bits >> 32)};
            const auto again = assemble_classic(print(insn, Pc{0}));
            ASSERT_TRUE(again.has_value()) << print(insn, Pc{0}) << ": " << again.error().message;
            ASSERT_EQ(*again, std::vector{insn}) << print(insn, Pc{0});
        }
    }
}

TEST(Classic, RefusesWhatLinuxRefuses) {
    using enum ClassicDefectKind;
    const auto defect = [](std::string_view text) {
        const auto insns = assemble_classic(text);
        EXPECT_TRUE(insns.has_value()) << insns.error().message;
        const auto found = check(*insns);
        EXPECT_TRUE(found) << text;
        return found ? found->what : ClassicDefectKind{};
    };
    EXPECT_EQ(check(std::vector<ClassicInsn>{})->what, empty);
    EXPECT_EQ(check(std::vector<ClassicInsn>(4097, {0x06, 0, 0, 0}))->what, too_long);
    EXPECT_FALSE(check(std::vector<ClassicInsn>(4096, {0x06, 0, 0, 0})));
    EXPECT_EQ(defect("{ 0x0e, 0, 0, 0 },"), unknown_opcode);  // ret x
    EXPECT_EQ(defect("ja 2\nret #0"), jump_outside);
    EXPECT_EQ(defect("{ 0x05, 0, 0, 0xffffffff },\nret #0"), jump_outside);
    EXPECT_EQ(defect("jeq #0 jt 1 jf 2\nret #0"), jump_outside);
    EXPECT_EQ(defect("ret #0\ntax"), no_return);
    EXPECT_EQ(defect("div #0\nret #0"), zero_divisor);
    EXPECT_EQ(defect("mod #0\nret #0"), zero_divisor);
    EXPECT_EQ(defect("rsh #32\nret #0"), wide_shift);
    EXPECT_EQ(defect("st M[16]\nret #0"), bad_scratch);
    EXPECT_EQ(defect("ld M[1]\nret #0"), unset_scratch);
    EXPECT_EQ(defect("jeq #0 jt 1 jf 2\nst M[1]\nld M[1]\nret #0"), unset_scratch);  // only one path writes it
    EXPECT_EQ(defect("{ 0x20, 0, 0, 0xfffff001 },\nret #0"), bad_ancillary);
    EXPECT_FALSE(check(*assemble_classic("st M[1]\njeq #0 jt 2 jf 3\ntax\nld M[1]\nret a")));
}

}  // namespace
}  // namespace anybpf::isa

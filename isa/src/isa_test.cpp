// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <bit>
#include <random>
#include <set>

#include "anybpf/isa/eval.hpp"
#include "anybpf/isa/text.hpp"

namespace anybpf::isa {
namespace {

Insn raw(u64 bits) { return std::bit_cast<Insn>(bits); }
std::string text_of(std::vector<Insn> insns) { return print(insns); }
std::vector<Insn> must_assemble(std::string_view text) {
    auto insns = assemble(text);
    EXPECT_TRUE(insns.has_value()) << text << "\n" << (insns ? "" : insns.error().message);
    return insns ? *insns : std::vector<Insn>{};
}
Insn one(std::string_view text) {
    const auto insns = must_assemble(text);
    EXPECT_FALSE(insns.empty()) << text;
    return insns.empty() ? Insn{} : insns[0];
}

// The opcodes of RFC 9669 and Linux 6.18, written down independently of the tables.
TEST(Decode, ExactlyTheKnownOpcodesExist) {
    std::set<u32> known = {0x05U, 0x06U, 0x0dU, 0x85U, 0x8dU, 0x95U, 0xe5U, 0x18U, 0x84U, 0x87U, 0xd4U, 0xdcU, 0xd7U};
    for (const u32 op : {0x00U, 0x10U, 0x20U, 0x30U, 0x40U, 0x50U, 0x60U, 0x70U, 0x90U, 0xa0U, 0xb0U, 0xc0U})
        for (const u32 kind : {0x04U, 0x0cU, 0x07U, 0x0fU}) known.insert(op | kind);
    for (const u32 op : {0x10U, 0x20U, 0x30U, 0x40U, 0x50U, 0x60U, 0x70U, 0xa0U, 0xb0U, 0xc0U, 0xd0U})
        for (const u32 kind : {0x05U, 0x0dU, 0x06U, 0x0eU}) known.insert(op | kind);
    for (const u32 code : {0x20U, 0x28U, 0x30U, 0x40U, 0x48U, 0x50U, 0x61U, 0x69U, 0x71U, 0x79U, 0x81U, 0x89U, 0x91U,
                           0x62U, 0x6aU, 0x72U, 0x7aU, 0x63U, 0x6bU, 0x73U, 0x7bU, 0xc3U, 0xdbU, 0xcbU, 0xd3U})
        known.insert(code);
    for (u32 code = 0; code < 256; ++code) {
        bool decodes = false;
        // Some immediate makes the instruction valid, if it is one.
        for (const i32 imm : {0, 1, 16, 0x100}) decodes |= !decode({.code = static_cast<u8>(code), .imm = imm}).defect;
        EXPECT_EQ(decodes, known.contains(code)) << std::hex << code;
    }
}

TEST(Decode, NamesTheDefect) {
    const auto defect = [](std::vector<Insn> insns) { return check(insns)->what; };
    EXPECT_EQ(defect({{.code = 0xff}}), DefectKind::unknown_opcode);
    EXPECT_EQ(defect({{.code = 0x86}}), DefectKind::unknown_opcode);             // call in the 32-bit class
    EXPECT_EQ(defect({{.code = 0xdf, .imm = 16}}), DefectKind::unknown_opcode);  // bswap has no register form
    EXPECT_EQ(defect({{.code = 0x8f}}), DefectKind::unknown_opcode);             // neg neither
    EXPECT_EQ(defect({{.code = 0x99}}), DefectKind::unknown_opcode);             // sign-extending load of 64 bits
    EXPECT_EQ(defect({{.code = 0xd4, .imm = 8}}), DefectKind::unknown_width);
    EXPECT_EQ(defect({{.code = 0xdb, .imm = 0xe0}}), DefectKind::unknown_atomic);
    EXPECT_EQ(defect({{.code = 0xdb, .imm = 0xf0}}), DefectKind::unknown_atomic);
    EXPECT_EQ(defect({{.code = 0xcb, .imm = 0}}), DefectKind::unknown_atomic);  // no 16-bit read-modify-write
    EXPECT_EQ(defect({{.code = 0x85, .src = 3}}), DefectKind::unknown_call);
    EXPECT_EQ(defect({{.code = 0x18, .src = 7}, {}}), DefectKind::unknown_wide);
    EXPECT_EQ(defect({{.code = 0xb7, .dst = 11}}), DefectKind::bad_register);
    EXPECT_EQ(defect({{.code = 0xb7, .src = 1}}), DefectKind::reserved_src);
    EXPECT_EQ(defect({{.code = 0xb7, .off = 8}}), DefectKind::reserved_off);
    EXPECT_EQ(defect({{.code = 0xbc, .off = 32}}), DefectKind::reserved_off);  // no s32 in 32-bit registers
    EXPECT_EQ(defect({{.code = 0xbf, .imm = 1}}), DefectKind::reserved_imm);
    EXPECT_EQ(defect({{.code = 0x95, .dst = 1}}), DefectKind::reserved_dst);
    EXPECT_EQ(defect({{.code = 0x3f, .off = 2}}), DefectKind::reserved_off);
    EXPECT_EQ(defect({{.code = 0x18}}), DefectKind::half_wide);
    EXPECT_EQ(defect({{.code = 0x18}, {.code = 0x95}}), DefectKind::bad_second_half);
    EXPECT_EQ(defect({{.code = 0x18, .src = 1}, {.imm = 1}}), DefectKind::bad_second_half);
    EXPECT_EQ(defect({{}}), DefectKind::stray_half);
    const auto to_kernel = [](std::vector<Insn> insns) { return kernel_defect_at(insns, 0); };
    EXPECT_EQ(to_kernel({{.code = 0x18, .src = 4}, {.imm = -2}}), std::nullopt);
    EXPECT_EQ(to_kernel({{.code = 0x18, .src = 4, .off = 1}, {.imm = -2}}), DefectKind::reserved_off);
    EXPECT_EQ(to_kernel({{.code = 0x18, .src = 4}, {.dst = 1, .imm = -2}}), DefectKind::bad_second_half);
    EXPECT_EQ(to_kernel({{.code = 0x18, .src = 4}, {.off = 1}}), DefectKind::bad_second_half);
    EXPECT_EQ(to_kernel({{.code = 0x18, .src = 5}, {.imm = 1}}), DefectKind::bad_second_half);
    EXPECT_EQ(to_kernel({{.code = 0x18, .src = 4}}), DefectKind::half_wide);
    const std::vector<Insn> late = {{.code = 0x18}, {}, {.code = 0x95}, {.code = 0x95, .imm = 1}};
    EXPECT_EQ(check(late)->pc, Pc{3});
    EXPECT_FALSE(check(std::span(late).first(3)));
}

// Each line as llvm-objdump 19 prints the bytes (checked against the tool itself in objdump_test).
// What RFC 9669 and Linux 6.18 allow, written a second time as the kernel's verifier has it: by class, with the fields
// that must be zero named one by one. Linux does not look at the offset of exit, which the RFC reserves.
bool allowed_alu(const Insn& i) {
    const u8 op = i.code & 0xf0;
    const bool wide = (i.code & 7) == 7, reg = (i.code & 8) != 0;
    if (op == 0x80) return !reg && i.src == 0 && i.off == 0 && i.imm == 0;
    if (op == 0xd0) return i.src == 0 && i.off == 0 && (i.imm == 16 || i.imm == 32 || i.imm == 64) && !(wide && reg);
    if (op > 0xd0) return false;
    if (op == 0xb0 && reg) {
        if (wide && i.off == 1) return true;  // a cast: which spaces is not the encoding's business
        const bool width = i.off == 0 || i.off == 8 || i.off == 16 || (wide && i.off == 32);
        return width && i.imm == 0;
    }
    const bool divides = op == 0x30 || op == 0x90;
    return (reg ? i.imm == 0 : i.src == 0) && (i.off == 0 || (divides && i.off == 1));
}
bool allowed_jump(const Insn& i) {
    const u8 op = i.code & 0xf0;
    const bool narrow = (i.code & 7) == 6, reg = (i.code & 8) != 0;
    switch (op) {
        case 0x00:
            if (reg) return !narrow && i.src == 0 && i.off == 0 && i.imm == 0;  // gotox
            return i.dst == 0 && i.src == 0 && (narrow ? i.off == 0 : i.imm == 0);
        case 0x80:
            if (reg) return !narrow && i.src == 0 && i.off == 0 && i.imm == 0;  // callx
            return !narrow && i.dst == 0 && i.src <= 2 && (i.src == 2 || i.off == 0);
        case 0x90:
            return !narrow && !reg && i.dst == 0 && i.src == 0 && i.off == 0 && i.imm == 0;
        case 0xe0:
            return !narrow && !reg && i.dst == 0 && i.src == 0 && i.imm == 0;
        case 0xf0:
            return false;
        default:
            return reg ? i.imm == 0 : i.src == 0;
    }
}
bool allowed_memory(const Insn& i) {
    const u8 mode = i.code & 0xe0, size = i.code & 0x18;
    const bool words = size == 0x00 || size == 0x18;
    switch (i.code & 7) {
        case 0:
            if (i.code == 0x18) return i.src <= 6 && i.off == 0;
            if (mode != 0x20 && mode != 0x40) return false;
            return size != 0x18 && i.dst == 0 && i.off == 0 && (mode == 0x40 || i.src == 0);
        case 1:
            return (mode == 0x60 || (mode == 0x80 && size != 0x18)) && i.imm == 0;
        case 2:
            return mode == 0x60 && i.src == 0;
        default:
            if (mode == 0x60) return i.imm == 0;
            if (mode != 0xc0) return false;
            if (i.imm == 0x100 || i.imm == 0x110) return true;
            return words &&
                   (i.imm == 0xe1 || i.imm == 0xf1 ||
                    ((i.imm & ~1) == 0x00 || (i.imm & ~1) == 0x40 || (i.imm & ~1) == 0x50 || (i.imm & ~1) == 0xa0));
    }
}
bool allowed(const Insn& i) {
    const bool src_is_register = i.code != 0x18 && i.code != 0x85;
    if (i.dst > 10 || (src_is_register && i.src > 10)) return false;
    switch (i.code & 7) {
        case 4:
        case 7:
            return allowed_alu(i);
        case 5:
        case 6:
            return allowed_jump(i);
        default:
            return allowed_memory(i);
    }
}

TEST(Decode, ReservedFieldsMustBeZeroInEveryForm) {
    std::vector<i32> immediates = {2, 5, 8, 16, 32, 64, 128, -1, 0x10000, 0x10001, 0x1000000};
    for (i32 operation = 0; operation <= 0x120; ++operation) immediates.push_back(operation);
    for (unsigned code = 0; code < 256; ++code)
        for (const u8 dst : std::to_array<u8>({0, 1, 10, 11, 15}))
            for (u8 src = 0; src < 16; ++src)
                for (const i16 off : std::to_array<i16>({0, 1, 2, 8, 16, 24, 32, 64, 256, -1, -32768, 32767}))
                    for (const i32 imm : immediates) {
                        const Insn insn{.code = static_cast<u8>(code),
                                        .dst = static_cast<u8>(dst & 15),
                                        .src = static_cast<u8>(src & 15),
                                        .off = off,
                                        .imm = imm};
                        ASSERT_EQ(!decode(insn).defect, allowed(insn))
                            << std::hex << code << " dst " << int{dst} << " src " << int{src} << " off " << off
                            << " imm " << imm;
                    }
}

TEST(Text, AsLlvmObjdump) {
    EXPECT_EQ(text_of({{.code = 0xb7, .dst = 1, .imm = -5}}), "r1 = -0x5");
    EXPECT_EQ(text_of({{.code = 0x65, .dst = 1, .off = -3, .imm = -5}}), "if r1 s> -0x5 goto -0x3");
    EXPECT_EQ(text_of({{.code = 0x79, .dst = 0, .src = 10, .off = -8}}), "r0 = *(u64 *)(r10 - 0x8)");
    EXPECT_EQ(text_of({{.code = 0xc3, .dst = 1, .src = 2, .off = 8, .imm = 0xf1}}),
              "w0 = cmpxchg32_32(r1 + 0x8, w0, w2)");
    EXPECT_EQ(text_of({{.code = 0x18, .dst = 0, .imm = 0x23456789}, {.imm = 1}}), "r0 = 0x123456789 ll");
    EXPECT_EQ(text_of({{.code = 0xcb, .dst = 1, .src = 2, .imm = 0x110}}), "store_release((u16 *)(r1 + 0x0), r2)");
}

TEST(Text, AsTheKernelsLog) {
    const auto text = [](Insn insn) { return print(std::span(&insn, 1), Style::kernel); };
    EXPECT_EQ(text({.code = 0xb7, .dst = 1, .imm = -5}), "r1 = -5");
    EXPECT_EQ(text({.code = 0x65, .dst = 1, .off = -3, .imm = -5}), "if r1 s> 0xfffffffb goto pc-3");
    EXPECT_EQ(text({.code = 0x79, .dst = 0, .src = 10, .off = -8}), "r0 = *(u64 *)(r10 -8)");
    EXPECT_EQ(text({.code = 0xdb, .dst = 1, .src = 2, .off = 8, .imm = 0xf1}),
              "r0 = atomic64_cmpxchg((u64 *)(r1 +8), r0, r2)");
    EXPECT_EQ(text({.code = 0x85, .src = 1, .imm = 4}), "call pc+4");
}

TEST(Assemble, BothSyntaxes) {
    EXPECT_EQ(one("r1 = r2"), one("mov r1, r2"));
    EXPECT_EQ(one("w1 s/= -3"), one("sdiv32 %r1, -3"));
    EXPECT_EQ(one("r0 = *(u64 *)(r10 -8)"), one("ldxdw %r0, [%r10-8]"));
    EXPECT_EQ(one("*(u8 *)(r1 + 0) = 5"), one("stb [r1], 0x5"));
    EXPECT_EQ(one("r2 = atomic_fetch_or((u64 *)(r1 + 8), r2)"), one("lock fetch or [r1+8], r2"));
    EXPECT_EQ(one("w0 = cmpxchg32_32(r1 - 4, w0, w2)"), one("lock cmpxchg32 [r1-4], r2"));
    EXPECT_EQ(one("r1 = (s16)r2"), one("movsx1664 r1, r2"));
    EXPECT_EQ(one("r3 = bswap32 r3"), one("swap32 r3"));
    EXPECT_EQ(one("if w1 & 0x80000000 goto +1"), one("jset32 r1, 0x80000000, +1"));
    EXPECT_EQ(one("gotol -1"), one("ja32 -1"));
    EXPECT_EQ(one("r4 = -r4"), one("neg r4"));
    EXPECT_EQ(must_assemble("r1 = -1 ll"), must_assemble("lddw r1, 0xffffffffffffffff"));
    EXPECT_EQ(one("call bpf_loop#181"), one("call helper 181"));
}

TEST(Assemble, Labels) {
    const auto insns = must_assemble(R"(
        lddw r1, 5          # two slots
    again:
        r1 += -1            ; a comment
        if r1 != 0 goto again
        call function
        goto exit           // the first exit
        exit
    function: r0 = 7
        r2 = function ll
        exit)");
    ASSERT_EQ(insns.size(), 11U);
    EXPECT_EQ(insns[3].off, -2);
    EXPECT_EQ(insns[4].imm, 2);
    EXPECT_EQ(insns[4].src, static_cast<u8>(CallKind::subprogram));
    EXPECT_EQ(insns[5].off, 0);
    EXPECT_EQ(insns[8].imm, -2);
}

TEST(Assemble, RefusesWithTheLine) {
    const auto message = [](std::string_view text) {
        const auto insns = assemble(text);
        return insns ? std::string("accepted") : insns.error().message;
    };
    EXPECT_EQ(message("r1 = 5\nr1 = r"), "line 2: 'r' is neither a register, a number nor an operation");
    EXPECT_EQ(message("goto nowhere"), "line 1: there is no label nowhere");
    EXPECT_EQ(message("r1 = 0x100000000"), "line 1: a 32-bit number 0x100000000 is out of range");
    EXPECT_EQ(message("r1 = w2"), "line 1: w2 has the wrong width here");
    EXPECT_EQ(message("r1 = 5 6"), "line 1: expected the end of the line, not '6'");
    EXPECT_EQ(message("frobnicate r1"), "line 1: there is no instruction 'frobnicate'");
    EXPECT_EQ(message("r1 = *(u64 *)(r2 + 32768)"), "line 1: a 16-bit offset 0x8000 is out of range");
    EXPECT_EQ(message("a:\nexit\na:\n"), "line 3: label a is there twice");
    EXPECT_EQ(message("r1 = 5 \x01"), "line 1: character 0x01 is out of place");
}

// Every opcode, with random fields: what decodes prints, and what prints assembles to the same bits, in both styles.
TEST(Text, EveryInstructionRoundTrips) {
    std::mt19937_64 random(1);
    u32 valid = 0;
    for (u32 code = 0; code < 256; ++code) {
        for (int round = 0; round < 400; ++round) {
            const u64 bits = (random() & random()) << 8 | code;  // half of the bits clear: fewer reserved fields set
            Insn insn = raw(bits);
            const u64 choice = random();
            if (choice % 2 == 0) insn.imm = atomic_rows[choice / 8 % atomic_rows.size()].imm;
            if (choice % 2 != 0) insn.imm = static_cast<i32>(choice / 8 % 5 * 16);
            if (choice % 3 == 0) insn.off = 0;
            if (choice % 5 == 0) insn.imm = 0;
            if (choice % 7 == 0) insn.imm = static_cast<i32>(random());
            if (choice % 11 < 6) insn.src &= 3;
            const Insn second{.imm = choice % 4 < 2 ? 0 : static_cast<i32>(random())};
            const std::vector<Insn> insns = {insn, second};
            valid += !decode(insn).defect;
            const std::string text = print(insns);
            std::vector<Insn> again = must_assemble(text);
            const std::size_t count = insn.code == code_wide && text[0] != '.' ? 2 : 1;
            ASSERT_EQ(again, std::vector(insns.begin(), insns.begin() + static_cast<i64>(count))) << text;
            if (text[0] == '.' || insn.code == code_wide) continue;
            ASSERT_EQ(must_assemble(print(insns, Style::kernel)), again) << print(insns, Style::kernel);
        }
    }
    EXPECT_GT(valid, 8000U);  // the test would prove little if most were refused
}

TEST(Text, ListingReassembles) {
    const auto insns = must_assemble("r1 = 0x123456789 ll\nif r1 == 0x5 goto +0x0\nr0 = 0x0\nexit\n");
    EXPECT_EQ(listing(insns),
              "       0:\t18 01 00 00 89 67 45 23 00 00 00 00 01 00 00 00\tr1 = 0x123456789 ll\n"
              "       2:\t15 01 00 00 05 00 00 00\tif r1 == 0x5 goto +0x0\n"
              "       3:\tb7 00 00 00 00 00 00 00\tr0 = 0x0\n"
              "       4:\t95 00 00 00 00 00 00 00\texit\n");
    EXPECT_EQ(must_assemble(listing(insns)), insns);
    EXPECT_EQ(must_assemble("2: (15) if r1 == 0x5 goto pc+0 ; R1=5\n"), must_assemble("if r1 == 5 goto +0"));
    EXPECT_EQ(must_assemble(" 9:\t05 00 02 00 00 00 00 00\tgoto +0x2 <LBB0_2>"), must_assemble("goto +2"));
    EXPECT_EQ(*from_bytes(to_bytes(insns)), insns);
    EXPECT_FALSE(from_bytes(std::vector<std::byte>(7)));
}

// --- laws of eval, against a reference that computes with wider numbers instead of wrapping ones

__int128 wide_signed(u64 a, bool is64) { return is64 ? __int128{static_cast<i64>(a)} : __int128{static_cast<i32>(a)}; }

u64 reference(AluOp op, bool is64, u64 a, u64 b) {
    const unsigned __int128 mask = is64 ? ~u64{0} : ~u32{0};
    const unsigned __int128 x = a & mask, y = b & mask;
    const u32 count = static_cast<u32>(b & (is64 ? 63 : 31));
    const __int128 sx = wide_signed(a, is64), sy = wide_signed(b, is64);
    const auto wrap = [&](auto value) { return static_cast<u64>(static_cast<unsigned __int128>(value) & mask); };
    switch (op) {
        case AluOp::add:
            return wrap(x + y);
        case AluOp::sub:
            return wrap(x - y);
        case AluOp::mul:
            return wrap(x * y);
        case AluOp::div:
            return wrap(y == 0 ? 0 : x / y);
        case AluOp::sdiv:
            return wrap(y == 0 ? 0 : sx / sy);
        case AluOp::or_:
            return wrap(x | y);
        case AluOp::and_:
            return wrap(x & y);
        case AluOp::lsh:
            return wrap(x << count);
        case AluOp::rsh:
            return wrap(x >> count);
        case AluOp::neg:
            return wrap(-sx);
        case AluOp::mod:
            return wrap(y == 0 ? x : x % y);
        case AluOp::smod:
            return wrap(y == 0 ? sx : sx % sy);
        case AluOp::xor_:
            return wrap(x ^ y);
        case AluOp::mov:
            return wrap(y);
        case AluOp::arsh:
            return wrap(sx >> count);
    }
    return 0;
}

TEST(Eval, AgreesWithWiderArithmetic) {
    std::vector<u64> values = {0, 1, 2, 7, 31, 32, 33, 63, 64, 65, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff};
    for (const u64 edge :
         {u64{0x7fffffff}, u64{0x80000000}, u64{0xffffffff}, u64{0x100000000}, ~u64{0} >> 1, u64{1} << 63, ~u64{0}})
        for (const u64 near : {u64{0}, u64{1}, ~u64{0}}) values.push_back(edge + near);
    std::mt19937_64 random(2);
    for (int i = 0; i < 50; ++i) values.push_back(random() >> (random() % 64));
    for (const AluRow& alu : alu_rows)
        for (const u64 a : values)
            for (const u64 b : values)
                for (const bool is64 : {false, true})
                    ASSERT_EQ(eval(alu.op, is64, a, b), reference(alu.op, is64, a, b))
                        << alu.mnemonic.view() << " " << a << " " << b << is64;
    for (const JumpRow& jump : jump_rows) {
        for (const u64 a : values) {
            for (const u64 b : values) {
                for (const bool is64 : {false, true}) {
                    const __int128 sx = wide_signed(a, is64), sy = wide_signed(b, is64);
                    const u64 x = is64 ? a : a & 0xffffffff, y = is64 ? b : b & 0xffffffff;
                    const std::string_view symbol = jump.symbol;
                    const bool is_signed = symbol[0] == 's';
                    const int order = is_signed ? (sx > sy) - (sx < sy) : (x > y) - (x < y);
                    const std::string_view compare = symbol.substr(is_signed ? 1 : 0);
                    const bool expected = compare == "=="   ? order == 0
                                          : compare == "!=" ? order != 0
                                          : compare == "&"  ? (x & y) != 0
                                          : compare == ">"  ? order > 0
                                          : compare == ">=" ? order >= 0
                                          : compare == "<"  ? order < 0
                                                            : order <= 0;
                    ASSERT_EQ(test(jump.op, is64, a, b), expected) << symbol << " " << a << " " << b << is64;
                }
            }
        }
    }
}

TEST(Eval, UnaryExamples) {
    static_assert(eval(ExtendOp::sx8, true, 0x1280) == 0xffffffffffffff80);
    static_assert(eval(ExtendOp::sx16, false, 0x18000) == 0xffff8000);
    static_assert(eval(ExtendOp::sx32, true, 0x7fffffff) == 0x7fffffff);
    static_assert(eval(SwapOp::le16, 0x123456) == 0x3456);
    static_assert(eval(SwapOp::be16, 0x123456) == 0x5634);
    static_assert(eval(SwapOp::be32, 0x1122334455667788) == 0x88776655);
    static_assert(eval(SwapOp::bswap64, 0x1122334455667788) == 0x8877665544332211);
    for (const SwapRow& swap : swap_rows) {  // twice is the low part, whatever the order
        const u64 value = 0x1122334455667788, mask = swap.bits == 64 ? ~u64{0} : (u64{1} << swap.bits) - 1;
        EXPECT_EQ(eval(swap.op, eval(swap.op, value)), value & mask) << swap.text.view();
    }
}

}  // namespace
}  // namespace anybpf::isa

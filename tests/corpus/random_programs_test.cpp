// SPDX-License-Identifier: Apache-2.0
// Random straight-line and branching ALU programs: the engines, a fold of isa::eval over the instructions, and the
// live kernel, where it may be asked, all end with the same r0.
#include <gtest/gtest.h>

#include <random>

#include "anybpf/engine/engine.hpp"
#include "anybpf/engine/jit.hpp"
#include "anybpf/engine/llvm.hpp"
#include "anybpf/engine/lower.hpp"
#include "anybpf/isa/eval.hpp"
#include "anybpf/isa/text.hpp"
#include "live_kernel.hpp"

namespace anybpf::corpus {
namespace {

using isa::Insn;

class Generator {
  public:
    explicit Generator(u64 seed) : random_(seed) {}
    // All registers get a value, then `length` operations on them, then they are folded into r0.
    std::vector<Insn> program(u32 length);

  private:
    u32 below(u32 bound) { return static_cast<u32>(random_() % bound); }
    u8 reg() { return static_cast<u8>(below(10)); }
    // Values near the edges of every width, where mistakes live.
    u64 value() {
        const u64 edge = below(4) == 0 ? 0 : u64{1} << below(64);
        const u64 near = edge + below(5) - 2;
        return below(3) == 0 ? random_() : below(2) == 0 ? near : ~near;
    }
    Insn operation();
    std::mt19937_64 random_;
};

Insn Generator::operation() {
    while (true) {
        Insn insn{.code = static_cast<u8>(random_()),
                  .dst = static_cast<u8>(reg() & 15),
                  .src = static_cast<u8>(reg() & 15),
                  .off = 0,
                  .imm = static_cast<i32>(value())};
        const u8 kind = insn.code & 7;
        if (kind == isa::class_jmp || kind == isa::class_jmp32) insn.off = static_cast<i16>(below(3));
        if (below(3) == 0) insn.off = static_cast<i16>(below(2) == 0 ? 1 : 8 << below(3));
        if ((insn.code & 0xf0) == 0xd0 && kind != isa::class_jmp && kind != isa::class_jmp32) insn.imm = 16 << below(3);
        if (below(2) == 0) insn.src = 0;
        if (below(2) == 0 && (insn.code & 8) != 0 && (insn.code & 0xf0) != 0xd0) insn.imm = 0;
        const isa::Decoded decoded = isa::decode(insn);
        if (decoded.defect) continue;
        const isa::Kind wanted = decoded.form.kind;
        const bool jumps = wanted == isa::Kind::jump && insn.off <= 2;
        if (wanted == isa::Kind::alu || wanted == isa::Kind::extend || wanted == isa::Kind::swap || jumps) {
            // The kernel refuses what it can see is useless: constant shifts too wide, constant division by zero.
            const bool constant = wanted == isa::Kind::alu && !decoded.form.by_register;
            const isa::AluOp op = decoded.form.alu;
            const bool shifts = op == isa::AluOp::lsh || op == isa::AluOp::rsh || op == isa::AluOp::arsh;
            if (constant && shifts) insn.imm = static_cast<i32>(below(decoded.form.is64 ? 64 : 32));
            const bool divides =
                op == isa::AluOp::div || op == isa::AluOp::mod || op == isa::AluOp::sdiv || op == isa::AluOp::smod;
            if (constant && divides && insn.imm == 0) continue;
            return insn;
        }
    }
}

std::vector<Insn> Generator::program(u32 length) {
    std::vector<Insn> insns;
    for (u8 r = 0; r < 10; ++r) {
        const u64 v = value();
        insns.push_back(
            {.code = isa::code_wide, .dst = static_cast<u8>(r & 15), .src = 0, .off = 0, .imm = static_cast<i32>(v)});
        insns.push_back({.code = 0, .dst = 0, .src = 0, .off = 0, .imm = static_cast<i32>(v >> 32)});
    }
    for (u32 i = 0; i < length; ++i) insns.push_back(operation());
    // The last jumps may skip two instructions, which are the first of these; r0 = r0 * 31 + r for each register.
    for (u8 r = 1; r < 10; ++r) {
        insns.push_back({.code = 0x27, .dst = 0, .src = 0, .off = 0, .imm = 31});
        insns.push_back({.code = 0x0f, .dst = 0, .src = static_cast<u8>(r & 15), .off = 0, .imm = 0});
    }
    insns.push_back({.code = 0x95});
    return insns;
}

u64 fold(std::span<const Insn> insns) {
    std::array<u64, 11> r{};
    for (u32 pc = 0;; ++pc) {
        const Insn& insn = insns[pc];
        const isa::Form form = isa::decode(insn).form;
        const u64 operand = form.by_register ? r[insn.src] : static_cast<u64>(i64{insn.imm});
        u64& dst = r[insn.dst];
        if (form.kind == isa::Kind::exit) return r[0];
        if (form.kind == isa::Kind::wide) dst = isa::wide_imm(insn, insns[++pc]);
        if (form.kind == isa::Kind::alu) dst = isa::eval(form.alu, form.is64, dst, operand);
        if (form.kind == isa::Kind::extend) dst = isa::eval(form.extend, form.is64, r[insn.src]);
        if (form.kind == isa::Kind::swap) dst = isa::eval(form.swap, dst);
        if (form.kind == isa::Kind::jump && isa::test(form.jump, form.is64, dst, operand))
            pc += static_cast<u32>(insn.off);
    }
}

// The options are the engine's own; each engine has the plain form, too.
template <class E, class... Options>
u64 run_in(void* context, std::span<const Insn> insns, const Options&... options) {
    const auto lowered = engine::lower_unverified(insns);
    EXPECT_TRUE(lowered.has_value()) << lowered.error().message;
    if (!lowered) return 0;
    const auto executable = E::bind(*lowered, {}, nullptr, options...);
    EXPECT_TRUE(executable.has_value()) << executable.error().message;
    if (!executable) return 0;
    abi::Run run;
    run.context = context;
    return E::run(**executable, run);
}
template <class E, class... Options>
u64 run_on(std::span<const Insn> insns, const Options&... options) {
    return run_in<E>(nullptr, insns, options...);
}

TEST(RandomPrograms, EnginesAgreeWithEval) {
    for (u64 seed = 0; seed < 5000; ++seed) {
        const auto insns = Generator(seed).program(30);
        const u64 expected = fold(insns);
        ASSERT_EQ(run_on<engine::Interpreter>(insns), expected) << "seed " << seed << "\n" << isa::listing(insns);
        ASSERT_EQ(run_on<engine::Jit>(insns), expected) << "seed " << seed << "\n" << isa::listing(insns);
        ASSERT_EQ(run_on<engine::Jit>(insns, engine::JitOptions{.plain = true}), expected)
            << "seed " << seed << ", an old processor\n"
            << isa::listing(insns);
    }
}

// The same with the first values read from memory, where no compiler can know them.
template <class E>
void agrees_on_values(u64 programs) {
    for (u64 seed = 0; seed < programs; ++seed) {
        const auto insns = Generator(seed).program(30);
        std::array<u64, 10> values{};
        std::vector<Insn> loads;
        for (u32 r = 0; r < values.size(); ++r) values[r] = isa::wide_imm(insns[2 * r], insns[2 * r + 1]);
        for (const u32 r : {0U, 2U, 3U, 4U, 5U, 6U, 7U, 8U, 9U, 1U})  // r1 is the address: the last
            loads.push_back({.code = 0x79, .dst = static_cast<u8>(r & 15), .src = 1, .off = static_cast<i16>(r * 8)});
        loads.insert(loads.end(), insns.begin() + 2 * values.size(), insns.end());
        ASSERT_EQ(run_in<E>(values.data(), loads), fold(insns)) << "seed " << seed << "\n" << isa::listing(loads);
    }
}
TEST(RandomPrograms, EnginesAgreeWithEvalOnValues) {
    agrees_on_values<engine::Interpreter>(2000);
    agrees_on_values<engine::Jit>(2000);
}
// Fewer: each is compiled for milliseconds.
TEST(RandomPrograms, LlvmAgreesWithEval) {
    if (const auto available = engine::Llvm::available(); !available) GTEST_SKIP() << available.error().message;
    for (u64 seed = 0; seed < 50; ++seed) {
        const auto insns = Generator(seed).program(30);
        ASSERT_EQ(run_on<engine::Llvm>(insns), fold(insns)) << "seed " << seed << "\n" << isa::listing(insns);
    }
    agrees_on_values<engine::Llvm>(80);
}

TEST(RandomPrograms, LiveKernelAgreesWithEval) {
    if (const auto reason = kernel_unavailable()) GTEST_SKIP() << *reason;
    u32 refused = 0;
    constexpr u32 programs = 300;
    for (u64 seed = 0; seed < programs; ++seed) {
        const auto insns = Generator(seed).program(20);
        const auto answer = run_in_kernel(insns, {});
        if (!answer && answer.error().sys_errno != 0) {
            ++refused;  // "unreachable insn" cannot happen; too-clever bounds can still refuse a jump over the end
            EXPECT_LT(refused, programs / 10) << answer.error().message;
            continue;
        }
        ASSERT_TRUE(answer.has_value()) << answer.error().message;
        ASSERT_EQ(answer->result, fold(insns)) << "seed " << seed << "\n" << isa::listing(insns);
    }
}

TEST(RandomPrograms, ProgramsAbove64KiInstructionsAndFarJumps) {
    // r0 counts 100,000 additions; a conditional jump of the farthest kind and a gotol over everything.
    std::string text = "r0 = 0\nr1 = 1\n";
    for (int i = 0; i < 100000; ++i) text += "r0 += r1\n";
    text += "if r0 == 100000 goto over\nexit\nover: gotol end\n";
    for (int i = 0; i < 40000; ++i) text += "r0 += r1\n";
    text += "end: r0 += 7\nexit\n";
    const auto insns = isa::assemble(text);
    ASSERT_TRUE(insns.has_value()) << insns.error().message;
    ASSERT_GT(insns->size(), 140000U);
    EXPECT_EQ(run_on<engine::Interpreter>(*insns), 100007U);
    EXPECT_EQ(run_on<engine::Jit>(*insns), 100007U);
    const auto too_far = isa::assemble("a: " + text.substr(0, 500000) + "if r0 == 0 goto a\nexit");
    EXPECT_TRUE(too_far.error().message.ends_with("label a is too far away")) << too_far.error().message;
    // As far as 16 bits reach, both ways.
    std::string far = "r0 = 0\ngoto +32767\n";
    for (int i = 0; i < 32766; ++i) far += "exit\n";
    far += "back: exit\nr0 = 5\nr0 += 1\nif r0 == 6 goto -32768\nexit\n";
    const auto reaches = isa::assemble(far);
    ASSERT_TRUE(reaches.has_value()) << reaches.error().message;
    EXPECT_EQ(run_on<engine::Interpreter>(*reaches), 6U);
    EXPECT_EQ(run_on<engine::Jit>(*reaches), 6U);
    if (engine::Llvm::available()) {
        EXPECT_EQ(run_on<engine::Llvm>(*insns), 100007U);
        EXPECT_EQ(run_on<engine::Llvm>(*reaches), 6U);
    }
}

}  // namespace
}  // namespace anybpf::corpus

// SPDX-License-Identifier: Apache-2.0
// A share of the differential, programs that engines once disagreed on (corpus/*.bpf), and what finds and keeps those:
// an engine that computes something else, crashes or never ends is noticed, and the program is made small.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstdio>

#include "anybpf/abi/types.hpp"
#include "anybpf/engine/jit.hpp"
#include "anybpf/engine/llvm.hpp"
#include "anybpf/engine/lower.hpp"
#include "anybpf/engine/op.hpp"
#include "anybpf/isa/text.hpp"
#include "guarded_raw.hpp"
#include "minimise.hpp"
#include "workers_raw.hpp"

namespace anybpf::differential {
namespace {

using engine::Op;
using ::testing::HasSubstr;

constexpr const engine::AnyEngine& interpreter = engine::any<engine::Interpreter>;

Settings settings_of(std::vector<const engine::AnyEngine*> engines) { return {.engines = std::move(engines)}; }

// The interpreter, wrong in one operation.
Result<std::shared_ptr<const void>> bind_wrong(const program::Lowered& lowered, std::span<const engine::BoundMap> maps,
                                               const abi::HelperBodies* helpers) {
    program::Lowered wrong = lowered;
    for (program::LoweredInsn& insn : wrong.insns)
        if (Op{insn.op} == Op::xor_64_reg) insn.op = static_cast<u16>(Op::or_64_reg);
    return interpreter.bind(wrong, maps, helpers);
}
constexpr engine::AnyEngine wrong = {.name = "wrong", .bind = bind_wrong, .run = interpreter.run};

constexpr engine::AnyEngine crashing = {
    .name = "crashing",
    .bind = [](const program::Lowered& lowered, auto maps, auto* helpers) -> Result<std::shared_ptr<const void>> {
        for (const program::LoweredInsn& insn : lowered.insns)
            if (Op{insn.op} == Op::xor_64_reg) std::raise(SIGKILL);
        return interpreter.bind(lowered, maps, helpers);
    },
    .run = interpreter.run};

// Reads a byte that is not the context's of a raw tracepoint.
template <std::ptrdiff_t at>
constexpr engine::AnyEngine reaching = {
    .name = "reaching", .bind = interpreter.bind, .run = [](const void* bound, abi::Run& run, u64 second) {
        static_cast<void>(static_cast<const volatile u8*>(run.context)[at]);
        return interpreter.run(bound, run, second);
    }};

// An operation is lowered only where what it is given is not known and what it computes is kept: there is a load before
// it or a helper's call, with what that needs, and a store behind it.
constexpr std::size_t small_size = 20;

bool has_xor(const program::Program& program) {
    return std::ranges::any_of(program.insns, [](const isa::Insn& insn) { return insn.code == 0xaf; });
}

TEST(Differential, EnginesAgree) {
    const auto totals =
        run_workers(settings_of({&interpreter, engine_named("jit", true), engine_named("jit-plain", true)}),
                    {.first = 1, .count = 10'000}, [](auto&) {});
    ASSERT_TRUE(totals.has_value()) << totals.error().message;
    EXPECT_EQ(totals->programs, 10'000U);
    EXPECT_GT(totals->agreed, 9'800U);
    for (const Failure& failure : totals->failures) ADD_FAILURE() << "seed " << failure.seed << ": " << failure.text;
}

TEST(Differential, CompilingEngineAgrees) {
    if (const auto available = engine::Llvm::available(); !available) GTEST_SKIP() << available.error().message;
    const auto totals = run_workers(settings_of({&interpreter, engine_named("llvm", true)}),
                                    {.first = 1'000'000, .count = 60}, [](auto&) {});
    ASSERT_TRUE(totals.has_value()) << totals.error().message;
    for (const Failure& failure : totals->failures) ADD_FAILURE() << "seed " << failure.seed << ": " << failure.text;
}

TEST(Differential, LiveKernelAgrees) {
    if (const auto kernel = LiveKernel::make(); !kernel) GTEST_SKIP() << kernel.error().message;
    Settings settings = settings_of({&interpreter});
    settings.kernel = true;
    const auto totals = run_workers(settings, {.first = 2'000'000, .count = 1'000}, [](auto&) {});
    ASSERT_TRUE(totals.has_value()) << totals.error().message;
    for (const Failure& failure : totals->failures) ADD_FAILURE() << "seed " << failure.seed << ": " << failure.text;
    // Its verifier takes some of them for a bug of its own.
    for (const Failure& verdict : totals->verdicts_differ)
        EXPECT_THAT(verdict.text,
                    ::testing::AnyOf(HasSubstr("kernel refuses it: verifier bug: "), HasSubstr("kernel accepts it: ")))
            << "seed " << verdict.seed;
    std::printf("the kernel refuses %lu that we accept, and accepts %lu that we refuse\n", totals->kernel_refuses,
                totals->kernel_accepts);
    EXPECT_GT(totals->agreed, 900U);
}

// What is compared is worth it: every operation of the lowered form, and mostly programs that come to their end, where
// they leave their registers.
TEST(Differential, ProgramsHaveEveryInstructionAndReachTheirEnd) {
    const auto world = World::make(true);
    ASSERT_TRUE(world.has_value()) << world.error().message;
    std::array<bool, engine::op_count> seen{};
    u32 accepted = 0, ended = 0;
    for (u64 seed = 0; seed < 4'000; ++seed) {
        const auto program = generate(seed);
        const auto report = verifier::verify(program, {});
        if (!report.accepted) continue;
        ++accepted;
        const auto lowered = engine::lower(program, report.proof);
        ASSERT_TRUE(lowered.has_value()) << "seed " << seed << ": " << lowered.error().message;
        for (const program::LoweredInsn& insn : lowered->insns) seen[insn.op] = true;
        const auto bound = (*world)->bind(interpreter, *lowered);
        ASSERT_TRUE(bound.has_value()) << bound.error().message;
        const Input input(seed, program.type);
        const auto outcome = (*world)->run(interpreter, *bound, input, program.type);
        ASSERT_TRUE(outcome.has_value()) << outcome.error().message;
        const auto left = std::as_bytes(std::span(outcome->data)).subspan(registers_at, 80);
        ended += !std::ranges::equal(left, std::span(input.data).subspan(registers_at, 80));
    }
    EXPECT_GT(ended, accepted * 8 / 10);
    // The verifier refuses callx; mov32_imm is folded; the others have no encoding.
    for (const Op op : {Op::callx, Op::mov32_imm, Op::neg32_reg, Op::neg64_reg, Op::sx32_32, Op::load_sx_dword})
        seen[static_cast<u16>(op)] = true;
    for (u16 op = 0; op < seen.size(); ++op) EXPECT_TRUE(seen[op]) << engine::to_string(Op{op});
}

TEST(Minimise, AWrongOperationIsFoundAndMadeSmall) {
    const Settings settings = settings_of({&interpreter, &wrong});
    const auto totals = run_workers(settings, {.first = 1, .count = 400}, [](auto&) {});
    ASSERT_TRUE(totals.has_value()) << totals.error().message;
    ASSERT_GT(totals->failures.size(), 5U);
    for (std::size_t i = 0; i < 3; ++i) {
        const Failure& failure = totals->failures[i];
        EXPECT_THAT(failure.text, HasSubstr("wrong: "));
        auto differential = Differential::make(settings);
        ASSERT_TRUE(differential.has_value()) << differential.error().message;
        const auto fails = [&](const program::Program& program) {
            return (*differential)->check(program, failure.seed).what == What::disagreed;
        };
        const program::Program whole = generate(failure.seed), small = minimise(whole, fails);
        EXPECT_TRUE(fails(small));
        EXPECT_TRUE(has_xor(small));
        EXPECT_LT(small.insns.size(), small_size) << isa::listing(small.insns);

        // The file says the same, and the engines that are right agree on it.
        const auto read = from_case(to_case(small, failure.seed, failure.text));
        ASSERT_TRUE(read.has_value()) << read.error().message;
        EXPECT_EQ(read->program.insns, small.insns);
        EXPECT_EQ(read->program.type, small.type);
        EXPECT_EQ(read->seed, failure.seed);
        EXPECT_EQ(check_apart(settings_of({&interpreter, engine_named("jit", true)}), small, failure.seed).what,
                  What::agreed);
    }
}

TEST(Minimise, ACrashHasASeed) {
    const Settings settings = settings_of({&interpreter, &crashing});
    const auto totals = run_workers(settings, {.first = 1, .count = 60, .jobs = 2}, [](auto&) {});
    ASSERT_TRUE(totals.has_value()) << totals.error().message;
    EXPECT_EQ(totals->programs, 60U);
    ASSERT_GT(totals->failures.size(), 1U);
    const Failure& failure = totals->failures.front();
    EXPECT_THAT(failure.text, HasSubstr("killed by signal 9"));
    const program::Program whole = generate(failure.seed);
    EXPECT_TRUE(has_xor(whole));
    const auto small = minimise(whole, [&](const program::Program& program) {
        return check_apart(settings, program, failure.seed).what == What::disagreed;
    });
    EXPECT_LT(small.insns.size(), small_size) << isa::listing(small.insns);
}

TEST(Chaos, AByteBesideTheContextIsOutOfReach) {
    const auto program = make_program({{.code = 0xb7}, {.code = 0x95}}, abi::ProgType::raw_tracepoint);
    constexpr u64 behind = 2, in_front = 3;  // seeds: where the guard page is
    const auto verdict = [&](const engine::AnyEngine& engine, u64 seed) {
        return check_apart(settings_of({&interpreter, &engine}), program, seed);
    };
    EXPECT_THAT(verdict(reaching<96>, behind).text, HasSubstr("killed by signal 11"));
    EXPECT_THAT(verdict(reaching<-1>, in_front).text, HasSubstr("killed by signal 11"));
    EXPECT_EQ(verdict(reaching<95>, behind).what, What::agreed);
    EXPECT_EQ(verdict(reaching<0>, in_front).what, What::agreed);
}

// A program that never ends on some way cannot be loaded; where may_goto is on each way round it can, and ends, on
// every engine, when the run's budget is used up: after the same number of rounds.
TEST(Endless, IsRefusedAndMayGotoEnds) {
    const auto make = [](std::string_view text) {
        auto insns = isa::assemble(text);
        EXPECT_TRUE(insns.has_value()) << text;
        return make_program(*insns, abi::ProgType::raw_tracepoint);
    };
    for (const std::string_view text : {
             "again: goto again\nexit",
             "r0 = 0\nagain: r0 += 1\ngoto again\nexit",
             "r6 = r1\nagain: r0 = *(u64 *)(r6 + 0)\nif r0 != 0 goto again\nexit",
             "r6 = r1\nagain: r0 = *(u64 *)(r6 + 0)\nif r0 == 0 goto again\nmay_goto +0\ngoto again\nexit",
             "call f\nexit\nf: call f\nexit",
         }) {
        const auto report = verifier::verify(make(text), {});
        EXPECT_FALSE(report.accepted) << text;
    }
    Settings settings = settings_of({&interpreter, engine_named("jit", true), engine_named("jit-plain", true)});
    if (engine::Llvm::available()) settings.engines.push_back(engine_named("llvm", true));
    // Where nothing else ends it; with a budget for the whole run, whatever function asks; and in a loop of loops.
    const std::string count = "r1 = map[idx:0][0]+0 ll\nr2 = 1\nlock *(u64 *)(r1 + 0) += r2\n";
    const std::string clear = "r1 = map[idx:0][0]+0 ll\nr2 = 0\n*(u64 *)(r1 + 0) = r2\n";
    for (const std::string& text : {
             clear + "again: may_goto out\n" + count + "goto again\nout: r0 = 0\nexit",
             clear + "call f\ncall f\nr0 = 0\nexit\nf: may_goto out\n" + count + "goto f\nout: r0 = 0\nexit",
             clear + "outer: may_goto out\ninner: may_goto outer\n" + count + "goto inner\nout: r0 = 0\nexit",
         }) {
        const Verdict verdict = check_apart(settings, make(text), 1);
        EXPECT_EQ(verdict.what, What::agreed) << text << verdict.text;
    }
    // As often as that is.
    const auto program = make(clear + "again: may_goto out\n" + count + "goto again\nout: r0 = 0\nexit");
    const auto world = World::make(true);
    ASSERT_TRUE(world.has_value()) << world.error().message;
    const auto lowered = engine::lower(program, verifier::verify(program, {}).proof);
    ASSERT_TRUE(lowered.has_value()) << lowered.error().message;
    const auto bound = (*world)->bind(interpreter, *lowered);
    ASSERT_TRUE(bound.has_value()) << bound.error().message;
    const auto outcome = (*world)->run(interpreter, *bound, Input(1, program.type), program.type);
    ASSERT_TRUE(outcome.has_value()) << outcome.error().message;
    EXPECT_EQ(outcome->data[0], abi::max_loop_iterations);
}

// Each frame of the interpreter, too.
template <std::ptrdiff_t at>
constexpr engine::AnyEngine reaching_frame = {
    .name = "reaching", .bind = interpreter.bind, .run = [](const void* bound, abi::Run& run, u64 second) {
        for (const bool in_front : {false, true})
            if (const auto frames = guarded_frames(in_front); frames && (in_front == (at < 0)))
                for (u32 depth = 0; depth < abi::max_frames; ++depth) {
                    std::byte* const end = frames->first_end + depth * frames->distance;
                    static_cast<void>(const_cast<const volatile std::byte*>(end)[at]);
                }
        return interpreter.run(bound, run, second);
    }};
TEST(Chaos, AByteBesideAFrameIsOutOfReach) {
    const auto program = make_program({{.code = 0xb7}, {.code = 0x95}}, abi::ProgType::raw_tracepoint);
    const auto text = [&](const engine::AnyEngine& engine) {
        return check_apart(settings_of({&interpreter, &engine}), program, 2).text;
    };
    constexpr std::ptrdiff_t lowest = -std::ptrdiff_t{abi::stack_size};
    EXPECT_THAT(text(reaching_frame<0>), HasSubstr("killed by signal 11"));
    EXPECT_THAT(text(reaching_frame<lowest - 1>), HasSubstr("killed by signal 11"));
    EXPECT_EQ(text(reaching_frame<lowest>), "");
    EXPECT_EQ(text(reaching_frame<-1>), "");
}

class CorpusTest : public ::testing::Test {
  public:
    explicit CorpusTest(std::filesystem::path path) : path_(std::move(path)) {}
    void TestBody() override {
        const auto read = corpus::read_case(path_);
        ASSERT_TRUE(read.has_value()) << read.error().message;
        const auto kept = from_case(*read);
        ASSERT_TRUE(kept.has_value()) << kept.error().message;
        Settings settings = settings_of({&interpreter, engine_named("jit", true), engine_named("jit", false)});
        if (engine::Llvm::available()) settings.engines.push_back(engine_named("llvm", true));
        settings.kernel = LiveKernel::make().has_value();
        const Verdict verdict = check_apart(settings, kept->program, kept->seed);
        EXPECT_TRUE(verdict.what == What::agreed || verdict.what == What::kernel_errs) << verdict.text;
    }

  private:
    std::filesystem::path path_;
};

}  // namespace
}  // namespace anybpf::differential

int main(int argc, char** argv) {
    for (const auto& entry : std::filesystem::directory_iterator(ANYBPF_DIFFERENTIAL_CORPUS)) {
        const std::filesystem::path file = entry.path();
        ::testing::RegisterTest("Kept", file.stem().c_str(), nullptr, nullptr, file.c_str(), 1,
                                [file] { return new anybpf::differential::CorpusTest(file); });
    }
    ::testing::InitGoogleTest(&argc, argv);
    return RUN_ALL_TESTS();
}

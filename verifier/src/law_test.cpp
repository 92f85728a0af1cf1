// SPDX-License-Identifier: Apache-2.0
// A share of what `anybpf-law` does at length (docs/conformance.md), over the generators of this folder.
#include "law.hpp"

#include "packet_programs.hpp"
#include "random_programs.hpp"
#include "walker.hpp"

namespace anybpf::verifier {
namespace {

using namespace testing;

constexpr u64 seeds = 6'000;

LawOptions law_of(u64 seed, Arena& arena) {
    LawOptions law;
    // Half of the programs are judged by the rules of privileged loads, which may read stack that was never written.
    law.privileged = seed / 4 % 2 == 0;
    law.remember_all = seed % 2 == 0;
    law.arena = &arena;
    return law;
}

struct Shares {
    u64 accepted = 0, compared = 0;
};

template <class Make>
Shares try_all(u64 count, Make&& make) {
    Shares shares;
    Arena arena;
    for (u64 seed = 1; seed <= count; ++seed) {
        const Trial trial = try_program(make(seed), seed, law_of(seed, arena));
        if (trial.finding == Finding::none) ++shares.accepted;
        if (trial.compared) ++shares.compared;
        EXPECT_EQ(trial.cannot_run, "");
        EXPECT_TRUE(trial.fault.empty()) << "seed " << seed << ", run " << trial.bad_run << '\n' << trial.fault;
        if (::testing::Test::HasFailure()) break;
    }
    ::testing::Test::RecordProperty("accepted", static_cast<int>(shares.accepted));
    ::testing::Test::RecordProperty("compared", static_cast<int>(shares.compared));
    return shares;
}

TEST(Accepted, does_no_harm) {
    const Shares shares = try_all(seeds, [](u64 seed) { return Generator(seed).program(); });
    EXPECT_GT(shares.accepted, seeds / 5);
    EXPECT_LT(shares.accepted, seeds * 9 / 10);
    EXPECT_GT(shares.compared, shares.accepted / 2);
}

TEST(Accepted, stays_in_its_packet) {
    const Shares shares = try_all(seeds, [](u64 seed) { return PacketGenerator(seed).program(); });
    EXPECT_GT(shares.accepted, seeds / 5);
    EXPECT_GT(shares.compared, shares.accepted / 2);
}

// Loops whose only end may be the budget of the run: they end, whatever it is.
TEST(Accepted, loops_of_may_goto_end) {
    u64 looping = 0;
    const auto make = [&](u64 seed) {
        Generator generator(seed);
        generator.may_goto = true;
        auto program = generator.program();
        for (const isa::Insn& insn : program.insns)
            if (insn.code == static_cast<u8>(isa::ControlCode::may_goto)) {
                ++looping;
                break;
            }
        return program;
    };
    const Shares shares = try_all(seeds, make);
    EXPECT_GT(looping, seeds / 10);
    EXPECT_GT(shares.accepted, seeds / 10);
}

// Remembering states changes how long the walk is, not what it finds.
TEST(Pruning, does_not_change_verdicts) {
    const auto judge = [](const program::Program& program, const Options& options, bool remember_all) {
        Structure structure;
        Report report;
        if (const auto bad = analyse(program, structure)) {
            report.diagnostic = *bad;
            return report;
        }
        Arena arena;
        Walker walker(program, options, structure, arena, report);
        walker.remember_all = remember_all;
        walker.run();
        return report;
    };
    for (u64 seed = 1; seed <= seeds; ++seed) {
        const program::Program program = Generator(seed).program();
        Options options;
        options.max_insns = 5'000;
        options.allow_ptr_leaks = seed / 4 % 2 == 0;
        const Report with = judge(program, options, seed % 4 != 0);
        options.max_insns = 20'000;
        options.max_state_bytes = 0;
        const Report without = verify(program, options);
        if (without.diagnostic.what == Finding::too_complex || with.diagnostic.what == Finding::too_complex ||
            with.diagnostic.what == Finding::infinite_loop)
            continue;
        ASSERT_EQ(with.accepted, without.accepted)
            << "seed " << seed << '\n'
            << explain(with, program) << explain(without, program) << listing(program);
    }
}

}  // namespace
}  // namespace anybpf::verifier

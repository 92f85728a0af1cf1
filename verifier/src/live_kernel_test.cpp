// SPDX-License-Identifier: Apache-2.0
// What we accept, the kernel accepts; where it does not, the reason is one of those that are listed here.
#include "live_kernel.hpp"

#include <map>

#include "limit_cases.hpp"
#include "random_programs.hpp"

namespace anybpf::verifier {
namespace {

using namespace testing;

// Why the kernel may refuse what we accept.
bool excused(const program::Program& program, const std::string& log) {
    // It bounds how much it walks by its own count of states.
    if (log.find("Program is too large") != std::string::npos) return true;
    // After a 32-bit division it forgets that the upper half is zero, so that it walks into branches that cannot be.
    for (const isa::Insn& insn : program.insns) {
        const auto [form, defect] = isa::decode(insn);
        if (defect || form.kind != isa::Kind::alu || form.is64) continue;
        using isa::AluOp;
        if (form.alu == AluOp::div || form.alu == AluOp::sdiv || form.alu == AluOp::mod || form.alu == AluOp::smod)
            return true;
    }
    return false;
}

std::string_view last_lines(const std::string& log) {
    std::string_view text(log);
    return text.substr(text.size() > 2500 ? text.size() - 2500 : 0);
}

TEST(Kernel, accepts_what_we_accept) {
    const auto kernel = LiveKernel::open(maps());
    if (!kernel) GTEST_SKIP() << "the kernel cannot be asked: " << kernel.error().message;
    if (const auto smallest = kernel->load(program_of("r0 = 0\nexit")); !smallest.accepted)
        GTEST_SKIP() << "the kernel does not load programs here: " << smallest.log;
    u32 accepted = 0, both_refuse = 0, stricter = 0;
    std::map<std::string, u32> why;
    for (u64 seed = 100'001; seed <= 101'500; ++seed) {
        const program::Program program = Generator(seed).program();
        Options options;
        options.max_insns = 100'000;
        options.allow_ptr_leaks = true;  // as whoever may load tracing programs
        const Report report = verify(program, options);
        const auto verdict = kernel->load(program);
        if (report.accepted && !verdict.accepted && !excused(program, verdict.log)) {
            ADD_FAILURE() << "seed " << seed << '\n' << last_lines(verdict.log);
            return;
        }
        accepted += report.accepted && verdict.accepted;
        both_refuse += !report.accepted && !verdict.accepted;
        if (!report.accepted && verdict.accepted) ++stricter, ++why[std::string(to_string(report.diagnostic.what))];
    }
    RecordProperty("accepted", static_cast<int>(accepted));
    RecordProperty("refused", static_cast<int>(both_refuse));
    RecordProperty("stricter", static_cast<int>(stricter));
    for (const auto& [finding, count] : why) RecordProperty("stricter_" + finding, static_cast<int>(count));
    EXPECT_GT(accepted, 300U);
}

TEST(Kernel, has_the_same_limits) {
    constexpr u32 strict = 1, any = 2;  // BPF_F_STRICT_ALIGNMENT, BPF_F_ANY_ALIGNMENT
    const auto kernel = LiveKernel::open(maps());
    if (!kernel) GTEST_SKIP() << "the kernel cannot be asked: " << kernel.error().message;
    if (const auto smallest = kernel->load(program_of("r0 = 0\nexit")); !smallest.accepted)
        GTEST_SKIP() << "the kernel does not load programs here: " << smallest.log;
    for (const LimitCase& one : limit_cases()) {
        if (one.stack_bytes != abi::stack_size) continue;
        const auto program = limit_program(one);
        const auto verdict = kernel->load(program, 1, one.strict_alignment ? strict : 0);
        EXPECT_EQ(verdict.accepted, one.expected == Finding::none) << one.name << '\n' << last_lines(verdict.log);
        if (one.strict_alignment) {
            EXPECT_TRUE(kernel->load(program, 1, strict | any).accepted) << one.name;
        }
    }
}

}  // namespace
}  // namespace anybpf::verifier

// SPDX-License-Identifier: Apache-2.0
// Programs with arenas, as they are and changed in a place or two, beside the running kernel.
#include "arena_cases.hpp"
#include "changed_programs.hpp"

namespace anybpf::verifier {
namespace {

using namespace testing;

// Whether a context is compared with zero: the kernel walks on both ways then, and here it is known not to be
// (dead_branch in docs/differences.md).
bool compares_context(const std::string& log) {
    for (std::size_t at = 0; (at = log.find(" 0x0 goto ", at)) != std::string::npos; ++at)
        if (log.substr(at, log.find('\n', at) - at).find("=ctx()") != std::string::npos) return true;
    return false;
}

TEST(Kernel, judges_arenas_alike) {
    const auto types = running_kernel();
    if (types == nullptr) GTEST_SKIP() << "the kernel has no BTF here";
    const auto kernel = LiveKernel::open(arena_maps());
    if (!kernel) GTEST_SKIP() << "the kernel cannot be asked: " << kernel.error().message;
    std::vector<program::Program> programs;
    for (const ArenaCase& one : arena_cases()) {
        const program::Program program = program_of(one, types);
        const Report report = verify(program, {});
        const auto said = kernel->load(program);
        if (said.error == EPERM) GTEST_SKIP() << "the kernel loads no programs here";
        EXPECT_EQ(to_string(report.diagnostic.what), to_string(one.expected)) << one.name;
        EXPECT_EQ(said.accepted, one.expected == Finding::none) << one.name << end_of(said.log);
        programs.push_back(program);
    }
    const ChangedVerdicts verdicts = judge_changed(*kernel, programs, "ANYBPF_ARENA_PROGRAMS", compares_context);
    EXPECT_GT(verdicts.accepted, verdicts.count / 5);
    EXPECT_LE(verdicts.stricter, verdicts.count / 500);
}

}  // namespace
}  // namespace anybpf::verifier

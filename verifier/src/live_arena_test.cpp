// SPDX-License-Identifier: Apache-2.0
// Programs with arenas, as they are and changed in a place or two, beside the running kernel.
#include <map>

#include "arena_cases.hpp"
#include "changed_programs.hpp"
#include "live_kernel.hpp"

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
    const char* given = std::getenv("ANYBPF_ARENA_PROGRAMS");
    const u32 count = given != nullptr ? static_cast<u32>(std::strtoul(given, nullptr, 10)) : 2000;
    u32 accepted = 0, refused = 0, stricter = 0;
    std::map<std::string, u32> why;
    for (u32 seed = 1; seed <= count; ++seed) {
        std::mt19937_64 random(seed);
        program::Program program = programs[random() % programs.size()];
        for (u64 i = 1 + random() % 2; i > 0; --i) change(program, random);
        const Report report = verify(program, {});
        const auto said = kernel->load(program);
        if (said.log.find("verifier bug") != std::string::npos) continue;  // the kernel's own
        if (!said.accepted && report.accepted && compares_context(said.log)) continue;
        EXPECT_TRUE(said.accepted || !report.accepted) << "seed " << seed << '\n' << end_of(said.log);
        if (!said.accepted)
            ++refused;
        else if (report.accepted)
            ++accepted;
        else
            ++stricter, ++why[std::string(to_string(report.diagnostic.what))];
    }
    for (const auto& [finding, times] : why) std::printf("refused by us alone: %u x %s\n", times, finding.c_str());
    std::printf("%u accepted by both, %u refused by the kernel, %u refused by us alone\n", accepted, refused, stricter);
    EXPECT_GT(accepted, count / 5);
    EXPECT_LE(stricter, count / 500);
}

}  // namespace
}  // namespace anybpf::verifier

// SPDX-License-Identifier: Apache-2.0
#include "arena_cases.hpp"

namespace anybpf::verifier {
namespace {

using namespace testing;

TEST(Arena, verdicts) {
    for (const ArenaCase& one : arena_cases()) {
        const program::Program program = program_of(one);
        const Report report = verify(program, {});
        EXPECT_EQ(to_string(report.diagnostic.what), to_string(one.expected)) << one.name << '\n'
                                                                              << explain(report, program);
        EXPECT_EQ(report.accepted, one.expected == Finding::none) << one.name;
    }
}

TEST(Arena, needs_privileges) {
    Options options;
    options.allow_ptr_leaks = false;
    const Report report = verify(program_of(ArenaCase{"", "r1 = map[idx:0] ll\nr0 = 0\nexit\n"}), options);
    EXPECT_EQ(report.diagnostic.what, Finding::arena_unprivileged);
}

TEST(Arena, is_a_region_of_its_own) {
    const Report report =
        verify(program_of(ArenaCase{
                   "", "r1 = map[idx:0] ll\nr1 = addr_space_cast(r1, 0, 1)\nr2 = *(u64 *)(r1 + 0)\nr0 = 0\nexit\n"}),
               {});
    ASSERT_TRUE(report.accepted);
    EXPECT_EQ(report.proof.insns[3].region, program::Region::arena);
}

TEST(Arena, address_comes_from_its_cast) {
    const auto program = program_of(ArenaCase{"",
                                              "r1 = map[idx:0] ll\nr1 = addr_space_cast(r1, 0, 1)\nr0 = 1\nr0 = "
                                              "atomic64_fetch_or((u64 *)(r1 +0), r0)\nexit\n"});
    const Told told = tell(verify(program, {}), program);
    ASSERT_FALSE(told.causes.empty());
    EXPECT_EQ(told.causes.front().text, "r1 is cast from r1: a pointer into the arena");
}

TEST(Arena, reads_as_in_the_kernels_log) {
    Options options;
    options.log_level = 1;
    const Report report =
        verify(program_of(ArenaCase{"", "r1 = map[idx:0] ll\nr2 = 16\nr1 = addr_space_cast(r2, 0, 1)\nr0 = 0\nexit\n"}),
               options);
    EXPECT_NE(report.log.find("3: (bf) r1 = addr_space_cast(r2, 0, 1) ; R1=arena\n"), std::string::npos) << report.log;
}

}  // namespace
}  // namespace anybpf::verifier

// SPDX-License-Identifier: Apache-2.0
#include "owned_cases.hpp"

namespace anybpf::verifier {
namespace {

using namespace testing;

TEST(Owned, verdicts) {
    for (const OwnedCase& one : owned_cases()) {
        const program::Program program = program_of(one);
        const Report report = verify(program, {});
        EXPECT_EQ(to_string(report.diagnostic.what), to_string(one.expected)) << one.name << '\n'
                                                                              << explain(report, program);
        EXPECT_EQ(report.accepted, one.expected == Finding::none) << one.name;
    }
}

}  // namespace
}  // namespace anybpf::verifier

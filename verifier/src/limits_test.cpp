// SPDX-License-Identifier: Apache-2.0
#include "limit_cases.hpp"

namespace anybpf::verifier {
namespace {

using namespace testing;

Report judge(const LimitCase& one) {
    Options options;
    options.stack_bytes = one.stack_bytes;
    options.strict_alignment = one.strict_alignment;
    return verify(limit_program(one), options);
}

TEST(Limits, are_where_they_should_be) {
    for (const LimitCase& one : limit_cases()) {
        const Report report = judge(one);
        EXPECT_EQ(to_string(report.diagnostic.what), to_string(one.expected)) << one.name << '\n'
                                                                              << explain(report, limit_program(one));
    }
}

TEST(Limits, refusals_name_the_option_that_raises_them) {
    for (const LimitCase& one : limit_cases()) {
        if (one.expected != Finding::out_of_stack && one.expected != Finding::stack_too_deep) continue;
        EXPECT_NE(tell(judge(one), limit_program(one)).advice.find("--stack BYTES"), std::string::npos) << one.name;
    }
    const LimitCase deep{"", call_chain(1, 1025), Finding::out_of_stack, abi::ProgType::xdp, false, false, false, 1024};
    EXPECT_EQ(tell(judge(deep), limit_program(deep)).advice,
              "keep offsets between -1024 and the frame pointer, or raise the limit (--stack BYTES, up to 65536)");
    Options options;
    options.max_insns = 10;
    const auto endless = program_of("r0 = 0\nagain: r0 += 1\nif r0 < 100 goto again\nexit");
    const Report report = verify(endless, options);
    EXPECT_EQ(report.diagnostic.what, Finding::too_complex);
    EXPECT_NE(tell(report, endless).advice.find("--max-insns N"), std::string::npos);
}

TEST(Limits, proofs_hold_large_frames) {
    const LimitCase one{"", call_chain(2, 20'000), Finding::none, abi::ProgType::xdp, false, false, false, 64 << 10};
    const Report report = judge(one);
    ASSERT_TRUE(report.accepted) << explain(report, limit_program(one));
    EXPECT_EQ(report.proof.subprograms[0].stack_bytes, 20'000U);
    EXPECT_EQ(report.proof.subprograms[1].stack_bytes, 20'000U);
}

}  // namespace
}  // namespace anybpf::verifier

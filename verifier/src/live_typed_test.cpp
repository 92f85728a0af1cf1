// SPDX-License-Identifier: Apache-2.0
// Programs over the running kernel's types: our verdicts are those of that kernel.
#include "live_kernel.hpp"
#include "typed_cases.hpp"

namespace anybpf::verifier {
namespace {

using namespace testing;

std::string_view end_of(const std::string& log) {
    return std::string_view(log).substr(log.size() > 1500 ? log.size() - 1500 : 0);
}

TEST(Kernel, judges_typed_programs_alike) {
    const auto types = running_kernel();
    if (types == nullptr) GTEST_SKIP() << "the kernel has no BTF here";
    const auto kernel = LiveKernel::open(maps());
    if (!kernel) GTEST_SKIP() << "the kernel cannot be asked: " << kernel.error().message;
    if (const auto smallest = kernel->load(program_of("r0 = 0\nexit")); !smallest.accepted)
        GTEST_SKIP() << "the kernel does not load programs here: " << smallest.log;
    u32 asked = 0;
    for (const TypedCase& one : typed_cases()) {
        if (one.expected == Finding::bad_attach_target) continue;  // there are others in this kernel
        const program::Program program = program_of(one, types);
        Options options;
        options.allow_ptr_leaks = true;
        const Report report = verify(program, options);
        const auto verdict = kernel->load(program);
        // Not for this process, or a kernel that keeps no addresses of variables.
        if (!verdict.accepted && (verdict.log == "Operation not permitted" ||
                                  verdict.log.find("failed to find the address") != std::string::npos))
            continue;
        EXPECT_EQ(report.accepted || one.kernel_accepts, verdict.accepted) << one.name << '\n'
                                                                           << explain(report, program) << '\n'
                                                                           << end_of(verdict.log);
        EXPECT_EQ(to_string(report.diagnostic.what), to_string(one.expected)) << one.name << '\n'
                                                                              << end_of(verdict.log);
        ++asked;
    }
    EXPECT_GT(asked, 30U);
}

}  // namespace
}  // namespace anybpf::verifier

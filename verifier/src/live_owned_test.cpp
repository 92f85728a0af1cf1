// SPDX-License-Identifier: Apache-2.0
// Programs that own objects, as they are and changed in a place or two: what we accept, the running kernel accepts.
#include "changed_programs.hpp"
#include "owned_cases.hpp"

namespace anybpf::verifier {
namespace {

using namespace testing;

TEST(Kernel, judges_owned_objects_alike) {
    const auto types = running_kernel();
    if (types == nullptr) GTEST_SKIP() << "the kernel has no BTF here";
    const auto kernel = LiveKernel::open(owned_maps(false));
    if (!kernel) GTEST_SKIP() << "the kernel cannot be asked: " << kernel.error().message;
    std::vector<program::Program> programs;
    for (const OwnedCase& one : owned_cases()) {
        using F = Finding;
        if (one.expected == F::bad_map_fields || one.expected == F::bad_type_fields ||
            one.expected == F::field_map_type || one.expected == F::foreign_types)
            continue;
        const program::Program program = program_of(one, types, false);
        const Report report = verify(program, {});
        const auto said = kernel->load(program);
        if (said.error == EPERM) GTEST_SKIP() << "the kernel loads no programs here";
        EXPECT_EQ(to_string(report.diagnostic.what), to_string(one.expected)) << one.name;
        EXPECT_EQ(said.accepted, one.expected == F::none) << one.name << end_of(said.log);
        programs.push_back(program);
    }
    ASSERT_FALSE(programs.empty());
    const ChangedVerdicts verdicts =
        judge_changed(*kernel, programs, "ANYBPF_OWNED_PROGRAMS", [](const std::string&) { return false; });
    EXPECT_GT(verdicts.accepted, verdicts.count / 20);
}

}  // namespace
}  // namespace anybpf::verifier

// SPDX-License-Identifier: Apache-2.0
#include "typed_cases.hpp"
#include "walker.hpp"

namespace anybpf::verifier {
namespace {

using namespace testing;

class Typed : public ::testing::TestWithParam<TypedCase> {};

TEST_P(Typed, verdict) {
    const program::Program program = program_of(GetParam(), kernel_types());
    Options options;
    options.allow_ptr_leaks = true;
    const Report report = verify(program, options);
    EXPECT_EQ(to_string(report.diagnostic.what), to_string(GetParam().expected)) << explain(report, program);
}

INSTANTIATE_TEST_SUITE_P(Cases, Typed, ::testing::ValuesIn(typed_cases()), [](const auto& one) {
    std::string name = one.param.name;
    for (char& letter : name)
        if (!std::isalnum(static_cast<unsigned char>(letter))) letter = '_';
    return fmt::format("{}_{}", one.index, name);
});

TEST(TypedProgram, needs_the_kernels_types) {
    program::Program program = program_of({"", "r0 = 0\nexit"}, kernel_types());
    program.kernel_btf = nullptr;
    EXPECT_EQ(verify(program, {}).diagnostic.what, Finding::no_kernel_types);
}

TEST(Field, is_found_through_structs_unions_and_arrays) {
    const auto btf = kernel_types();
    const u32 task = *btf->find("task_struct", btf::Kind::struct_), tail = *btf->find("tail", btf::Kind::struct_);
    const u32 list = *btf->find("list_head", btf::Kind::struct_);
    const u32 heads = btf->find_member(tail, "heads")->bit_offset / 8;
    const auto offset = [&](std::string_view path) { return btf->find_member(task, path)->bit_offset / 8; };
    const Field either = find_field(*btf, task, offset("either"), 8);
    EXPECT_EQ(either.kind, Field::Kind::object);
    EXPECT_EQ(either.flags, flag::untrusted);
    const Field second = find_field(*btf, task, offset("lists") + 24, 8);
    EXPECT_EQ(second.kind, Field::Kind::object);
    EXPECT_EQ(second.name, "prev");
    EXPECT_EQ(find_field(*btf, task, offset("lists") + 20, 8).kind, Field::Kind::none);
    EXPECT_EQ(find_field(*btf, tail, heads + 16 * 5, 8).name, "next");
    EXPECT_TRUE(lies_within(*btf, task, offset("tasks"), list));
    EXPECT_TRUE(lies_within(*btf, task, offset("lists") + 32, list));
    EXPECT_FALSE(lies_within(*btf, task, offset("lists") + 8, list));
    EXPECT_TRUE(lies_within(*btf, task, 0, task));
}

}  // namespace
}  // namespace anybpf::verifier

// SPDX-License-Identifier: Apache-2.0
// What only the live kernel can answer: whether our format rules are its own, and whether libbpf relocates a program
// to our types. Skipped where bpf(2) is refused.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>

#include "anybpf/helpers/task.hpp"

namespace anybpf::helpers {
namespace {

struct Object {
    bpf_object* object = nullptr;
    ~Object() { ::bpf_object__close(object); }
};

// Nothing where the machine's own bpf(2) is not ours to use.
bool kernel_bpf_works() {
    const bpf_insn insns[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0},
                              {.code = BPF_JMP | BPF_EXIT, .dst_reg = 0, .src_reg = 0, .off = 0, .imm = 0}};
    const int fd = ::bpf_prog_load(BPF_PROG_TYPE_RAW_TRACEPOINT, "probe", "GPL", insns, 2, nullptr);
    if (fd < 0) return false;
    ::close(fd);
    return true;
}

i64 test_run(bpf_object* object, const char* name) {
    bpf_program* program = ::bpf_object__find_program_by_name(object, name);
    LIBBPF_OPTS(bpf_test_run_opts, options);
    if (!program || ::bpf_prog_test_run_opts(::bpf_program__fd(program), &options) != 0) return -1;
    return options.retval;
}

TEST(LiveKernel, AgreesWithTheTableOfFormats) {
    if (!kernel_bpf_works()) GTEST_SKIP() << "bpf(2) is refused here";
    const Object object{::bpf_object__open(ANYBPF_TEST_OBJECTS "/format_cases.bpf.o")};
    ASSERT_NE(object.object, nullptr);
    if (::bpf_object__load(object.object) != 0) GTEST_SKIP() << "this kernel does not load the format programs";
    struct {
        struct {
            i64 result;
            char line[48];
        } answers[64];
        i64 refusals[64];
    } data;
    const i64 accepted = test_run(object.object, "accepted"), refused = test_run(object.object, "refused");
    const u32 zero = 0;
    bpf_map* map = ::bpf_object__find_map_by_name(object.object, ".bss");
    ASSERT_EQ(::bpf_map__value_size(map), sizeof data);
    ASSERT_EQ(::bpf_map_lookup_elem(::bpf_map__fd(map), &zero, &data), 0);
    int i = 0;
#define ANYBPF_FORMAT(expected_result, expected, text, ...)     \
    EXPECT_EQ(data.answers[i].result, expected_result) << text; \
    EXPECT_STREQ(data.answers[i].line, expected) << text;       \
    ++i;
#define ANYBPF_FORMAT_REFUSED(error, text, ...)
#include "format_cases.def"
    EXPECT_EQ(accepted, i);
    i = 0;
#define ANYBPF_FORMAT(expected_result, expected, text, ...)
#define ANYBPF_FORMAT_REFUSED(error, text, ...) EXPECT_EQ(data.refusals[i++], -error) << text;
#include "format_cases.def"
    EXPECT_EQ(refused, i);
}

// The instructions after libbpf's relocation against our BTF hold our offsets, not the machine's.
TEST(LiveKernel, CoreRelocatesToOurTypes) {
    if (!kernel_bpf_works()) GTEST_SKIP() << "bpf(2) is refused here, and libbpf relocates only while it loads";
    char path[] = "/tmp/anybpf-own-btf-XXXXXX";
    const int fd = ::mkstemp(path);
    ASSERT_GE(fd, 0);
    const auto types = own_vmlinux_btf();
    ASSERT_EQ(::write(fd, types.data(), types.size()), static_cast<ssize_t>(types.size()));
    ::close(fd);
    LIBBPF_OPTS(bpf_object_open_opts, options, .btf_custom_path = path);
    const Object object{::bpf_object__open_file(ANYBPF_TEST_OBJECTS "/core.bpf.o", &options)};
    ASSERT_NE(object.object, nullptr);
    const int loaded = ::bpf_object__load(object.object);
    ::unlink(path);
    ASSERT_EQ(loaded, 0);
    const bpf_program* program = ::bpf_object__find_program_by_name(object.object, "walk");
    const bpf_insn* insns = ::bpf_program__insns(program);
    std::multiset<i64> immediates;
    for (std::size_t i = 0; i < ::bpf_program__insn_cnt(program); ++i) immediates.insert(insns[i].imm);
    for (const std::size_t offset : {offsetof(Task, pid), offsetof(Task, group_leader), offsetof(Task, real_parent),
                                     offsetof(Task, cred), offsetof(Task, start_time), offsetof(Task, comm)})
        EXPECT_GT(immediates.count(static_cast<i64>(offset)), 0U) << offset;
    for (const int compiled : {1000, 4000, 4008, 4016, 4024, 4032, 4036, 4040})
        EXPECT_EQ(immediates.count(compiled), 0U) << compiled;
    EXPECT_EQ(immediates.count(195896080), 0U) << "a relocation failed and was poisoned";
    ASSERT_GE(test_run(object.object, "walk"), 0);
    const u32 zero = 0;
    struct {
        i64 answers[8];
        char comm[16];
    } data;
    ASSERT_EQ(::bpf_map_lookup_elem(::bpf_map__fd(::bpf_object__find_map_by_name(object.object, ".bss")), &zero, &data),
              0);
    EXPECT_EQ(data.answers[5], 1);
    EXPECT_EQ(data.answers[6], 1);
    EXPECT_EQ(data.answers[7], BPF_FUNC_ringbuf_output);
}

}  // namespace
}  // namespace anybpf::helpers

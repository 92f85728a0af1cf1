// SPDX-License-Identifier: Apache-2.0
#include <bpf/btf.h>
#include <gtest/gtest.h>

#include "anybpf/abi/helper.hpp"
#include "anybpf/btf/btf.hpp"
#include "anybpf/helpers/task.hpp"

namespace anybpf::helpers {
namespace {

TEST(OwnBtf, SaysWhereTheFieldsLie) {
    const auto parsed = btf::Btf::parse(own_vmlinux_btf());
    ASSERT_TRUE(parsed.has_value()) << parsed.error().message;
    const btf::Btf& types = **parsed;
    const auto task = types.find("task_struct", btf::Kind::struct_);
    ASSERT_TRUE(task.has_value());
    EXPECT_EQ(types.size(*task), sizeof(Task));
    EXPECT_EQ(types.find_member(*task, "comm")->bit_offset, offsetof(Task, comm) * 8);
    EXPECT_EQ(types.size(types.find_member(*task, "comm")->type), 16U);
    const auto parent = types.find_member(*task, "real_parent");
    EXPECT_EQ(parent->bit_offset, offsetof(Task, real_parent) * 8);
    EXPECT_EQ(types.type(parent->type).target(), *task);
    const auto cred = types.find("cred", btf::Kind::struct_);
    EXPECT_EQ(types.find_member(*cred, "euid.val")->bit_offset, offsetof(Cred, euid) * 8);
    const auto regs = types.find("pt_regs", btf::Kind::struct_);
    EXPECT_EQ(types.find_member(*regs, "di")->bit_offset, 112U * 8);
    const auto helpers = types.find("bpf_func_id", btf::Kind::enum_);
    ASSERT_TRUE(helpers.has_value());
    const auto first = types.enumerator(types.type(*helpers), 0);
    EXPECT_EQ(first.name, "BPF_FUNC_map_lookup_elem");
    EXPECT_EQ(first.value, 1);
}

TEST(OwnBtf, LibbpfReadsIt) {
    const auto bytes = own_vmlinux_btf();
    struct ::btf* read = ::btf__new(bytes.data(), static_cast<u32>(bytes.size()));
    ASSERT_NE(read, nullptr);
    EXPECT_GT(::btf__find_by_name_kind(read, "task_struct", BTF_KIND_STRUCT), 0);
    EXPECT_GT(::btf__find_by_name_kind(read, "kuid_t", BTF_KIND_TYPEDEF), 0);
    ::btf__free(read);
}

}  // namespace
}  // namespace anybpf::helpers

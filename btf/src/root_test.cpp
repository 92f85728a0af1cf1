// SPDX-License-Identifier: Apache-2.0
// Our verdict on BTF beside the running kernel's, over every single-bit damage of objects that use every kind. Skipped
// where bpf(2) is refused.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "anybpf/btf/builder.hpp"

namespace anybpf::btf {
namespace {

// 0, or the errno of the kernel's BTF_LOAD.
int kernel_verdict(std::span<const std::byte> bytes) {
    bpf_attr attr = {};
    attr.btf = reinterpret_cast<u64>(bytes.data());
    attr.btf_size = static_cast<u32>(bytes.size());
    const long fd = ::syscall(SYS_bpf, BPF_BTF_LOAD, &attr, sizeof attr);
    if (fd < 0) return errno;
    ::close(static_cast<int>(fd));
    return 0;
}

int compare(std::span<const std::byte> bytes, const std::string& what) {
    const int theirs = kernel_verdict(bytes);
    const auto ours = Btf::parse(bytes);
    EXPECT_TRUE((ours ? 0 : ours.error().sys_errno) == theirs)
        << what << ": the kernel says " << theirs << ", we " << (ours ? "accept" : ours.error().message);
    return theirs;
}

std::vector<std::byte> every_kind() {
    Builder b;
    const u32 integer = b.add_int("int", 4, IntEncoding::signed_);
    b.add_int("flag", 1, IntEncoding::bool_);
    b.add_float("double", 8);
    const u32 array = b.add_array(integer, integer, 3);
    b.add_forward("later", true);
    const u32 composite = b.begin_composite(Kind::struct_, "s", 24);
    b.add_member("n", integer, 0);
    b.add_member("list", array, 32);
    b.add_member("next", b.next_id(), 128);
    const u32 pointer = b.add_pointer(composite);
    const u32 variable = b.add_variable("v", integer, true);
    b.begin_section(".data", 4);
    b.add_section_variable(variable, 0, 4);
    b.begin_enum("e", 4, true);
    b.add_enumerator("minus", -1);
    b.begin_enum("big", 8, false);
    b.add_enumerator("huge", i64{1} << 40);
    const u32 prototype = b.begin_prototype(0);
    b.add_parameter("x", integer);
    b.add_parameter("p", pointer);
    b.add_reference(Kind::func, "fn", prototype, 1);
    b.add_reference(Kind::type_tag, "user", b.add_reference(Kind::const_, {}, integer));
    b.add_reference(Kind::typedef_, "t",
                    b.add_reference(Kind::volatile_, {}, b.add_reference(Kind::restrict_, {}, pointer)));
    return b.finish();
}

TEST(LiveKernel, AgreesOnEveryDamagedBit) {
    const std::vector<std::byte> good = every_kind();
    if (const int error = kernel_verdict(good); error == EPERM || error == ENOSYS || error == EACCES)
        GTEST_SKIP() << "bpf(2) is refused here";
    ASSERT_EQ(kernel_verdict(good), 0) << "this kernel does not know all the kinds";
    ASSERT_TRUE(Btf::parse(good).has_value()) << Btf::parse(good).error().message;
    int accepted = 0, refused = 0;
    for (std::size_t at = 0; at < good.size(); ++at)
        for (u32 bit = 0; bit < 8; ++bit) {
            std::vector<std::byte> bad = good;
            bad[at] ^= std::byte{1} << static_cast<int>(bit);
            const int theirs = compare(bad, fmt::format("byte {} bit {}", at, bit));
            (theirs == 0 ? accepted : refused) += 1;
        }
    EXPECT_GT(accepted, 100);
    EXPECT_GT(refused, 100);
    // Words at a time: ids, sizes and offsets that are far away.
    for (std::size_t at = 24; at + 4 <= good.size(); at += 4)
        for (const u32 value : {0U, 1U, 3U, 7U, 12U, 0x7fffffffU, 0xffffffffU}) {
            std::vector<std::byte> bad = good;
            std::memcpy(bad.data() + at, &value, 4);
            compare(bad, fmt::format("word {} = {}", at, value));
        }
}

TEST(LiveKernel, AgreesOnTypeTags) {
    if (kernel_verdict(every_kind()) != 0) GTEST_SKIP() << "bpf(2) is refused here";
    for (const Kind outer : {Kind::typedef_, Kind::const_, Kind::volatile_, Kind::ptr, Kind::type_tag}) {
        Builder b;
        const u32 tag = b.add_reference(Kind::type_tag, "user", b.add_int("int", 4, IntEncoding::signed_));
        const bool named = outer == Kind::typedef_ || outer == Kind::type_tag;
        b.add_reference(outer, named ? "t" : "", tag);
        compare(b.finish(), std::string(to_string(outer)) + " of a type tag");
    }
}

}  // namespace
}  // namespace anybpf::btf

// SPDX-License-Identifier: Apache-2.0
#include "anybpf/btf/btf.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

namespace anybpf::btf {
namespace {

std::span<const std::byte> as_bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

// The types of a blob that libbpf loads to learn what the kernel can do, or of a small test: words of the type section
// and the string section as text.
std::string blob(const std::vector<u32>& types, std::string_view strings) {
    const u32 type_size = static_cast<u32>(types.size() * 4);
    const u32 header[] = {0x0001eb9f, 24, 0, type_size, type_size, static_cast<u32>(strings.size())};
    std::string text(sizeof header, '\0');
    std::memcpy(text.data(), header, sizeof header);
    text.append(type_size, '\0');
    if (type_size > 0) std::memcpy(text.data() + sizeof header, types.data(), type_size);
    return text.append(strings);
}

constexpr u32 info(Kind kind, u32 vlen = 0, bool flag = false) {
    return (flag ? 1U << 31 : 0U) | static_cast<u32>(kind) << 24 | vlen;
}
constexpr u32 int_words[] = {0, info(Kind::int_), 4, 1U << 24 | 32};

std::string with_int(std::vector<u32> types, std::string_view strings) {
    types.insert(types.begin(), std::begin(int_words), std::end(int_words));
    return blob(types, strings);
}

Result<std::shared_ptr<const Btf>> parse(const std::string& text) { return Btf::parse(as_bytes(text)); }

// The blobs of libbpf 1.1.2's start-up probes.
TEST(Btf, ProbesOfLibbpf) {
    using namespace std::string_view_literals;
    const std::string probes[] = {
        with_int({0, info(Kind::func_proto, 1), 0, 7, 1, 5, info(Kind::func), 2}, "\0int\0x\0a\0"sv),     // func
        with_int({0, info(Kind::func_proto, 1), 0, 7, 1, 5, info(Kind::func, 1), 2}, "\0int\0x\0a\0"sv),  // global
        with_int({1, info(Kind::var), 1, 0, 3, info(Kind::datasec, 1), 4, 2, 0, 4}, "\0x\0.data\0"sv),    // datasec
        blob({1, info(Kind::float_), 4}, "\0float\0"sv),
        with_int({1, info(Kind::var), 1, 1, 3, info(Kind::decl_tag), 2, 0xffffffff}, "\0v\0tag\0"sv),
        with_int({1, info(Kind::type_tag), 1, 0, info(Kind::ptr), 2}, "\0tag\0"sv),
        blob({0, info(Kind::enum64, 1, true), 8, 1, 0, 0}, "\0v\0"sv),
    };
    for (const std::string& probe : probes) {
        const auto btf = parse(probe);
        EXPECT_TRUE(btf.has_value()) << btf.error().message;
    }
}

TEST(Btf, RefusesWhatTheKernelRefuses) {
    using namespace std::string_view_literals;
    const auto strings = "\0a\0b\0.data\0"sv;
    const struct {
        std::string text;
        const char* why;
    } cases[] = {
        {"", "cut off"},
        {std::string(24, 'x'), "magic"},
        {blob({}, strings), "no types"},
        {blob({1, info(Kind::int_)}, strings), "middle"},
        {blob({1, info(Kind::int_), 4}, strings), "middle"},
        {blob({1, info(Kind::int_), 4, 1U << 24 | 32}, "ab"sv), "string section"},
        {blob({99, info(Kind::int_), 4, 32}, strings), "name offset"},
        {blob({1, info(Kind::int_, 1), 4, 32}, strings), "vlen"},
        {blob({1, info(Kind::int_), 4, 33}, strings), "33 bits"},
        {blob({1, info(static_cast<Kind>(20)), 4}, strings), "kind 20"},
        {blob({1, info(Kind::int_) | 1U << 20, 4, 32}, strings), "reserved"},
        {with_int({0, info(Kind::ptr), 9}, strings), "type id 9"},
        {with_int({1, info(Kind::ptr), 1}, strings), "name"},
        {with_int({0, info(Kind::const_), 2}, strings), "contains itself"},
        {with_int({0, info(Kind::const_), 3, 0, info(Kind::ptr), 2}, strings), "contains itself"},
        {with_int({1, info(Kind::struct_, 1), 4, 3, 2, 0}, strings), "contains itself"},
        {with_int({1, info(Kind::struct_, 1), 4, 3, 3, 0, 0, info(Kind::array), 0, 2, 1, 1}, strings),
         "contains itself"},
        {with_int({1, info(Kind::struct_, 1), 2, 3, 1, 0}, strings), "behind the end"},
        {with_int({1, info(Kind::struct_, 1), 4, 3, 0, 0}, strings), "type id 0"},
        {with_int({1, info(Kind::union_, 1), 4, 3, 1, 8}, strings), "offset"},
        {with_int({1, info(Kind::struct_, 1, true), 8, 3, 1, 40U << 24}, strings), "wider"},
        {with_int({0, info(Kind::array), 0, 1, 1, 0x40000000}, strings), "4 GiB"},
        {with_int({0, info(Kind::array), 0, 1, 9, 1}, strings), "index"},
        {with_int({1, info(Kind::func), 1}, strings), "not a function prototype"},
        {with_int({0, info(Kind::func_proto, 1), 0, 0, 1, 1, info(Kind::func), 2}, strings), "no name"},
        {with_int({5, info(Kind::datasec, 1), 4, 1, 0, 4}, strings), "not a variable"},
        {with_int({1, info(Kind::var), 1, 1, 5, info(Kind::datasec, 1), 4, 2, 1, 4}, strings), "behind the end"},
        {with_int({1, info(Kind::decl_tag), 1, 0}, strings), "cannot be tagged"},
        {blob({1, info(Kind::enum_, 1), 4, 0, 0}, strings), "identifier"},
        {blob({1, info(Kind::float_), 5}, strings), "5 bytes"},
    };
    for (const auto& [text, why] : cases) {
        const auto btf = parse(text);
        ASSERT_FALSE(btf.has_value()) << why;
        EXPECT_NE(btf.error().message.find(why), std::string::npos) << btf.error().message << " does not say " << why;
        EXPECT_NE(btf.error().sys_errno, 0);
    }
}

// One struct within another, each defined before it is needed, so that no single step is deep.
std::string nested(u32 levels) {
    std::vector<u32> types;
    for (u32 i = 0; i < levels; ++i) types.insert(types.end(), {0, info(Kind::struct_, 1), 4, 1, i + 1, 0});
    return with_int(types, std::string_view("\0a\0", 3));
}

TEST(Btf, NestingIsBounded) {
    EXPECT_TRUE(parse(nested(max_nesting)).has_value());
    const auto deeper = parse(nested(max_nesting + 1));
    ASSERT_FALSE(deeper.has_value());
    EXPECT_EQ(deeper.error().sys_errno, E2BIG);
}

// Doubling at each level, all of one size: a search for what is not there gives up.
TEST(Btf, AnonymousMembersFanOut) {
    std::vector<u32> types;
    for (u32 i = 0; i < 60; ++i) types.insert(types.end(), {0, info(Kind::union_, 2), 4, 0, i + 1, 0, 0, i + 1, 0});
    const auto btf = parse(with_int(types, std::string_view("\0a\0", 3)));
    ASSERT_TRUE(btf.has_value()) << btf.error().message;
    EXPECT_FALSE((*btf)->find_member((*btf)->count() - 1, "a").has_value());
}

// A reader of somebody else's bytes: each prefix and each single changed byte is refused or read, and never worse.
TEST(Btf, DamagedBytesAreHarmless) {
    using namespace std::string_view_literals;
    const std::string good = with_int({1,
                                       info(Kind::struct_, 2),
                                       8,
                                       3,
                                       1,
                                       0,
                                       5,
                                       3,
                                       32,
                                       0,
                                       info(Kind::array),
                                       0,
                                       1,
                                       1,
                                       1,
                                       0,
                                       info(Kind::func_proto, 1),
                                       0,
                                       7,
                                       2,
                                       5,
                                       info(Kind::func, 1),
                                       4},
                                      "\0s\0a\0b\0x\0"sv);
    ASSERT_TRUE(parse(good).has_value()) << parse(good).error().message;
    for (std::size_t size = 0; size < good.size(); ++size) EXPECT_FALSE(parse(good.substr(0, size)).has_value());
    u32 read = 0;
    for (std::size_t at = 0; at < good.size(); ++at)
        for (u32 bit = 0; bit < 8; ++bit) {
            std::string bad = good;
            bad[at] = static_cast<char>(bad[at] ^ (1 << bit));
            if (const auto btf = parse(bad)) {
                ++read;
                for (u32 id = 0; id < (*btf)->count(); ++id) (*btf)->find_member(id, "a.b");
            }
        }
    EXPECT_GT(read, 0U);
}

std::string kernel_btf() {
    std::ifstream file("/sys/kernel/btf/vmlinux", std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST(Btf, KernelAsBpftoolSeesIt) {
    const std::string raw = kernel_btf();
    if (raw.empty()) GTEST_SKIP() << "/sys/kernel/btf/vmlinux cannot be read";
    const auto start = std::chrono::steady_clock::now();
    const auto parsed = parse(raw);
    const auto took = std::chrono::steady_clock::now() - start;
    ASSERT_TRUE(parsed.has_value()) << parsed.error().message;
    const Btf& btf = **parsed;
    RecordProperty("parse_us", static_cast<int>(std::chrono::duration_cast<std::chrono::microseconds>(took).count()));
    std::printf("%zu bytes, %u types: %lld us\n", raw.size(), btf.count(),
                static_cast<long long>(std::chrono::duration_cast<std::chrono::microseconds>(took).count()));

    FILE* dump = ::popen("bpftool btf dump file /sys/kernel/btf/vmlinux 2>/dev/null", "r");
    ASSERT_NE(dump, nullptr);
    char line[4096];
    u32 seen = 0;
    while (std::fgets(line, sizeof line, dump)) {
        unsigned id = 0;
        char kind[32];
        int name_at = 0;
        if (line[0] != '[') continue;  // a part of the type before
        ASSERT_EQ(std::sscanf(line, "[%u] %31s '%n", &id, kind, &name_at), 2) << line;
        const std::string_view rest(line + name_at);
        const std::string_view name = rest.substr(0, rest.find('\''));
        ASSERT_TRUE(btf.contains(id));
        const Type type = btf.type(id);
        ASSERT_EQ(to_string(type.kind), kind) << line;
        ASSERT_EQ(type.name, name == "(anon)" ? "" : name) << line;
        if (const auto at = rest.find(" size="); at != std::string_view::npos && type.kind != Kind::datasec) {
            ASSERT_EQ(btf.size(id), static_cast<u32>(std::atoi(line + name_at + at + 6))) << line;
        }
        ++seen;
    }
    if (::pclose(dump) != 0 || seen == 0) GTEST_SKIP() << "bpftool does not dump the kernel's BTF here";
    EXPECT_EQ(seen + 1, btf.count());

    const auto task = btf.find("task_struct", Kind::struct_);
    ASSERT_TRUE(task.has_value());
    const auto parent = btf.find_member(*task, "real_parent");
    ASSERT_TRUE(parent.has_value());
    EXPECT_EQ(btf.skip_modifiers(btf.type(parent->type).target()), *task);
    EXPECT_EQ(btf.size(btf.find_member(*task, "comm")->type), 16U);
    EXPECT_TRUE(btf.find_member(*task, "se.load.weight").has_value());
    EXPECT_FALSE(btf.find_member(*task, "real_parent.pid").has_value());  // a pointer is not descended into
}

}  // namespace
}  // namespace anybpf::btf

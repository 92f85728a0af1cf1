// SPDX-License-Identifier: Apache-2.0
#include "format.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "anybpf/helpers/safe_memory.hpp"

namespace anybpf::helpers {
namespace {

u64 at(const void* pointer) { return reinterpret_cast<u64>(pointer); }

i64 print(std::span<char> out, const std::string& text, const std::vector<u64>& arguments) {
    return format(out, {text.c_str(), text.size() + 1}, arguments);
}

TEST(Format, AsTheTableSays) {
    ASSERT_TRUE(install_fault_handler().has_value());
    char out[48];
#define TEXT(text) at(text)
#define ANYBPF_FORMAT(result, expected, text, ...)                       \
    {                                                                    \
        const std::vector<u64> arguments = {__VA_ARGS__};                \
        std::memset(out, '#', sizeof out);                               \
        EXPECT_EQ(print(out, text, arguments) + 1, i64{result}) << text; \
        EXPECT_STREQ(out, expected) << text;                             \
    }
#define ANYBPF_FORMAT_REFUSED(error, text, ...)                 \
    {                                                           \
        const std::vector<u64> arguments = {__VA_ARGS__};       \
        std::memset(out, '#', sizeof out);                      \
        EXPECT_EQ(print(out, text, arguments), -error) << text; \
        EXPECT_EQ(out[0], '#') << text;                         \
    }
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wnarrowing"
#include "format_cases.def"
#pragma GCC diagnostic pop
}

TEST(Format, NeedsNothingToMeasure) { EXPECT_EQ(print({}, "%d bytes", {12345}), 11); }

TEST(Format, WithoutAnEndIsRefused) {
    const char text[] = {'a', 'b'};
    EXPECT_EQ(format({}, text, {}), -EINVAL);
}

// All strings of one call share 512 bytes, as in the kernel; the one that finds none left is refused.
TEST(Format, StringsShareTheirRoom) {
    const std::string longest(600, 'x');
    std::vector<char> out(2048);
    EXPECT_EQ(print(out, "%s", {at(longest.c_str())}), 511);
    EXPECT_EQ(print(out, "%s%s", {at(longest.c_str()), at("a")}), -ENOSPC);
    EXPECT_EQ(print(out, "%s%d", {at(longest.c_str()), 1}), -ENOSPC);
    const std::string some(500, 'x');
    EXPECT_EQ(print(out, "%s%s", {at(some.c_str()), at(longest.c_str())}), 500 + 10);
    EXPECT_EQ(std::string(out.data()), std::string(510, 'x'));
}

TEST(Format, NoMoreThanTwelve) {
    char out[64];
    EXPECT_EQ(print(out, "%d%d%d%d%d%d%d%d%d%d%d%d", std::vector<u64>(12, 1)), 12);
    EXPECT_EQ(print(out, "", std::vector<u64>(13, 1)), -EINVAL);
}

TEST(Format, HugeWidthCostsNothing) {
    char out[8];
    EXPECT_EQ(print(out, "%8000000d|%-8000000d|", {1, 1}), 16000002);
    EXPECT_STREQ(out, "       ");
}

}  // namespace
}  // namespace anybpf::helpers

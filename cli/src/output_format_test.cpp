// SPDX-License-Identifier: Apache-2.0
#include "output_format.hpp"

#include <gtest/gtest.h>

#include <csignal>
#include <cstring>

namespace anybpf::cli {
namespace {

Bytes bytes_of(std::string_view text) { return std::as_bytes(std::span(text)); }

TEST(OutputFormat, ColumnsAndLiterals) {
    const auto format = OutputFormat::parse("{time:clock} pid={pid:>7} {{{NAME=args.path:<10hex}}}");
    ASSERT_TRUE(format) << format.error().message;
    ASSERT_EQ(format->columns.size(), 3U);
    EXPECT_EQ(format->columns[0].kind, Kind::clock);
    EXPECT_EQ(format->columns[0].width, 8U);
    EXPECT_EQ(format->columns[1].before, " pid=");
    EXPECT_EQ(format->columns[1].align, '>');
    EXPECT_EQ(format->columns[1].width, 7U);
    EXPECT_EQ(format->columns[1].heading, "PID");
    EXPECT_EQ(format->columns[2].before, " {");
    EXPECT_EQ(format->columns[2].heading, "NAME");
    EXPECT_EQ(format->columns[2].field, "args.path");
    EXPECT_EQ(format->columns[2].kind, Kind::hex);
    EXPECT_EQ(format->after, "}");
    EXPECT_FALSE(format->heading()) << "literal words speak for themselves";
}

TEST(OutputFormat, Malformed) {
    for (const char* text : {"{", "{pid", "}", "a } b", "{}", "{:>4}", "{pid:zzz}", "{pid:>4 }"})
        EXPECT_FALSE(OutputFormat::parse(text)) << text;
}

TEST(OutputFormat, LinesAndHeadings) {
    const auto format = OutputFormat::parse("{pid:>5} {comm:<6} {path}");
    ASSERT_TRUE(format);
    EXPECT_EQ(format->heading(), "  PID COMM   PATH");
    EXPECT_EQ(format->line({"12", "sh", "/a"}), "   12 sh     /a");
    EXPECT_EQ(format->line({"123456", "longer1", "/a"}), "123456 longer1 /a") << "a cell is never cut";
    EXPECT_EQ(format->line({"1", "sh", ""}), "    1 sh") << "no spaces at the end";
}

TEST(Show, Kinds) {
    EXPECT_EQ(show(Kind::error, -2, {}), "ENOENT");
    EXPECT_EQ(show(Kind::error, 3, {}), "3");
    EXPECT_EQ(show(Kind::error, -4096, {}), "-4096");
    EXPECT_EQ(show(Kind::signal, SIGTERM, {}), "SIGTERM");
    EXPECT_EQ(show(Kind::signal, 0, {}), "0");
    EXPECT_EQ(show(Kind::syscall, 59, {}), "execve");
    EXPECT_EQ(show(Kind::syscall, 100000, {}), "100000");
    EXPECT_EQ(show(Kind::us, 1234567, {}), "1234.6");
    EXPECT_EQ(show(Kind::ms, 1234567, {}), "1.235");
    EXPECT_EQ(show(Kind::s, 1234567890, {}), "1.234568");
    EXPECT_EQ(show(Kind::hex, 255, {}), "0xff");
    EXPECT_EQ(show(Kind::oct, 8, {}), "010");
    EXPECT_EQ(show(Kind::str, {}, bytes_of(std::string_view("ab\0cd", 5))), "ab");
}

TEST(Show, ArgumentsAreTakenApartAndQuoted) {
    EXPECT_EQ(show(Kind::argv, {}, bytes_of(std::string_view("sh\0-c\0ls; date\0\0\0", 17))), "sh -c 'ls; date'");
    EXPECT_EQ(show(Kind::argv, {}, bytes_of(std::string_view("a\0\0b\0", 5))), "a '' b") << "an empty argument is one";
    EXPECT_EQ(show(Kind::argv, {}, {}), "");
}

TEST(Show, NothingMovesTheCursor) { EXPECT_EQ(show(Kind::plain, "a\x1b[2Jb\n", {}), "a\\x1b[2Jb\\n"); }

TEST(Value, UntypedBytes) {
    const u32 number = 7;
    EXPECT_EQ(to_json_untyped(std::as_bytes(std::span(&number, 1))), 7);
    EXPECT_EQ(dump(to_json_untyped(bytes_of("abc"))), R"(["0x61","0x62","0x63"])");
}

TEST(Value, TextOfStructures) {
    EXPECT_EQ(to_text(Json{{"a", 1}, {"b", Json::array({1, "x"})}}), "{a: 1, b: [1, x]}");
    EXPECT_EQ(dump(Json("\xff")), "\"\xef\xbf\xbd\"") << "what is not UTF-8 is made so";
}

}  // namespace
}  // namespace anybpf::cli

// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <string>

#include "anybpf/base/bytes.hpp"
#include "anybpf/base/mapping.hpp"
#include "anybpf/base/sha256.hpp"

namespace anybpf {
namespace {

std::string hex(std::span<const u8> bytes) {
    std::string text;
    for (const u8 byte : bytes) {
        text += "0123456789abcdef"[byte >> 4];
        text += "0123456789abcdef"[byte & 15];
    }
    return text;
}

// The examples of FIPS 180-4, and one whose padding needs a block of its own.
TEST(Sha256, Examples) {
    const auto digest = [](std::string_view text) { return hex(sha256(std::as_bytes(std::span(text)))); };
    EXPECT_EQ(digest(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    EXPECT_EQ(digest("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    EXPECT_EQ(digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
              "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

TEST(ByteReader, NeverReadsPastTheEnd) {
    const std::array<u8, 5> raw = {1, 0, 0, 0, 'x'};
    ByteReader in(std::as_bytes(std::span(raw)));
    EXPECT_EQ(*in.take<u32>(), 1U);
    EXPECT_EQ(in.take<u32>().error().code, Errc::truncated);
    EXPECT_EQ(in.position(), 4U);
    EXPECT_EQ(in.text_at(4).error().code, Errc::malformed);
    EXPECT_EQ(*in.text_at(0), std::string_view("\x01"));
    EXPECT_EQ(in.slice(3, ~std::size_t{0}).error().code, Errc::truncated);
    EXPECT_TRUE(in.slice(5, 0).has_value());
}

TEST(Mapping, AnonymousIsZeroed) {
    const auto mapping = Mapping::anonymous(100);
    ASSERT_TRUE(mapping.has_value());
    for (const std::byte byte : mapping->bytes()) EXPECT_EQ(byte, std::byte{0});
}

}  // namespace
}  // namespace anybpf

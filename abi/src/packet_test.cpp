// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>
#include <limits>

#include "anybpf/abi/run.hpp"

namespace anybpf::abi {
namespace {

constexpr auto bytes = [] {
    std::array<std::byte, 16> all{};
    for (u8 i = 0; i < 16; ++i) all[i] = std::byte(0xa0 + i);
    return all;
}();
const Packet packet{.bytes = bytes, .network = 14};

TEST(LoadPacket, IsBigEndianAndEndsWithThePacket) {
    EXPECT_EQ(load_packet(packet, 0, 4), 0xa0a1a2a3U);
    EXPECT_EQ(load_packet(packet, 14, 2), 0xaeafU);
    EXPECT_EQ(load_packet(packet, 15, 1), 0xafU);
    EXPECT_EQ(load_packet(packet, 12, 4), 0xacadaeafU);
    EXPECT_EQ(load_packet(packet, 13, 4), std::nullopt);
    EXPECT_EQ(load_packet(packet, 15, 2), std::nullopt);
    EXPECT_EQ(load_packet(packet, 16, 1), std::nullopt);
    EXPECT_EQ(load_packet(packet, std::numeric_limits<i32>::max(), 4), std::nullopt);
    EXPECT_EQ(load_packet({}, 0, 1), std::nullopt);
}

TEST(LoadPacket, MayStartBehindTheLinkLayer) {
    const Packet inner{.bytes = bytes, .first = 14, .network = 14};
    EXPECT_EQ(load_packet(inner, 0, 2), 0xaeafU);
    EXPECT_EQ(load_packet(inner, 1, 2), std::nullopt);
    EXPECT_EQ(load_packet(inner, net_offset, 1), 0xaeU);
    EXPECT_EQ(load_packet(inner, link_offset, 1), 0xa0U);
}

TEST(LoadPacket, NegativeOffsetsAreRelativeToAHeader) {
    EXPECT_EQ(load_packet(packet, net_offset, 1), 0xaeU);
    EXPECT_EQ(load_packet(packet, net_offset + 1, 1), 0xafU);
    EXPECT_EQ(load_packet(packet, net_offset + 1, 2), std::nullopt);
    EXPECT_EQ(load_packet(packet, link_offset + 2, 2), 0xa2a3U);
    EXPECT_EQ(load_packet(packet, link_offset + 16, 1), std::nullopt);
    EXPECT_EQ(load_packet(packet, link_offset - 1, 1), std::nullopt);
    EXPECT_EQ(load_packet(packet, net_offset - 1, 1), std::nullopt);  // far from the link-layer header
    EXPECT_EQ(load_packet(packet, -1, 1), std::nullopt);
    EXPECT_EQ(load_packet(packet, std::numeric_limits<i32>::min(), 1), std::nullopt);
    EXPECT_EQ(load_packet({.bytes = bytes, .network = 0xffffffff}, net_offset, 1), std::nullopt);
}

}  // namespace
}  // namespace anybpf::abi

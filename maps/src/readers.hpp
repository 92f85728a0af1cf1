// SPDX-License-Identifier: Apache-2.0
// For tests: readers of ring and perf buffers as libbpf has them, over the bare memory. A record that does not end
// where the next one begins, or of a kind that nobody writes, is a failure.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <span>

#include "anybpf/base/types.hpp"

namespace anybpf::maps::testing {

inline u64 word_at(const std::byte* at) {
    u64 word;
    std::memcpy(&word, at, sizeof word);
    return word;
}

enum class Reading : u8 { consume, look };

// each(data, bytes) of every record up to the first one that is not finished. Returns whether that was the end.
template <class Each>
bool read_ring(std::span<std::byte> memory, u64 size, Reading how, Each each) {
    u64 consumer = word_at(memory.data());
    const u64 producer = word_at(memory.data() + 4096);
    EXPECT_LE(producer - consumer, size);
    while (consumer < producer) {
        const std::byte* at = memory.data() + 8192 + (consumer & (size - 1));
        u32 length;
        std::memcpy(&length, at, sizeof length);
        if ((length & 1U << 31) != 0) break;
        const u32 bytes = length & ~(3U << 30);
        if ((length & 1U << 30) == 0) each(at + 8, bytes);
        consumer += (bytes + 15) & ~7U;
        if (how == Reading::consume) std::memcpy(memory.data(), &consumer, sizeof consumer);
    }
    return consumer == producer;
}

// each(word, bytes) of every sample: word(i) is the i-th byte's word, counted from behind the size of the raw data,
// that is 12 bytes into the record. Adds to `told` what records of losses say.
template <class Each>
void read_perf(std::span<std::byte> memory, u64 size, Reading how, u64& told, Each each) {
    u64 tail = word_at(memory.data() + 1032);
    const u64 head = word_at(memory.data() + 1024);
    EXPECT_LE(head - tail, size);
    const auto byte = [&](u64 at) { return memory[4096 + (at & (size - 1))]; };
    const auto word = [&](u64 at) {
        std::array<std::byte, 8> bytes;
        for (u64 i = 0; i < bytes.size(); ++i) bytes[i] = byte(at + i);
        return word_at(bytes.data());
    };
    while (tail < head) {
        const u64 header = word(tail), bytes = header >> 48, kind = header & 0xffffffff;
        EXPECT_EQ(bytes % 8, 0U);
        EXPECT_TRUE(kind == 9 || (kind == 2 && bytes == 24)) << kind << ", " << bytes;
        if (kind == 2) told += word(tail + 16);
        if (kind == 9) each([&](u64 at) { return word(tail + 12 + at); }, bytes - 12);
        if (bytes == 0) break;
        tail += bytes;
    }
    EXPECT_EQ(tail, head);
    if (how == Reading::consume) std::memcpy(memory.data() + 1032, &tail, sizeof tail);
}

}  // namespace anybpf::maps::testing

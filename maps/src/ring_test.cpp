// SPDX-License-Identifier: Apache-2.0
// Ring and perf buffers as their readers see them: the readers here do what the kernel's documentation asks of them.
#include "anybpf/maps/ring.hpp"

#include <linux/perf_event.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <thread>

#include "testing.hpp"

namespace anybpf::maps {
namespace {
using namespace testing;
using abi::MapType;

constexpr u32 busy = 1U << 31, discarded = 1U << 30;

// What the kernel documents for a reader: consumer page, producer page, data twice.
struct Reader {
    std::byte* memory;
    u64 size;

    u64 load(u64 at) const {
        u64 value;
        std::memcpy(&value, memory + at, sizeof value);
        return value;
    }
    u64 consumer() const { return load(0); }
    u64 producer() const { return load(4096); }
    void consume(u64 position) const { std::memcpy(memory, &position, sizeof position); }
    // The next record that is not discarded, as text; nothing where the next is busy or there is none.
    std::optional<std::string> next() const {
        while (consumer() < producer()) {
            const std::byte* at = memory + 8192 + (consumer() & (size - 1));
            u32 length;
            std::memcpy(&length, at, sizeof length);
            if ((length & busy) != 0) return std::nullopt;
            const u32 bytes = length & ~discarded;
            std::string text(bytes, '\0');
            std::memcpy(text.data(), at + 8, bytes);
            consume(consumer() + ((bytes + 8 + 7) & ~7U));
            if ((length & discarded) == 0) return text;
        }
        return std::nullopt;
    }
};

struct Ring {
    VcpuTable table = make_table(4);
    std::unique_ptr<Map> map;
    Reader reader{};
    RingBuffer* buffer = nullptr;

    explicit Ring(u32 size = 4096) {
        const auto spec = spec_of(MapType::ringbuf, 0, 0, size);
        const auto bytes = Map::file_size(spec, 4).value();
        const Fd fd = memory_file(bytes);
        EXPECT_TRUE(Map::format(Mapping::shared(fd.get(), bytes, Access::read_write)->bytes(), spec, 1, 4));
        const auto memory = map_file(fd.get()).value().release();
        map = Map::open(memory, table).value();
        reader = {memory.data(), size};
        buffer = RingBuffer::of(*map);
    }
    bool write(std::string_view text, u64 flags = 0) {
        bool wake = false;
        EXPECT_EQ(buffer->output(text.data(), text.size(), flags, 0, &wake), 0) << text.size();
        return wake;
    }
};

TEST(RingBuffer, OurReaderSeesWhatOthersSee) {
    const auto text = [](const auto& record) {
        std::string out;
        for (const std::byte byte : *record) out += std::to_integer<char>(byte);
        return out;
    };
    Ring ring;
    EXPECT_FALSE(ring.buffer->front());
    ring.buffer->pop();  // nothing
    ring.write("one");
    void* const dropped = ring.buffer->reserve(100, 0);
    ring.write("three");
    ASSERT_TRUE(ring.buffer->front());
    EXPECT_EQ(text(ring.buffer->front()), "one");
    EXPECT_EQ(text(ring.buffer->front()), "one") << "until it is taken off";
    ring.buffer->pop();
    EXPECT_FALSE(ring.buffer->front()) << "the second is not finished";
    ring.buffer->commit(dropped, true, 0, 0);
    EXPECT_EQ(text(ring.buffer->front()), "three");
    ring.buffer->pop();
    EXPECT_EQ(ring.reader.consumer(), ring.reader.producer());
    // Around the end, many times.
    for (int i = 0; i < 1000; ++i) {
        const std::string sent(static_cast<std::size_t>(i % 500 + 1), static_cast<char>('a' + i % 26));
        ring.write(sent);
        ASSERT_TRUE(ring.buffer->front());
        EXPECT_EQ(text(ring.buffer->front()), sent);
        ring.buffer->pop();
    }
    // A spoilt file: lengths and positions that cannot be.
    ring.write("good");
    const u64 at = 8192 + (ring.reader.consumer() & 4095);
    for (const u32 length : {4096U, 0x3fffffffU}) {
        std::memcpy(ring.reader.memory + at, &length, sizeof(length));
        EXPECT_FALSE(ring.buffer->front());
        ring.buffer->pop();
    }
    const u32 length = 4;
    std::memcpy(ring.reader.memory + at, &length, sizeof(length));
    EXPECT_EQ(text(ring.buffer->front()), "good");
    ring.reader.consume(ring.reader.producer() + 8);
    EXPECT_FALSE(ring.buffer->front());
    ring.reader.consume(ring.reader.producer() - 8192);
    EXPECT_FALSE(ring.buffer->front());
}

TEST(RingBuffer, IsThereInItsTypeOnly) {
    const auto hash = make_map(spec_of(MapType::hash, 4, 4, 1), make_table());
    EXPECT_EQ(RingBuffer::of(*hash), nullptr);
    Ring ring;
    EXPECT_NE(ring.buffer, nullptr);
    u32 key = 0;
    EXPECT_EQ(ring.map->lookup(&key, 0), nullptr);
    EXPECT_EQ(ring.map->update(&key, &key, 0, 0), -524);
    EXPECT_EQ(ring.map->erase(&key, 0), -524);
    EXPECT_EQ(ring.map->next_key(nullptr, &key), -524);
}

TEST(RingBuffer, RecordsArriveInOrder) {
    Ring ring;
    EXPECT_FALSE(ring.reader.next());
    EXPECT_TRUE(ring.write("one"));  // the reader had caught up: wake it
    EXPECT_FALSE(ring.write("two"));
    EXPECT_TRUE(ring.write("three", abi::ringbuf_force_wakeup));
    EXPECT_EQ(ring.reader.next(), "one");
    EXPECT_EQ(ring.reader.next(), "two");
    EXPECT_EQ(ring.reader.next(), "three");
    EXPECT_FALSE(ring.reader.next());
    EXPECT_FALSE(ring.write("four", abi::ringbuf_no_wakeup));
    bool wake = false;
    EXPECT_EQ(ring.buffer->output("x", 1, 4, 0, &wake), -EINVAL);
}

TEST(RingBuffer, AReservationHoldsTheReaderBack) {
    Ring ring;
    void* first = ring.buffer->reserve(8, 0);
    void* second = ring.buffer->reserve(8, 1);
    ASSERT_NE(first, nullptr);
    ASSERT_NE(second, nullptr);
    std::memcpy(second, "second--", 8);
    EXPECT_FALSE(ring.buffer->commit(second, false, 0, 1));  // the reader is at the first
    EXPECT_FALSE(ring.reader.next());
    EXPECT_TRUE(ring.buffer->commit(first, true, 0, 0));
    EXPECT_EQ(ring.reader.next(), "second--");
}

TEST(RingBuffer, FillsUpAsTheKernelDoes) {
    Ring ring;
    EXPECT_EQ(ring.buffer->reserve(4096, 0), nullptr);
    EXPECT_EQ(ring.buffer->reserve(4089, 0), nullptr);
    EXPECT_EQ(ring.buffer->reserve(u64{1} << 40, 0), nullptr);
    // The kernel keeps a step free: the positions must never be a whole size apart.
    EXPECT_EQ(ring.buffer->reserve(4088, 0), nullptr);
    EXPECT_NE(ring.buffer->reserve(4080, 0), nullptr);
    EXPECT_EQ(ring.buffer->reserve(0, 0), nullptr);
    EXPECT_EQ(ring.buffer->query(0), 4088U);
    EXPECT_EQ(ring.buffer->query(1), 4096U);
    EXPECT_EQ(ring.buffer->query(2), 0U);
    EXPECT_EQ(ring.buffer->query(3), 4088U);
    EXPECT_EQ(ring.buffer->query(4), 0U);
    bool wake = false;
    EXPECT_EQ(ring.buffer->output("x", 1, 0, 0, &wake), -EAGAIN);
}

TEST(RingBuffer, RecordsWrapUnbroken) {
    Ring ring;
    for (u32 i = 0; i < 5000; ++i) {
        const std::string text(1 + i % 1500, static_cast<char>('a' + i % 26));
        EXPECT_TRUE(ring.write(text));
        ASSERT_EQ(ring.reader.next(), text);
    }
    EXPECT_GT(ring.reader.producer(), 100 * 4096U);
}

TEST(RingBuffer, AWrongPositionInTheFileOnlySpoilsTheRing) {
    for (const u64 position : {u64{1}, u64{4097}, ~u64{0}, u64{1} << 63, ~u64{7}})
        for (const u64 at : {u64{0}, u64{4096}, u64{8192 + 8192}}) {
            Ring ring;
            ring.write("one");
            std::memcpy(ring.reader.memory + at, &position, sizeof position);
            for (u32 i = 0; i < 4; ++i)
                if (void* record = ring.buffer->reserve(100, 0)) ring.buffer->commit(record, false, 0, 0);
            ring.buffer->discard_dead(0);
            ring.buffer->query(0);
        }
}

// --- perf buffer

struct Perf {
    VcpuTable table = make_table(4);
    u32 pages;
    std::span<std::byte> memory;
    std::unique_ptr<PerfBuffer> buffer;
    explicit Perf(u32 data_pages) : pages(data_pages), memory(shared_memory(PerfBuffer::file_size(data_pages))) {
        EXPECT_TRUE(PerfBuffer::format(memory, data_pages));
        buffer = PerfBuffer::open(memory, table).value();
    }

    int write(std::string_view text) {
        bool wake = false;
        const int error = buffer->output(std::as_bytes(std::span(text)), 0, &wake);
        EXPECT_EQ(wake, error == 0);
        return error;
    }
    // All that is there: samples as text without the padding, losses as "lost N".
    std::vector<std::string> read() {
        auto* page = static_cast<perf_event_mmap_page*>(static_cast<void*>(memory.data()));
        EXPECT_EQ(page->data_offset, 4096U);
        EXPECT_EQ(page->data_size, pages * 4096U);
        const u64 head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);
        u64 tail = page->data_tail;
        const auto copy = [&](u64 at, void* to, std::size_t size) {
            for (std::size_t i = 0; i < size; ++i)
                static_cast<std::byte*>(to)[i] = memory[4096 + ((at + i) & (page->data_size - 1))];
        };
        std::vector<std::string> records;
        while (tail < head) {
            perf_event_header header{};
            copy(tail, &header, sizeof header);
            if (header.type == PERF_RECORD_LOST) {
                u64 lost = 0;
                copy(tail + 16, &lost, sizeof lost);
                EXPECT_EQ(header.size, 24);
                records.push_back("lost " + std::to_string(lost));
            } else {
                u32 size = 0;
                copy(tail + 8, &size, sizeof size);
                EXPECT_EQ(header.type, PERF_RECORD_SAMPLE);
                EXPECT_EQ(header.size, 12 + size);
                EXPECT_EQ(header.size % 8, 0);
                std::string text(size, '\0');
                copy(tail + 12, text.data(), size);
                text.resize(text.find_last_not_of('\0') + 1);
                records.push_back(text);
            }
            tail += header.size;
            if (header.size == 0) break;
        }
        EXPECT_EQ(tail, head);
        __atomic_store_n(&page->data_tail, tail, __ATOMIC_RELEASE);
        return records;
    }
};

TEST(PerfBuffer, RefusesWhatItCannotBe) {
    const auto memory = shared_memory(PerfBuffer::file_size(4));
    EXPECT_FALSE(PerfBuffer::format(memory, 3));
    EXPECT_FALSE(PerfBuffer::format(memory, 0));
    EXPECT_FALSE(PerfBuffer::format(memory, 8));
    EXPECT_FALSE(PerfBuffer::open(memory, make_table()));
    EXPECT_TRUE(PerfBuffer::format(memory, 4));
    EXPECT_TRUE(PerfBuffer::open(memory, make_table()));
    EXPECT_FALSE(PerfBuffer::open(memory.subspan(4096), make_table()));
}

TEST(PerfBuffer, SamplesArriveInOrder) {
    Perf perf(1);
    EXPECT_EQ(perf.write("one"), 0);
    EXPECT_EQ(perf.write("two"), 0);
    EXPECT_EQ(perf.read(), (std::vector<std::string>{"one", "two"}));
    std::string long_text(70000, 'x');
    EXPECT_EQ(perf.write(long_text), -E2BIG);
    EXPECT_TRUE(perf.read().empty());
    EXPECT_EQ(perf.write("three"), 0);
    EXPECT_EQ(perf.read(), std::vector<std::string>{"three"});
}

TEST(PerfBuffer, RecordsWrap) {
    Perf perf(1);
    for (u32 i = 0; i < 3000; ++i) {
        const std::string text(1 + i % 700, static_cast<char>('a' + i % 26));
        ASSERT_EQ(perf.write(text), 0);
        ASSERT_EQ(perf.read(), std::vector<std::string>{text});
    }
}

TEST(PerfBuffer, LossesAreCountedOnceAndTold) {
    Perf perf(1);
    const std::string text(1000, 'x');  // with its header 1016 bytes
    for (u32 i = 0; i < 4; ++i) EXPECT_EQ(perf.write(text), 0);
    for (u32 i = 0; i < 5; ++i) EXPECT_EQ(perf.write(text), -ENOSPC);
    EXPECT_EQ(perf.read(), std::vector<std::string>(4, text));
    EXPECT_EQ(perf.write("after"), 0);
    EXPECT_EQ(perf.write("more"), 0);
    EXPECT_EQ(perf.read(), (std::vector<std::string>{"lost 5", "after", "more"}));
}

TEST(PerfBuffer, ManyWritersLoseNothing) {
    Perf perf(256);
    std::vector<std::thread> writers;
    for (u32 self = 0; self < 4; ++self)
        writers.emplace_back([&, self] {
            for (u32 i = 0; i < 5000; ++i) {
                const auto text = std::to_string(self) + ":" + std::to_string(i);
                bool wake = false;
                EXPECT_EQ(perf.buffer->output(std::as_bytes(std::span(text)), self, &wake), 0);
            }
        });
    for (auto& writer : writers) writer.join();
    std::array<u32, 4> next{};
    for (const auto& text : perf.read()) {
        const auto self = static_cast<u32>(text[0] - '0');
        ASSERT_EQ(text.substr(2), std::to_string(next[self]));
        ++next[self];
    }
    EXPECT_EQ(next, (std::array<u32, 4>{5000, 5000, 5000, 5000}));
}

}  // namespace
}  // namespace anybpf::maps

// SPDX-License-Identifier: Apache-2.0
// Raw here: the positions and records of a ring buffer read in place, as libbpf reads it. Safe because Map::open has
// checked that the mapping holds two pages and the data twice, positions are reduced to the data's size, and a record's
// length is checked before anything of it is read. Whoever writes there may be hostile: at worst the lines are wrong.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "anybpf/abi/trace.hpp"
#include "trace_pipe.hpp"

namespace anybpf::preload {
namespace {

constexpr std::size_t page = 4096;
constexpr u32 busy = 1U << 31, discarded = 1U << 30;
constexpr u64 header_size = 8;

// Text of programs goes to terminals: whatever is no text is shown as '.'.
std::string printable(std::string_view text) {
    std::string shown(text);
    for (char& letter : shown)
        if (static_cast<unsigned char>(letter) < ' ' && letter != '\n' && letter != '\t') letter = '.';
    return shown;
}

std::string line_of(std::span<const std::byte> bytes) {
    abi::TraceRecord record;
    if (bytes.size() < sizeof record) return {};
    std::memcpy(&record, bytes.data(), sizeof record);
    bytes = bytes.subspan(sizeof record);
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()),
                                std::min<std::size_t>(record.length, bytes.size()));
    const std::string_view comm(record.comm.data(), ::strnlen(record.comm.data(), record.comm.size()));
    return fmt::format("{:>16}-{:<7} [{:03}] ..... {:5}.{:06}: bpf_trace_printk: {}\n", printable(comm), record.tid,
                       record.cpu, record.time_ns / 1'000'000'000, record.time_ns / 1000 % 1'000'000, printable(text));
}

}  // namespace

Result<TracePipe> TracePipe::open(const kernel::Root& root) {
    auto ring = ANYBPF_TRY(root.trace());
    if (ring.map->spec().type != abi::MapType::ringbuf) return fail(Errc::malformed, "the trace is no ring buffer");
    return TracePipe(std::move(ring));
}

// Moves the next record, if one is complete, into rest_. False: there is none.
bool TracePipe::next_line() {
    const auto bytes = ring_.memory.bytes();
    const u64 size = ring_.map->spec().max_entries;
    auto& consumer = *reinterpret_cast<std::atomic<u64>*>(bytes.data());
    const auto& producer = *reinterpret_cast<const std::atomic<u64>*>(bytes.data() + page);
    while (true) {
        const u64 at = consumer.load(std::memory_order_relaxed);
        const u64 filled = producer.load(std::memory_order_acquire) - at;
        if (filled == 0) return false;
        const std::byte* record = bytes.data() + 2 * page + at % size;
        const u32 word = at % header_size == 0
                             ? reinterpret_cast<const std::atomic<u32>*>(record)->load(std::memory_order_acquire)
                             : 0;
        const u64 length = word & ~(busy | discarded);
        if (filled > size || at % header_size != 0 || header_size + length > size) {
            consumer.store(producer.load(std::memory_order_acquire), std::memory_order_release);  // spoilt: start anew
            return false;
        }
        if ((word & busy) != 0) {
            if (!maps::RingBuffer::of(*ring_.map)->ready()) return false;
            continue;  // its writer is dead
        }
        if ((word & discarded) == 0) rest_ += line_of({record + header_size, static_cast<std::size_t>(length)});
        consumer.store(at + ((header_size + length + 7) & ~u64{7}), std::memory_order_release);
        if ((word & discarded) == 0) return true;
    }
}

std::string TracePipe::take(std::size_t room) {
    while (rest_.size() < room && next_line()) {
    }
    std::string taken = rest_.substr(0, room);
    rest_.erase(0, taken.size());
    return taken;
}

}  // namespace anybpf::preload

// SPDX-License-Identifier: Apache-2.0
// The perf buffer of one CPU: page 0 as struct perf_event_mmap_page, data pages, and a page of our own with the lock
// and the count of lost records. A record is published by one store to data_head; its bytes before that are nobody's,
// so the lock of a dead writer is simply taken.
#include <cerrno>

#include "anybpf/maps/ring.hpp"
#include "lock.hpp"
#include "shared_raw.hpp"
#include "types.hpp"

namespace anybpf::maps {

struct PerfBuffer::Page {  // uapi struct perf_event_mmap_page, of which readers of raw samples look at the end
    u32 version, compat_version;
    std::array<u8, 1016> reserved;
    std::atomic<u64> data_head, data_tail;
    u64 data_offset, data_size;
};

struct PerfBuffer::Private {
    u32 magic;
    u16 version, reserved;
    u32 data_pages;
    std::atomic<u32> lock, stopped;
    u32 reserved2;
    std::atomic<u64> lost;      // records that did not fit, ever
    std::atomic<u64> reported;  // of these, told the reader
    // What `reported` becomes as soon as data_head is this: a writer may die between the two stores.
    std::atomic<u64> next_head, next_reported;
};

namespace {
constexpr u32 perf_magic = 0x65726261;  // "abre"
constexpr u16 perf_version = 1;
constexpr u32 max_data_pages = 1U << 20;

struct RecordHeader {
    u32 type;
    u16 misc, size;
};
struct LostRecord {
    RecordHeader header;
    u64 id, lost;
};
static_assert(sizeof(LostRecord) == 24);
constexpr u32 record_lost = 2, record_sample = 9;
constexpr u64 sample_overhead = sizeof(RecordHeader) + sizeof(u32);  // and the raw data's size

bool is_power_of_two(u32 number) { return number != 0 && (number & (number - 1)) == 0; }
}  // namespace

std::size_t PerfBuffer::file_size(u32 data_pages) { return (std::size_t{data_pages} + 2) * page_size; }

Result<> PerfBuffer::format(std::span<std::byte> memory, u32 data_pages) {
    if (!is_power_of_two(data_pages) || data_pages > max_data_pages)
        return refuse("a perf buffer has a power of two of data pages, not " + std::to_string(data_pages), EINVAL);
    if (memory.size() != file_size(data_pages))
        return fail(Errc::invalid_argument, "a perf buffer's memory has the wrong size");
    static_assert(offsetof(Page, data_head) == 1024 && sizeof(Page) == 1056);
    static_assert(offsetof(Private, lost) == 24 && sizeof(Private) == 56);
    auto* page = overlay<Page>(memory, 0);
    page->data_offset = page_size;
    page->data_size = data_pages * page_size;
    auto* own = overlay<Private>(memory, memory.size() - page_size);
    own->version = perf_version;
    own->data_pages = data_pages;
    own->magic = perf_magic;
    return {};
}

Result<std::unique_ptr<PerfBuffer>> PerfBuffer::open(std::span<std::byte> memory, VcpuTable vcpus) {
    if (memory.size() < 3 * page_size || memory.size() % page_size != 0)
        return fail(Errc::malformed, "a perf buffer's file has " + std::to_string(memory.size()) + " bytes");
    const auto* own = overlay<Private>(memory, memory.size() - page_size);
    const u32 magic = own->magic, data_pages = own->data_pages;
    if (magic != perf_magic) return fail(Errc::malformed, "not a perf buffer's file: wrong magic number");
    if (own->version != perf_version) return fail(Errc::unsupported, "a perf buffer's file has an unknown version");
    if (!is_power_of_two(data_pages) || data_pages > max_data_pages || file_size(data_pages) != memory.size())
        return fail(Errc::malformed, "a perf buffer's file does not have the pages that it names");
    return std::unique_ptr<PerfBuffer>(new PerfBuffer(memory, data_pages * page_size, vcpus));
}

PerfBuffer::PerfBuffer(std::span<std::byte> memory, u64 size, VcpuTable vcpus)
    : page_(overlay<Page>(memory, 0)),
      data_(memory.data() + page_size),
      size_(size),
      own_(overlay<Private>(memory, memory.size() - page_size)),
      vcpus_(vcpus) {}

int PerfBuffer::output(std::span<const std::byte> raw, u32 vcpu, bool* wake, std::span<const std::byte> more) {
    *wake = false;
    const u64 record_size = round_up(raw.size() + more.size() + sample_overhead, 8);
    if (raw.size() > 0xffff || more.size() > 0xffff || record_size > 0xffff) return -E2BIG;
    int error = -EBUSY;
    if (lock_patiently(own_->lock, vcpus_.lock_word(vcpu), vcpus_, nothing_to_recover,
                       [this](u32) { return &own_->stopped; })) {
        error = append(raw, more, record_size);
        unlock(own_->lock, own_->stopped);
    }
    if (error != 0) own_->lost.fetch_add(1, std::memory_order_relaxed);
    *wake = error == 0;
    return error;
}

// Under the lock.
int PerfBuffer::append(std::span<const std::byte> raw, std::span<const std::byte> more, u64 record_size) {
    const u64 head = page_->data_head.load(std::memory_order_relaxed) & ~u64{7};
    const u64 tail = page_->data_tail.load(std::memory_order_acquire);
    if (own_->next_head.load(std::memory_order_relaxed) == head)
        own_->reported.store(own_->next_reported.load(std::memory_order_relaxed), std::memory_order_relaxed);
    const u64 lost = own_->lost.load(std::memory_order_relaxed);
    const u64 due = lost - own_->reported.load(std::memory_order_relaxed);
    const u64 total = record_size + (due != 0 ? sizeof(LostRecord) : 0);
    // As the kernel's CIRC_SPACE: one byte stays free, so that full and empty differ.
    if (head - tail > size_ || size_ - (head - tail) <= total) return -ENOSPC;

    u64 at = head;
    if (due != 0) {
        const LostRecord record{{record_lost, 0, sizeof(LostRecord)}, 0, due};
        put(at, &record, sizeof record);
        at += sizeof record;
    }
    const RecordHeader header{record_sample, 0, static_cast<u16>(record_size)};
    const auto padded = static_cast<u32>(record_size - sample_overhead);  // the kernel counts the padding in
    const u64 nothing = 0;
    put(at, &header, sizeof header);
    put(at + sizeof header, &padded, sizeof padded);
    put(at + sample_overhead, raw.data(), raw.size());
    put(at + sample_overhead + raw.size(), more.data(), more.size());
    put(at + sample_overhead + raw.size() + more.size(), &nothing, padded - raw.size() - more.size());
    own_->next_head.store(~u64{0}, std::memory_order_relaxed);  // no position: the pair is never mixed
    own_->next_reported.store(lost, std::memory_order_release);
    own_->next_head.store(at + record_size, std::memory_order_release);
    page_->data_head.store(at + record_size, std::memory_order_release);
    own_->reported.store(lost, std::memory_order_relaxed);
    return 0;
}

void PerfBuffer::put(u64 at, const void* bytes, u64 size) {
    if (size == 0) return;
    const u64 offset = at & (size_ - 1), before_end = size_ - offset;
    const u64 first = size < before_end ? size : before_end;
    std::memcpy(data_ + offset, bytes, first);
    std::memcpy(data_, static_cast<const std::byte*>(bytes) + first, size - first);
}

}  // namespace anybpf::maps

// SPDX-License-Identifier: Apache-2.0
// The two ways events leave a program: the ring buffer map and the perf buffer of one CPU. Both have the kernel's
// memory layout towards the reader (libbpf's ring_buffer and perf_buffer read them unmodified).
#pragma once

#include "anybpf/maps/map.hpp"

namespace anybpf::maps {

// A RINGBUF map's own operations; obtained from an open Map.
class RingBuffer {
  public:
    static RingBuffer* of(Map& map);  // null for other types
    // The record's data, or null when there is no room; owned by vcpu until submitted or discarded.
    void* reserve(u64 size, u32 vcpu);
    // Makes it readable (discard: skipped). True when a sleeping reader should be woken (flags:
    // ringbuf_no_wakeup/force_wakeup).
    bool commit(void* record, bool discard, u64 flags, u32 vcpu);
    // -EAGAIN when there is no room, -EINVAL for other flags than commit's.
    int output(const void* data, u64 size, u64 flags, u32 vcpu, bool* wake);
    u64 query(u64 what) const;  // BPF_RB_AVAIL_DATA 0, RING_SIZE 1, CONS_POS 2, PROD_POS 3
    // Discards the reservations of dead owners, at which readers would wait for ever. Writers do it as they come along,
    // and ready(), for the case that nobody writes any more. True: wake the reader.
    bool discard_dead(u32 vcpu);

    // --- for the reader; one at a time
    // Whether a finished record (or a discarded one) lies in front, after what dead owners left there is discarded. Who
    // sleeps asks now and then: a writer may be killed, or stopped, before it wakes anybody.
    bool ready();
    // The oldest record, once it is finished; those that were discarded are passed over. Nothing: there is none yet. It
    // stays as it is until pop().
    std::optional<std::span<const std::byte>> front();
    void pop();  // gives its room back

  private:
    friend class RingBufferMap;
    // Of what lies at the reader's position: nothing where no finished record does.
    std::optional<u32> length_at_front() const;
    struct Private;
    RingBuffer(std::span<std::byte> memory, u64 size, VcpuTable vcpus);
    bool lock_own(u32 vcpu);
    u64 settle(u64 from, u64 to, bool all);
    u64 settled(u64 consumer, u64 producer) const;

    std::atomic<u64>*consumer_, *producer_;
    std::byte* data_;
    u64 size_;
    Private* own_;
    VcpuTable vcpus_;
};

// The buffer behind a perf_event_open(2) of type SOFTWARE, config BPF_OUTPUT: page 0 is struct perf_event_mmap_page,
// 2^n data pages follow, and a page of our own. Written by many processes, each write under a lock that survives its
// owner.
class PerfBuffer {
  public:
    static std::size_t file_size(u32 data_pages);
    // memory: file_size() bytes of zeros. data_pages: a power of two, else EINVAL.
    static Result<> format(std::span<std::byte> memory, u32 data_pages);
    static Result<std::unique_ptr<PerfBuffer>> open(std::span<std::byte> memory, VcpuTable vcpus);
    // One PERF_RECORD_SAMPLE with PERF_SAMPLE_RAW: -ENOSPC when it does not fit (a LOST record follows when there is
    // room again), -E2BIG, -EBUSY. A reader that sleeps should be woken after each. `more` follows on `raw`.
    int output(std::span<const std::byte> raw, u32 vcpu, bool* wake, std::span<const std::byte> more = {});

  private:
    struct Page;
    struct Private;
    PerfBuffer(std::span<std::byte> memory, u64 size, VcpuTable vcpus);
    void put(u64 at, const void* bytes, u64 size);
    int append(std::span<const std::byte> raw, std::span<const std::byte> more, u64 record_size);

    Page* page_;
    std::byte* data_;
    u64 size_;
    Private* own_;
    VcpuTable vcpus_;
};

}  // namespace anybpf::maps

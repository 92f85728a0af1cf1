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
    int output(const void* data, u64 size, u64 flags, u32 vcpu, bool* wake);
    u64 query(u64 what) const;  // BPF_RB_AVAIL_DATA 0, RING_SIZE 1, CONS_POS 2, PROD_POS 3
};

// The buffer behind a perf_event_open(2) of type SOFTWARE, config BPF_OUTPUT: page 0 is struct perf_event_mmap_page,
// 2^n data pages follow. Written by many processes, each write under a lock that survives its owner.
class PerfBuffer {
  public:
    static std::size_t file_size(u32 data_pages);
    static Result<> format(std::span<std::byte> memory, u32 data_pages);
    static Result<std::unique_ptr<PerfBuffer>> open(std::span<std::byte> memory, VcpuTable vcpus);
    // One PERF_RECORD_SAMPLE with PERF_SAMPLE_RAW: -ENOSPC when it does not fit (a LOST record is due), -E2BIG, -EBUSY.
    int output(std::span<const std::byte> raw, u32 vcpu, bool* wake);
};

}  // namespace anybpf::maps

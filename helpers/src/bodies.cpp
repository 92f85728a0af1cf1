// SPDX-License-Identifier: Apache-2.0
// The helpers' bodies, by the contracts of abi/helpers.def and the behaviour of Linux 6.18 (kernel/bpf/helpers.c,
// kernel/trace/bpf_trace.c). They run on hook paths of traced processes: nothing here locks, allocates or touches
// errno, and the only system calls are those of the current task (task.cpp) and of the host's wake.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "anybpf/abi/trace.hpp"
#include "anybpf/helpers/environment.hpp"
#include "anybpf/helpers/safe_memory.hpp"
#include "anybpf/maps/map.hpp"
#include "anybpf/maps/ring.hpp"
#include "arguments_raw.hpp"
#include "clock.hpp"
#include "format.hpp"
#include "packet.hpp"
#include "task.hpp"

namespace anybpf::helpers {
namespace {

using abi::Run;

Environment& environment(Run& run) { return *static_cast<Environment*>(run.environment); }
Thread& thread(Run& run) { return *environment(run).thread; }
maps::Map& map_at(u64 argument) { return *pointer<maps::Map>(argument); }

namespace body {

using namespace helpers::body;

// --- maps

ANYBPF_BODY(map_lookup_elem) { return address(map_at(r1).lookup(pointer<const void>(r2), run.vcpu)); }

ANYBPF_BODY(map_update_elem) {
    return result(map_at(r1).update(pointer<const void>(r2), pointer<const void>(r3), r4, run.vcpu));
}

ANYBPF_BODY(map_delete_elem) { return result(map_at(r1).erase(pointer<const void>(r2), run.vcpu)); }

// --- memory that may not be there: one address space here, so user and kernel reads are the same

ANYBPF_BODY(probe_read) {
    if (read_memory(pointer<void>(r1), r3, r2)) return 0;
    std::memset(pointer<void>(r1), 0, r2);
    return result(-EFAULT);
}

ANYBPF_BODY(probe_read_str) {
    const i64 length = read_text(pointer<char>(r1), r3, r2);
    if (length < 0) std::memset(pointer<void>(r1), 0, r2);
    return result(length);
}

constexpr auto probe_read_user = probe_read, probe_read_kernel = probe_read, copy_from_user = probe_read;
constexpr auto probe_read_user_str = probe_read_str, probe_read_kernel_str = probe_read_str;

// --- time, chance, place

ANYBPF_BODY(ktime_get_ns) { return clock_ns(CLOCK_MONOTONIC); }
ANYBPF_BODY(ktime_get_boot_ns) { return clock_ns(CLOCK_BOOTTIME); }
ANYBPF_BODY(ktime_get_coarse_ns) { return clock_ns(CLOCK_MONOTONIC_COARSE); }

// xorshift64*, one state a thread (Vigna, "An experimental exploration of Marsaglia's xorshift generators").
ANYBPF_BODY(get_prandom_u32) {
    u64& state = thread(run).random;
    if (state == 0) state = (clock_ns(CLOCK_MONOTONIC) ^ address(&state) << 20 ^ u64{thread(run).tid} << 40) | 1;
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1d >> 32;
}

ANYBPF_BODY(get_smp_processor_id) { return run.vcpu; }

// --- the thread

ANYBPF_BODY(get_current_pid_tgid) { return u64{thread(run).pid} << 32 | thread(run).tid; }
ANYBPF_BODY(get_current_uid_gid) { return u64{thread(run).gid} << 32 | thread(run).uid; }

ANYBPF_BODY(get_current_comm) {
    const auto& comm = thread(run).comm;
    char* to = pointer<char>(r1);
    const std::size_t length = std::min(::strnlen(comm.data(), comm.size()), r2 - 1);
    std::memcpy(to, comm.data(), length);
    std::memset(to + length, 0, r2 - length);
    return 0;
}

ANYBPF_BODY(get_current_task) { return address(current_task(environment(run))); }
constexpr auto get_current_task_btf = get_current_task;

ANYBPF_BODY(get_func_ip) { return run.func_ip; }
ANYBPF_BODY(get_attach_cookie) { return run.attach_cookie; }

// --- text

ANYBPF_BODY(strncmp) {
    return result(std::clamp(std::strncmp(pointer<const char>(r1), pointer<const char>(r3), r2), -1, 1));
}

// The arguments of snprintf and trace_vprintk: an array of u64, or the kernel's -EINVAL.
bool bad_array(u64 data, u64 bytes) {
    return bytes % 8 != 0 || bytes > max_format_arguments * 8 || (bytes != 0 && data == 0);
}

ANYBPF_BODY(snprintf) {
    if (bad_array(r4, r5)) return result(-EINVAL);
    const char* text = pointer<const char>(r3);  // NUL-terminated: the verifier has read it
    const i64 length = format({pointer<char>(r1), r2}, {text, std::strlen(text) + 1}, {pointer<const u64>(r4), r5 / 8});
    return result(length < 0 ? length : length + 1);
}

// A line of at most 1023 characters into the trace buffer; the length of the whole line.
i64 print(Run& run, std::span<const char> text, std::span<const u64> arguments) {
    std::array<char, 1024> line;
    const i64 length = format(line, text, arguments);
    Environment& env = environment(run);
    if (length < 0 || !env.trace) return length;
    const u32 kept = static_cast<u32>(std::min<i64>(length, line.size() - 1));
    abi::TraceRecord record{.time_ns = clock_ns(CLOCK_BOOTTIME),
                            .tid = env.thread->tid,
                            .cpu = run.cpu,
                            .comm = env.thread->comm,
                            .length = kept,
                            .reserved = 0};
    maps::RingBuffer* ring = maps::RingBuffer::of(*env.trace);
    if (!ring) return length;
    void* at = ring->reserve(sizeof record + kept, run.vcpu);
    if (!at) return length;  // full: the line is lost, as in the kernel's trace buffer
    std::memcpy(at, &record, sizeof record);
    std::memcpy(static_cast<char*>(at) + sizeof record, line.data(), kept);
    if (ring->commit(at, false, 0, run.vcpu)) env.host->wake(*env.trace);
    return length;
}

ANYBPF_BODY(trace_printk) {
    const std::array<u64, 3> arguments = {r3, r4, r5};
    return result(print(run, {pointer<const char>(r1), r2}, arguments));
}

ANYBPF_BODY(trace_vprintk) {
    if (bad_array(r3, r4)) return result(-EINVAL);
    return result(print(run, {pointer<const char>(r1), r2}, {pointer<const u64>(r3), r4 / 8}));
}

// --- events

ANYBPF_BODY(perf_event_output) {
    // Programs that see a packet may ask for its first bytes behind their own.
    constexpr u64 packet_bytes = 0xfffffULL << 32;
    const bool sees_packet = !run.packet.bytes.empty();
    if ((r3 & ~(abi::current_cpu | (sees_packet ? packet_bytes : 0))) != 0) return result(-EINVAL);
    const auto head = packet_head(run, (r3 & packet_bytes) >> 32);
    if (!head) return result(-EFAULT);
    r3 &= abi::current_cpu;
    maps::Map& array = map_at(r2);
    const u32 index = r3 == abi::current_cpu ? run.cpu : static_cast<u32>(r3);
    if (index >= array.spec().max_entries) return result(-E2BIG);
    maps::PerfBuffer* buffer = environment(run).host->perf_buffer(array, index);
    if (!buffer) return result(-ENOENT);
    bool wake = false;
    const int error = buffer->output({pointer<const std::byte>(r4), r5}, run.vcpu, &wake, *head);
    if (wake) environment(run).host->wake(*buffer);
    return result(error);
}

ANYBPF_BODY(ringbuf_output) {
    if ((r4 & ~(abi::ringbuf_no_wakeup | abi::ringbuf_force_wakeup)) != 0) return result(-EINVAL);
    maps::RingBuffer* ring = maps::RingBuffer::of(map_at(r1));
    if (!ring) return result(-EINVAL);
    bool wake = false;
    const int error = ring->output(pointer<const void>(r2), r3, r4, run.vcpu, &wake);
    if (wake) environment(run).host->wake(map_at(r1));
    return result(error);
}

ANYBPF_BODY(ringbuf_reserve) {
    maps::RingBuffer* ring = maps::RingBuffer::of(map_at(r1));
    if (!ring || r3 != 0 || run.reservation_count == run.reservations.size()) return 0;
    void* record = ring->reserve(r2, run.vcpu);
    if (record) run.reservations[run.reservation_count++] = {record, pointer<void>(r1)};
    return address(record);
}

// Gives the record to the reader, or drops it.
u64 commit(Run& run, u64 record, bool discard, u64 flags) {
    for (u32 i = 0; i < run.reservation_count; ++i) {
        if (address(run.reservations[i].record) != record) continue;
        auto& map = *static_cast<maps::Map*>(run.reservations[i].ring);
        run.reservations[i] = run.reservations[--run.reservation_count];
        if (maps::RingBuffer::of(map)->commit(pointer<void>(record), discard, flags, run.vcpu))
            environment(run).host->wake(map);
        break;
    }
    return 0;
}

ANYBPF_BODY(ringbuf_submit) { return commit(run, r1, false, r2); }
ANYBPF_BODY(ringbuf_discard) { return commit(run, r1, true, r2); }

ANYBPF_BODY(ringbuf_query) {
    maps::RingBuffer* ring = maps::RingBuffer::of(map_at(r1));
    return ring ? ring->query(r2) : 0;
}

// --- control

// r1 how often, r2 the subprogram, r3 its context. Ends early when the subprogram says so; returns the iterations made.
ANYBPF_BODY(loop) {
    if (r4 != 0) return result(-EINVAL);
    const u32 count = static_cast<u32>(r1);
    if (count > abi::max_loop_iterations) return result(-E2BIG);
    for (u32 i = 0; i < count; ++i)
        if (run.call_back(run, r2, i, r3, 0, 0, 0) != 0) return i + 1;
    return count;
}

constexpr abi::HelperBody tail_call = nullptr;  // the engine's own

}  // namespace body

// Filled when first asked for: a table of addresses in the file would be a relocation a row, in every traced process.
abi::HelperBodies all() {
    abi::HelperBodies bodies{};
#define ANYBPF_HELPER(name, who, gpl, packet, returns, a1, a2, a3, a4, a5) \
    bodies[static_cast<u32>(abi::HelperId::name)] = body::name;
#include "anybpf/abi/helpers.def"
    return bodies;
}

}  // namespace

const abi::HelperBodies& bodies() {
    static const abi::HelperBodies table = all();
    return table;
}

}  // namespace anybpf::helpers

// SPDX-License-Identifier: Apache-2.0
// Run: what one execution of a program carries, seen by engines (which make the calls) and helper bodies (which receive
// them). It lives on the stack of whoever runs the program, for the length of the run.
#pragma once

#include <array>
#include <optional>
#include <span>

#include "anybpf/abi/helper.hpp"

namespace anybpf::abi {

struct Run;

// A helper's body; a pointer argument arrives as its address in this process, a map as the maps::Map* that lddw was
// bound to.
using HelperBody = u64 (*)(Run& run, u64 r1, u64 r2, u64 r3, u64 r4, u64 r5);
using HelperBodies = std::array<HelperBody, helper_count>;  // null: absent; tail_call is the engine's own

// A thread's ids, which together are the word that get_current_pid_tgid returns; pid is the thread group's.
struct ThreadIds {
    u32 tid = 0, pid = 0;
};

// Where a packet is whose bytes a program may touch: behind its context (context.hpp), as 64-bit addresses.
struct PacketAddresses {
    u64 data, data_end, data_meta;
};

// What packet loads (LD_ABS, LD_IND) read.
struct Packet {
    std::span<const std::byte> bytes;  // from the link-layer header on
    u32 first = 0;    // where offset 0 is: behind the headers that the hook's place has already taken off
    u32 network = 0;  // where the network header starts

    // Of a program that may touch it: its addresses, and the memory that helpers may move them in. Null and empty
    // otherwise.
    PacketAddresses* addresses = nullptr;
    std::span<std::byte> room = {};
    bool is_frame = false;  // of an XDP program
};

struct Run {
    void* context = nullptr;  // what r1 holds at entry
    u32 vcpu = 0;  // the virtual CPU this run owns: index into per-CPU maps, and owner of locks and journal lines
    u32 cpu = 0;   // the real CPU at entry, for perf output
    u64 attach_cookie = 0;  // of the link
    u64 func_ip = 0;        // get_func_ip's answer for kprobes; 0 elsewhere
    // helpers::Environment of the host: begins with a pointer to what begins with ThreadIds, which engines rely on.
    void* environment = nullptr;
    const HelperBodies* helpers = nullptr;

    // Filled in by the engine, for helpers that call back into the program (loop): runs the subprogram that `function`
    // (as the argument arrived) names with r1..r5 in a new frame, and returns its r0. The verifier has proved that it
    // ends.
    u64 (*call_back)(Run& run, u64 function, u64 r1, u64 r2, u64 r3, u64 r4, u64 r5) = nullptr;
    void* engine = nullptr;
    // Set by the engine when it ended the run because of what no verified program does: a ninth frame, a call of
    // nothing.
    bool gave_up = false;

    // Filled in by the host: the program at `index` of a PROG_ARRAY, as the engine's own lowered form, or null where
    // there is none.
    const void* (*tail_target)(Run& run, u64 map, u32 index) = nullptr;

    Packet packet;  // of programs that see one; empty elsewhere

    // Kept by the helpers: ring buffer records that this run holds, and whose they are, since ringbuf_submit names only
    // the record. A program that holds more gets none until it gives one back.
    struct Reservation {
        void* record;
        void* ring;
    };
    u32 reservation_count = 0;
    std::array<Reservation, 8> reservations;
};

// The 1, 2 or 4 bytes of the packet at the offset as a number in host order, or nothing where it has none there.
// Negative offsets are relative to a header, as Linux has it: net_offset + n is the n-th byte from the network header
// on, link_offset + n from the link-layer header on.
constexpr i32 net_offset = -0x100000, link_offset = -0x200000;
std::optional<u32> load_packet(const Packet& packet, i32 offset, u32 size);

// The same of the run's packet for engines, of a helper's shape: r1 the offset, of which the low 32 bits count, as in
// the kernel; r2 the size; returns the number, or packet_outside.
constexpr u64 packet_outside = u64{1} << 32;
u64 load_packet_of(Run& run, u64 r1, u64 r2, u64, u64, u64);

}  // namespace anybpf::abi

// SPDX-License-Identifier: Apache-2.0
// What every program of the differential is: one of two types, over the same maps, with functions that return int.
#pragma once

#include "anybpf/program/program.hpp"

namespace anybpf::differential {

// By index in program::Program::maps. Values have value_bytes, but data's one: its first half is input, then come the
// registers that a program ends with, and what its functions leave.
enum MapIndex : u8 { data, table, cells, hash, percpu, percpu_hash, progs, ring, map_count };
constexpr u32 data_bytes = 256, registers_at = 128, functions_at = 208;
constexpr u32 value_bytes = 16, array_entries = 4, percpu_entries = 2, hash_entries = 8, percpu_hash_entries = 4;
constexpr u32 keys = 16;  // programs use no others in hashes

// What programs write to ring is read when they have ended.
constexpr u32 ring_bytes = 4096;

// progs holds targets at 0 and 1 (target_text), and nothing at 2.
constexpr u32 target_count = 2, progs_entries = 3;

constexpr u32 max_functions = 8;

// Of type raw_tracepoint or socket_filter; the functions are found in the instructions.
program::Program make_program(std::vector<isa::Insn> insns, abi::ProgType type);

// What tail calls lead to.
program::Program make_target(u32 index, abi::ProgType type);

}  // namespace anybpf::differential

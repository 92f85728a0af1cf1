// SPDX-License-Identifier: Apache-2.0
// What the loader (llvm_raw.cpp) and libanybpf-llvm.so say to each other: plain structs and function pointers, so that
// the two may be built apart. The module exports one function, anybpf_llvm_module(); whoever changes anything here
// raises module_version.
#pragma once

#include "anybpf/abi/array.hpp"
#include "anybpf/abi/run.hpp"
#include "anybpf/base/types.hpp"
#include "anybpf/program/lowered.hpp"

namespace anybpf::engine::llvm {

constexpr u32 module_version = 3;

// Where an answer of unknown length goes: put is called with it, in one or more parts.
struct Sink {
    void* to;
    void (*put)(void* to, const void* bytes, u64 count);
};

// Where code finds what it needs of its run: byte offsets in abi::Run, or in the anybpf_host of a program built ahead
// of time.
struct RunLayout {
    u32 helpers, tail_target, call_back, engine;
    u32 vcpu, environment, gave_up;  // only of abi::Run
    u32 maps;                        // only of anybpf_host
};

struct Program {
    const char* name;
    const program::LoweredInsn* insns;
    u64 insn_count;
    const program::LoweredSubprogram* subprograms;
    u64 subprogram_count;
    const program::MapUse* map_uses;  // in the order of instructions, which in code for this process hold the addresses
    u64 map_use_count;
    const abi::ArrayPlace* arrays;  // of each map; null ahead of time, where lookups are the host's
    u64 map_count;
    const abi::HelperBody* helpers;  // by number, where calls may be bound to them; null: the run's own table is asked
    u32 proved;                      // program::Lowered::proved
};

// A map of programs built ahead of time. With values the object holds them itself, as a variable of that name.
struct Map {
    const char* values_name;  // null: the program does not use the values' address
    const void* bytes;        // what they start with
    u64 size;
    u32 constant;  // never written: what the verifier took for constant
};

enum class Output : u32 { object, assembly, lifted_raw, lifted };

struct Build {
    const Program* programs;
    u64 program_count;
    const Map* maps;
    u64 map_count;
    RunLayout layout;
    Output output;
    const char* cpu;     // as clang's -march: "native", "x86-64-v3"
    const char* prefix;  // of exported functions' names
};

// A program's code. Whoever has the address of one can run it: an executable starts with it, and what a PROG_ARRAY
// yields is one.
struct Entry {
    u64 (*run)(void* context, void* run, u64 second);  // of an application's program: (context, host)
    const void* tail;                                  // both for other code of ours alone: see lift.hpp
    const void* callback;
};

struct Module {
    u32 version;
    u32 size;  // of this struct
    // Code for this process, of programs with different names and the same maps. The entries are filled in and must
    // stay where they are, for the code knows their addresses. Null when it fails, and then error is told why.
    void* (*compile)(const Program* programs, u64 count, const RunLayout* layout, Entry* const* entries,
                     const Sink* error);
    void (*release)(void* code);
    // Whether it worked.
    bool (*emit)(const Build* build, const Sink* out, const Sink* error);
};

using GetModule = const Module* (*)();
constexpr const char* module_symbol = "anybpf_llvm_module";

}  // namespace anybpf::engine::llvm

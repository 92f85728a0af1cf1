// SPDX-License-Identifier: Apache-2.0
// The object table as files (DESIGN decision 2): what lies in a root directory, and the layout of each file. Shared
// memory is a file format: fixed-width fields, no pointers, every offset checked by its reader. Drawn in
// docs/formats/root.md.
//
//   <root>/page                    RootPage: epoch, ids, trees, and the table of virtual CPUs
//   <root>/map-<id>                a map (docs/formats/map.md);            map-<id>.wake    FIFO: a reader of a ring
//   buffer sleeps here <root>/prog-<id>/program       ProgramFile                             prog-<id>/map-<id>  hard
//   links to the maps it uses, in order <root>/link-<id>/link          LinkFile, held open for writing by its owner;
//   link-<id>/program  hard link to its program <root>/btf-<id>                raw BTF <root>/event-<id>              a
//   perf buffer (maps/ring.hpp);          event-<id>.wake  FIFO <root>/trace                   a RINGBUF map of
//   TraceRecord: what bpf_trace_printk wrote
#pragma once

#include <array>
#include <atomic>

#include "anybpf/abi/types.hpp"

namespace anybpf::kernel {

constexpr u32 root_magic = 0x74726261, program_magic = 0x70726261, link_magic = 0x6c726261;  // "abrt" "abrp" "abrl"
constexpr u16 files_version = 1;
constexpr u32 max_trees = 64;

// A traced process tree and its supervisor. The owner word is held as a robust futex by the supervisor for its life:
// the kernel marks it FUTEX_OWNER_DIED when the supervisor dies, and agents see that at their next system call.
struct Tree {
    std::atomic<u32> owner;
    u32 reserved;
};

struct RootPage {
    u32 magic;
    u16 version, reserved;
    std::atomic<u64>
        epoch;  // moved on by every change of links, of their enabling, and of PROG_ARRAY / PERF_EVENT_ARRAY contents
    std::array<std::atomic<u32>, 5> last_id;  // map, prog, link, btf, event
    u32 vcpu_offset;                          // of the VcpuTable in this file
    std::array<Tree, max_trees> trees;        // index 0 is not used: tree 0 means every process of the root
};

// What a program's file starts with; sections follow at the given offsets, each aligned to 16.
struct ProgramFile {
    u32 magic;
    u16 version, reserved;
    u32 id;
    u32 type;  // abi::ProgType
    u32 expected_attach_type;
    u32 flags;  // program_gpl, program_sleepable
    std::array<u8, 8> tag;
    std::array<char, abi::name_size> name;
    u64 load_time_ns;  // CLOCK_BOOTTIME
    u32 uid;
    u32 verifier_version;     // of the verdict; 0: never verified here
    std::array<u8, 32> hash;  // SHA-256 over lowered code, map uses and subprograms: what the verdict is bound to
    u32 map_count;            // prog-<id>/map-<id> in the order of map_ids
    u32 btf_id;
    u32 verified_insns;  // processed by the verifier
    u32 lowered_count, map_use_count, subprogram_count, insn_count, func_info_count, line_info_count;
    u32 lowered_offset;     // program::LoweredInsn[lowered_count]
    u32 map_use_offset;     // program::MapUse[map_use_count]
    u32 subprogram_offset;  // program::LoweredSubprogram[subprogram_count]
    u32 map_ids_offset;     // u32[map_count]
    u32 insn_offset;        // isa::Insn[insn_count], as loaded (map references in map_idx form)
    u32 func_info_offset;   // program::FuncInfo[func_info_count]
    u32 line_info_offset;   // program::LineInfo[line_info_count]
};
constexpr u32 program_gpl = 1, program_sleepable = 2;

// Where a link is attached.
enum class HookKind : u32 {
    none = 0,
    tracepoint = 1,      // hook_id = abi tracepoint id (raw_syscalls:*, syscalls:*)
    raw_tracepoint = 2,  // hook_id = abi tracepoint id of raw_syscalls:sys_enter or sys_exit
    syscall_entry = 3,   // kprobe/ksyscall on a system call's function; hook_id = system call number
    syscall_return = 4,  // kretprobe/kretsyscall
};

struct LinkFile {
    u32 magic;
    u16 version, reserved;
    u32 id;  // 0 for a perf event that has a program but no link
    u32 prog_id;
    HookKind kind;
    u32 hook_id;
    std::atomic<u32> enabled;
    u32 tree;       // only processes of this tree run it; 0: all of the root
    i32 pid;        // only this process; -1: all
    u32 link_type;  // uapi enum bpf_link_type
    u64 cookie;
    std::array<char, 128> target;  // as the user named it, for listings: "raw_syscalls:sys_enter", "__x64_sys_openat"
};

// One line of bpf_trace_printk, in the trace ring buffer; text follows, without NUL.
struct TraceRecord {
    u64 time_ns;  // CLOCK_BOOTTIME
    u32 tid, cpu;
    std::array<char, abi::name_size> comm;
    u32 length;
    u32 reserved;
};

}  // namespace anybpf::kernel

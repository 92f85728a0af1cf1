// SPDX-License-Identifier: Apache-2.0
// The object table as files (DESIGN decision 2): what lies in a root directory, and the layout of each file. Shared
// memory is a file format: fixed-width fields, no pointers, every offset checked by its reader (docs/formats/root.md).
//
// clang-format off
//   page                  RootPage, the table of virtual CPUs (maps/vcpu.hpp), and the table of objects
//   trace  trace.wake     a RINGBUF map of TraceRecord: what bpf_trace_printk wrote
//   notices-<tree>        text: images that the agents of a tree could not follow (PID, reason and path, parted by tabs)
//   attached-<pid>        empty: a process that an attach has brought here
//   exec-<tree>           the requests of a tree's processes that are about to exec (agent/exec_channel.hpp)
//   map-<id>              a map (docs/formats/map.md)
//   map-<id>.wake         FIFO: a reader of a ring buffer sleeps here
//   map-<id>.btf          hard link to its BTF
//   map-<id>.progs/<id>   hard links to the programs in a PROG_ARRAY
//   prog-<id>/program     ProgramFile
//   prog-<id>/map-<id>    hard links to the maps it uses;   prog-<id>/btf  to its BTF
//   link-<id>/link        LinkFile, held open for writing by its owner
//   link-<id>/program     hard link to its program;         link-<id>/event  to the perf event under it
//   btf-<id>              raw BTF
//   event-<id>            perf event: a perf buffer (maps/ring.hpp), or the LinkFile of a tracepoint or kprobe event
//   event-<id>.wake       FIFO of a perf buffer;            event-<id>.program  hard link to what SET_BPF gave it
//   pins/...              the virtual bpffs: hard links to objects
// clang-format on
//
// Every object's file ends with an ObjectTrailer: that is how a descriptor, wherever it came from, is known as an
// object of this root. In maps and perf buffers, which are whole pages, it lies in the last bytes of their own last
// page; elsewhere behind the contents.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>

#include "anybpf/abi/trace.hpp"
#include "anybpf/abi/types.hpp"

namespace anybpf::kernel {

constexpr u32 root_magic = 0x74726261, program_magic = 0x70726261, link_magic = 0x6c726261,
              object_magic = 0x6f726261;  // "abrt" "abrp" "abrl" "abro"
constexpr u16 files_version = 2;          // of the page and of links
constexpr u16 program_version = 4;        // of programs: moves on with engine/ops.def, too
constexpr u32 max_trees = 64;

enum class ObjectKind : u32 { map = 0, prog = 1, link = 2, btf = 3, event = 4 };
constexpr u32 object_kinds = 5;
constexpr u32 trace_map_id = 0;     // the trace buffer is a map without a place in the table
constexpr u32 max_objects = 32768;  // in one root

// A traced process tree and its supervisor. The owner word is the first word of a robust, process-shared glibc mutex
// that the supervisor holds for its life: the kernel marks it FUTEX_OWNER_DIED when the supervisor dies, and agents see
// that at their next system call. A tree's number is generation * max_trees + index, so that a new owner of the line
// does not revive the tree of a dead one.
struct Tree {
    std::atomic<u32> owner;
    std::array<u32, 9> rest_of_mutex;
    std::atomic<u32> generation;
    u32 reserved;
};
static_assert(sizeof(Tree) == 48);

// A tree's supervisor, as its processes watch it: two words of the root's page, which must stay mapped.
class Supervisor {
  public:
    Supervisor() = default;  // of tree 0, which has none that could die
    Supervisor(const Tree& line, u32 generation) : line_(&line), generation_(generation) {}
    bool dead() const {
        constexpr u32 thread_mask = 0x3fffffff;  // FUTEX_TID_MASK
        return line_ != nullptr && ((line_->owner.load(std::memory_order_acquire) & thread_mask) == 0 ||
                                    line_->generation.load(std::memory_order_acquire) != generation_);
    }

  private:
    const Tree* line_ = nullptr;
    u32 generation_ = 0;
};

struct RootPage {
    u32 magic;
    u16 version, reserved;
    u64 root;                                            // random: what the trailers of this root's objects carry
    std::atomic<u64> epoch;                              // moved on by every change of links, of their enabling, and of
                                                         // PROG_ARRAY / PERF_EVENT_ARRAY contents
    std::array<std::atomic<u32>, object_kinds> last_id;  // ids are never used twice
    u32 vcpu_offset;                                     // of the VcpuTable in this file
    u32 vcpu_bytes;
    std::atomic<u32> objects_used;      // the table of objects is free from here on
    std::array<Tree, max_trees> trees;  // index 0 is not used: tree 0 means every process of the root
};
// Last in the file, so that what every traced process reads lies together: (kind + 1) << 32 | id of the living; 0:
// free.
using ObjectTable = std::array<std::atomic<u64>, max_objects>;
static_assert(std::atomic<u64>::is_always_lock_free && std::atomic<u32>::is_always_lock_free);

struct ObjectTrailer {
    u32 magic;  // object_magic
    ObjectKind kind;
    u32 id;
    u32 reserved;
    u64 root;
    u64 size;  // of the file, this trailer included
};
static_assert(sizeof(ObjectTrailer) == 32);

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
    u32 context_bytes;   // its context is not touched beyond (program::Proof)
    u32 stack_limit;     // Limits::stack_bytes, under which it was verified
    u32 lowered_count, map_use_count, subprogram_count, insn_count, func_info_count, line_info_count;
    u32 lowered_offset;            // program::LoweredInsn[lowered_count]
    u32 map_use_offset;            // program::MapUse[map_use_count]
    u32 subprogram_offset;         // program::LoweredSubprogram[subprogram_count]
    u32 map_ids_offset;            // u32[map_count]
    u32 insn_offset;               // isa::Insn[insn_count], as loaded (map references in map_idx form)
    u32 func_info_offset;          // program::FuncInfo[func_info_count]
    u32 line_info_offset;          // program::LineInfo[line_info_count]
    u32 code_offset;               // engine::CodeImage, for processes where the program runs often
    u32 code_bytes;                // 0: there is none
    std::array<u8, 32> code_hash;  // SHA-256 over hash and code
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
    u32 id;        // 0 in the file of a perf event
    u32 event_id;  // of the perf event, in its own file and in that of a link over it; 0 otherwise
    u32 prog_id;   // 0: nothing to run (a perf event without SET_BPF)
    HookKind kind;
    u32 hook_id;
    u32 enabled;      // always 1 for these kinds: as in Linux, PERF_EVENT_IOC_DISABLE does not stop their programs
    u32 tree;         // only processes of this tree run it; 0: all of the root
    i32 pid;          // only this process; -1: all
    u32 link_type;    // uapi enum bpf_link_type
    u32 attach_type;  // abi::AttachType
    u64 cookie;
    u64 created_ns;  // CLOCK_BOOTTIME
    u32 attached;    // in a perf event's file: the link over it
    u32 reserved2;
    std::array<char, 128> target;  // as the user named it, for listings: "raw_syscalls:sys_enter", "__x64_sys_openat"
};

static_assert(offsetof(RootPage, trees) == 56 && sizeof(RootPage) == 3128);
static_assert(offsetof(ProgramFile, map_count) == 96 && offsetof(ProgramFile, lowered_offset) == 140 &&
              sizeof(ProgramFile) == 208);
static_assert(offsetof(LinkFile, cookie) == 48 && offsetof(LinkFile, target) == 72 && sizeof(LinkFile) == 200);

using abi::TraceRecord;  // what lies in the trace ring buffer

}  // namespace anybpf::kernel

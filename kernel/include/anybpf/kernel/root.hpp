// SPDX-License-Identifier: Apache-2.0
// Root: the directory that is the kernel's object table (files.hpp). Ids, births, handles, collection; and the views of
// objects that a traced process takes.
//
// Lifetime: a handle is a descriptor with a shared flock, which dup, fork and SCM_RIGHTS share and death releases. Hard
// links count references between objects, and pins. Whoever gets the exclusive lock of an object that has no link but
// its own name may collect it. No call here needs a daemon, and none trusts what it reads from a file.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "anybpf/base/fd.hpp"
#include "anybpf/base/mapping.hpp"
#include "anybpf/isa/insn.hpp"
#include "anybpf/kernel/files.hpp"
#include "anybpf/maps/map.hpp"
#include "anybpf/maps/ring.hpp"
#include "anybpf/program/lowered.hpp"
#include "anybpf/program/program.hpp"

namespace anybpf::kernel {

struct ObjectId {
    ObjectKind kind{};
    u32 id = 0;
    friend constexpr bool operator==(ObjectId, ObjectId) = default;
};
constexpr ObjectId trace_object{ObjectKind::map, trace_map_id};

// An object that is being made: unnamed (or in a directory without its main file), locked, its space reserved and
// zeroed. What is never published vanishes with it.
struct Birth {
    ObjectId object;
    Fd file;
    std::size_t contents = 0;
    Fd directory;  // of a program or link; locked
};

// A map as another process finds it: mapped, without lock and without descriptor. Not valid once memory is gone.
struct MappedMap {
    Mapping memory;
    std::unique_ptr<maps::Map> map;
};
struct MappedPerfBuffer {
    Mapping memory;
    std::unique_ptr<maps::PerfBuffer> buffer;
};

// A program's file, copied out and checked against its own bounds.
struct ProgramObject {
    u32 id = 0;
    abi::ProgType type{};
    abi::AttachType expected_attach_type{};
    u32 flags = 0;  // program_gpl, program_sleepable
    std::array<u8, 8> tag{};
    std::string name;
    u64 load_time_ns = 0;
    u32 uid = 0;
    u32 verifier_version = 0;
    std::array<u8, 32> hash{};
    u32 btf_id = 0, verified_insns = 0, context_bytes = 0, stack_limit = 0;
    std::vector<u32> map_ids;
    program::Lowered lowered;
    std::vector<isa::Insn> insns;
    std::vector<program::FuncInfo> func_infos;
    std::vector<program::LineInfo> line_infos;

    // The file belongs to this user or root and nobody else may write it: its verdict may be believed where hash_of()
    // still agrees (runtime.md, "Cached verdicts").
    bool trusted = false;
};
// SHA-256 over what would be run: what a verdict is bound to.
std::array<u8, 32> hash_of(const program::Lowered& lowered, std::span<const u32> map_ids);
std::array<u8, 32> hash_of_code(const std::array<u8, 32>& program_hash, std::span<const std::byte> code);

// Where a program is attached: a copy of a LinkFile.
struct Attachment {
    u32 link_id = 0, event_id = 0, prog_id = 0;
    HookKind kind{};
    u32 hook_id = 0;
    bool enabled = false;
    u32 tree = 0;
    i32 pid = -1;
    u32 link_type = 0, attach_type = 0;
    u64 cookie = 0;
    u64 created_ns = 0;
    u32 attached = 0;  // of a perf event: the link over it
    std::string target;
};

class Root {
  public:
    // $ANYBPF_ROOT; else $XDG_RUNTIME_DIR/anybpf or /run/anybpf where that is a tmpfs; else /dev/shm/anybpf-UID.
    static Result<std::string> default_path();

    // Opens the directory (checked: a tmpfs, of this user, mode 0700) and becomes one of its holders: while one lives,
    // the page stays. With create, makes what is missing; the root directory itself, but not its parents.
    static Result<Root> open(std::optional<std::string> path = {}, bool create = true);
    // The same for a traced process: no lock and no descriptor are kept, and nothing is created.
    static Result<Root> join(const std::string& path);

    Root(Root&&) noexcept;
    Root& operator=(Root&&) = delete;
    // A holder collects what nobody holds any more, and as the last one removes the page.
    ~Root();

    const std::string& path() const { return path_; }
    u64 epoch() const { return page().epoch.load(std::memory_order_acquire); }
    const std::atomic<u64>& epoch_word() const { return page().epoch; }
    void move_epoch() const { page().epoch.fetch_add(1, std::memory_order_acq_rel); }
    Result<maps::VcpuTable> vcpus() const;

    // --- trees
    // The calling thread supervises a new tree until it ends or calls abandon(); use a thread that lives as long as the
    // process. EBUSY when all lines are taken.
    Result<u32> supervise();
    void abandon(u32 tree);  // on the same thread
    Supervisor supervisor(u32 tree) const;
    bool supervisor_dead(u32 tree) const { return supervisor(tree).dead(); }
    // Where agents of the tree append a line for each image that they cannot follow: pid, reason, path, parted by tabs.
    // Made by supervise(), gone with the supervisor.
    std::string notices_path(u32 tree) const;
    // Stands as long as the process is attached; the page stays while it lives.
    std::string attached_path(i32 pid) const;
    // Made by the tree's injector, gone with it.
    std::string exec_channel_path(u32 tree) const;

    // --- looking around; in a traced process too
    // The least id above `after` in the table, or 0. It may be gone already.
    u32 next_id(ObjectKind kind, u32 after) const;
    std::vector<u32> ids(ObjectKind kind) const;
    bool contains(ObjectId object) const { return next_id(object.kind, object.id - 1) == object.id; }
    bool alive(ObjectId object) const;  // its file is there
    u64 device() const { return device_; }
    std::string file_of(ObjectId object) const;    // its path
    std::string wake_path(ObjectId object) const;  // the FIFO beside a ring buffer map, a perf buffer or the trace
    Result<MappedMap> map_object(u32 id) const;
    Result<MappedMap> trace() const;
    Result<MappedPerfBuffer> perf_buffer(u32 event_id) const;
    Result<ProgramObject> open_program(u32 id) const;
    // Its machine code (engine::CodeImage): not_found where it has none, malformed where it is not what was made for
    // the program of this hash, or others could have written it.
    Result<std::vector<std::byte>> program_code(u32 id, const std::array<u8, 32>& hash) const;
    Result<Attachment> open_link(u32 id) const;
    Result<Attachment> open_event(u32 id) const;
    Result<std::vector<std::byte>> read_btf(u32 id) const;
    // All links, and the perf events that carry a program without one: what hooks run. Disabled ones included.
    std::vector<Attachment> attachments() const;

    // --- making and holding objects
    // contents bytes are reserved (of a map or perf buffer: with room for the trailer in the last page's last bytes);
    // out_of_memory (ENOMEM) when the file system has no room.
    Result<Birth> begin(ObjectKind kind, std::size_t contents);
    // A hard link in a newborn program's or link's directory to an object that the caller holds.
    Result<> refer(const Birth& birth, const std::string& name, ObjectId to);
    void give_up(Birth birth);
    // Gives the newborn its name and its place in the table.
    Result<Fd> publish(Birth birth);

    // Which object of this root a descriptor is. Nothing for others.
    std::optional<ObjectId> identify(int fd) const;
    // The two halves of it, for who has the file's status or its last bytes at hand.
    bool may_be_object(const struct stat& info) const;
    std::optional<ObjectId> object_of(const ObjectTrailer& trailer, u64 file_size) const;
    // A new handle; not_found (ENOENT) when it is gone or nobody holds it any more. access: O_RDWR, O_RDONLY, O_WRONLY.
    Result<Fd> hold(ObjectId object, int access);
    Result<Fd> hold_path(const std::string& path, int access);  // a pin

    // Removes the object if nobody holds it and nothing refers to it.
    bool collect(ObjectId object);
    // A PROG_ARRAY that is neither held nor pinned forgets its programs. False: it is, or has none.
    bool forget_programs(u32 map);
    // Removes all such objects, what births left unfinished, and files that belong to nothing. Moves the epoch when a
    // link went. Returns how many objects went.
    u32 sweep();

    // Files beside an object, by their name in the root: hard links for the references of PROG_ARRAYs and perf events
    // ("map-3.progs/7"; already_exists is not an error), and the FIFO that wakes a reader.
    Result<> link_beside(const std::string& name, ObjectId to);
    void unlink_beside(const std::string& name);
    // Makes the directory beside an object, and locks it against others who change what is in it.
    Result<Fd> lock_beside(const std::string& name);
    std::vector<u32> programs_in(u32 map) const;  // that a PROG_ARRAY refers to
    std::vector<u32> maps_of(u32 program) const;  // that a program's directory links, bound ones included
    bool uses(u32 program, u32 map) const;
    Result<> make_wake(ObjectId object);
    // A hard link to an object that the caller holds, at a path that pin_path gave.
    Result<> pin(ObjectId object, const std::string& path);
    // A file gets another size, zeroed where it grows, and its trailer; a perf buffer before anybody else knows it.
    Result<> resize(int fd, ObjectId object, std::size_t size) const;

    // Where a path of the virtual bpffs lies: under /sys/fs/bpf means <root>/pins, which also stands for itself.
    // Nothing for paths elsewhere.
    std::optional<std::string> pin_path(std::string_view path) const;

  private:
    explicit Root(std::string path) : path_(std::move(path)) {}
    static Result<Root> hold_page(const std::string& path, bool create);
    Result<> map_page(int fd, const struct stat& info);
    Result<> format_page();
    Result<> check_page() const;
    Result<> make_trace();
    static std::string name_of(ObjectId object);  // of its file or directory
    Result<Fd> unnamed_file(const std::string& directory, ObjectId object, std::size_t contents) const;
    RootPage& page() const { return *shared_; }
    ObjectTable& objects() const;
    bool enter_table(ObjectId object);
    void leave_table(ObjectId object);
    bool collect_file(ObjectId object);
    bool collect_directory(ObjectId object);
    std::vector<u64> table_words() const;  // in order
    u32 remove_strays();
    void remove_page();

    std::string path_;
    Mapping page_;
    RootPage* shared_ = nullptr;  // page_ begins with it
    u64 device_ = 0;
    u64 page_inode_ = 0;
    i32 holder_ = 0;  // process id; 0: a guest. A forked child is no holder
    std::vector<u32> supervised_;
    i32 supervisor_ = 0;  // thread
};

}  // namespace anybpf::kernel

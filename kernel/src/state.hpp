// SPDX-License-Identifier: Apache-2.0
// Kernel::State: the root, what this process has mapped of it, and the commands, one function each. A command returns
// the system call's result; its error carries the errno.
#pragma once

#include <atomic>
#include <map>

#include "anybpf/base/guarded.hpp"
#include "anybpf/btf/btf.hpp"
#include "anybpf/kernel/kernel.hpp"
#include "anybpf/program/program.hpp"
#include "anybpf/verifier/arena.hpp"
#include "attr.hpp"

namespace anybpf::kernel {

// bpf_obj_name_cpy(): letters, digits, '_' and '.', and room for the NUL.
bool name_is_good(const std::array<char, abi::name_size>& name);

// CLOCK_BOOTTIME, in which load and creation times are told.
u64 boot_time_ns();

// A virtual CPU for the length of one operation; not valid when all are taken.
class VirtualCpu {
  public:
    VirtualCpu(maps::VcpuTable table, maps::Map* touched);
    VirtualCpu(const VirtualCpu&) = delete;
    ~VirtualCpu();
    bool valid() const { return claim_.has_value(); }
    u32 slot() const { return claim_->slot; }

  private:
    maps::VcpuTable table_;
    maps::VcpuThread thread_;
    std::optional<maps::VcpuTable::Claim> claim_;
};

struct Kernel::State {
    explicit State(Root opened) : root(std::move(opened)) {}

    Root root;
    std::atomic<u32> tree{0};
    std::atomic<u32> births{0};
    std::atomic<const engine::AnyEngine*> engine{&engine::any<engine::Interpreter>};
    std::atomic<Kernel::Compile> compile{nullptr};
    Guarded<Kernel::Watcher> watcher;
    Guarded<std::map<u32, std::shared_ptr<const MappedMap>>>
        maps;  // mapped here; memory of the dead goes in forget_dead()
    Guarded<std::map<u32, std::shared_ptr<const btf::Btf>>> btfs;
    Guarded<Limits> limits;
    bool judging = false, unprivileged = false;  // judge_for() was called
    std::shared_ptr<const btf::Btf> kernel_btf;
    Guarded<std::shared_ptr<const program::Program>> extended;              // Kernel::extend()
    Guarded<std::map<u32, std::shared_ptr<const program::MapInfo>>> inner;  // of maps of maps, by id
    Guarded<std::map<u64, Fd>> wakes;                                       // by kind and id
    Guarded<bool> attaching;                                                // held while a perf event's file changes
    Guarded<verifier::Arena> arena;                                         // of the program that is being verified
    Guarded<std::string> last_error;

    // --- descriptors and objects (state.cpp)
    Result<u32> find(u64 fd, ObjectKind kind) const;  // EBADF: no descriptor; EINVAL: not such an object
    Result<std::shared_ptr<const MappedMap>> map_by_id(u32 id);
    Result<std::shared_ptr<const MappedMap>> map_by_fd(u64 fd) {
        return map_by_id(ANYBPF_TRY(find(fd, ObjectKind::map)));
    }
    Result<std::shared_ptr<const btf::Btf>> btf_by_id(u32 id);
    Result<ProgramObject> program_by_fd(u64 fd) { return root.open_program(ANYBPF_TRY(find(fd, ObjectKind::prog))); }
    // A second handle on the object of a descriptor, so that it stays while we work with it.
    Result<Fd> keep(u64 fd) const;  // EBADF
    void born();                    // counts births, and sweeps now and then
    void forget_dead();             // unmaps what is gone

    Result<long> command(abi::uapi::Command command, const Attr& attr);

    // --- maps (map_commands.cpp)
    Result<long> map_create(const Attr& attr);
    Result<long> map_lookup(const Attr& attr);
    Result<long> map_update(const Attr& attr);
    Result<long> map_delete(const Attr& attr);
    Result<long> map_next_key(const Attr& attr);
    Result<long> map_lookup_and_delete(const Attr& attr);
    Result<long> map_freeze(const Attr& attr);
    Result<long> map_batch(const Attr& attr, abi::uapi::Command command);
    // One element, with what descriptors mean in arrays of objects.
    Result<program::MapInfo> describe(const maps::Map& map);  // for the verifier
    Result<> update_element(const MappedMap& mapped, std::span<const std::byte> key, std::span<const std::byte> value,
                            u64 flags);
    Result<> delete_element(const MappedMap& mapped, std::span<const std::byte> key);
    Result<> put_program(maps::Map& map, u32 index, const ProgramObject* program, u32 slot);  // null: takes it out
    Result<> check_compatible(u32 map, abi::ProgType type);

    // --- programs and BTF (prog_load.cpp, btf_load.cpp)
    Result<long> prog_load(const Attr& attr);
    Result<long> prog_bind_map(const Attr& attr);
    Result<long> btf_load(const Attr& attr);
    Result<long> prog_test_run(const Attr& attr);

    // --- ids and information (info.cpp)
    Result<long> next_id(const Attr& attr, ObjectKind kind);
    Result<long> fd_by_id(const Attr& attr, ObjectKind kind);
    Result<long> get_info(const Attr& attr);
    Result<long> task_fd_query(const Attr& attr);
    Result<long> obj_pin(const Attr& attr);
    Result<long> obj_get(const Attr& attr);
    std::string fdinfo(ObjectId object);
    std::vector<u32> used_maps(const ProgramObject& program);

    // --- links and perf events (links.cpp)
    Result<long> link_create(const Attr& attr);
    Result<long> link_update(const Attr& attr);
    Result<long> link_detach(const Attr& attr);
    Result<long> raw_tracepoint_open(const Attr& attr);
    Result<long> perf_event_open(u64 attr, pid_t pid, int cpu, int group, unsigned long flags);
    Result<long> perf_ioctl(int fd, u32 event, unsigned long request, unsigned long argument);
    Result<LinkFile> attach_to_event(u32 event, int event_fd, const ProgramObject& program, u64 cookie, u32 link);
    Result<long> publish_link(LinkFile file, const ProgramObject& program, u32 event, int event_fd);
};

}  // namespace anybpf::kernel

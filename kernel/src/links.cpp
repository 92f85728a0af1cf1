// SPDX-License-Identifier: Apache-2.0
// Where programs are attached: perf events of tracepoints and kprobes, links over them, raw tracepoints. What hooks
// read is a LinkFile, in a link's file or in a perf event's own; every change moves the epoch on.
//
// As in Linux, a program runs from the moment it is attached: PERF_EVENT_IOC_ENABLE and DISABLE, and the event's pid
// and cpu, do not matter to the programs of tracepoints and kprobes.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "anybpf/abi/syscalls.hpp"
#include "io.hpp"
#include "state.hpp"

namespace anybpf::kernel {

namespace uapi = abi::uapi;
using abi::AttachType;
using abi::ProgType;

namespace {

void set_target(LinkFile& file, std::string_view target) {
    file.target = {};
    target.copy(file.target.data(), file.target.size() - 1);
}

LinkFile new_link_file(u32 tree) {
    LinkFile file{};
    file.magic = link_magic;
    file.version = files_version;
    file.enabled = 1;
    file.tree = tree;
    file.pid = -1;
    file.created_ns = boot_time_ns();
    return file;
}

Result<LinkFile> read_link_file(int fd) {
    LinkFile file;
    if (!read_at(fd, std::as_writable_bytes(std::span(&file, 1)), 0) || file.magic != link_magic)
        return refuse(EINVAL, "the perf event cannot carry a program");
    return file;
}

Result<> write_link_file(int fd, const LinkFile& file) {
    if (!write_at(fd, std::as_bytes(std::span(&file, 1)), 0)) return fail_errno("writing a link's file");
    return {};
}

// bpf_prog_attach_check_attach_type(), for programs that have links here.
bool may_attach(const ProgramObject& program, AttachType attach) {
    if (program.type == ProgType::perf_event || program.type == ProgType::tracepoint)
        return attach == AttachType::perf_event;
    if (program.type != ProgType::kprobe) return false;
    for (const auto multi : {AttachType::trace_kprobe_multi, AttachType::trace_kprobe_session,
                             AttachType::trace_uprobe_multi, AttachType::trace_uprobe_session})
        if (program.expected_attach_type == multi || attach == multi) return program.expected_attach_type == attach;
    return attach == AttachType::perf_event;
}

// perf_copy_attr(): the size that the caller knows, and that we know.
Result<uapi::PerfEventAttr> read_perf_attr(u64 from) {
    u32 size = ANYBPF_TRY(read_user<u32>(from + offsetof(uapi::PerfEventAttr, size)));
    if (size == 0) size = uapi::perf_attr_size_ver0;
    const auto too_big = [&]() -> Result<uapi::PerfEventAttr> {
        ANYBPF_TRY(
            write_user(from + offsetof(uapi::PerfEventAttr, size), static_cast<u32>(sizeof(uapi::PerfEventAttr))));
        return refuse(E2BIG, "the attributes have a size that is not known here");
    };
    if (size < uapi::perf_attr_size_ver0 || size > 4096) return too_big();
    if (auto tail = check_tail_zero(from, sizeof(uapi::PerfEventAttr), size); !tail) {
        if (tail.error().sys_errno == E2BIG) return too_big();
        return tl::make_unexpected(tail.error());
    }
    uapi::PerfEventAttr attr{};
    if (!copy_from_user(std::as_writable_bytes(std::span(&attr, 1)).first(std::min<std::size_t>(size, sizeof(attr))),
                        from))
        return fault();
    attr.size = size;
    if ((attr.bits & uapi::perf_reserved_bits) != 0 || attr.reserved_2 != 0 || attr.aux_action >> 3 != 0)
        return refuse(EINVAL, "reserved bits are set");
    if (attr.sample_type >= uapi::perf_sample_max || attr.read_format >= uapi::perf_format_max)
        return refuse(EINVAL, "unknown sample or read format");
    return attr;
}

// The system call whose function a kprobe names, by symbol or by address.
Result<const abi::Syscall*> probed_function(const uapi::PerfEventAttr& attr) {
    std::string symbol;
    constexpr std::size_t max_symbol = 512;  // KSYM_NAME_LEN
    if (attr.config1 != 0) {
        symbol = ANYBPF_TRY(read_user_text(attr.config1, max_symbol));
        if (symbol.size() == max_symbol) return refuse(E2BIG, "the symbol is too long");
    }
    if (symbol.empty()) {
        for (const auto& syscall : abi::syscalls())
            if (abi::kernel_address(syscall.number) == attr.config2) return &syscall;
        return refuse(ENOENT, "no function of the virtual kernel lies at this address");
    }
    const auto* found = abi::syscall_by_kernel_symbol(symbol);
    if (found == nullptr)
        return refuse(ENOENT, "kprobes reach the functions of system calls (__x64_sys_*); " + symbol + " is none");
    if (attr.config2 != 0)
        return refuse((attr.config & 1) != 0 ? EINVAL : EOPNOTSUPP, "kprobes inside of functions are not supported");
    return found;
}

}  // namespace

// --------------------------------------------------------------------------------------------------- perf events

Result<long> Kernel::State::perf_event_open(u64 user, pid_t pid, int cpu, int group, unsigned long flags) {
    constexpr unsigned long all = uapi::perf_flag_fd_no_group | uapi::perf_flag_fd_output | uapi::perf_flag_pid_cgroup |
                                  uapi::perf_flag_fd_cloexec;
    if ((flags & ~all) != 0) return refuse(EINVAL, "unknown flags");
    const auto attr = ANYBPF_TRY(read_perf_attr(user));
    if ((flags & uapi::perf_flag_pid_cgroup) != 0) return refuse(EINVAL, "perf events of cgroups are not supported");
    if (group != -1 && ::fcntl(group, F_GETFD) < 0) return refuse(EBADF, "the group's descriptor is not open");
    if (pid > 0 && ::kill(pid, 0) != 0 && errno == ESRCH) return refuse(ESRCH, "there is no such process");
    const auto cpus = std::max<long>(maps::VcpuTable::default_slots, ::sysconf(_SC_NPROCESSORS_CONF));
    if (cpu >= cpus || cpu < -1 || (cpu == -1 && pid == -1)) return refuse(EINVAL, "there is no such CPU");

    LinkFile file = new_link_file(tree.load());
    if (attr.type == uapi::perf_type_tracepoint) {
        const abi::TracepointId id{static_cast<u32>(attr.config)};
        if (attr.config > ~0U || !abi::tracepoint_exists(id))
            return refuse(EINVAL, "there is no tracepoint of this id");
        file.kind = HookKind::tracepoint;
        file.hook_id = id.v;
        set_target(file, std::string(abi::category(id)) + ":" + abi::tracepoint_name(id));
    } else if (attr.type == abi::perf_type_kprobe) {
        const auto* syscall = ANYBPF_TRY(probed_function(attr));
        file.kind = (attr.config & 1) != 0 ? HookKind::syscall_return : HookKind::syscall_entry;
        file.hook_id = syscall->number;
        set_target(file, abi::kernel_symbol(*syscall));
    } else if (attr.type == abi::perf_type_uprobe) {
        return refuse(EOPNOTSUPP, "uprobes are not supported yet");
    } else if (attr.type == uapi::perf_type_software && attr.config != uapi::perf_config_bpf_output) {
        return refuse(EOPNOTSUPP, "of the software events only BPF_OUTPUT is supported");
    } else if (attr.type != uapi::perf_type_software) {
        return refuse(ENOENT, "there is no such kind of perf event");
    }

    const bool buffer = attr.type == uapi::perf_type_software;
    Birth birth = ANYBPF_TRY(root.begin(ObjectKind::event, buffer ? 4096 : sizeof(LinkFile) + sizeof(ObjectTrailer)));
    const ObjectId object = birth.object;
    if (!buffer) {
        file.event_id = object.id;
        ANYBPF_TRY(write_link_file(birth.file.get(), file));
    }
    const Fd fd = ANYBPF_TRY(root.publish(std::move(birth)));
    if (buffer) ANYBPF_TRY(root.make_wake(object));
    born();
    const int given = ::fcntl(fd.get(), (flags & uapi::perf_flag_fd_cloexec) != 0 ? F_DUPFD_CLOEXEC : F_DUPFD, 0);
    if (given < 0) return fail_errno("duplicating a descriptor");
    return given;
}

// perf_event_set_bpf_prog(): checks, and notes the program in the event's file. link: over which it is attached; 0: by
// SET_BPF.
Result<LinkFile> Kernel::State::attach_to_event(u32 event, int fd, const ProgramObject& program, u64 cookie, u32 link) {
    LinkFile file = ANYBPF_TRY(read_link_file(fd));
    const bool probe = file.kind == HookKind::syscall_entry || file.kind == HookKind::syscall_return;
    if (program.type != (probe ? ProgType::kprobe : ProgType::tracepoint))
        return refuse(EINVAL, "a program of type " + std::string(abi::to_string(program.type)) + " cannot run at " +
                                  std::string(file.target.data()));
    if (!probe && program.context_bytes > abi::record_size({file.hook_id}))
        return refuse(EACCES,
                      "the program reads further than the record of " + std::string(file.target.data()) + " goes");
    const ObjectId over{ObjectKind::link, file.attached};
    const bool free = file.prog_id == 0 || (file.attached != 0 && (root.collect(over) || !root.alive(over)));
    if (!free) return refuse(EEXIST, "the perf event has a program already");
    file.prog_id = program.id;
    file.cookie = cookie;
    file.attached = link;
    if (link == 0)
        ANYBPF_TRY(root.link_beside("event-" + std::to_string(event) + ".program", {ObjectKind::prog, program.id}));
    ANYBPF_TRY(write_link_file(fd, file));
    root.move_epoch();
    return file;
}

Result<long> Kernel::State::perf_ioctl(int fd, u32 event, unsigned long request, unsigned long argument) {
    // Both halves of what a request is: the number, and for a descriptor that is no carrier of programs the errno.
    switch (request) {
        case uapi::perf_ioc_enable:
        case uapi::perf_ioc_disable:
        case uapi::perf_ioc_reset:
            return 0;
        case uapi::perf_ioc_id:
            ANYBPF_TRY(write_user(argument, u64{event}));
            return 0;
        case uapi::perf_ioc_set_bpf: {
            const auto program = ANYBPF_TRY(program_by_fd(argument));
            const Fd handle = ANYBPF_TRY(keep(argument));
            return attaching.with([&](auto&) -> Result<long> {
                ANYBPF_TRY(attach_to_event(event, fd, program, 0, 0));
                return 0;
            });
        }
        case uapi::perf_ioc_query_bpf: {
            const auto file = read_link_file(fd);
            if (!file || file->kind != HookKind::tracepoint)
                return refuse(EINVAL, "only tracepoints tell their programs");
            const u32 room = ANYBPF_TRY(read_user<u32>(argument));
            if (room > 64) return refuse(E2BIG, "too many ids asked for");
            std::vector<u32> programs;
            for (const auto& attached : root.attachments())
                if (attached.kind == file->kind && attached.hook_id == file->hook_id)
                    programs.push_back(attached.prog_id);
            ANYBPF_TRY(write_user(argument + 4, static_cast<u32>(programs.size())));
            const std::span<const u32> fits =
                std::span<const u32>(programs).first(std::min<std::size_t>(room, programs.size()));
            if (!fits.empty() && !copy_to_user(argument + 8, std::as_bytes(fits))) return fault();
            if (room < programs.size()) return refuse(ENOSPC, "not all ids fit");
            return 0;
        }
        default:
            return refuse(ENOTTY, "perf events do not know this ioctl");
    }
}

// --------------------------------------------------------------------------------------------------------- links

// Born with its references; file.id and what refers to it are filled in here. event_fd: of the perf event under it.
Result<long> Kernel::State::publish_link(LinkFile file, const ProgramObject& program, u32 event, int event_fd) {
    Birth birth = ANYBPF_TRY(root.begin(ObjectKind::link, sizeof(LinkFile)));
    const u32 id = birth.object.id;
    const Result<> filled = [&]() -> Result<> {
        if (event != 0) {
            const u64 cookie = file.cookie;
            file = ANYBPF_TRY(attach_to_event(event, event_fd, program, cookie, id));
            file.link_type = uapi::link_perf_event;
            file.attach_type = static_cast<u32>(AttachType::perf_event);
            file.attached = 0;
            ANYBPF_TRY(root.refer(birth, "event", {ObjectKind::event, event}));
        }
        file.id = id;
        file.prog_id = program.id;
        file.tree = tree.load();
        file.created_ns = boot_time_ns();
        ANYBPF_TRY(root.refer(birth, "program", {ObjectKind::prog, program.id}));
        return write_link_file(birth.file.get(), file);
    }();
    if (!filled) {
        root.give_up(std::move(birth));
        return tl::make_unexpected(filled.error());
    }
    Fd fd = ANYBPF_TRY(root.publish(std::move(birth)));
    root.move_epoch();
    born();
    return fd.release();
}

Result<long> Kernel::State::link_create(const Attr& attr) {
    const auto in = ANYBPF_TRY(attr.as<uapi::LinkCreate>());
    const auto attach = static_cast<AttachType>(in.attach_type);
    if (attach == AttachType::struct_ops) return refuse(EINVAL, "struct_ops is not supported");
    const auto program = ANYBPF_TRY(program_by_fd(in.prog_fd));
    const Fd program_handle = ANYBPF_TRY(keep(in.prog_fd));
    if (!may_attach(program, attach)) return refuse(EINVAL, "the program's type does not go with the attach type");
    if (attach != AttachType::perf_event)
        return refuse(EOPNOTSUPP, "kprobe.multi and uprobe.multi are not supported yet");
    if (in.flags != 0) return refuse(EINVAL, "unknown flags");
    const auto event = root.identify(static_cast<int>(in.target_fd));
    if (!event || event->kind != ObjectKind::event) return refuse(EBADF, "the target is not a perf event's descriptor");
    const Fd event_handle = ANYBPF_TRY(keep(in.target_fd));
    LinkFile file{};
    file.cookie = in.perf_event_bpf_cookie;
    return attaching.with([&](auto&) { return publish_link(file, program, event->id, event_handle.get()); });
}

Result<long> Kernel::State::link_update(const Attr& attr) {
    const auto in = ANYBPF_TRY(attr.as<uapi::LinkUpdate>());
    if ((in.flags & ~uapi::flag_replace) != 0) return refuse(EINVAL, "unknown flags");
    ANYBPF_TRY(find(in.link_fd, ObjectKind::link));
    ANYBPF_TRY(find(in.new_prog_fd, ObjectKind::prog));
    if ((in.flags & uapi::flag_replace) != 0)
        ANYBPF_TRY(find(in.old_prog_fd, ObjectKind::prog));
    else if (in.old_prog_fd != 0)
        return refuse(EINVAL, "an old program without the flag that asks for it");
    return refuse(EINVAL, "links of this type cannot get another program");
}

Result<long> Kernel::State::link_detach(const Attr& attr) {
    const auto in = ANYBPF_TRY(attr.as<uapi::LinkDetach>());
    ANYBPF_TRY(find(in.link_fd, ObjectKind::link));
    return refuse(EOPNOTSUPP, "links of this type are detached by closing them");
}

Result<long> Kernel::State::raw_tracepoint_open(const Attr& attr) {
    const auto in = ANYBPF_TRY(attr.as<uapi::RawTracepointOpen>());
    const auto program = ANYBPF_TRY(program_by_fd(in.prog_fd));
    const Fd handle = ANYBPF_TRY(keep(in.prog_fd));
    if (program.type != ProgType::raw_tracepoint && program.type != ProgType::raw_tracepoint_writable)
        return refuse(EINVAL, "the program is not for raw tracepoints");
    const auto name = ANYBPF_TRY(read_user_text(in.name, 127));
    const auto id = abi::find_tracepoint("raw_syscalls", name);
    if (!id) return refuse(ENOENT, "there is no raw tracepoint " + name + "; there are sys_enter and sys_exit");
    constexpr u32 arguments = 2;
    if (program.context_bytes > arguments * sizeof(u64))
        return refuse(EINVAL, "the program reads more arguments than the tracepoint has");
    LinkFile file = new_link_file(tree.load());
    file.kind = HookKind::raw_tracepoint;
    file.hook_id = id->v;
    file.link_type = uapi::link_raw_tracepoint;
    file.attach_type = static_cast<u32>(program.expected_attach_type);
    file.cookie = in.cookie;
    set_target(file, name);
    return publish_link(file, program, 0, -1);
}

}  // namespace anybpf::kernel

// SPDX-License-Identifier: Apache-2.0
// Who is there and what it is: walking ids, descriptors by id, OBJ_GET_INFO_BY_FD, pins, TASK_FD_QUERY, fdinfo.
#include <fcntl.h>
#include <sys/stat.h>

#include "anybpf/abi/syscalls.hpp"
#include "state.hpp"

namespace anybpf::kernel {

namespace uapi = abi::uapi;
using isa::Insn;
using isa::Pseudo;

namespace {

std::array<char, abi::name_size> name_field(std::string_view name) {
    std::array<char, abi::name_size> field{};
    name.copy(field.data(), field.size() - 1);
    return field;
}

// As much of a table as the caller has room for; count becomes how much there is.
template <class T>
Result<> give_table(u64 to, u32& room, std::span<const T> table) {
    const std::size_t fits = std::min<std::size_t>(room, table.size());
    room = static_cast<u32>(table.size());
    if (fits != 0 && !copy_to_user(to, std::as_bytes(table.first(fits)))) return fault();
    return {};
}

// bpf_copy_to_user: text with its NUL; cut and ENOSPC where the room is too small.
Result<> give_text(u64 to, u32 room, std::string_view text) {
    if (to == 0) return {};
    const std::size_t fits = std::min<std::size_t>(text.size(), room - 1);
    std::vector<std::byte> bytes(fits + 1);
    std::memcpy(bytes.data(), text.data(), fits);
    if (!copy_to_user(to, bytes)) return fault();
    if (fits < text.size()) return refuse(ENOSPC, "the name does not fit");
    return {};
}

// The caller's structure, of which we know T's size at most; and how it goes back.
template <class T>
Result<T> read_info(const uapi::GetInfo& in, u32& size) {
    ANYBPF_TRY(check_tail_zero(in.info, sizeof(T), in.info_len));
    size = static_cast<u32>(std::min<std::size_t>(in.info_len, sizeof(T)));
    T info{};
    if (!copy_from_user(std::as_writable_bytes(std::span(&info, 1)).first(size), in.info)) return fault();
    return info;
}
template <class T>
Result<long> write_info(const Attr& attr, const uapi::GetInfo& in, const T& info, u32 size) {
    if (!copy_to_user(in.info, std::as_bytes(std::span(&info, 1)).first(size))) return fault();
    ANYBPF_TRY(attr.put(offsetof(uapi::GetInfo, info_len), size));
    return 0;
}

// Map references as the kernel dumps them: src says what, imm is the map's id.
std::vector<Insn> dump(const ProgramObject& program) {
    std::vector<Insn> insns = program.insns;
    for (std::size_t pc = 0; pc + 1 < insns.size(); ++pc) {
        if (insns[pc].code != 0x18) continue;
        const auto pseudo = static_cast<Pseudo>(insns[pc].src);
        if (pseudo == Pseudo::map_idx || pseudo == Pseudo::map_idx_value) {
            const auto index = static_cast<u32>(insns[pc].imm);
            insns[pc].src = static_cast<u8>(pseudo == Pseudo::map_idx ? Pseudo::map_fd : Pseudo::map_value) & 0xf;
            insns[pc].imm = index < program.map_ids.size() ? static_cast<i32>(program.map_ids[index]) : 0;
        }
        ++pc;
    }
    return insns;
}

Result<long> map_info(const Attr& attr, const uapi::GetInfo& in, const maps::Map& map) {
    u32 size = 0;
    const auto asked = ANYBPF_TRY(read_info<uapi::MapInfo>(in, size));
    if (asked.hash != 0 || asked.hash_size != 0) return refuse(EINVAL, "maps have no hash here");
    const auto& spec = map.spec();
    uapi::MapInfo info{};
    info.type = static_cast<u32>(spec.type);
    info.id = map.id();
    info.key_size = spec.key_size;
    info.value_size = spec.value_size;
    info.max_entries = spec.max_entries;
    info.map_flags = spec.flags;
    info.name = spec.name;
    info.btf_id = spec.btf_id;
    info.btf_key_type_id = spec.btf_key_type_id;
    info.btf_value_type_id = spec.btf_value_type_id;
    return write_info(attr, in, info, size);
}

Result<long> prog_info(const Attr& attr, const uapi::GetInfo& in, const ProgramObject& program,
                       std::span<const u32> map_ids) {
    u32 size = 0;
    auto info = ANYBPF_TRY(read_info<uapi::ProgInfo>(in, size));
    const auto wrong = [](u32 count, u32 record, std::size_t ours) {
        return (count != 0 || record != 0) && record != ours;
    };
    if (wrong(info.nr_func_info, info.func_info_rec_size, sizeof(program::FuncInfo)) ||
        wrong(info.nr_line_info, info.line_info_rec_size, sizeof(program::LineInfo)) ||
        wrong(info.nr_jited_line_info, info.jited_line_info_rec_size, sizeof(u64)))
        return refuse(EINVAL, "a record size that is not this kernel's");
    info.func_info_rec_size = sizeof(program::FuncInfo);
    info.line_info_rec_size = sizeof(program::LineInfo);
    info.jited_line_info_rec_size = sizeof(u64);
    info.type = static_cast<u32>(program.type);
    info.id = program.id;
    info.tag = program.tag;
    info.load_time = program.load_time_ns;
    info.created_by_uid = program.uid;
    info.name = name_field(program.name);
    info.ifindex = 0;
    info.gpl_compatible = (program.flags & program_gpl) != 0 ? 1 : 0;
    info.netns_dev = info.netns_ino = 0;
    info.btf_id = program.btf_id;
    info.verified_insns = program.verified_insns;
    info.run_time_ns = info.run_cnt = info.recursion_misses = 0;
    info.attach_btf_obj_id = info.attach_btf_id = 0;
    info.jited_prog_len = info.nr_jited_ksyms = info.nr_jited_func_lens = info.nr_jited_line_info = 0;
    ANYBPF_TRY(give_table(info.map_ids, info.nr_map_ids, map_ids));
    const auto insns = dump(program);
    u32 bytes = info.xlated_prog_len;
    ANYBPF_TRY(give_table(info.xlated_prog_insns, bytes, std::as_bytes(std::span<const Insn>(insns))));
    info.xlated_prog_len = bytes;
    ANYBPF_TRY(give_table(info.func_info, info.nr_func_info, std::span<const program::FuncInfo>(program.func_infos)));
    ANYBPF_TRY(give_table(info.line_info, info.nr_line_info, std::span<const program::LineInfo>(program.line_infos)));
    ANYBPF_TRY(give_table(info.prog_tags, info.nr_prog_tags, std::span<const std::array<u8, 8>>(&program.tag, 1)));
    return write_info(attr, in, info, size);
}

Result<long> btf_info(const Attr& attr, const uapi::GetInfo& in, u32 id, std::span<const std::byte> bytes) {
    u32 size = 0;
    auto info = ANYBPF_TRY(read_info<uapi::BtfInfo>(in, size));
    info.id = id;
    info.kernel_btf = 0;
    ANYBPF_TRY(give_table(info.btf, info.btf_size, bytes));
    if ((info.name == 0) != (info.name_len == 0)) return refuse(EINVAL, "a name's buffer and size do not go together");
    const u32 room = info.name_len;
    info.name_len = 0;
    ANYBPF_TRY(give_text(info.name, room, ""));
    return write_info(attr, in, info, size);
}

Result<long> link_info(const Attr& attr, const uapi::GetInfo& in, const Attachment& link) {
    u32 size = 0;
    auto info = ANYBPF_TRY(read_info<uapi::LinkInfo>(in, size));
    info.type = link.link_type;
    info.id = link.link_id;
    info.prog_id = link.prog_id;
    if (link.link_type == uapi::link_raw_tracepoint) {
        auto& tracepoint = info.raw_tracepoint;
        if ((tracepoint.tp_name == 0) != (tracepoint.tp_name_len == 0))
            return refuse(EINVAL, "a name's buffer and size do not go together");
        const u32 room = tracepoint.tp_name_len;
        tracepoint.tp_name_len = static_cast<u32>(link.target.size() + 1);
        tracepoint.cookie = link.cookie;
        ANYBPF_TRY(give_text(tracepoint.tp_name, room, link.target));
    } else {
        auto& event = info.perf_event;
        if ((event.name == 0) != (event.name_len == 0))
            return refuse(EINVAL, "a name's buffer and size do not go together");
        const bool probe = link.kind == HookKind::syscall_entry || link.kind == HookKind::syscall_return;
        // The name alone, as the kernel tells it: "sys_enter_openat" of "syscalls:sys_enter_openat".
        const std::string name = probe ? link.target : link.target.substr(link.target.find(':') + 1);
        const u32 room = event.name_len;
        event.name_len = static_cast<u32>(name.size() + 1);
        if (probe) {
            event.type = link.kind == HookKind::syscall_entry ? uapi::perf_kprobe : uapi::perf_kretprobe;
            event.offset = 0;
            event.cookie_or_addr = abi::kernel_address(link.hook_id);
            event.missed = 0;
            event.kprobe_cookie = link.cookie;
        } else {
            event.type = uapi::perf_tracepoint;
            event.cookie_or_addr = link.cookie;
        }
        ANYBPF_TRY(give_text(event.name, room, name));
    }
    return write_info(attr, in, info, size);
}

}  // namespace

Result<long> Kernel::State::next_id(const Attr& attr, ObjectKind kind) {
    const auto in = ANYBPF_TRY(attr.as<uapi::GetId>(uapi::GetId::used_by_next));
    if (in.id >= 0x7fffffff) return refuse(EINVAL, "no such id");
    u32 id = in.id;
    do {
        id = root.next_id(kind, id);
        if (id == 0) return refuse(ENOENT, "no further object");
    } while (root.collect({kind, id}) || !root.alive({kind, id}));
    ANYBPF_TRY(attr.put(offsetof(uapi::GetId, next_id), id));
    return 0;
}

Result<long> Kernel::State::fd_by_id(const Attr& attr, ObjectKind kind) {
    const u32 used = kind == ObjectKind::map   ? uapi::GetId::used_by_map
                     : kind == ObjectKind::btf ? uapi::GetId::used_by_btf
                                               : uapi::GetId::used_by_prog;
    const auto in = ANYBPF_TRY(attr.as<uapi::GetId>(used));
    int access = kind == ObjectKind::prog || kind == ObjectKind::btf ? O_RDONLY : O_RDWR;
    if (kind == ObjectKind::map) {
        const u32 both = abi::map_rdonly | abi::map_wronly;
        if ((in.open_flags & ~both) != 0 || (in.open_flags & both) == both) return refuse(EINVAL, "unknown open flags");
        if ((in.open_flags & abi::map_rdonly) != 0) access = O_RDONLY;
        if ((in.open_flags & abi::map_wronly) != 0) access = O_WRONLY;
    }
    if (kind == ObjectKind::btf && (in.open_flags != 0 || in.fd_by_id_token_fd != 0))
        return refuse(EINVAL, "tokens are not supported");
    if (in.id == 0 || !root.contains({kind, in.id})) return refuse(ENOENT, "there is no object of this id");
    Fd file = ANYBPF_TRY(root.hold({kind, in.id}, access));
    return file.release();
}

std::vector<u32> Kernel::State::used_maps(const ProgramObject& program) {
    std::vector<u32> ids = program.map_ids;
    for (const u32 bound : root.maps_of(program.id))
        if (std::find(ids.begin(), ids.end(), bound) == ids.end()) ids.push_back(bound);
    return ids;
}

Result<long> Kernel::State::get_info(const Attr& attr) {
    const auto in = ANYBPF_TRY(attr.as<uapi::GetInfo>());
    const int fd = static_cast<int>(in.bpf_fd);
    if (::fcntl(fd, F_GETFD) < 0) return refuse(EBADFD, "the descriptor is not open");
    const auto object = root.identify(fd);
    if (!object) return refuse(EINVAL, "the descriptor is not of a BPF object");
    switch (object->kind) {
        case ObjectKind::map: {
            const auto mapped = ANYBPF_TRY(map_by_id(object->id));
            return map_info(attr, in, *mapped->map);
        }
        case ObjectKind::prog: {
            const auto program = ANYBPF_TRY(root.open_program(object->id));
            return prog_info(attr, in, program, used_maps(program));
        }
        case ObjectKind::btf: {
            const auto bytes = ANYBPF_TRY(root.read_btf(object->id));
            return btf_info(attr, in, object->id, bytes);
        }
        case ObjectKind::link:
            return link_info(attr, in, ANYBPF_TRY(root.open_link(object->id)));
        case ObjectKind::event:
            break;
    }
    return refuse(EINVAL, "the descriptor is not of a BPF object");
}

// ---------------------------------------------------------------------------------------------------------- pins

Result<long> Kernel::State::obj_pin(const Attr& attr) {
    const auto in = ANYBPF_TRY(attr.as<uapi::Object>());
    if (in.file_flags != 0 || in.path_fd != 0) return refuse(EINVAL, "unknown flags");
    const auto object = root.identify(static_cast<int>(in.bpf_fd));
    if (!object || object->kind == ObjectKind::btf || object->kind == ObjectKind::event)
        return refuse(EINVAL, "only maps, programs and links can be pinned");
    const Fd handle = ANYBPF_TRY(keep(in.bpf_fd));
    const auto path = ANYBPF_TRY(read_user_text(in.pathname, 4096));
    const auto place = root.pin_path(path);
    if (!place) return refuse(EPERM, path + " is not in /sys/fs/bpf");
    ANYBPF_TRY(root.pin(*object, *place));
    return 0;
}

Result<long> Kernel::State::obj_get(const Attr& attr) {
    const auto in = ANYBPF_TRY(attr.as<uapi::Object>());
    const u32 both = abi::map_rdonly | abi::map_wronly;
    if (in.bpf_fd != 0 || (in.file_flags & ~both) != 0 || (in.file_flags & both) == both || in.path_fd != 0)
        return refuse(EINVAL, "unknown flags");
    const auto path = ANYBPF_TRY(read_user_text(in.pathname, 4096));
    const auto place = root.pin_path(path);
    struct stat info;
    if (!place) return refuse(::stat(path.c_str(), &info) != 0 ? errno : EACCES, path + " is not in /sys/fs/bpf");
    int access = O_RDWR;
    if ((in.file_flags & abi::map_rdonly) != 0) access = O_RDONLY;
    if ((in.file_flags & abi::map_wronly) != 0) access = O_WRONLY;
    if (::stat(place->c_str(), &info) == 0 && !S_ISREG(info.st_mode)) return refuse(EACCES, path + " is not an object");
    Fd file = ANYBPF_TRY(root.hold_path(*place, access));
    const auto object = root.identify(file.get());
    if (!object) return refuse(EACCES, path + " is not an object");
    if (object->kind != ObjectKind::map && access != O_RDWR)
        return refuse(EINVAL, "only maps can be opened for less than both");
    return file.release();
}

// ----------------------------------------------------------------------------------------- descriptors of others

Result<long> Kernel::State::task_fd_query(const Attr& attr) {
    const auto in = ANYBPF_TRY(attr.as<uapi::TaskFdQuery>());
    if (in.flags != 0) return refuse(EINVAL, "unknown flags");
    const std::string path = "/proc/" + std::to_string(in.pid) + "/fd/" + std::to_string(in.fd);
    struct stat info;
    if (::stat(("/proc/" + std::to_string(in.pid)).c_str(), &info) != 0)
        return refuse(ENOENT, "there is no such process");
    if (::stat(path.c_str(), &info) != 0) return refuse(EBADF, "the process has no such descriptor");
    // Opened only where it is a file that could be ours: opening anything else might do something.
    if (info.st_dev != root.device() || !S_ISREG(info.st_mode))
        return refuse(not_supported, "the descriptor has no BPF program");
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    const auto object = file.valid() ? root.identify(file.get()) : std::nullopt;
    if (!object || (object->kind != ObjectKind::link && object->kind != ObjectKind::event))
        return refuse(not_supported, "the descriptor has no BPF program");
    const auto link = object->kind == ObjectKind::link ? root.open_link(object->id) : root.open_event(object->id);
    if (!link || link->prog_id == 0) return refuse(not_supported, "the descriptor has no BPF program");
    const bool probe = link->kind == HookKind::syscall_entry || link->kind == HookKind::syscall_return;
    u32 type = uapi::fd_tracepoint;
    if (link->kind == HookKind::raw_tracepoint) type = uapi::fd_raw_tracepoint;
    if (probe) type = link->kind == HookKind::syscall_entry ? uapi::fd_kprobe : uapi::fd_kretprobe;
    const std::string name =
        type == uapi::fd_tracepoint ? link->target.substr(link->target.find(':') + 1) : link->target;
    ANYBPF_TRY(attr.put(offsetof(uapi::TaskFdQuery, buf_len), static_cast<u32>(name.size())));
    const auto given = in.buf_len != 0 ? give_text(in.buf, in.buf_len, name) : Result<>{};
    if (!given && given.error().sys_errno != ENOSPC) return tl::make_unexpected(given.error());
    ANYBPF_TRY(attr.put(offsetof(uapi::TaskFdQuery, prog_id), link->prog_id));
    ANYBPF_TRY(attr.put(offsetof(uapi::TaskFdQuery, fd_type), type));
    ANYBPF_TRY(attr.put(offsetof(uapi::TaskFdQuery, probe_offset), u64{0}));
    ANYBPF_TRY(attr.put(offsetof(uapi::TaskFdQuery, probe_addr), probe ? abi::kernel_address(link->hook_id) : 0));
    if (!given) return tl::make_unexpected(given.error());
    return 0;
}

std::string Kernel::State::fdinfo(ObjectId object) {
    std::string text;
    const auto line = [&](std::string_view name, const std::string& value) {
        text += name;
        text += ":\t";
        text += value;
        text += '\n';
    };
    const auto hex = [](u64 value) {
        constexpr std::string_view digits = "0123456789abcdef";
        std::string result;
        do result.insert(result.begin(), digits[value % 16]);
        while ((value /= 16) != 0);
        return "0x" + result;
    };
    const auto bytes = [&](ObjectId of) {
        struct stat info{};
        return ::stat(root.file_of(of).c_str(), &info) == 0 ? std::to_string(info.st_size) : "0";
    };
    if (object.kind == ObjectKind::map) {
        const auto mapped = map_by_id(object.id);
        if (!mapped) return {};
        const auto& spec = (*mapped)->map->spec();
        line("map_type", std::to_string(static_cast<u32>(spec.type)));
        line("key_size", std::to_string(spec.key_size));
        line("value_size", std::to_string(spec.value_size));
        line("max_entries", std::to_string(spec.max_entries));
        line("map_flags", hex(spec.flags));
        line("map_extra", "0x0");
        line("memlock", bytes(object));
        line("map_id", std::to_string(object.id));
        line("frozen", (*mapped)->map->frozen() ? "1" : "0");
    } else if (object.kind == ObjectKind::prog) {
        const auto program = root.open_program(object.id);
        if (!program) return {};
        std::string tag;
        for (const u8 byte : program->tag) tag += hex(0x100U | byte).substr(3);
        line("prog_type", std::to_string(static_cast<u32>(program->type)));
        line("prog_jited", "0");
        line("prog_tag", tag);
        line("memlock", bytes(object));
        line("prog_id", std::to_string(object.id));
        line("run_time_ns", "0");
        line("run_cnt", "0");
        line("recursion_misses", "0");
        line("verified_insns", std::to_string(program->verified_insns));
    } else if (object.kind == ObjectKind::link) {
        const auto link = root.open_link(object.id);
        if (!link) return {};
        line("link_type", link->link_type == uapi::link_raw_tracepoint ? "raw_tracepoint" : "perf_event");
        line("link_id", std::to_string(object.id));
        line("prog_id", std::to_string(link->prog_id));
    } else if (object.kind == ObjectKind::btf) {
        line("btf_id", std::to_string(object.id));
    }
    return text;
}

}  // namespace anybpf::kernel

// SPDX-License-Identifier: Apache-2.0
// MAP_*: creating maps, and their elements as bpf(2) reads and writes them. The order of checks is the kernel's
// (kernel/bpf/syscall.c), because callers probe for features by errno.
#include <fcntl.h>

#include "state.hpp"

namespace anybpf::kernel {

namespace uapi = abi::uapi;
using abi::MapType;

namespace {

bool holds_objects(MapType type) { return type == MapType::prog_array || type == MapType::perf_event_array; }

bool is_int32(const btf::Btf& btf, u32 id) {
    const auto type = btf.type(btf.skip_modifiers(id));
    return type.kind == btf::Kind::int_ && type.size_or_type == 4 && btf.int_info(type).bits == 32 &&
           btf.int_info(type).offset == 0;
}

// map_check_btf() and the map types' own.
Result<> check_types(const btf::Btf& btf, const maps::Spec& spec) {
    const auto size_is = [&](u32 id, u32 wanted) { return btf.contains(id) && btf.size(id) == wanted; };
    const bool array = spec.type == MapType::array || spec.type == MapType::percpu_array;
    if (spec.btf_key_type_id != 0) {
        if (!size_is(spec.btf_key_type_id, spec.key_size))
            return refuse(EINVAL, "the key's BTF type has another size than the key");
    } else if (!array) {
        return refuse(EINVAL, "a map of this type needs a key type");
    }
    if (!size_is(spec.btf_value_type_id, spec.value_size))
        return refuse(EINVAL, "the value's BTF type has another size than the value");
    if (spec.type == MapType::perf_event_array || spec.type == MapType::ringbuf)
        return refuse(not_supported, "maps of this type have no BTF types");
    if (!array) return {};
    if (spec.btf_key_type_id == 0) {
        if (spec.type != MapType::array || spec.max_entries != 1 ||
            btf.type(spec.btf_value_type_id).kind != btf::Kind::datasec)
            return refuse(EINVAL, "only an array that is a data section has no key type");
        return {};
    }
    if (!is_int32(btf, spec.btf_key_type_id)) return refuse(EINVAL, "an array's key type is a 32-bit integer");
    return {};
}

// What a descriptor's open mode and the map's freezing leave: FMODE_CAN_READ, FMODE_CAN_WRITE.
bool can_read(int fd) { return (::fcntl(fd, F_GETFL) & O_ACCMODE) != O_WRONLY; }
bool can_write(int fd, const maps::Map& map) { return (::fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY && !map.frozen(); }

// __bpf_copy_key: a map without keys (a ring buffer) takes none.
Result<std::vector<std::byte>> read_key(const maps::Map& map, u64 key) {
    const u32 size = map.spec().key_size;
    if (size == 0 && key != 0) return refuse(EINVAL, "the map has no keys");
    return read_user_table<std::byte>(key, size);
}

Result<> outcome_of(int error, std::string_view what) {
    if (error == 0) return {};
    return refuse(-error, std::string(what));
}

Result<> lookup(const MappedMap& mapped, maps::VcpuTable vcpus, std::span<const std::byte> key,
                std::span<std::byte> value) {
    if (mapped.map->spec().type == MapType::ringbuf) return refuse(not_supported, "a ring buffer has no elements");
    const VirtualCpu cpu(vcpus, mapped.map.get());
    if (!cpu.valid()) return refuse(EBUSY, "all virtual CPUs are taken");
    return outcome_of(mapped.map->copy_out(key.data(), value, cpu.slot()), "looking up an element");
}

}  // namespace

Result<long> Kernel::State::map_create(const Attr& attr) {
    const auto in = ANYBPF_TRY(attr.as<uapi::MapCreate>());
    const u32 flags = in.map_flags & ~uapi::flag_token_fd;
    const bool outline = judging && !maps::provides(static_cast<MapType>(in.map_type));
    if ((in.btf_vmlinux_value_type_id != 0 && !outline) || (in.btf_key_type_id != 0 && in.btf_value_type_id == 0))
        return refuse(EINVAL, "the BTF types of a map's key and value do not go together");
    const auto type = static_cast<MapType>(in.map_type);
    if (type != MapType::bloom_filter && type != MapType::arena && in.map_extra != 0)
        return refuse(EINVAL, "map_extra is not for this map type");
    if ((flags & abi::map_rdonly) != 0 && (flags & abi::map_wronly) != 0)
        return refuse(EINVAL, "a map that can be neither read nor written");
    if ((flags & uapi::flag_numa_node) != 0 && in.numa_node != 0) return refuse(EINVAL, "there is only memory node 0");
    const maps::Spec spec{.type = type,
                          .key_size = in.key_size,
                          .value_size = in.value_size,
                          .max_entries = in.max_entries,
                          .flags = flags,
                          .name = in.map_name,
                          .btf_key_type_id = in.btf_key_type_id,
                          .btf_value_type_id = in.btf_value_type_id,
                          .outline = outline};
    const auto vcpus = ANYBPF_TRY(root.vcpus());
    const std::size_t size = ANYBPF_TRY(maps::Map::file_size(spec, vcpus.count()));
    if (in.map_ifindex != 0 || (in.map_flags & uapi::flag_token_fd) != 0 ||
        ((in.map_flags & uapi::flag_vtype_btf_obj_fd) != 0 && !outline) || in.excl_prog_hash != 0 ||
        in.excl_prog_hash_size != 0)
        return refuse(EINVAL, "maps of devices, tokens and other objects' types are not supported");
    if (!name_is_good(in.map_name))
        return refuse(EINVAL, "the map's name has other characters than letters, digits, '_' and '.'");
    maps::Spec made = spec;
    Fd btf_handle;
    if (in.btf_value_type_id != 0 || in.btf_key_type_id != 0) {
        made.btf_id = ANYBPF_TRY(find(in.btf_fd, ObjectKind::btf));
        btf_handle = ANYBPF_TRY(keep(in.btf_fd));
        const auto types = ANYBPF_TRY(btf_by_id(made.btf_id));
        if (!outline) ANYBPF_TRY(check_types(*types, made));
    }
    std::shared_ptr<const program::MapInfo> inside;
    if (outline && (type == MapType::array_of_maps || type == MapType::hash_of_maps)) {
        const auto mapped = ANYBPF_TRY(map_by_fd(in.inner_map_fd));
        inside = std::make_shared<const program::MapInfo>(ANYBPF_TRY(describe(*mapped->map)));
    }

    Birth birth = ANYBPF_TRY(root.begin(ObjectKind::map, size));
    const ObjectId object = birth.object;
    {
        const auto memory = ANYBPF_TRY(Mapping::shared(birth.file.get(), size, Access::read_write));
        ANYBPF_TRY(maps::Map::format(memory.bytes(), made, object.id, vcpus.count()));
    }
    Fd file = ANYBPF_TRY(root.publish(std::move(birth)));
    if (made.btf_id != 0)
        ANYBPF_TRY(root.link_beside("map-" + std::to_string(object.id) + ".btf", {ObjectKind::btf, made.btf_id}));
    if (type == MapType::ringbuf) ANYBPF_TRY(root.make_wake(object));
    if (inside != nullptr) inner.with([&](auto& table) { table[object.id] = std::move(inside); });
    // The descriptor may do less than the file.
    if ((flags & (abi::map_rdonly | abi::map_wronly)) != 0) {
        const int access = (flags & abi::map_rdonly) != 0 ? O_RDONLY : O_WRONLY;
        Fd narrow = ANYBPF_TRY(root.hold(object, access));
        file = std::move(narrow);
    }
    born();
    return file.release();
}

Result<program::MapInfo> Kernel::State::describe(const maps::Map& map) {
    const auto& spec = map.spec();
    program::MapInfo info{.id = map.id(),
                          .type = spec.type,
                          .key_size = spec.key_size,
                          .value_size = spec.value_size,
                          .max_entries = spec.max_entries,
                          .flags = spec.flags,
                          .name = std::string(spec.name.data(), ::strnlen(spec.name.data(), spec.name.size())),
                          .frozen = {},
                          .btf_key_type_id = spec.btf_key_type_id,
                          .btf_value_type_id = spec.btf_value_type_id};
    if (spec.btf_id != 0) info.btf = ANYBPF_TRY(btf_by_id(spec.btf_id));
    inner.with([&](const auto& table) {
        if (const auto at = table.find(map.id()); at != table.end()) info.inner = at->second;
    });
    return info;
}

// ------------------------------------------------------------------------------------------------ one element

Result<> Kernel::State::update_element(const MappedMap& mapped, std::span<const std::byte> key,
                                       std::span<const std::byte> value, u64 flags) {
    maps::Map& map = *mapped.map;
    const auto type = map.spec().type;
    if (type == MapType::ringbuf) return refuse(not_supported, "a ring buffer has no elements");
    const VirtualCpu cpu(ANYBPF_TRY(root.vcpus()), &map);
    if (!cpu.valid()) return refuse(EBUSY, "all virtual CPUs are taken");
    if (!holds_objects(type))
        return outcome_of(map.copy_in(key.data(), value, flags, cpu.slot()), "updating an element");

    u32 index, fd;
    std::memcpy(&index, key.data(), sizeof(index));
    std::memcpy(&fd, value.data(), sizeof(fd));
    if (flags != abi::update_any) return refuse(EINVAL, "an array of objects takes no update flags");
    if (index >= map.spec().max_entries) return refuse(E2BIG, "the index is not in the array");
    if (type == MapType::perf_event_array) {
        const auto object = root.identify(static_cast<int>(fd));
        if (!object || object->kind != ObjectKind::event)
            return refuse(EBADF, "the value is not a perf event's descriptor");
        const u32 id = object->id;
        ANYBPF_TRY(outcome_of(map.copy_in(key.data(), std::as_bytes(std::span(&id, 1)), flags, cpu.slot()),
                              "updating an element"));
        root.move_epoch();
        return {};
    }
    const Fd handle = ANYBPF_TRY(keep(fd));
    const auto program = ANYBPF_TRY(program_by_fd(fd));
    return put_program(map, index, &program, cpu.slot());
}

// All programs of a PROG_ARRAY are alike: the first one, in it or using it, decides (bpf_prog_map_compatible).
Result<> Kernel::State::check_compatible(u32 map, abi::ProgType type) {
    std::optional<u32> first;
    if (const auto inside = root.programs_in(map); !inside.empty()) first = inside.front();
    for (const u32 program : root.ids(ObjectKind::prog))
        if (!first && root.uses(program, map)) first = program;
    if (!first) return {};
    const auto owner = root.open_program(*first);
    if (owner && owner->type != type)
        return refuse(EINVAL, "the program array is for programs of type " + std::string(abi::to_string(owner->type)));
    return {};
}

// The entry and the array's reference to the program move together under the lock of the references' directory.
// Killed in between, a reference may outlive its entry until the array goes; never the other way round.
Result<> Kernel::State::put_program(maps::Map& map, u32 index, const ProgramObject* program, u32 slot) {
    if (program != nullptr) ANYBPF_TRY(check_compatible(map.id(), program->type));
    const std::string references = "map-" + std::to_string(map.id()) + ".progs";
    const Fd lock = ANYBPF_TRY(root.lock_beside(references));
    if (program != nullptr)
        ANYBPF_TRY(root.link_beside(references + "/" + std::to_string(program->id), {ObjectKind::prog, program->id}));
    u32 before = 0;
    map.copy_out(&index, std::as_writable_bytes(std::span(&before, 1)), slot);
    if (program != nullptr)
        ANYBPF_TRY(outcome_of(map.copy_in(&index, std::as_bytes(std::span(&program->id, 1)), abi::update_any, slot),
                              "updating an element"));
    else
        ANYBPF_TRY(outcome_of(map.erase(&index, slot), "deleting an element"));
    bool elsewhere = before == 0 || (program != nullptr && before == program->id);
    for (u32 i = 0; i < map.spec().max_entries && !elsewhere; ++i) {
        u32 there = 0;
        map.copy_out(&i, std::as_writable_bytes(std::span(&there, 1)), slot);
        elsewhere = there == before;
    }
    if (!elsewhere) root.unlink_beside(references + "/" + std::to_string(before));
    root.move_epoch();
    return {};
}

Result<> Kernel::State::delete_element(const MappedMap& mapped, std::span<const std::byte> key) {
    maps::Map& map = *mapped.map;
    const auto type = map.spec().type;
    if (type == MapType::ringbuf) return refuse(not_supported, "a ring buffer has no elements");
    const VirtualCpu cpu(ANYBPF_TRY(root.vcpus()), &map);
    if (!cpu.valid()) return refuse(EBUSY, "all virtual CPUs are taken");
    if (type == MapType::prog_array) {
        u32 index;
        std::memcpy(&index, key.data(), sizeof(index));
        if (index >= map.spec().max_entries) return refuse(E2BIG, "the index is not in the array");
        return put_program(map, index, nullptr, cpu.slot());
    }
    ANYBPF_TRY(outcome_of(map.erase(key.data(), cpu.slot()), "deleting an element"));
    if (type == MapType::perf_event_array) root.move_epoch();
    return {};
}

// --------------------------------------------------------------------------------------------------- commands

Result<long> Kernel::State::map_lookup(const Attr& attr) {
    const auto in = ANYBPF_TRY(attr.as<uapi::MapElement>());
    if ((in.flags & ~uapi::flag_lock) != 0) return refuse(EINVAL, "unknown flags");
    const auto mapped = ANYBPF_TRY(map_by_fd(in.map_fd));
    if (!can_read(static_cast<int>(in.map_fd))) return refuse(EPERM, "the descriptor is write-only");
    if (in.flags != 0) return refuse(EINVAL, "the map's values have no spin lock");
    const auto key = ANYBPF_TRY(read_key(*mapped->map, in.key));
    std::vector<std::byte> value(mapped->map->syscall_value_size());
    const auto vcpus = ANYBPF_TRY(root.vcpus());
    ANYBPF_TRY(lookup(*mapped, vcpus, key, value));
    if (!copy_to_user(in.value, value)) return fault();
    return 0;
}

Result<long> Kernel::State::map_update(const Attr& attr) {
    const auto in = ANYBPF_TRY(attr.as<uapi::MapElement>());
    const auto mapped = ANYBPF_TRY(map_by_fd(in.map_fd));
    if (!can_write(static_cast<int>(in.map_fd), *mapped->map))
        return refuse(EPERM, "the map is frozen or the descriptor read-only");
    if ((in.flags & uapi::flag_lock) != 0) return refuse(EINVAL, "the map's values have no spin lock");
    const auto key = ANYBPF_TRY(read_key(*mapped->map, in.key));
    const auto value = ANYBPF_TRY(read_user_table<std::byte>(in.value, mapped->map->syscall_value_size()));
    ANYBPF_TRY(update_element(*mapped, key, value, in.flags));
    return 0;
}

Result<long> Kernel::State::map_delete(const Attr& attr) {
    const auto in = ANYBPF_TRY(attr.as<uapi::MapElement>(uapi::MapElement::used_by_delete));
    const auto mapped = ANYBPF_TRY(map_by_fd(in.map_fd));
    if (!can_write(static_cast<int>(in.map_fd), *mapped->map))
        return refuse(EPERM, "the map is frozen or the descriptor read-only");
    const auto key = ANYBPF_TRY(read_key(*mapped->map, in.key));
    ANYBPF_TRY(delete_element(*mapped, key));
    return 0;
}

Result<long> Kernel::State::map_next_key(const Attr& attr) {
    const auto in = ANYBPF_TRY(attr.as<uapi::MapElement>(uapi::MapElement::used_by_next_key));
    const auto mapped = ANYBPF_TRY(map_by_fd(in.map_fd));
    if (!can_read(static_cast<int>(in.map_fd))) return refuse(EPERM, "the descriptor is write-only");
    std::vector<std::byte> key, next(mapped->map->spec().key_size);
    if (in.key != 0) key = ANYBPF_TRY(read_key(*mapped->map, in.key));
    if (mapped->map->spec().type == MapType::ringbuf) return refuse(not_supported, "a ring buffer has no elements");
    ANYBPF_TRY(outcome_of(mapped->map->next_key(in.key != 0 ? key.data() : nullptr, next.data()), "no further key"));
    if (!copy_to_user(in.value, next)) return fault();
    return 0;
}

Result<long> Kernel::State::map_lookup_and_delete(const Attr& attr) {
    const auto in = ANYBPF_TRY(attr.as<uapi::MapElement>());
    if ((in.flags & ~uapi::flag_lock) != 0) return refuse(EINVAL, "unknown flags");
    const auto mapped = ANYBPF_TRY(map_by_fd(in.map_fd));
    const int fd = static_cast<int>(in.map_fd);
    if (!can_read(fd) || !can_write(fd, *mapped->map))
        return refuse(EPERM, "the map is frozen or the descriptor cannot do both");
    if (in.flags != 0) return refuse(EINVAL, "the map's values have no spin lock");
    const auto key = ANYBPF_TRY(read_key(*mapped->map, in.key));
    const auto type = mapped->map->spec().type;
    if (type != MapType::hash && type != MapType::percpu_hash)
        return refuse(not_supported, "not for maps of this type");
    // Not atomic: an update between the two is lost, where the kernel would have waited at the bucket's lock.
    std::vector<std::byte> value(mapped->map->syscall_value_size());
    const auto vcpus = ANYBPF_TRY(root.vcpus());
    ANYBPF_TRY(lookup(*mapped, vcpus, key, value));
    ANYBPF_TRY(delete_element(*mapped, key));
    if (!copy_to_user(in.value, value)) return fault();
    return 0;
}

Result<long> Kernel::State::map_freeze(const Attr& attr) {
    const auto in = ANYBPF_TRY(attr.as<uapi::MapFreeze>());
    const auto mapped = ANYBPF_TRY(map_by_fd(in.map_fd));
    if (!can_write(static_cast<int>(in.map_fd), *mapped->map))
        return refuse(EPERM, "the map is frozen or the descriptor read-only");
    mapped->map->freeze();
    return 0;
}

// The batch token of a hash is the key where the walk goes on; callers give it room for the key (or 4 bytes).
Result<long> Kernel::State::map_batch(const Attr& attr, uapi::Command command) {
    const auto in = ANYBPF_TRY(attr.as<uapi::MapBatch>());
    const auto mapped = ANYBPF_TRY(map_by_fd(in.map_fd));
    maps::Map& map = *mapped->map;
    const int fd = static_cast<int>(in.map_fd);
    const bool reads =
        command == uapi::Command::map_lookup_batch || command == uapi::Command::map_lookup_and_delete_batch;
    const bool writes = command != uapi::Command::map_lookup_batch;
    if ((reads && !can_read(fd)) || (writes && !can_write(fd, map)))
        return refuse(EPERM, "the descriptor does not allow it");
    const auto type = map.spec().type;
    const bool hash = type == MapType::hash || type == MapType::percpu_hash;
    const bool array = type == MapType::array || type == MapType::percpu_array;
    if (!hash && !(array && (command == uapi::Command::map_lookup_batch || command == uapi::Command::map_update_batch)))
        return refuse(not_supported, "no batches for maps of this type");
    if (in.elem_flags != 0 || in.flags != 0) return refuse(EINVAL, "unknown flags");
    const std::size_t key_size = map.spec().key_size, value_size = map.syscall_value_size();
    if (in.count == 0) return 0;
    const auto vcpus = ANYBPF_TRY(root.vcpus());
    const std::size_t count_at = offsetof(uapi::MapBatch, count);
    std::vector<std::byte> key(key_size), value(value_size);

    if (!reads) {
        u32 done = 0;
        Result<> outcome;
        for (; done < in.count && outcome; ++done) {
            if (!copy_from_user(key, in.keys + done * key_size)) outcome = fault();
            if (outcome && command == uapi::Command::map_delete_batch) {
                outcome = delete_element(*mapped, key);
            } else if (outcome) {
                outcome = copy_from_user(value, in.values + done * value_size)
                              ? update_element(*mapped, key, value, in.elem_flags)
                              : fault();
            }
            if (!outcome) break;
        }
        ANYBPF_TRY(attr.put(count_at, done));
        if (!outcome) return tl::make_unexpected(std::move(outcome).error());
        return 0;
    }

    ANYBPF_TRY(attr.put(count_at, u32{0}));
    std::vector<std::byte> at(key_size);
    if (in.in_batch != 0 && !copy_from_user(at, in.in_batch)) return fault();
    bool more = map.next_key(in.in_batch != 0 ? at.data() : nullptr, key.data()) == 0;
    u32 done = 0;
    std::vector<std::vector<std::byte>> taken;
    while (more && done < in.count) {
        if (const auto found = lookup(*mapped, vcpus, key, value); found) {
            if (!copy_to_user(in.keys + done * key_size, key) || !copy_to_user(in.values + done * value_size, value))
                return fault();
            if (command == uapi::Command::map_lookup_and_delete_batch) taken.push_back(key);
            ++done;
        }
        at = key;
        more = map.next_key(at.data(), key.data()) == 0;
    }
    if (done != 0 && !copy_to_user(in.out_batch, at)) return fault();
    for (const auto& gone : taken) (void)delete_element(*mapped, gone);
    ANYBPF_TRY(attr.put(count_at, done));
    if (!more) return refuse(ENOENT, "the end of the map");
    return 0;
}

}  // namespace anybpf::kernel

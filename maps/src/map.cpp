// SPDX-License-Identifier: Apache-2.0
// The header that every map file ends with, and the choice of type.
#include "anybpf/maps/map.hpp"

#include <cerrno>

#include "shared_raw.hpp"
#include "types.hpp"

namespace anybpf::maps {

namespace {
// Beyond this no machine's tmpfs follows; the kernel's own allocation fails there with the same errno.
constexpr u64 max_file_size = u64{1} << 36;

Result<u64> body_bytes(const Spec& spec, u32 vcpus) {
    if (vcpus == 0 || vcpus > VcpuTable::max_slots)
        return refuse("a map needs between 1 and 4095 virtual CPUs", EINVAL);
    constexpr u32 max_outline = 1U << 26;
    if (spec.outline && (spec.key_size > max_outline || spec.value_size > max_outline))
        return refuse("keys and values of a map have at most 64 MiB", E2BIG);
    if (spec.outline) return 0;
    if (!access_is_sound(spec.flags)) return refuse("map flags forbid reading and writing at once", EINVAL);
    switch (static_cast<u32>(spec.type)) {
        case static_cast<u32>(abi::MapType::array):
            return array_bytes(spec, vcpus);
        case static_cast<u32>(abi::MapType::percpu_array):
            return percpu_array_bytes(spec, vcpus);
        case static_cast<u32>(abi::MapType::prog_array):
        case static_cast<u32>(abi::MapType::perf_event_array):
            return object_array_bytes(spec, vcpus);
        case static_cast<u32>(abi::MapType::hash):
        case static_cast<u32>(abi::MapType::percpu_hash):
            return hash_bytes(spec, vcpus);
        case static_cast<u32>(abi::MapType::ringbuf):
            return ringbuf_bytes(spec, vcpus);
        default:
            return refuse("map type " + std::to_string(static_cast<u32>(spec.type)) + " is not supported", EINVAL);
    }
}

bool is_percpu(abi::MapType type) { return type == abi::MapType::percpu_array || type == abi::MapType::percpu_hash; }
}  // namespace

bool provides(abi::MapType type) {
    using enum abi::MapType;
    return type == array || type == percpu_array || type == prog_array || type == perf_event_array || type == hash ||
           type == percpu_hash || type == ringbuf;
}

tl::unexpected<Error> refuse(std::string message, int error) {
    const auto code = error == EINVAL ? Errc::invalid_argument : Errc::too_big;
    return fail(code, std::move(message), error);
}

Result<std::size_t> Map::file_size(const Spec& spec, u32 vcpus) {
    const u64 size = add(round_up(ANYBPF_TRY(body_bytes(spec, vcpus)), page_size), page_size);
    if (size > max_file_size)
        return refuse("a map of " + std::to_string(spec.max_entries) + " entries of this size is too large", ENOMEM);
    return size;
}

Result<> Map::format(std::span<std::byte> memory, const Spec& spec, u32 id, u32 vcpus) {
    const auto size = ANYBPF_TRY(file_size(spec, vcpus));
    if (memory.size() != size)
        return fail(Errc::invalid_argument, "a map's memory has " + std::to_string(memory.size()) +
                                                " bytes in place of " + std::to_string(size));
    if (!spec.outline && (spec.type == abi::MapType::hash || spec.type == abi::MapType::percpu_hash))
        format_hash(memory, spec, vcpus);
    auto* header = overlay<MapHeader>(memory, size - page_size);
    header->version = map_version;
    header->outline = spec.outline ? 1 : 0;
    header->id = id;
    header->type = static_cast<u32>(spec.type);
    header->key_size = spec.key_size;
    header->value_size = spec.value_size;
    header->max_entries = spec.max_entries;
    header->flags = spec.flags;
    header->btf_id = spec.btf_id;
    header->btf_key_type_id = spec.btf_key_type_id;
    header->btf_value_type_id = spec.btf_value_type_id;
    header->vcpus = vcpus;
    header->name = spec.name;
    header->name.back() = 0;
    header->magic = map_magic;
    return {};
}

Result<std::unique_ptr<Map>> Map::open(std::span<std::byte> memory, VcpuTable vcpus) {
    if (memory.size() < page_size || memory.size() % page_size != 0)
        return fail(Errc::malformed, "a map's file has " + std::to_string(memory.size()) + " bytes, not whole pages");
    auto* header = overlay<MapHeader>(memory, memory.size() - page_size);
    // Read once: whoever shares the file may change it, and what is checked must be what is used.
    Spec spec;
    const u32 magic = header->magic, id = header->id, slots = header->vcpus;
    const u16 version = header->version;
    spec.type = static_cast<abi::MapType>(header->type);
    spec.key_size = header->key_size;
    spec.value_size = header->value_size;
    spec.max_entries = header->max_entries;
    spec.flags = header->flags;
    spec.btf_id = header->btf_id;
    spec.btf_key_type_id = header->btf_key_type_id;
    spec.btf_value_type_id = header->btf_value_type_id;
    spec.name = header->name;
    spec.name.back() = 0;
    spec.outline = header->outline != 0;
    std::atomic_signal_fence(std::memory_order_seq_cst);

    if (magic != map_magic) return fail(Errc::malformed, "not a map's file: wrong magic number");
    if (version != map_version)
        return fail(Errc::unsupported, "a map's file has format version " + std::to_string(version));
    if (slots != vcpus.count())
        return fail(Errc::malformed, "a map's file has " + std::to_string(slots) + " virtual CPUs, the table " +
                                         std::to_string(vcpus.count()));
    const std::size_t twice = spec.type == abi::MapType::ringbuf && !spec.outline ? spec.max_entries : 0;
    const auto size = ANYBPF_TRY(file_size(spec, slots));
    if (memory.size() != size + twice)
        return fail(Errc::truncated, "a map's mapped file has " + std::to_string(memory.size()) +
                                         " bytes in place of " + std::to_string(size + twice));
    const Place place{memory, vcpus, header};
    if (spec.outline) return open_outline(spec, id, place);
    if (spec.type == abi::MapType::array) return open_array(spec, id, place);
    if (spec.type == abi::MapType::percpu_array) return open_percpu_array(spec, id, place);
    if (spec.type == abi::MapType::ringbuf) return open_ringbuf(spec, id, place);
    if (spec.type == abi::MapType::hash || spec.type == abi::MapType::percpu_hash) return open_hash(spec, id, place);
    return open_object_array(spec, id, place);
}

Map::Map(const Spec& spec, u32 id, const Place& place)
    : spec_(spec), id_(id), vcpus_(place.vcpus), header_(place.header) {}

std::size_t Map::syscall_value_size() const {
    return is_percpu(spec_.type) ? round_up(spec_.value_size, 8) * vcpus() : spec_.value_size;
}

void Map::freeze() { header_->frozen.store(1, std::memory_order_release); }
bool Map::frozen() const { return header_->frozen.load(std::memory_order_acquire) != 0; }

}  // namespace anybpf::maps

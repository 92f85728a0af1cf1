// SPDX-License-Identifier: Apache-2.0
// What the map types give to Map's named functions: for each the checks of MAP_CREATE with the bytes before the header,
// the first contents, and a Map over memory whose header has been checked.
#pragma once

#include "anybpf/maps/map.hpp"

namespace anybpf::maps {

constexpr std::size_t page_size = 4096;
constexpr u32 map_magic = 0x6d726261;  // "abrm"
constexpr u16 map_version = 1;

// At the start of the file's last page.
struct MapHeader {
    u32 magic;
    u16 version;
    u16 outline;  // 1: Spec::outline
    u32 id, type, key_size, value_size, max_entries, flags;
    u32 btf_id, btf_key_type_id, btf_value_type_id;
    u32 vcpus;
    std::atomic<u32> frozen;
    std::array<char, abi::name_size> name;
};
static_assert(sizeof(MapHeader) == 68 && offsetof(MapHeader, frozen) == 48 && std::atomic<u32>::is_always_lock_free);

// A map's memory as its type sees it.
struct Place {
    std::span<std::byte> memory;
    VcpuTable vcpus;
    MapHeader* header;
};

// Arithmetic on sizes that sticks at the greatest number instead of wrapping.
constexpr u64 too_many = ~u64{0};
constexpr u64 add(u64 a, u64 b) { return a > too_many - b ? too_many : a + b; }
constexpr u64 multiply(u64 a, u64 b) { return b != 0 && a > too_many / b ? too_many : a * b; }
constexpr u64 round_up(u64 size, u64 unit) {
    return size > too_many - unit ? too_many : (size + unit - 1) & ~(unit - 1);
}

// Flags of MAP_CREATE that several types accept.
constexpr u32 flag_no_common_lru = 1U << 1, flag_numa_node = 1U << 2, flag_zero_seed = 1U << 6;
constexpr u32 access_flags = abi::map_rdonly | abi::map_wronly | abi::map_rdonly_prog | abi::map_wronly_prog;
constexpr bool access_is_sound(u32 flags) {
    return (flags & (abi::map_rdonly | abi::map_wronly)) != (abi::map_rdonly | abi::map_wronly) &&
           (flags & (abi::map_rdonly_prog | abi::map_wronly_prog)) != (abi::map_rdonly_prog | abi::map_wronly_prog);
}
constexpr u32 max_percpu_value = 32U << 10;  // PCPU_MIN_UNIT_SIZE
constexpr int not_supported = 524;           // ENOTSUPP, which no uapi header has

constexpr u64 bpf_f_lock = 4;

// Writes that MAP_UPDATE_ELEM and the helper refuse alike: flags beyond EXIST (a lock needs a spin lock in the value,
// which no map of ours has yet).
constexpr bool update_flags_are_bad(u64 flags) { return flags > abi::update_exist; }

tl::unexpected<Error> refuse(std::string message, int error);

// The part of the file before the header's page, in bytes.
Result<u64> array_bytes(const Spec& spec, u32 vcpus);
Result<u64> percpu_array_bytes(const Spec& spec, u32 vcpus);
Result<u64> object_array_bytes(const Spec& spec, u32 vcpus);
Result<u64> hash_bytes(const Spec& spec, u32 vcpus);
Result<u64> ringbuf_bytes(const Spec& spec, u32 vcpus);

void format_hash(std::span<std::byte> memory, const Spec& spec, u32 vcpus);

std::unique_ptr<Map> open_array(const Spec& spec, u32 id, const Place& place);
std::unique_ptr<Map> open_percpu_array(const Spec& spec, u32 id, const Place& place);
std::unique_ptr<Map> open_object_array(const Spec& spec, u32 id, const Place& place);
std::unique_ptr<Map> open_hash(const Spec& spec, u32 id, const Place& place);
std::unique_ptr<Map> open_ringbuf(const Spec& spec, u32 id, const Place& place);
std::unique_ptr<Map> open_outline(const Spec& spec, u32 id, const Place& place);

// What all arrays have: an index as key.
class IndexedMap : public Map {
  public:
    using Map::Map;
    int erase(const void* key, u32 vcpu) override;
    int next_key(const void* key, void* next) override;
    void recover(u32) override {}

  protected:
    static u32 index_of(const void* key);
    // 0, or what an update of this index with these flags ends with.
    int check_update(u32 index, u64 flags) const;
};

}  // namespace anybpf::maps

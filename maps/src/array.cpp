// SPDX-License-Identifier: Apache-2.0
// ARRAY: values in a row from offset 0, each rounded up to 8 bytes. An update is a copy word by word without a lock, as
// in the kernel: two writers may mix, and a writer that is killed may leave a value of more than 8 bytes half written.
#include <cerrno>
#include <climits>

#include "shared_raw.hpp"
#include "types.hpp"

namespace anybpf::maps {

Result<u64> array_bytes(const Spec& spec, u32) {
    if (spec.max_entries == 0 || spec.key_size != 4 || spec.value_size == 0)
        return refuse("an array needs entries, keys of 4 bytes and values", EINVAL);
    constexpr u32 inner_map = 1U << 12;  // of no consequence, as long as there are no maps of maps
    if ((spec.flags & ~(flag_numa_node | abi::map_mmapable | access_flags | inner_map)) != 0)
        return refuse("an array does not take these map flags", EINVAL);
    if (spec.value_size > INT_MAX) return refuse("an array's value is too large", E2BIG);
    return multiply(round_up(spec.value_size, 8), spec.max_entries);
}

u32 IndexedMap::index_of(const void* key) {
    u32 index;
    std::memcpy(&index, key, sizeof index);
    return index;
}

int IndexedMap::check_update(u32 index, u64 flags) const {
    if (update_flags_are_bad(flags)) return -EINVAL;
    if (index >= spec_.max_entries) return -E2BIG;
    return flags == abi::update_noexist ? -EEXIST : 0;
}

int IndexedMap::erase(const void*, u32) { return -EINVAL; }

int IndexedMap::next_key(const void* key, void* next) {
    const u32 index = key == nullptr ? spec_.max_entries : index_of(key);
    if (index == spec_.max_entries - 1) return -ENOENT;
    const u32 following = index >= spec_.max_entries ? 0 : index + 1;
    std::memcpy(next, &following, sizeof following);
    return 0;
}

namespace {
class Array final : public IndexedMap {
  public:
    Array(const Spec& spec, u32 id, const Place& place)
        : IndexedMap(spec, id, place),
          array_{.values = place.memory.data(),
                 .stride = round_up(spec.value_size, 8),
                 .block = 0,
                 .entries = spec.max_entries} {}

    void* lookup(const void* key, u32) override {
        const u32 index = index_of(key);
        return index < array_.entries ? array_.at(index, 0) : nullptr;
    }
    int update(const void* key, const void* value, u64 flags, u32) override {
        const u32 index = index_of(key);
        if (const int error = check_update(index, flags)) return error;
        copy_to_shared(array_.at(index, 0), value, spec_.value_size);
        return 0;
    }
    std::byte* values() override { return array_.values; }
    abi::ArrayPlace array() const override { return array_; }

    int copy_out(const void* key, std::span<std::byte> value, u32) override {
        const u32 index = index_of(key);
        if (value.size() != spec_.value_size) return -EINVAL;
        if (index >= spec_.max_entries) return -ENOENT;
        copy_from_shared(value.data(), array_.at(index, 0), spec_.value_size);
        return 0;
    }
    int copy_in(const void* key, std::span<const std::byte> value, u64 flags, u32 vcpu) override {
        if (frozen()) return -EPERM;
        if (value.size() != spec_.value_size) return -EINVAL;
        return update(key, value.data(), flags, vcpu);
    }

  private:
    abi::ArrayPlace array_;
};
}  // namespace

std::unique_ptr<Map> open_array(const Spec& spec, u32 id, const Place& place) {
    return std::make_unique<Array>(spec, id, place);
}

}  // namespace anybpf::maps

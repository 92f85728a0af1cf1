// SPDX-License-Identifier: Apache-2.0
// PROG_ARRAY and PERF_EVENT_ARRAY: ids of objects, 0 for none, one in each 8 bytes. bpf(2) passes descriptors; kernel/
// turns them into ids before they arrive here.
#include <cerrno>

#include "shared_raw.hpp"
#include "types.hpp"

namespace anybpf::maps {

namespace {
class ObjectArray final : public IndexedMap {
  public:
    ObjectArray(const Spec& spec, u32 id, const Place& place)
        : IndexedMap(spec, id, place), cells_(overlay<Cell>(place.memory, 0, spec.max_entries)) {}

    void* lookup(const void* key, u32) override {
        const u32 index = index_of(key);
        return index < spec_.max_entries ? &cells_[index].id : nullptr;
    }
    int update(const void* key, const void* value, u64 flags, u32) override {
        const u32 index = index_of(key);
        if (flags != abi::update_any) return -EINVAL;
        if (index >= spec_.max_entries) return -E2BIG;
        u32 id;
        std::memcpy(&id, value, sizeof id);
        cells_[index].id.store(id, std::memory_order_release);
        return 0;
    }
    int erase(const void* key, u32) override {
        const u32 index = index_of(key);
        if (index >= spec_.max_entries) return -E2BIG;
        return cells_[index].id.exchange(0, std::memory_order_acq_rel) != 0 ? 0 : -ENOENT;
    }

    // The kernel gives a program's id, and does not let events be read back.
    int copy_out(const void* key, std::span<std::byte> value, u32) override {
        const u32 index = index_of(key);
        if (spec_.type == abi::MapType::perf_event_array) return -not_supported;
        if (value.size() != sizeof(u32)) return -EINVAL;
        const u32 id = index < spec_.max_entries ? cells_[index].id.load(std::memory_order_acquire) : 0;
        if (id == 0) return -ENOENT;
        std::memcpy(value.data(), &id, sizeof id);
        return 0;
    }
    int copy_in(const void* key, std::span<const std::byte> value, u64 flags, u32 vcpu) override {
        if (frozen()) return -EPERM;
        if (value.size() != sizeof(u32)) return -EINVAL;
        return update(key, value.data(), flags, vcpu);
    }

  private:
    struct Cell {
        std::atomic<u32> id;
        u32 reserved;
    };
    static_assert(sizeof(Cell) == 8);
    Cell* cells_;
};
}  // namespace

Result<u64> object_array_bytes(const Spec& spec, u32) {
    constexpr u32 preserve_elems = 1U << 11;
    const u32 also = spec.type == abi::MapType::perf_event_array ? preserve_elems : 0;
    if (spec.max_entries == 0 || spec.key_size != 4 || spec.value_size != 4)
        return refuse("an array of objects needs entries, and keys and values of 4 bytes", EINVAL);
    if ((spec.flags & ~(flag_numa_node | abi::map_rdonly | abi::map_wronly | also)) != 0)
        return refuse("an array of objects does not take these map flags", EINVAL);
    return multiply(8, spec.max_entries);
}

std::unique_ptr<Map> open_object_array(const Spec& spec, u32 id, const Place& place) {
    return std::make_unique<ObjectArray>(spec, id, place);
}

}  // namespace anybpf::maps

// SPDX-License-Identifier: Apache-2.0
// PERCPU_ARRAY: one ARRAY for each virtual CPU, each starting on a cache line of its own, so that CPUs never share one.
#include <cerrno>

#include "shared_raw.hpp"
#include "types.hpp"

namespace anybpf::maps {

namespace {
constexpr u64 block_bytes(const Spec& spec) {
    return round_up(multiply(round_up(spec.value_size, 8), spec.max_entries), 128);
}

class PercpuArray final : public IndexedMap {
  public:
    PercpuArray(const Spec& spec, u32 id, const Place& place)
        : IndexedMap(spec, id, place),
          array_{.values = place.memory.data(),
                 .stride = round_up(spec.value_size, 8),
                 .block = block_bytes(spec),
                 .entries = spec.max_entries} {}

    void* lookup(const void* key, u32 vcpu) override {
        const u32 index = index_of(key);
        return index < array_.entries ? array_.at(index, vcpu) : nullptr;
    }
    abi::ArrayPlace array() const override { return array_; }
    int update(const void* key, const void* value, u64 flags, u32 vcpu) override {
        const u32 index = index_of(key);
        if (const int error = check_update(index, flags)) return error;
        copy_to_shared(array_.at(index, vcpu), value, spec_.value_size);
        return 0;
    }

    int copy_out(const void* key, std::span<std::byte> value, u32) override {
        const u32 index = index_of(key);
        if (value.size() != syscall_value_size()) return -EINVAL;
        if (index >= spec_.max_entries) return -ENOENT;
        for (u32 vcpu = 0; vcpu < vcpus(); ++vcpu)
            copy_from_shared(value.data() + vcpu * array_.stride, array_.at(index, vcpu), array_.stride);
        return 0;
    }
    int copy_in(const void* key, std::span<const std::byte> value, u64 flags, u32) override {
        const u32 index = index_of(key);
        if (frozen()) return -EPERM;
        if (value.size() != syscall_value_size()) return -EINVAL;
        if (const int error = check_update(index, flags)) return error;
        for (u32 vcpu = 0; vcpu < vcpus(); ++vcpu)
            copy_to_shared(array_.at(index, vcpu), value.data() + vcpu * array_.stride, spec_.value_size);
        return 0;
    }

  private:
    abi::ArrayPlace array_;
};
}  // namespace

Result<u64> percpu_array_bytes(const Spec& spec, u32 vcpus) {
    if (spec.max_entries == 0 || spec.key_size != 4 || spec.value_size == 0)
        return refuse("an array needs entries, keys of 4 bytes and values", EINVAL);
    if ((spec.flags & ~access_flags) != 0) return refuse("a per-CPU array does not take these map flags", EINVAL);
    if (round_up(spec.value_size, 8) > max_percpu_value) return refuse("a per-CPU value is too large", E2BIG);
    return multiply(block_bytes(spec), vcpus);
}

std::unique_ptr<Map> open_percpu_array(const Spec& spec, u32 id, const Place& place) {
    return std::make_unique<PercpuArray>(spec, id, place);
}

}  // namespace anybpf::maps

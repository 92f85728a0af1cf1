// SPDX-License-Identifier: Apache-2.0
// A map in shared memory: ARRAY, HASH, PERCPU_ARRAY, PERCPU_HASH, PROG_ARRAY, PERF_EVENT_ARRAY, RINGBUF. The file is a
// format that survives death and stopping (docs/formats/map.md): values from offset 0, our header in the last page.
//
// Operations return 0 or a negative errno as bpf(2) and the helpers give it (E2BIG, ENOENT, EEXIST, EINVAL, ENOMEM,
// EBUSY). None allocates or makes a system call; all are safe on a hook path.
#pragma once

#include <array>
#include <memory>
#include <span>

#include "anybpf/abi/array.hpp"
#include "anybpf/abi/types.hpp"
#include "anybpf/base/mapping.hpp"
#include "anybpf/base/result.hpp"
#include "anybpf/maps/vcpu.hpp"

namespace anybpf::maps {

struct Spec {
    abi::MapType type{};
    u32 key_size = 0, value_size = 0, max_entries = 0, flags = 0;
    std::array<char, abi::name_size> name{};
    u32 btf_id = 0, btf_key_type_id = 0, btf_value_type_id = 0;  // BTF object and types for printing; 0 without
    // Only what the verifier must know of it, for a type that has no contents here; no program that uses it can run.
    bool outline = false;
};

// A map's file as Map::open wants it: the whole file, and the data of a RINGBUF twice in a row, so that a record never
// wraps. The file must have been formatted; the descriptor may be closed afterwards.
Result<Mapping> map_file(int fd);

struct MapHeader;
struct Place;

// Whether maps of that type have contents here.
bool provides(abi::MapType type);

class Map {
  public:
    // Bytes of the file that holds such a map; EINVAL/E2BIG/ENOMEM as MAP_CREATE gives them (sys_errno of the error).
    static Result<std::size_t> file_size(const Spec& spec, u32 vcpus);
    // memory: file_size() bytes of zeros, as a new file has them.
    static Result<> format(std::span<std::byte> memory, const Spec& spec, u32 id, u32 vcpus);
    // Checks everything it will rely on; memory (map_file's) must outlive the map.
    static Result<std::unique_ptr<Map>> open(std::span<std::byte> memory, VcpuTable vcpus);
    virtual ~Map() = default;
    Map(const Map&) = delete;
    Map& operator=(const Map&) = delete;

    const Spec& spec() const { return spec_; }
    u32 id() const { return id_; }
    u32 vcpus() const { return vcpus_.count(); }  // "possible CPUs" of the per-CPU values

    // --- for programs (helpers, engines); vcpu is owned by the caller
    // The value (of this vcpu in per-CPU maps; the object's id in PROG_ARRAY and PERF_EVENT_ARRAY, 0 where there is
    // none), or null. Stays mapped for ever; a hash element may be reused after deletion, as in the kernel without
    // preallocation's delay.
    virtual void* lookup(const void* key, u32 vcpu) = 0;
    virtual int update(const void* key, const void* value, u64 flags, u32 vcpu) = 0;
    // As the helper does it; MAP_DELETE_ELEM asks frozen() first.
    virtual int erase(const void* key, u32 vcpu) = 0;
    // Address of value 0 in arrays (what lddw map_value yields), null elsewhere.
    virtual std::byte* values() { return nullptr; }
    // Where the values of an ARRAY or PERCPU_ARRAY lie; no entries elsewhere.
    virtual abi::ArrayPlace array() const { return {}; }

    // --- for bpf(2): whole values; in per-CPU maps vcpus * round_up(value_size, 8) bytes
    std::size_t syscall_value_size() const;
    virtual int copy_out(const void* key, std::span<std::byte> value, u32 vcpu) = 0;
    virtual int copy_in(const void* key, std::span<const std::byte> value, u64 flags, u32 vcpu) = 0;
    virtual int next_key(const void* key, void* next) = 0;  // key null or not in the map: the first; -ENOENT at the end

    // Replays what a dead owner of the slot left in its journal; idempotent. Called by whoever took the slot over.
    // Operations do it too when they come across it, so a forgotten call costs time and never correctness.
    virtual void recover(u32 slot) = 0;

    void freeze();  // bpf(2) updates end with -EPERM from now on; sticky, in the file
    bool frozen() const;

  protected:
    Map(const Spec& spec, u32 id, const Place& place);

    Spec spec_;
    u32 id_ = 0;
    VcpuTable vcpus_;
    MapHeader* header_;
};

}  // namespace anybpf::maps

// SPDX-License-Identifier: Apache-2.0
// The maps, the context and the packet of the differential's programs in this process, and runs of them on an engine.
// With chaos, what programs touch lies directly before or behind pages that nobody may, they run on a stack between
// such pages, and the JIT's code is far from its helpers.
#pragma once

#include <memory>
#include <vector>

#include "anybpf/engine/any.hpp"
#include "generator.hpp"
#include "program.hpp"

namespace anybpf::differential {

using Value = std::array<std::byte, value_bytes>;

// What a run is given.
struct Input {
    Input(u64 seed, abi::ProgType type);
    std::array<u64, 24> context{};  // of a raw tracepoint the first 12
    std::vector<std::byte> packet;
    std::array<std::byte, data_bytes> data;
    std::array<Value, array_entries> values;  // what all other maps start with, from key 0 on
};

// What it leaves. Of hashes the keys in order; the per-CPU values are those of the run's CPU.
struct Outcome {
    u64 r0 = 0;
    bool gave_up = false, others_touched = false;  // values of other CPUs
    std::array<u64, data_bytes / 8> data{};
    std::array<Value, array_entries> table{}, cells{};
    std::array<Value, percpu_entries> percpu{};
    std::array<u8, keys> hash_has{}, percpu_hash_has{};
    std::array<Value, keys> hash{}, percpu_hash{};
    std::vector<std::byte> records;  // of ring, the length of each before it
    u32 wakes = 0;                   // of readers of ring, who are all taken for asleep
    bool operator==(const Outcome&) const = default;
};
// What differs, for a person: "r0: 5, not 7; data+0x88: 1, not 2".
std::string difference(const Outcome& actual, const Outcome& expected);

// A program for one engine.
using Bound = std::shared_ptr<const void>;

class World {
  public:
    // In the process that runs programs in it, on a virtual CPU that it takes.
    static Result<std::unique_ptr<World>> make(bool chaos);
    ~World();

    // With chaos, on which side of memory the page is that nobody may touch. What was bound before is not run after.
    void guard(bool in_front);
    Result<Bound> bind(const engine::AnyEngine& engine, const program::Lowered& lowered) const;
    // Where the engine has a way to bind several that is faster: all, or none.
    std::vector<Bound> bind_all(const engine::AnyEngine& engine,
                                std::span<const program::Lowered* const> programs) const;
    Result<Outcome> run(const engine::AnyEngine& engine, const Bound& bound, const Input& input, abi::ProgType type);

  private:
    struct Parts;
    explicit World(std::unique_ptr<Parts> parts);
    std::unique_ptr<Parts> parts_;
};

// "interp", "jit", "jit-plain" (for old processors), "llvm"; with chaos the JIT's code is put far away. Null for
// another name.
const engine::AnyEngine* engine_named(std::string_view name, bool chaos);

}  // namespace anybpf::differential

// SPDX-License-Identifier: Apache-2.0
// Bases: which registers of a verified program surely hold an address in the frame, or in the values of one map. Such
// registers are lifted as pointers, so that LLVM sees what memory they cannot meet, and what loop walks along it.
#pragma once

#include <array>
#include <vector>

#include "body.hpp"

namespace anybpf::engine::llvm {

// What a register's value is made from: nothing that is known, the frame, or the values of map `base - first_map`.
using Base = u32;
constexpr Base unknown = 0, in_frame = 1, first_map = 2;
using Bases = std::array<Base, 11>;

class BaseAnalysis {
  public:
    BaseAnalysis(const Program& program, const Body& body);
    void run(u32 first);
    const Bases& before(u32 insn) const;  // where a block starts
    // From what is known before the instruction to what is known behind it.
    static void step(const Program& program, u32 insn, Bases& bases);

  private:
    void walk(u32 insn);
    void reach(u32 insn, const Bases& bases);
    u64 index(u32 insn) const;

    const Program& program_;
    const Body& body_;
    std::vector<Bases> before_;  // of each instruction of the body
    std::vector<u32> open_;
};

// The map that mov64_imm loads an address of, or null.
const program::MapUse* map_use(const Program& program, u32 insn);
// Whether it is known where the map's values lie.
bool has_values(const Program& program, u32 map);

}  // namespace anybpf::engine::llvm

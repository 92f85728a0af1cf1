// SPDX-License-Identifier: Apache-2.0
// A program in an object file. The suite's objects have no BTF and no program section, only code in .text, so libbpf
// would not take them; this reader takes them and what a compiler makes of a plain C file: functions that call each
// other across sections, and data sections.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <vector>

#include "anybpf/base/result.hpp"
#include "anybpf/isa/insn.hpp"

namespace anybpf::conformance {

struct Object {
    std::vector<isa::Insn> insns;                      // main first; all references resolved
    std::map<u32, std::unique_ptr<std::byte[]>> data;  // the sections whose addresses stand in insns
};

// Of an ELF object whose section .text holds the function main. Maps are refused: a conformance run has none.
Result<Object> read_object(std::span<const std::byte> file);

}  // namespace anybpf::conformance

// SPDX-License-Identifier: Apache-2.0
// A program as the kernel sees it after its map references have been resolved: what the verifier reads.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "anybpf/abi/types.hpp"
#include "anybpf/isa/insn.hpp"

namespace anybpf::btf {
class Btf;
}

namespace anybpf::program {

// What the verifier must know of a map.
struct MapInfo {
    u32 id = 0;
    abi::MapType type{};
    u32 key_size = 0, value_size = 0, max_entries = 0, flags = 0;
    std::string name;
    // The contents of a map that is frozen and read-only for programs (.rodata): loads from it are constants. Empty
    // otherwise.
    std::span<const std::byte> frozen;
    // Describes key and value, where locks, timers and pointers in values are found; null without.
    std::shared_ptr<const btf::Btf> btf = {};
    u32 btf_key_type_id = 0, btf_value_type_id = 0;
    std::shared_ptr<const MapInfo> inner = {};  // of a map of maps: what each of its maps is like
};

struct FuncInfo {
    u32 insn = 0;
    u32 type_id = 0;  // a FUNC of the program's BTF
};

struct LineInfo {
    u32 insn = 0;
    u32 file_name_off = 0, line_off = 0;  // into the string section of the program's BTF
    u32 line_col = 0;                     // line << 10 | column
    u32 line() const { return line_col >> 10; }
    u32 column() const { return line_col & 1023; }
};

struct Program {
    std::string name;
    abi::ProgType type{};
    abi::AttachType expected_attach_type{};
    bool gpl_compatible = false;
    bool sleepable = false;
    // lddw of maps are in the forms map_idx (imm = index into maps) and map_idx_value (the second slot's imm = offset),
    // whatever form they were loaded in; function references are src = func with imm = distance, calls src =
    // subprogram.
    std::vector<isa::Insn> insns;
    std::vector<MapInfo> maps;
    std::vector<FuncInfo> funcs;
    std::vector<LineInfo> lines;               // sorted by insn
    std::shared_ptr<const btf::Btf> btf = {};  // of the program; null without
    // Of the kernel that the program is for: what typed pointers, kfuncs, ksyms and attach_btf_id are in. Null without.
    std::shared_ptr<const btf::Btf> kernel_btf = {};
    // A type of kernel_btf: the function of fentry, the typedef of tp_btf, the struct of struct_ops.
    u32 attach_btf_id = 0;
    // Of an extension (ext): the program of which it replaces a function, and attach_btf_id is that FUNC of its BTF.
    // Type and attach type here are then that program's: the extension may what that one may. Null of all others.
    std::shared_ptr<const Program> extends = {};
};

// The extension is to be judged as one of that program; null: of none.
inline void extend(Program& extension, const std::shared_ptr<const Program>& target) {
    if (target == nullptr) return;
    extension.type = target->type;
    extension.expected_attach_type = target->expected_attach_type;
    extension.extends = target;
}

}  // namespace anybpf::program

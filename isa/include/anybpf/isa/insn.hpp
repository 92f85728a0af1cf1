// SPDX-License-Identifier: Apache-2.0
// One eBPF instruction as it lies in memory (RFC 9669, 3): op:8 dst:4 src:4 off:16 imm:32, little-endian. A wide
// instruction (lddw) takes two.
#pragma once

#include "anybpf/base/types.hpp"

namespace anybpf::isa {

struct Insn {
    u8 code = 0;
    u8 dst : 4 = 0;
    u8 src : 4 = 0;
    i16 off = 0;
    i32 imm = 0;
    friend constexpr bool operator==(const Insn&, const Insn&) = default;
};
static_assert(sizeof(Insn) == 8);

// src of lddw (uapi BPF_PSEUDO_*): what its immediate names.
enum class Pseudo : u8 { imm64 = 0, map_fd = 1, map_value = 2, btf_id = 3, func = 4, map_idx = 5, map_idx_value = 6 };
// src of call.
enum class CallKind : u8 { helper = 0, subprogram = 1, kfunc = 2 };

}  // namespace anybpf::isa

// SPDX-License-Identifier: Apache-2.0
// Op: what LoweredInsn::op says. What engines and printers of the lowered form share.
#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "anybpf/base/types.hpp"

namespace anybpf::engine {

enum class Op : u16 {
#define ANYBPF_OP(name, index) name,
#include "anybpf/engine/ops.def"
};
constexpr u32 op_count = 0
#define ANYBPF_OP(name, index) +1
#include "anybpf/engine/ops.def"
    ;
std::string_view to_string(Op op);

constexpr bool is_packet_load(Op op) { return op >= Op::packet_abs_word && op <= Op::packet_ind_byte; }

// What an operation reads and writes, of the registers that its fields name and of r0.
struct Operands {
    bool reads_dst = false, writes_dst = false, reads_src = false, writes_src = false;
    bool reads_r0 = false, writes_r0 = false;
};
Operands operands(Op op);

// What arithmetic on numbers yields; nothing for other operations. b is the immediate where there is no second
// register.
std::optional<u64> compute(Op op, u64 a, u64 b);
// Whether a conditional jump is taken; nothing for other operations. b likewise.
std::optional<bool> taken(Op op, u64 a, u64 b);

// Whether r1 to r5 are undefined behind it.
constexpr bool clobbers_arguments(Op op) {
    return op == Op::call_helper || op == Op::call_local || op == Op::loop || op == Op::callx || is_packet_load(op);
}

// Which part of an instruction is an index, that a reader of untrusted code must check.
enum class Index : u8 { none, jump, call, helper, array };
constexpr auto op_indices = std::to_array<Index>({
#define ANYBPF_OP(name, index) Index::index,
#include "anybpf/engine/ops.def"
});

// What a register holds that names a subprogram (lddw of kind func): its index in Lowered::subprograms under a tag that
// no helper number and no address has.
constexpr u64 function_tag = u64{0xf27cb0df} << 32;
constexpr u64 function_value(u32 subprogram) { return function_tag | subprogram; }
constexpr bool is_function(u64 value) { return value >> 32 == function_tag >> 32; }

}  // namespace anybpf::engine

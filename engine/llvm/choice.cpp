// SPDX-License-Identifier: Apache-2.0
#include "choice.hpp"

#include <algorithm>

#include "anybpf/engine/op.hpp"
#include "anybpf/isa/decode.hpp"

namespace anybpf::engine::llvm {
namespace {

using program::LoweredInsn;

constexpr u32 fewest_comparisons = 6, most_nodes = 1024;
constexpr u64 sparsest = 4;  // numbers for each comparison

// The bits of a register that an instruction compares with a constant; 0: it does something else. A test of bits (jset)
// orders nothing.
u32 compared_bits(const LoweredInsn& insn) {
    switch (insn.op) {
#define ANYBPF_JUMP(name, code, symbol, mnemonic)               \
    case static_cast<u16>(Op::name##64_imm):                    \
        return isa::JumpOp::name == isa::JumpOp::jset ? 0 : 64; \
    case static_cast<u16>(Op::name##32_imm):                    \
        return isa::JumpOp::name == isa::JumpOp::jset ? 0 : 32;
#include "anybpf/isa/isa.def"
        default:
            return 0;
    }
}

i64 constant_of(const LoweredInsn& insn, u32 bits) { return bits == 32 ? static_cast<i32>(insn.imm) : insn.imm; }

}  // namespace

// The comparisons of the root's register that nothing but such comparisons and jumps lie between.
void Choices::collect(u32 root) {
    ++tree_;
    root_ = root;
    bits_ = compared_bits(program_.insns[root]);
    comparisons_ = 0;
    least_ = most_ = constant_of(program_.insns[root], bits_);
    std::vector<u32> open = {root};
    for (u32 found = 0; !open.empty() && found < most_nodes; ++found) {
        const u32 at = open.back();
        open.pop_back();
        if (at >= program_.insn_count || is_node(at)) continue;
        const LoweredInsn& insn = program_.insns[at];
        const bool jumps = Op{insn.op} == Op::jump;
        if (!jumps && (compared_bits(insn) != bits_ || insn.dst != program_.insns[root].dst)) continue;
        tree_of_[at] = tree_;
        open.push_back(static_cast<u32>(insn.off));
        if (jumps) continue;
        ++comparisons_;
        least_ = std::min(least_, constant_of(insn, bits_));
        most_ = std::max(most_, constant_of(insn, bits_));
        open.push_back(at + 1);
    }
}

// Where the tree leads a number: to the first instruction that is not of it. Nothing where it goes round in circles.
std::optional<u32> Choices::follow(i64 value) const {
    u32 at = root_;
    for (u32 steps = 0; is_node(at); ++steps) {
        if (steps == most_nodes) return {};
        const LoweredInsn& insn = program_.insns[at];
        const Op op{insn.op};
        const bool goes =
            op == Op::jump || taken(op, static_cast<u64>(value), static_cast<u64>(insn.imm)).value_or(false);
        at = goes ? static_cast<u32>(insn.off) : at + 1;
    }
    return at;
}

// Numbers beyond all constants, where those are no negative ones: whichever is asked, each comparison, signed or not,
// answers all numbers of one side alike.
std::optional<u32> Choices::everywhere_else() const {
    if (least_ < 0) return {};
    const auto above = follow(most_ + 1), negative = follow(-1);
    const auto below = least_ > 0 ? follow(least_ - 1) : above;
    return above == negative && above == below ? above : std::nullopt;
}

std::optional<Choice> Choices::at(u32 insn) {
    if (tree_of_[insn] != 0 || compared_bits(program_.insns[insn]) == 0) return {};
    collect(insn);
    const u64 distance = static_cast<u64>(most_) - static_cast<u64>(least_);
    if (comparisons_ < fewest_comparisons || distance > sparsest * comparisons_) return {};
    // One more at each end: what lies there may be all that is left.
    const i64 end = bits_ == 32 ? i64{INT32_MAX} : INT64_MAX, start = bits_ == 32 ? i64{INT32_MIN} : INT64_MIN;
    if (least_ == start || most_ == end) return {};
    Choice choice{.bits = bits_, .first = least_ - 1, .targets = {}, .others = everywhere_else()};
    for (i64 value = choice.first; value <= most_ + 1; ++value) {
        const auto target = follow(value);
        if (!target) return {};
        choice.targets.push_back(*target);
    }
    return choice;
}

}  // namespace anybpf::engine::llvm

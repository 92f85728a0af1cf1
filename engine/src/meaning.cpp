// SPDX-License-Identifier: Apache-2.0
// What operations on values mean, for those who learn only as they go which operation it is.
#include "anybpf/engine/op.hpp"
#include "anybpf/isa/eval.hpp"

namespace anybpf::engine {

// Most operations are none of what the switches are about.
#define ANYBPF_CASE(name, value)     \
    case static_cast<u16>(Op::name): \
        return value;

std::optional<u64> compute(Op op, u64 a, u64 b) {
    const u32 low_a = static_cast<u32>(a), low_b = static_cast<u32>(b);
    switch (static_cast<u16>(op)) {
#define ANYBPF_ALU(name, code, off, symbol, mnemonic, form)              \
    ANYBPF_CASE(name##64_imm, isa::eval<isa::AluOp::name>(a, b))         \
    ANYBPF_CASE(name##64_reg, isa::eval<isa::AluOp::name>(a, b))         \
    ANYBPF_CASE(name##32_imm, isa::eval<isa::AluOp::name>(low_a, low_b)) \
    ANYBPF_CASE(name##32_reg, isa::eval<isa::AluOp::name>(low_a, low_b))
#define ANYBPF_EXTEND(name, bits, text, narrow)               \
    ANYBPF_CASE(name##_64, isa::eval<isa::ExtendOp::name>(b)) \
    ANYBPF_CASE(name##_32, static_cast<u32>(isa::eval<isa::ExtendOp::name>(b)))
#define ANYBPF_SWAP(name, code, bits, text) ANYBPF_CASE(name, isa::eval<isa::SwapOp::name>(a))
#include "anybpf/isa/isa.def"
        default:
            return {};
    }
}

std::optional<bool> taken(Op op, u64 a, u64 b) {
    const u32 low_a = static_cast<u32>(a), low_b = static_cast<u32>(b);
    switch (static_cast<u16>(op)) {
#define ANYBPF_JUMP(name, code, symbol, mnemonic)                         \
    ANYBPF_CASE(name##64_imm, isa::test<isa::JumpOp::name>(a, b))         \
    ANYBPF_CASE(name##64_reg, isa::test<isa::JumpOp::name>(a, b))         \
    ANYBPF_CASE(name##32_imm, isa::test<isa::JumpOp::name>(low_a, low_b)) \
    ANYBPF_CASE(name##32_reg, isa::test<isa::JumpOp::name>(low_a, low_b))
#include "anybpf/isa/isa.def"
        default:
            return {};
    }
}

#undef ANYBPF_CASE

}  // namespace anybpf::engine

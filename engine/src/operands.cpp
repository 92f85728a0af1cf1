// SPDX-License-Identifier: Apache-2.0
#include "anybpf/engine/op.hpp"
#include "anybpf/isa/decode.hpp"

namespace anybpf::engine {

Operands operands(Op op) {
    constexpr Operands change{.reads_dst = true, .writes_dst = true};
    constexpr Operands combine{.reads_dst = true, .writes_dst = true, .reads_src = true};
    constexpr Operands set{.writes_dst = true}, copy{.writes_dst = true, .reads_src = true};
    constexpr Operands read{.reads_dst = true}, read_both{.reads_dst = true, .reads_src = true};
    constexpr Operands exchange{.reads_dst = true, .reads_src = true, .writes_src = true};
    constexpr Operands compare_exchange{.reads_dst = true, .reads_src = true, .reads_r0 = true, .writes_r0 = true};
    switch (op) {
#define ANYBPF_ALU(name, code, off, symbol, mnemonic, form)        \
    case Op::name##64_imm:                                         \
    case Op::name##32_imm:                                         \
        return isa::AluOp::name == isa::AluOp::mov ? set : change; \
    case Op::name##64_reg:                                         \
    case Op::name##32_reg:                                         \
        return isa::AluOp::name == isa::AluOp::mov ? copy : combine;
#define ANYBPF_EXTEND(name, bits, text, narrow) \
    case Op::name##_64:                         \
    case Op::name##_32:                         \
        return copy;
#define ANYBPF_SWAP(name, code, bits, text) \
    case Op::name:                          \
        return change;
#define ANYBPF_JUMP(name, code, symbol, mnemonic) \
    case Op::name##64_imm:                        \
    case Op::name##32_imm:                        \
        return read;                              \
    case Op::name##64_reg:                        \
    case Op::name##32_reg:                        \
        return read_both;
#define ANYBPF_WIDTH(name, code, bytes, text, suffix) \
    case Op::load_##name:                             \
    case Op::load_sx_##name:                          \
    case Op::load_acquire_##name:                     \
        return copy;                                  \
    case Op::store_imm_##name:                        \
        return read;                                  \
    case Op::store_##name:                            \
    case Op::store_release_##name:                    \
        return read_both;
#define ANYBPF_RMW(name, uses)      \
    case Op::atomic_##name##_word:  \
    case Op::atomic_##name##_dword: \
        return uses;
#define ANYBPF_OPS_modify(name) ANYBPF_RMW(name, read_both)
#define ANYBPF_OPS_fetch(name) ANYBPF_RMW(name, exchange)
#define ANYBPF_OPS_exchange(name) ANYBPF_RMW(name, exchange)
#define ANYBPF_OPS_compare_exchange(name) ANYBPF_RMW(name, compare_exchange)
#define ANYBPF_OPS_load(name)
#define ANYBPF_OPS_store(name)
#define ANYBPF_ATOMIC(name, imm, text, form) ANYBPF_OPS_##form(name)
#include "anybpf/isa/isa.def"
#undef ANYBPF_RMW
        case Op::jump:
        case Op::may_goto:
        case Op::call_local:
            return {};
        case Op::call_helper:
        case Op::loop:
            return {.writes_r0 = true};
        case Op::callx:
            return {.reads_dst = true, .writes_r0 = true};
        case Op::tail_call:
            return {};
        case Op::exit:
            return {.reads_r0 = true};
        case Op::lookup_array:
            return copy;
        case Op::get_vcpu:
        case Op::get_pid_tgid:
            return set;
        case Op::packet_abs_word:
        case Op::packet_abs_half:
        case Op::packet_abs_byte:
            return {.writes_r0 = true};
        case Op::packet_ind_word:
        case Op::packet_ind_half:
        case Op::packet_ind_byte:
            return {.reads_src = true, .writes_r0 = true};
    }
    return {};
}

}  // namespace anybpf::engine

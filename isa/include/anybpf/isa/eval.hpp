// SPDX-License-Identifier: Apache-2.0
// The meaning of every operation on values, written once (RFC 9669, 4.1 to 4.3). Interpreter, constant folder and the
// tests of all engines call these. A new row of isa.def without a meaning does not compile: the switches have no
// default.
#pragma once

#include <bit>
#include <concepts>
#include <limits>
#include <type_traits>

#include "anybpf/isa/decode.hpp"

namespace anybpf::isa {

// The value of dst after `dst op= b`; U is u64 or u32. Of the operands of 32-bit operations the caller passes the low
// halves, and he zero-extends the result.
template <AluOp op, std::unsigned_integral U>
constexpr U eval(U a, U b) {
    using S = std::make_signed_t<U>;
    constexpr U bits = std::numeric_limits<U>::digits;
    switch (op) {
        case AluOp::add:
            return a + b;
        case AluOp::sub:
            return a - b;
        case AluOp::mul:
            return a * b;
        case AluOp::div:
            return b == 0 ? 0 : a / b;
        case AluOp::sdiv:  // the quotient that does not fit wraps: minimum / -1 = minimum
            return b == 0                    ? 0
                   : b == static_cast<U>(-1) ? U{0} - a
                                             : static_cast<U>(static_cast<S>(a) / static_cast<S>(b));
        case AluOp::or_:
            return a | b;
        case AluOp::and_:
            return a & b;
        case AluOp::lsh:
            return a << (b & (bits - 1));
        case AluOp::rsh:
            return a >> (b & (bits - 1));
        case AluOp::neg:
            return U{0} - a;
        case AluOp::mod:
            return b == 0 ? a : a % b;
        case AluOp::smod:
            return b == 0 ? a : b == static_cast<U>(-1) ? 0 : static_cast<U>(static_cast<S>(a) % static_cast<S>(b));
        case AluOp::xor_:
            return a ^ b;
        case AluOp::mov:
            return b;
        case AluOp::arsh:
            return static_cast<U>(static_cast<S>(a) >> (b & (bits - 1)));
    }
    return 0;
}
static_assert(eval<AluOp::div>(u64{7}, u64{0}) == 0 && eval<AluOp::mod>(u64{7}, u64{0}) == 7);
static_assert(eval<AluOp::sdiv>(u32{0x80000000}, ~u32{0}) == 0x80000000 &&
              eval<AluOp::smod>(u32{0x80000000}, ~u32{0}) == 0);
static_assert(eval<AluOp::lsh>(u32{1}, u32{33}) == 2 && eval<AluOp::arsh>(u64{1} << 63, u64{127}) == ~u64{0});

// Whether the jump is taken.
template <JumpOp op, std::unsigned_integral U>
constexpr bool test(U a, U b) {
    using S = std::make_signed_t<U>;
    switch (op) {
        case JumpOp::jeq:
            return a == b;
        case JumpOp::jgt:
            return a > b;
        case JumpOp::jge:
            return a >= b;
        case JumpOp::jset:
            return (a & b) != 0;
        case JumpOp::jne:
            return a != b;
        case JumpOp::jsgt:
            return static_cast<S>(a) > static_cast<S>(b);
        case JumpOp::jsge:
            return static_cast<S>(a) >= static_cast<S>(b);
        case JumpOp::jlt:
            return a < b;
        case JumpOp::jle:
            return a <= b;
        case JumpOp::jslt:
            return static_cast<S>(a) < static_cast<S>(b);
        case JumpOp::jsle:
            return static_cast<S>(a) <= static_cast<S>(b);
    }
    return false;
}

// dst = (sN)src in a 64-bit register; a 32-bit one keeps the low half of the result.
template <ExtendOp op>
constexpr u64 eval(u64 a) {
    switch (op) {
        case ExtendOp::sx8:
            return static_cast<u64>(static_cast<i64>(static_cast<i8>(a)));
        case ExtendOp::sx16:
            return static_cast<u64>(static_cast<i64>(static_cast<i16>(a)));
        case ExtendOp::sx32:
            return static_cast<u64>(static_cast<i64>(static_cast<i32>(a)));
    }
    return 0;
}

// On a little-endian machine, the only kind we run on.
static_assert(std::endian::native == std::endian::little);
template <SwapOp op>
constexpr u64 eval(u64 a) {
    switch (op) {
        case SwapOp::le16:
            return static_cast<u16>(a);
        case SwapOp::le32:
            return static_cast<u32>(a);
        case SwapOp::le64:
            return a;
        case SwapOp::be16:
        case SwapOp::bswap16:
            return __builtin_bswap16(static_cast<u16>(a));
        case SwapOp::be32:
        case SwapOp::bswap32:
            return __builtin_bswap32(static_cast<u32>(a));
        case SwapOp::be64:
        case SwapOp::bswap64:
            return __builtin_bswap64(a);
    }
    return 0;
}

// The same with the operation known only at run time, on whole registers: 32-bit operations take the low halves and
// zero-extend.
constexpr u64 eval(AluOp op, bool is64, u64 a, u64 b) {
    switch (op) {
#define ANYBPF_ALU(name, code, off, symbol, mnemonic, form) \
    case AluOp::name:                                       \
        return is64 ? eval<AluOp::name>(a, b) : eval<AluOp::name>(static_cast<u32>(a), static_cast<u32>(b));
#include "anybpf/isa/isa.def"
    }
    return 0;
}
constexpr bool test(JumpOp op, bool is64, u64 a, u64 b) {
    switch (op) {
#define ANYBPF_JUMP(name, code, symbol, mnemonic) \
    case JumpOp::name:                            \
        return is64 ? test<JumpOp::name>(a, b) : test<JumpOp::name>(static_cast<u32>(a), static_cast<u32>(b));
#include "anybpf/isa/isa.def"
    }
    return false;
}
constexpr u64 eval(ExtendOp op, bool is64, u64 a) {
    switch (op) {
#define ANYBPF_EXTEND(name, bits, text, narrow) \
    case ExtendOp::name:                        \
        return is64 ? eval<ExtendOp::name>(a) : static_cast<u32>(eval<ExtendOp::name>(a));
#include "anybpf/isa/isa.def"
    }
    return 0;
}
constexpr u64 eval(SwapOp op, u64 a) {
    switch (op) {
#define ANYBPF_SWAP(name, code, bits, text) \
    case SwapOp::name:                      \
        return eval<SwapOp::name>(a);
#include "anybpf/isa/isa.def"
    }
    return 0;
}

}  // namespace anybpf::isa

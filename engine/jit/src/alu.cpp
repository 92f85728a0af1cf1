// SPDX-License-Identifier: Apache-2.0
// Arithmetic. A 32-bit operation of the machine clears the upper half of its register, as BPF's does; what needs care
// is where an operation turns out to be none, and may not be left out.
#include <bit>

#include "compiler.hpp"
#include "magic.hpp"

namespace anybpf::engine {
namespace {

using isa::AluOp;

bool is_power_of_two(u64 value) { return std::has_single_bit(value); }
bool is_signed(AluOp op) { return op == AluOp::sdiv || op == AluOp::smod; }
bool is_quotient(AluOp op) { return op == AluOp::div || op == AluOp::sdiv; }

}  // namespace

// dst = (u32)dst.
void Compiler::zero_extend(u8 reg) { a_.mov(narrow(reg), narrow(reg)); }

// By the shortest instruction there is; changes flags.
void Compiler::move_imm(const x86::Gp& to, u64 value) {
    if (value == 0)
        a_.xor_(to.r32(), to.r32());
    else if (value == static_cast<u32>(value))
        a_.mov(to.r32(), value);
    else
        a_.mov(to.r64(), value);
}

// An immediate that no instruction can hold, in a register.
x86::Gp Compiler::operand(i64 imm, bool is64) {
    move_imm(scratch, is64 ? static_cast<u64>(imm) : static_cast<u32>(imm));
    return sized(scratch, is64);
}

// dst = src; dst += x is one instruction here.
u32 Compiler::move_and_add(u32 at) {
    const LoweredInsn& move = lowered_.insns[at];
    if (!follows(at)) return 0;
    const LoweredInsn& add = lowered_.insns[at + 1];
    if (add.dst != move.dst || add.dst == move.src) return 0;
    if (Op{add.op} == Op::add64_imm && add.imm == static_cast<i32>(add.imm)) {
        a_.lea(wide(move.dst), x86::ptr(wide(move.src), static_cast<i32>(add.imm)));
        return 1;
    }
    if (Op{add.op} == Op::add64_reg && add.src != add.dst) {
        a_.lea(wide(move.dst), x86::ptr(wide(move.src), wide(add.src)));
        return 1;
    }
    return 0;
}

// dst <<= n; dst >>= n: how compilers for older instruction sets extend what is narrower.
u32 Compiler::shift_pair(u32 at) {
    const LoweredInsn& left = lowered_.insns[at];
    if (!follows(at)) return 0;
    const LoweredInsn& right = lowered_.insns[at + 1];
    const bool sign = Op{right.op} == Op::arsh64_imm;
    if ((!sign && Op{right.op} != Op::rsh64_imm) || right.dst != left.dst || right.imm != left.imm) return 0;
    const x86::Gp dst = wide(left.dst);
    switch (left.imm) {
        case 32:
            sign ? a_.movsxd(dst, dst.r32()) : a_.mov(dst.r32(), dst.r32());
            return 1;
        case 48:
            sign ? a_.movsx(dst, dst.r16()) : a_.movzx(dst.r32(), dst.r16());
            return 1;
        case 56:
            sign ? a_.movsx(dst, dst.r8()) : a_.movzx(dst.r32(), dst.r8());
            return 1;
        default:
            return 0;
    }
}

u32 Compiler::alu_imm(AluOp op, bool is64, u32 at) {
    const LoweredInsn& insn = lowered_.insns[at];
    const i64 imm = is64 ? insn.imm : static_cast<i32>(insn.imm);
    const bool small = imm == static_cast<i32>(imm);
    const x86::Gp dst = sized(insn.dst, is64);
    const auto with = [&](auto&& by_value, auto&& by_register) {
        if (small)
            by_value(static_cast<i32>(imm));
        else
            by_register(operand(imm, is64));
    };
    switch (op) {
        case AluOp::add:
            with([&](i32 v) { a_.add(dst, v); }, [&](const x86::Gp& v) { a_.add(dst, v); });
            break;
        case AluOp::sub:
            with([&](i32 v) { a_.sub(dst, v); }, [&](const x86::Gp& v) { a_.sub(dst, v); });
            break;
        case AluOp::mul:
            with([&](i32 v) { a_.imul(dst, dst, v); }, [&](const x86::Gp& v) { a_.imul(dst, v); });
            break;
        case AluOp::or_:
            with([&](i32 v) { a_.or_(dst, v); }, [&](const x86::Gp& v) { a_.or_(dst, v); });
            break;
        case AluOp::and_:
            if (imm >= 0 && small)
                a_.and_(dst.r32(), static_cast<i32>(imm));  // nothing of the upper half remains
            else if (imm == i64{0xffffffff})
                zero_extend(insn.dst);
            else
                with([&](i32 v) { a_.and_(dst, v); }, [&](const x86::Gp& v) { a_.and_(dst, v); });
            break;
        case AluOp::xor_:
            with([&](i32 v) { a_.xor_(dst, v); }, [&](const x86::Gp& v) { a_.xor_(dst, v); });
            break;
        case AluOp::neg:
            a_.neg(dst);
            break;
        case AluOp::mov: {
            const u64 value = is64 ? static_cast<u64>(imm) : static_cast<u32>(imm);
            const program::MapUse* use = nullptr;
            for (; next_map_use_ < map_uses_.size() && map_uses_[next_map_use_].insn <= at; ++next_map_use_)
                if (map_uses_[next_map_use_].insn == at) use = &map_uses_[next_map_use_];
            if (is64 && use != nullptr)
                move_address(dst, {.what = use->value != 0 ? CodeImage::Address::value : CodeImage::Address::map,
                                   .index = use->map,
                                   .offset = use->value != 0 ? use->offset : 0});
            else
                move_imm(dst, value);
            break;
        }
        case AluOp::lsh:
            if (is64)
                if (const u32 more = shift_pair(at)) return more;
            [[fallthrough]];
        case AluOp::rsh:
        case AluOp::arsh:
            shift_imm(op, is64, insn);
            break;
        case AluOp::div:
        case AluOp::mod:
        case AluOp::sdiv:
        case AluOp::smod:
            divide_imm(op, is64, insn);
            break;
    }
    return 0;
}

void Compiler::alu_reg(AluOp op, bool is64, const LoweredInsn& insn) {
    const x86::Gp dst = sized(insn.dst, is64), src = sized(insn.src, is64);
    switch (op) {
        case AluOp::add:
            a_.add(dst, src);
            return;
        case AluOp::sub:
            a_.sub(dst, src);
            return;
        case AluOp::mul:
            a_.imul(dst, src);
            return;
        case AluOp::or_:
            a_.or_(dst, src);
            return;
        case AluOp::and_:
            a_.and_(dst, src);
            return;
        case AluOp::xor_:
            a_.xor_(dst, src);
            return;
        case AluOp::neg:  // has no second operand
            a_.neg(dst);
            return;
        case AluOp::mov:
            if (!is64 || insn.dst != insn.src) a_.mov(dst, src);
            return;
        case AluOp::lsh:
        case AluOp::rsh:
        case AluOp::arsh:
            shift_reg(op, is64, insn);
            return;
        case AluOp::div:
        case AluOp::mod:
        case AluOp::sdiv:
        case AluOp::smod:
            divide_reg(op, is64, insn);
            return;
    }
}

void Compiler::shift_imm(AluOp op, bool is64, const LoweredInsn& insn) {
    const x86::Gp dst = sized(insn.dst, is64);
    const auto count = static_cast<u32>(static_cast<u64>(insn.imm) & (is64 ? 63 : 31));
    if (count == 0) {
        if (!is64) zero_extend(insn.dst);
        return;
    }
    if (op == AluOp::lsh) a_.shl(dst, count);
    if (op == AluOp::rsh) a_.shr(dst, count);
    if (op == AluOp::arsh) a_.sar(dst, count);
}

// The processor masks counts as BPF does. Without BMI2 they stand in rcx, which is r3.
void Compiler::shift_reg(AluOp op, bool is64, const LoweredInsn& insn) {
    const x86::Gp dst = sized(insn.dst, is64), src = sized(insn.src, is64);
    if (features_.bmi2) {
        if (op == AluOp::lsh) a_.shlx(dst, dst, src);
        if (op == AluOp::rsh) a_.shrx(dst, dst, src);
        if (op == AluOp::arsh) a_.sarx(dst, dst, src);
        return;
    }
    constexpr u8 r3 = 3;
    const bool busy = insn.src != r3;
    if (busy) {
        a_.mov(scratch, x86::rcx);
        a_.mov(x86::ecx, narrow(insn.src));
    }
    const x86::Gp value = busy && insn.dst == r3 ? sized(scratch, is64) : dst;
    if (op == AluOp::lsh) a_.shl(value, x86::cl);
    if (op == AluOp::rsh) a_.shr(value, x86::cl);
    if (op == AluOp::arsh) a_.sar(value, x86::cl);
    if (busy) a_.mov(x86::rcx, scratch);
}

void Compiler::divide_imm(AluOp op, bool is64, const LoweredInsn& insn) {
    const x86::Gp dst = sized(insn.dst, is64);
    const u64 divisor = is64 ? static_cast<u64>(insn.imm) : static_cast<u32>(insn.imm);
    const bool minus_one = divisor == (is64 ? ~u64{0} : ~u32{0});
    const auto unchanged = [&] {
        if (!is64) zero_extend(insn.dst);
    };
    const auto zero = [&] { a_.xor_(dst.r32(), dst.r32()); };
    if (divisor == 0) return is_quotient(op) ? zero() : unchanged();
    if (divisor == 1) return is_quotient(op) ? unchanged() : zero();
    if (is_signed(op) && minus_one) {
        if (is_quotient(op))
            a_.neg(dst);
        else
            zero();
        return;
    }
    if (!is_signed(op) && is_power_of_two(divisor)) {
        if (op == AluOp::div)
            a_.shr(dst, std::countr_zero(divisor));
        else if (divisor - 1 <= 0x7fffffff)
            a_.and_(dst.r32(), static_cast<i32>(divisor - 1));
        else
            a_.and_(dst, operand(static_cast<i64>(divisor - 1), is64));
        return;
    }
    if (!is_signed(op)) return divide_by_magic(op, is64, insn.dst, divisor);
    move_imm(scratch, divisor);
    divide(op, is64, insn.dst);
}

// By multiplication, which takes a few cycles. A dividend of 32 bits is one of 64.
void Compiler::divide_by_magic(AluOp op, bool is64, u8 dst, u64 divisor) {
    constexpr u8 r0 = 0, r2 = 2;
    const Magic by = magic(divisor);
    const x86::Gp dividend = scratch, quotient = x86::rdx;
    a_.mov(sized(dividend, is64), sized(dst, is64));
    if (dst != r0) a_.mov(scratch2, x86::rax);
    if (dst != r2) a_.mov(scratch3, x86::rdx);
    a_.mov(x86::rax, by.factor);
    a_.mul(dividend);
    if (by.add) {
        a_.mov(x86::rax, dividend);
        a_.sub(x86::rax, x86::rdx);
        a_.shr(x86::rax, 1);
        a_.add(x86::rdx, x86::rax);
    }
    if (by.shift != 0) a_.shr(quotient, by.shift);
    if (op == AluOp::mod) {
        if (divisor <= 0x7fffffff) {
            a_.imul(quotient, quotient, static_cast<i32>(divisor));
        } else {
            move_imm(x86::rax, divisor);
            a_.imul(quotient, x86::rax);
        }
        a_.sub(dividend, quotient);
        a_.mov(wide(dst), dividend);
    } else if (dst != r2) {
        a_.mov(wide(dst), quotient);
    }
    if (dst != r0) a_.mov(x86::rax, scratch2);
    if (dst != r2) a_.mov(x86::rdx, scratch3);
}

void Compiler::divide_reg(AluOp op, bool is64, const LoweredInsn& insn) {
    const x86::Gp dst = sized(insn.dst, is64), src = sized(insn.src, is64);
    const Label zero = a_.newLabel(), minus_one = a_.newLabel(), done = a_.newLabel();
    a_.test(src, src);
    a_.jz(zero);
    if (is_signed(op)) {  // the quotient that does not fit would be a fault
        a_.cmp(src, -1);
        a_.je(minus_one);
    }
    a_.mov(sized(scratch, is64), src);
    divide(op, is64, insn.dst);
    a_.jmp(done);
    if (is_signed(op)) {
        a_.bind(minus_one);
        if (is_quotient(op))
            a_.neg(dst);
        else
            a_.xor_(dst.r32(), dst.r32());
        a_.jmp(done);
    }
    a_.bind(zero);
    if (is_quotient(op))
        a_.xor_(dst.r32(), dst.r32());
    else if (!is64)
        zero_extend(insn.dst);
    a_.bind(done);
}

// Divides dst by r11. The processor divides rdx:rax, which are r2 and r0: they wait in scratch registers.
void Compiler::divide(AluOp op, bool is64, u8 dst) {
    constexpr u8 r0 = 0, r2 = 2;
    if (dst != r0) a_.mov(scratch2, x86::rax);
    if (dst != r2) a_.mov(scratch3, x86::rdx);
    if (dst != r0) a_.mov(sized(x86::rax, is64), sized(dst, is64));
    const x86::Gp divisor = sized(scratch, is64);
    if (is_signed(op)) {
        if (is64)
            a_.cqo();
        else
            a_.cdq();
        a_.idiv(divisor);
    } else {
        a_.xor_(x86::edx, x86::edx);
        a_.div(divisor);
    }
    const x86::Gp result = sized(is_quotient(op) ? x86::rax : x86::rdx, is64);
    if (result.id() != machine_registers[dst]) a_.mov(sized(dst, is64), result);
    if (dst != r0) a_.mov(x86::rax, scratch2);
    if (dst != r2) a_.mov(x86::rdx, scratch3);
}

void Compiler::extend(isa::ExtendOp op, bool is64, const LoweredInsn& insn) {
    const x86::Gp dst = sized(insn.dst, is64), src = wide(insn.src);
    switch (op) {
        case isa::ExtendOp::sx8:
            a_.movsx(dst, src.r8());
            return;
        case isa::ExtendOp::sx16:
            a_.movsx(dst, src.r16());
            return;
        case isa::ExtendOp::sx32:
            if (is64)
                a_.movsxd(dst, src.r32());
            else
                a_.mov(dst, src.r32());
            return;
    }
}

// The machine is little-endian: le truncates.
void Compiler::swap(isa::SwapOp op, u8 dst) {
    const x86::Gp whole = wide(dst), half = narrow(dst);
    switch (op) {
        case isa::SwapOp::le16:
            a_.movzx(half, whole.r16());
            return;
        case isa::SwapOp::le32:
            zero_extend(dst);
            return;
        case isa::SwapOp::le64:
            return;
        case isa::SwapOp::be16:
        case isa::SwapOp::bswap16:
            a_.bswap(half);
            a_.shr(half, 16);
            return;
        case isa::SwapOp::be32:
        case isa::SwapOp::bswap32:
            a_.bswap(half);
            return;
        case isa::SwapOp::be64:
        case isa::SwapOp::bswap64:
            a_.bswap(whole);
            return;
    }
}

}  // namespace anybpf::engine

// SPDX-License-Identifier: Apache-2.0
// What a program computes, and its memory.
#include <algorithm>

#include "lifting.hpp"

namespace anybpf::engine::llvm {

Value Lifting::divide(Value a, Value b, bool is_signed, bool remainder) {
    const Value zero = constant(b, 0), one = constant(b, 1);
    Value special = LLVMBuildICmp(u_.at, LLVMIntEQ, b, zero, "");
    Value minus_one = nullptr;
    if (is_signed) minus_one = LLVMBuildICmp(u_.at, LLVMIntEQ, b, constant(b, ~u64{0}), "");
    const Value traps = is_signed ? LLVMBuildOr(u_.at, special, minus_one, "") : special;
    const Value divisor = LLVMBuildSelect(u_.at, traps, one, b, "");
    if (remainder) {
        // By -1 the rest is 0, as by 1; by 0 it is the dividend.
        const Value rest = is_signed ? LLVMBuildSRem(u_.at, a, divisor, "") : LLVMBuildURem(u_.at, a, divisor, "");
        return LLVMBuildSelect(u_.at, special, a, rest, "");
    }
    Value quotient = is_signed ? LLVMBuildSDiv(u_.at, a, divisor, "") : LLVMBuildUDiv(u_.at, a, divisor, "");
    if (is_signed) quotient = LLVMBuildSelect(u_.at, minus_one, LLVMBuildNeg(u_.at, a, ""), quotient, "");
    return LLVMBuildSelect(u_.at, special, zero, quotient, "");
}

Value Lifting::alu(AluOp op, Value a, Value b) {
    const auto shift = [&] { return LLVMBuildAnd(u_.at, b, constant(b, LLVMGetIntTypeWidth(LLVMTypeOf(b)) - 1), ""); };
    switch (op) {
        case AluOp::add:
            return LLVMBuildAdd(u_.at, a, b, "");
        case AluOp::sub:
            return LLVMBuildSub(u_.at, a, b, "");
        case AluOp::mul:
            return LLVMBuildMul(u_.at, a, b, "");
        case AluOp::div:
            return divide(a, b, false, false);
        case AluOp::sdiv:
            return divide(a, b, true, false);
        case AluOp::mod:
            return divide(a, b, false, true);
        case AluOp::smod:
            return divide(a, b, true, true);
        case AluOp::or_:
            return LLVMBuildOr(u_.at, a, b, "");
        case AluOp::and_:
            return LLVMBuildAnd(u_.at, a, b, "");
        case AluOp::xor_:
            return LLVMBuildXor(u_.at, a, b, "");
        case AluOp::lsh:
            return LLVMBuildShl(u_.at, a, shift(), "");
        case AluOp::rsh:
            return LLVMBuildLShr(u_.at, a, shift(), "");
        case AluOp::arsh:
            return LLVMBuildAShr(u_.at, a, shift(), "");
        case AluOp::neg:
            return LLVMBuildNeg(u_.at, a, "");
        case AluOp::mov:
            return b;
    }
    return nullptr;
}

Value Lifting::compare(JumpOp op, Value a, Value b) {
    const auto is = [&](LLVMIntPredicate predicate) { return LLVMBuildICmp(u_.at, predicate, a, b, ""); };
    switch (op) {
        case JumpOp::jeq:
            return is(LLVMIntEQ);
        case JumpOp::jne:
            return is(LLVMIntNE);
        case JumpOp::jgt:
            return is(LLVMIntUGT);
        case JumpOp::jge:
            return is(LLVMIntUGE);
        case JumpOp::jlt:
            return is(LLVMIntULT);
        case JumpOp::jle:
            return is(LLVMIntULE);
        case JumpOp::jsgt:
            return is(LLVMIntSGT);
        case JumpOp::jsge:
            return is(LLVMIntSGE);
        case JumpOp::jslt:
            return is(LLVMIntSLT);
        case JumpOp::jsle:
            return is(LLVMIntSLE);
        case JumpOp::jset:
            return LLVMBuildICmp(u_.at, LLVMIntNE, LLVMBuildAnd(u_.at, a, b, ""), constant(a, 0), "");
    }
    return nullptr;
}

// Of a jump that asks whether a lookup found something: when it is taken. Null: of any other instruction.
Value Lifting::asks_for_element(const LoweredInsn& insn) {
    const Op op{insn.op};
    if ((op != Op::jeq64_imm && op != Op::jne64_imm) || insn.imm != 0 || found_[insn.dst] == nullptr) return nullptr;
    return op == Op::jne64_imm ? found_[insn.dst] : LLVMBuildNot(u_.at, found_[insn.dst], "");
}

// The low bits of a value, in the other order or as they are.
Value Lifting::swap(Value value, u32 bits, bool reverse) {
    LLVMTypeRef type = u_.integer(bits);
    const Value narrow = LLVMBuildTrunc(u_.at, value, type, "");
    if (!reverse) return narrow;
    Value intrinsic = LLVMGetIntrinsicDeclaration(u_.module, LLVMLookupIntrinsicID("llvm.bswap", 10), &type, 1);
    return u_.call(LLVMGlobalGetValueType(intrinsic), intrinsic, {narrow});
}

// What makes a pointer of a pointer; false: numbers.
bool Lifting::pointer_alu(const LoweredInsn& insn, Op op) {
    const Base dst = bases_[insn.dst], src = bases_[insn.src];
    if (op == Op::mov64_reg && src != unknown) {
        const Value found = found_[insn.src];
        set_pointer(insn.dst, src, pointer(insn.src));
        found_[insn.dst] = found;
        return true;
    }
    if (op == Op::add64_imm && dst != unknown) {
        set_pointer(insn.dst, dst, offset(pointer(insn.dst), u_.number(static_cast<u64>(insn.imm))));
        return true;
    }
    if (op != Op::add64_reg || (dst == unknown) == (src == unknown)) return false;
    const u8 base = dst != unknown ? insn.dst : insn.src, other = dst != unknown ? insn.src : insn.dst;
    set_pointer(insn.dst, bases_[base], offset(pointer(base), get(other)));
    return true;
}

// What mov64_imm loads: a number, or what a map stands for.
void Lifting::immediate(u32 at) {
    const u32 dst = program_.insns[at].dst;
    const Value number = u_.number(static_cast<u64>(program_.insns[at].imm));
    const program::MapUse* const use = map_use(program_, at);
    if (use == nullptr) return set(dst, number);
    const Value values = use->value != 0 ? surroundings_.map_values[use->map] : nullptr;
    if (values != nullptr) {
        const Value place = offset(values, u_.number(use->offset));
        if (program_.proved != 0 && has_values(program_, use->map))
            return set_pointer(dst, first_map + use->map, place);
        return set(dst, LLVMBuildPtrToInt(u_.at, place, u_.i64, ""));
    }
    set(dst, surroundings_.exported != nullptr ? map_address(use->map) : number);
}

// What the host takes for the map.
Value Lifting::map_address(u32 map) {
    const Value maps = u_.constant_field(u_.pointer, run_, u_.layout.maps);
    return LLVMBuildPtrToInt(u_.at, u_.constant_element(maps, u_.number(map)), u_.i64, "");
}

Value Lifting::offset(Value pointer, Value distance) { return LLVMBuildGEP2(u_.at, u_.i8, pointer, &distance, 1, ""); }
Value Lifting::address(u32 base, i32 off) { return offset(pointer(base), u_.number(static_cast<u64>(i64{off}))); }

Value Lifting::load(u32 base, i32 off, u32 bits) {
    const Value loaded = LLVMBuildLoad2(u_.at, u_.integer(bits), address(base, off), "");
    LLVMSetAlignment(loaded, 1);
    return loaded;
}
void Lifting::load_to(u32 r, u32 base, i32 off, u32 bits) {
    const Value loaded = load(base, off, bits);
    set_zext(r, LLVMBuildFreeze(u_.at, loaded, ""));
    loaded_[r] = {loaded, bits};
}
void Lifting::store(u32 base, i32 off, u32 bits, Value value) {
    const Value narrow = LLVMBuildTrunc(u_.at, value, u_.integer(bits), "");
    LLVMSetAlignment(LLVMBuildStore(u_.at, narrow, address(base, off)), 1);
}

void Lifting::atomic(AtomicOp op, const LoweredInsn& insn, u32 bits) {
    const Value operand = LLVMBuildTrunc(u_.at, get(insn.src), u_.integer(bits), "");
    const Value place = address(insn.dst, insn.off);
    const auto modify = [&](LLVMAtomicRMWBinOp how) {
        return LLVMBuildAtomicRMW(u_.at, how, place, operand, LLVMAtomicOrderingSequentiallyConsistent, false);
    };
    switch (op) {
        case AtomicOp::add:
            modify(LLVMAtomicRMWBinOpAdd);
            return;
        case AtomicOp::or_:
            modify(LLVMAtomicRMWBinOpOr);
            return;
        case AtomicOp::and_:
            modify(LLVMAtomicRMWBinOpAnd);
            return;
        case AtomicOp::xor_:
            modify(LLVMAtomicRMWBinOpXor);
            return;
        case AtomicOp::fetch_add:
            return set_zext(insn.src, modify(LLVMAtomicRMWBinOpAdd));
        case AtomicOp::fetch_or:
            return set_zext(insn.src, modify(LLVMAtomicRMWBinOpOr));
        case AtomicOp::fetch_and:
            return set_zext(insn.src, modify(LLVMAtomicRMWBinOpAnd));
        case AtomicOp::fetch_xor:
            return set_zext(insn.src, modify(LLVMAtomicRMWBinOpXor));
        case AtomicOp::xchg:
            return set_zext(insn.src, modify(LLVMAtomicRMWBinOpXchg));
        case AtomicOp::cmpxchg: {
            const Value expected = LLVMBuildTrunc(u_.at, get(0), u_.integer(bits), "");
            const Value both =
                LLVMBuildAtomicCmpXchg(u_.at, place, expected, operand, LLVMAtomicOrderingSequentiallyConsistent,
                                       LLVMAtomicOrderingSequentiallyConsistent, false);
            return set_zext(0, LLVMBuildExtractValue(u_.at, both, 0, ""));
        }
        case AtomicOp::load_acquire: {
            const Value loaded = LLVMBuildLoad2(u_.at, u_.integer(bits), address(insn.src, insn.off), "");
            LLVMSetOrdering(loaded, LLVMAtomicOrderingAcquire);
            LLVMSetAlignment(loaded, bits / 8);
            return set_zext(insn.dst, loaded);
        }
        case AtomicOp::store_release: {
            const Value stored = LLVMBuildStore(u_.at, operand, place);
            LLVMSetOrdering(stored, LLVMAtomicOrderingRelease);
            LLVMSetAlignment(stored, bits / 8);
            return;
        }
    }
}

}  // namespace anybpf::engine::llvm

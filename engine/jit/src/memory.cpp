// SPDX-License-Identifier: Apache-2.0
// Loads, stores and atomic operations.
#include <bit>
#include <cstddef>

#include "compiler.hpp"

namespace anybpf::engine {
namespace {

x86::Mem at_address(const x86::Gp& base, i32 off, u32 bytes) { return x86::ptr(base, off, bytes); }

x86::Gp register_of(isa::Width width, u8 reg) {
    switch (width) {
        case isa::Width::byte:
            return x86::gpb(machine_registers[reg]);
        case isa::Width::half:
            return x86::gpw(machine_registers[reg]);
        case isa::Width::word:
            return narrow(reg);
        case isa::Width::dword:
            return wide(reg);
    }
    return {};
}

}  // namespace

void Compiler::load(isa::Width width, bool sign, const LoweredInsn& insn) {
    const x86::Mem from = at_address(wide(insn.src), insn.off, isa::bytes(width));
    switch (width) {
        case isa::Width::byte:
        case isa::Width::half:
            if (sign)
                a_.movsx(wide(insn.dst), from);
            else
                a_.movzx(narrow(insn.dst), from);
            return;
        case isa::Width::word:
            if (sign)
                a_.movsxd(wide(insn.dst), from);
            else
                a_.mov(narrow(insn.dst), from);
            return;
        case isa::Width::dword:
            a_.mov(wide(insn.dst), from);
            return;
    }
}

void Compiler::store(isa::Width width, const LoweredInsn& insn) {
    a_.mov(at_address(wide(insn.dst), insn.off, isa::bytes(width)), register_of(width, insn.src));
}

void Compiler::store_imm(isa::Width width, const LoweredInsn& insn) {
    const x86::Mem to = at_address(wide(insn.dst), insn.off, isa::bytes(width));
    switch (width) {
        case isa::Width::byte:
            a_.mov(to, static_cast<i8>(insn.imm));
            return;
        case isa::Width::half:
            a_.mov(to, static_cast<i16>(insn.imm));
            return;
        case isa::Width::word:
            a_.mov(to, static_cast<i32>(insn.imm));
            return;
        case isa::Width::dword:
            if (insn.imm == static_cast<i32>(insn.imm))
                a_.mov(to, static_cast<i32>(insn.imm));
            else
                a_.mov(to, operand(insn.imm, true));
            return;
    }
}

void Compiler::atomic(isa::AtomicOp op, bool is64, const LoweredInsn& insn) {
    const x86::Mem cell = at_address(wide(insn.dst), insn.off, is64 ? 8 : 4);
    const x86::Gp src = sized(insn.src, is64);
    switch (op) {
        case isa::AtomicOp::add:
            a_.lock().add(cell, src);
            return;
        case isa::AtomicOp::or_:
            a_.lock().or_(cell, src);
            return;
        case isa::AtomicOp::and_:
            a_.lock().and_(cell, src);
            return;
        case isa::AtomicOp::xor_:
            a_.lock().xor_(cell, src);
            return;
        case isa::AtomicOp::fetch_add:
            a_.lock().xadd(cell, src);
            return;
        case isa::AtomicOp::xchg:
            a_.xchg(cell, src);
            return;
        case isa::AtomicOp::cmpxchg:
            a_.lock().cmpxchg(cell, src);
            if (!is64) zero_extend(0);  // which the instruction does only where it fails
            return;
        case isa::AtomicOp::fetch_or:
        case isa::AtomicOp::fetch_and:
        case isa::AtomicOp::fetch_xor:
            fetch_by_exchange(op, is64, insn);
            return;
        case isa::AtomicOp::load_acquire:
        case isa::AtomicOp::store_release:
            return;  // ops of their own
    }
}

// The processor has no such operations that yield the old value: a loop of compare-exchange, which takes rax. r0 waits
// in r10 meanwhile, and is found there by whoever names it.
void Compiler::fetch_by_exchange(isa::AtomicOp op, bool is64, const LoweredInsn& insn) {
    const x86::Gp kept = scratch2;
    const x86::Mem cell = at_address(insn.dst == 0 ? kept : wide(insn.dst), insn.off, is64 ? 8 : 4);
    const x86::Gp old = sized(x86::rax, is64), changed = sized(scratch, is64);
    const x86::Gp src = insn.src == 0 ? sized(kept, is64) : sized(insn.src, is64);
    const Label again = a_.newLabel();
    a_.mov(kept, x86::rax);
    a_.mov(old, cell);
    a_.bind(again);
    a_.mov(changed, old);
    if (op == isa::AtomicOp::fetch_or) a_.or_(changed, src);
    if (op == isa::AtomicOp::fetch_and) a_.and_(changed, src);
    if (op == isa::AtomicOp::fetch_xor) a_.xor_(changed, src);
    a_.lock().cmpxchg(cell, changed);
    a_.jne(again);
    if (insn.src == 0) {
        if (!is64) zero_extend(0);
        return;
    }
    a_.mov(src, old);
    a_.mov(x86::rax, kept);
}

// Where there is no element the register becomes 0, and nearly always the next instruction asks for that: then it is
// part of the bounds check.
u32 Compiler::lookup_array(u32 at) {
    const LoweredInsn& insn = lowered_.insns[at];
    const abi::ArrayPlace& array = maps_[static_cast<u64>(insn.imm)].array;
    const Label miss = a_.newLabel();
    if (array.entries == 1) {
        a_.cmp(x86::dword_ptr(wide(insn.src)), 0);
        a_.jne(miss);
    } else {
        a_.mov(narrow(insn.dst), x86::dword_ptr(wide(insn.src)));
        a_.cmp(narrow(insn.dst), static_cast<i32>(array.entries));
        a_.jae(miss);
    }
    address_of_element(static_cast<u32>(insn.imm), insn.dst);

    const LoweredInsn* const next = follows(at) ? &lowered_.insns[at + 1] : nullptr;
    const bool tested = next != nullptr && next->dst == insn.dst && next->imm == 0;
    if (tested && Op{next->op} == Op::jeq64_imm) {
        misses_.push_back({miss, label_of(static_cast<u32>(next->off)), insn.dst});
        return 1;
    }
    if (tested && Op{next->op} == Op::jne64_imm) {
        a_.jmp(label_of(static_cast<u32>(next->off)));
        a_.bind(miss);
        a_.xor_(narrow(insn.dst), narrow(insn.dst));
        return 1;
    }
    const Label found = a_.newLabel();
    a_.bind(found);
    misses_.push_back({miss, found, insn.dst});
    return 0;
}

// Makes of an index the address; where there is one element, whatever is in the register.
void Compiler::address_of_element(u32 map, u8 reg) {
    const abi::ArrayPlace& array = maps_[map].array;
    const CodeImage::Patch values{.what = CodeImage::Address::array, .index = map};
    out_.arrays.push_back({.map = map, .entries = array.entries, .stride = array.stride, .block = array.block});
    const x86::Gp result = wide(reg);
    const auto multiply = [&](const x86::Gp& by_this, u64 factor) {
        if (std::has_single_bit(factor)) {
            a_.shl(by_this, std::countr_zero(factor));
        } else if (factor <= 0x7fffffff) {
            a_.imul(by_this, by_this, static_cast<i32>(factor));
        } else {
            a_.mov(scratch2, factor);
            a_.imul(by_this, scratch2);
        }
    };
    if (array.entries == 1) {
        move_address(result, values);
    } else {
        move_address(scratch, values);
        if (array.stride == 8) {
            a_.lea(result, x86::ptr(scratch, result, 3));
        } else {
            multiply(result, array.stride);
            a_.add(result, scratch);
        }
    }
    if (array.block == 0) return;
    a_.mov(scratch.r32(), x86::dword_ptr(run_register, offsetof(abi::Run, vcpu)));
    multiply(scratch, array.block);
    a_.add(result, scratch);
}

}  // namespace anybpf::engine

// SPDX-License-Identifier: Apache-2.0
// Form: what an instruction is, once its bits have been looked at, and checked, in one place. Disassembler, verifier
// and engines switch over Kind and never over opcodes.
#pragma once

#include <array>
#include <optional>
#include <span>
#include <string_view>

#include "anybpf/base/text.hpp"
#include "anybpf/isa/insn.hpp"

namespace anybpf::isa {

enum class AluOp : u8 {
#define ANYBPF_ALU(name, code, off, symbol, mnemonic, form) name,
#include "anybpf/isa/isa.def"
};
enum class ExtendOp : u8 {
#define ANYBPF_EXTEND(name, bits, text, narrow) name,
#include "anybpf/isa/isa.def"
};
enum class SwapOp : u8 {
#define ANYBPF_SWAP(name, code, bits, text) name,
#include "anybpf/isa/isa.def"
};
enum class JumpOp : u8 {
#define ANYBPF_JUMP(name, code, symbol, mnemonic) name,
#include "anybpf/isa/isa.def"
};
enum class AtomicOp : u8 {
#define ANYBPF_ATOMIC(name, imm, text, form) name,
#include "anybpf/isa/isa.def"
};
enum class Width : u8 {  // the number is its code in the opcode
#define ANYBPF_WIDTH(name, code, bytes, text, suffix) name = code,
#include "anybpf/isa/isa.def"
};
enum class AluForm : u8 { unary, binary };
enum class AtomicForm : u8 { modify, fetch, exchange, compare_exchange, load, store };

enum class Kind : u8 {
    alu,         // alu, is64, by_register
    extend,      // extend, is64
    swap,        // swap
    cast,        // addr_space_cast: imm = destination << 16 | source
    jump,        // jump, is64, by_register; the distance is off
    ja,          // the distance is off
    gotol,       // the distance is imm
    gotox,       // to the address in dst
    call,        // call says whom
    callx,       // the function in dst
    exit,        //
    may_goto,    // the distance is off
    load,        // dst = *(width *)(src + off), zero-extended
    load_sx,     // the same, sign-extended
    store_imm,   // *(width *)(dst + off) = imm
    store,       // *(width *)(dst + off) = src
    atomic,      // atomic, width
    wide,        // pseudo; two slots
    packet_abs,  // r0 = packet bytes at imm
    packet_ind,  // r0 = packet bytes at src + imm
};

// Only the members that the kind names have a meaning.
struct Form {
    Kind kind{};
    bool is64 = false;         // operands are the whole registers, not their low halves
    bool by_register = false;  // the second operand is src, not imm
    AluOp alu{};
    ExtendOp extend{};
    SwapOp swap{};
    JumpOp jump{};
    AtomicOp atomic{};
    Width width{};
    Pseudo pseudo{};
    CallKind call{};
    friend constexpr bool operator==(const Form&, const Form&) = default;
};

enum class DefectKind : u8 {
#define ANYBPF_DEFECT(name, text) name,
#include "anybpf/isa/defects.def"
};
std::string_view to_string(DefectKind what);

// What decode() yields: the form, and what is wrong. Of an instruction whose operation is known the form stands also
// beside a defect of its fields; of any other it is an arithmetic one.
struct Decoded {
    Form form;
    std::optional<DefectKind> defect;
};

// Looks at one slot; of a wide instruction only at its first half.
Decoded decode(const Insn& insn);

struct Defect {
    DefectKind what{};
    Pc pc;
};

// What is wrong with the instruction that starts at pc, both halves of a wide one.
std::optional<DefectKind> defect_at(std::span<const Insn> insns, u32 pc);
// The same to Linux, which does not look at the offset of exit, nor at the second immediate of a function's address;
// RFC 9669 reserves both.
std::optional<DefectKind> kernel_defect_at(std::span<const Insn> insns, u32 pc);

// The first defect of a program, if any: unknown opcodes, reserved fields that are not zero, half of a wide
// instruction. Where jumps lead is not looked at.
std::optional<Defect> check(std::span<const Insn> insns);

constexpr u32 slots(const Insn& insn) { return insn.code == 0x18 ? 2 : 1; }
// The 64-bit immediate of a wide instruction.
constexpr u64 wide_imm(const Insn& first, const Insn& second) {
    return static_cast<u64>(static_cast<u32>(second.imm)) << 32 | static_cast<u32>(first.imm);
}

// Rows of the tables, for printers and parsers.
struct AluRow {
    AluOp op;
    u8 code;
    i16 off;
    Text<7> symbol, mnemonic;
    AluForm form;
};
struct JumpRow {
    JumpOp op;
    u8 code;
    Text<7> symbol, mnemonic;
};
struct ExtendRow {
    ExtendOp op;
    u8 bits;
    Text<7> text;
    bool narrow;  // exists in 32-bit registers too
};
struct SwapRow {
    SwapOp op;
    u8 code;
    u8 bits;
    Text<7> text;
};
struct WidthRow {
    Width width;
    u8 bytes;
    Text<7> text, suffix;
};
struct AtomicRow {
    AtomicOp op;
    i32 imm;
    Text<15> text;
    AtomicForm form;
};
inline constexpr auto alu_rows = std::to_array<AluRow>({
#define ANYBPF_ALU(name, code, off, symbol, mnemonic, form) {AluOp::name, code, off, symbol, mnemonic, AluForm::form},
#include "anybpf/isa/isa.def"
});
inline constexpr auto jump_rows = std::to_array<JumpRow>({
#define ANYBPF_JUMP(name, code, symbol, mnemonic) {JumpOp::name, code, symbol, mnemonic},
#include "anybpf/isa/isa.def"
});
inline constexpr auto extend_rows = std::to_array<ExtendRow>({
#define ANYBPF_EXTEND(name, bits, text, narrow) {ExtendOp::name, bits, text, narrow},
#include "anybpf/isa/isa.def"
});
inline constexpr auto swap_rows = std::to_array<SwapRow>({
#define ANYBPF_SWAP(name, code, bits, text) {SwapOp::name, code, bits, text},
#include "anybpf/isa/isa.def"
});
inline constexpr auto width_rows = std::to_array<WidthRow>({
#define ANYBPF_WIDTH(name, code, bytes, text, suffix) {Width::name, bytes, text, suffix},
#include "anybpf/isa/isa.def"
});
inline constexpr auto atomic_rows = std::to_array<AtomicRow>({
#define ANYBPF_ATOMIC(name, imm, text, form) {AtomicOp::name, imm, text, AtomicForm::form},
#include "anybpf/isa/isa.def"
});

constexpr const AluRow& row(AluOp op) { return alu_rows[static_cast<u8>(op)]; }
constexpr const JumpRow& row(JumpOp op) { return jump_rows[static_cast<u8>(op)]; }
constexpr const ExtendRow& row(ExtendOp op) { return extend_rows[static_cast<u8>(op)]; }
constexpr const SwapRow& row(SwapOp op) { return swap_rows[static_cast<u8>(op)]; }
constexpr const AtomicRow& row(AtomicOp op) { return atomic_rows[static_cast<u8>(op)]; }
constexpr const WidthRow& row(Width width) { return width_rows[static_cast<u8>(width) >> 3]; }
constexpr u32 bytes(Width width) { return row(width).bytes; }
static_assert(bytes(Width::word) == 4 && bytes(Width::half) == 2 && bytes(Width::byte) == 1 &&
              bytes(Width::dword) == 8);

// Class (bits 0-2) and other parts of opcodes, for encoders.
constexpr u8 class_ld = 0x00, class_ldx = 0x01, class_st = 0x02, class_stx = 0x03, class_alu32 = 0x04, class_jmp = 0x05,
             class_jmp32 = 0x06, class_alu64 = 0x07;
constexpr u8 source_register = 0x08;
constexpr u8 mode_abs = 0x20, mode_ind = 0x40, mode_mem = 0x60, mode_memsx = 0x80, mode_atomic = 0xc0;
constexpr u8 code_wide = 0x18, code_cast = 0xbf;
enum class ControlCode : u8 {
#define ANYBPF_CONTROL(name, code, dst, src, off, imm, text) name = code,
#include "anybpf/isa/isa.def"
};

}  // namespace anybpf::isa

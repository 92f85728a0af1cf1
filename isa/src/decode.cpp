// SPDX-License-Identifier: Apache-2.0
#include "anybpf/isa/decode.hpp"

namespace anybpf::isa {
namespace {

// Which fields an instruction uses; every other must be zero.
struct Fields {
    bool dst = false, src = false, off = false, imm = false;
};
constexpr bool yes = true, no = false;

Decoded bad(DefectKind what) { return {.form = {}, .defect = what}; }

std::optional<DefectKind> defect_of_fields(const Insn& insn, const Form& form, Fields uses) {
    if (!uses.dst && insn.dst != 0) return DefectKind::reserved_dst;
    if (!uses.src && insn.src != 0) return DefectKind::reserved_src;
    if (!uses.off && insn.off != 0) return DefectKind::reserved_off;
    if (!uses.imm && insn.imm != 0) return DefectKind::reserved_imm;
    const bool src_is_register = form.kind != Kind::wide && form.kind != Kind::call;
    if (insn.dst > 10 || (src_is_register && insn.src > 10)) return DefectKind::bad_register;
    return std::nullopt;
}

Decoded finish(const Insn& insn, const Form& form, Fields uses) {
    return {.form = form, .defect = defect_of_fields(insn, form, uses)};
}

Decoded decode_swap(const Insn& insn) {
    for (const SwapRow& swap : swap_rows)
        if (swap.code == insn.code && swap.bits == insn.imm)
            return finish(insn, {.kind = Kind::swap, .is64 = true, .swap = swap.op}, {yes, no, no, yes});
    return bad(insn.code == 0xdf ? DefectKind::unknown_opcode : DefectKind::unknown_width);
}

Decoded decode_mov(const Insn& insn, bool is64) {
    if (is64 && insn.off == 1) return finish(insn, {.kind = Kind::cast, .is64 = true}, {yes, yes, yes, yes});
    for (const ExtendRow& extend : extend_rows)
        if (extend.bits == insn.off && (is64 || extend.narrow))
            return finish(insn, {.kind = Kind::extend, .is64 = is64, .extend = extend.op}, {yes, yes, yes, no});
    return bad(DefectKind::reserved_off);
}

Decoded decode_alu(const Insn& insn) {
    const bool is64 = (insn.code & 7) == class_alu64, by_register = (insn.code & source_register) != 0;
    const u8 code = insn.code & 0xf0;
    if (code == 0xd0) return decode_swap(insn);
    if (code == row(AluOp::mov).code && by_register && insn.off != 0) return decode_mov(insn, is64);
    bool known = false;
    for (const AluRow& alu : alu_rows) {
        if (alu.code != code) continue;
        known = true;
        if (alu.form == AluForm::unary && by_register) return bad(DefectKind::unknown_opcode);
        if (alu.off != insn.off) continue;
        const Form form{.kind = Kind::alu, .is64 = is64, .by_register = by_register, .alu = alu.op};
        if (alu.form == AluForm::unary) return finish(insn, form, {yes, no, no, no});
        return finish(insn, form, {yes, by_register, yes, !by_register});
    }
    return bad(known ? DefectKind::reserved_off : DefectKind::unknown_opcode);
}

Decoded decode_call(const Insn& insn) {
    if (insn.src > static_cast<u8>(CallKind::kfunc)) return bad(DefectKind::unknown_call);
    const CallKind whom{insn.src};
    return finish(insn, {.kind = Kind::call, .call = whom}, {no, yes, whom == CallKind::kfunc, yes});
}

Decoded decode_control(const Insn& insn) {
    switch (static_cast<ControlCode>(insn.code)) {
#define ANYBPF_CONTROL(name, code, dst, src, off, imm, text) \
    case ControlCode::name:                                  \
        return finish(insn, {.kind = Kind::name}, {dst, src, off, imm});
#include "anybpf/isa/isa.def"
    }
    return bad(DefectKind::unknown_opcode);
}

Decoded decode_jump(const Insn& insn) {
    const bool is64 = (insn.code & 7) == class_jmp, by_register = (insn.code & source_register) != 0;
    for (const JumpRow& jump : jump_rows)
        if (jump.code == (insn.code & 0xf0))
            return finish(insn, {.kind = Kind::jump, .is64 = is64, .by_register = by_register, .jump = jump.op},
                          {yes, by_register, yes, !by_register});
    return static_cast<ControlCode>(insn.code) == ControlCode::call ? decode_call(insn) : decode_control(insn);
}

Decoded decode_ld(const Insn& insn) {
    if (insn.code == code_wide) {
        if (insn.src > static_cast<u8>(Pseudo::map_idx_value)) return bad(DefectKind::unknown_wide);
        return finish(insn, {.kind = Kind::wide, .is64 = true, .pseudo = static_cast<Pseudo>(insn.src)},
                      {yes, yes, no, yes});
    }
    const Width width{static_cast<u8>(insn.code & 0x18)};
    if (width == Width::dword) return bad(DefectKind::unknown_opcode);
    switch (insn.code & 0xe0) {
        case mode_abs:
            return finish(insn, {.kind = Kind::packet_abs, .width = width}, {no, no, no, yes});
        case mode_ind:
            return finish(insn, {.kind = Kind::packet_ind, .width = width}, {no, yes, no, yes});
        default:
            return bad(DefectKind::unknown_opcode);
    }
}

Decoded decode_atomic(const Insn& insn) {
    const Width width{static_cast<u8>(insn.code & 0x18)};
    for (const AtomicRow& atomic : atomic_rows) {
        if (atomic.imm != insn.imm) continue;
        const bool any_width = atomic.form == AtomicForm::load || atomic.form == AtomicForm::store;
        if (bytes(width) < 4 && !any_width) return bad(DefectKind::unknown_atomic);
        return finish(insn, {.kind = Kind::atomic, .is64 = width == Width::dword, .atomic = atomic.op, .width = width},
                      {yes, yes, yes, yes});
    }
    return bad(DefectKind::unknown_atomic);
}

Decoded decode_memory(const Insn& insn) {
    const Width width{static_cast<u8>(insn.code & 0x18)};
    const u8 mode = insn.code & 0xe0;
    switch (insn.code & 7) {
        case class_ldx:
            if (mode == mode_mem) return finish(insn, {.kind = Kind::load, .width = width}, {yes, yes, yes, no});
            if (mode == mode_memsx && width != Width::dword)
                return finish(insn, {.kind = Kind::load_sx, .width = width}, {yes, yes, yes, no});
            break;
        case class_st:
            if (mode == mode_mem) return finish(insn, {.kind = Kind::store_imm, .width = width}, {yes, no, yes, yes});
            break;
        case class_stx:
            if (mode == mode_mem) return finish(insn, {.kind = Kind::store, .width = width}, {yes, yes, yes, no});
            if (mode == mode_atomic) return decode_atomic(insn);
            break;
        default:
            break;
    }
    return bad(DefectKind::unknown_opcode);
}

}  // namespace

std::string_view to_string(DefectKind what) {
    switch (what) {
#define ANYBPF_DEFECT(name, text) \
    case DefectKind::name:        \
        return text;
#include "anybpf/isa/defects.def"
    }
    return {};
}

Decoded decode(const Insn& insn) {
    switch (insn.code & 7) {
        case class_ld:
            return insn.code == 0 ? bad(DefectKind::stray_half) : decode_ld(insn);
        case class_alu32:
        case class_alu64:
            return decode_alu(insn);
        case class_jmp:
        case class_jmp32:
            return decode_jump(insn);
        default:
            return decode_memory(insn);
    }
}

std::optional<DefectKind> defect_at(std::span<const Insn> insns, u32 pc) {
    constexpr auto second_imm_used = std::to_array<bool>({
#define ANYBPF_WIDE(name, src, high, text) high,
#include "anybpf/isa/isa.def"
    });
    const Decoded decoded = decode(insns[pc]);
    if (insns[pc].code != code_wide || decoded.defect == DefectKind::unknown_wide) return decoded.defect;
    if (pc + 1 == insns.size()) return DefectKind::half_wide;
    const Insn& second = insns[pc + 1];
    const bool imm_used = second_imm_used[insns[pc].src];
    if (second != Insn{.imm = imm_used ? second.imm : 0}) return DefectKind::bad_second_half;
    return decoded.defect;
}

std::optional<DefectKind> kernel_defect_at(std::span<const Insn> insns, u32 pc) {
    Insn insn = insns[pc];
    if (insn.code == static_cast<u8>(ControlCode::exit)) {
        insn.off = 0;
        return decode(insn).defect;
    }
    const auto defect = defect_at(insns, pc);
    const bool function = insn.code == code_wide && insn.src == static_cast<u8>(Pseudo::func);
    if (defect != DefectKind::bad_second_half || !function) return defect;
    return insns[pc + 1] == Insn{.imm = insns[pc + 1].imm} ? decode(insn).defect : defect;
}

std::optional<Defect> check(std::span<const Insn> insns) {
    for (u32 pc = 0; pc < insns.size(); pc += slots(insns[pc])) {
        if (const auto what = defect_at(insns, pc)) return Defect{*what, Pc{pc}};
    }
    return {};
}

}  // namespace anybpf::isa

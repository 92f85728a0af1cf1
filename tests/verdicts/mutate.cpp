// SPDX-License-Identifier: Apache-2.0
#include "anybpf/isa/decode.hpp"
#include "programs.hpp"

namespace anybpf::verdicts {
namespace {

class Mutation {
  public:
    Mutation(std::vector<isa::Insn>& insns, std::mt19937_64& random) : insns_(insns), random_(random) {}

    void apply() {
        const u32 pc = pick();
        switch (below(9)) {
            case 0:
                return drop(pc);
            case 1:
                return move(pc);
            case 2:
                return constant(insns_[pc]);
            case 3:
                return offset(insns_[pc]);
            case 4:
                return registers(insns_[pc]);
            case 5:
                return size(insns_[pc]);
            case 6:
                return operation(insns_[pc]);
            case 7:
                return drop_check();
            default:
                return swap(pc);
        }
    }

  private:
    u32 below(u32 bound) { return static_cast<u32>(random_() % bound); }
    u32 pick() {
        u32 pc = below(static_cast<u32>(insns_.size()));
        if (pc > 0 && insns_[pc].code == 0) --pc;  // of a wide one the first
        return pc;
    }
    static u32 kind(const isa::Insn& insn) { return insn.code & 7U; }
    static bool is_jump(const isa::Insn& insn) {
        return kind(insn) == isa::class_jmp || kind(insn) == isa::class_jmp32;
    }
    static bool is_check(const isa::Insn& insn) {
        return is_jump(insn) && !isa::decode(insn).defect && isa::decode(insn).form.kind == isa::Kind::jump;
    }

    void drop(u32 pc) {
        if (auto rest = differential::without(insns_, pc, pc + isa::slots(insns_[pc])); rest && !rest->empty())
            insns_ = std::move(*rest);
    }
    void drop_check() {
        for (u32 tries = 0; tries < 20; ++tries)
            if (const u32 pc = pick(); is_check(insns_[pc])) return drop(pc);
    }
    // To another place, with what led to it and past it led elsewhere.
    void move(u32 pc) {
        const u32 slots = isa::slots(insns_[pc]);
        if (is_jump(insns_[pc]) || slots != 1) return drop(pc);
        const isa::Insn insn = insns_[pc];
        drop(pc);
        // It takes the place of one that sets a register or stores: nothing else has to move.
        const u32 to = pick();
        if (!is_jump(insns_[to]) && isa::slots(insns_[to]) == 1) insns_[to] = insn;
    }
    void swap(u32 pc) {
        if (pc + 1 >= insns_.size()) return;
        isa::Insn &a = insns_[pc], &b = insns_[pc + 1];
        if (is_jump(a) || is_jump(b) || isa::slots(a) != 1 || isa::slots(b) != 1) return drop(pc);
        std::swap(a, b);
    }
    void constant(isa::Insn& insn) {
        if (insn.code == isa::code_wide && insn.src != 0) return offset(insn);
        switch (below(6)) {
            case 0:
                insn.imm = -insn.imm;
                break;
            case 1:
                insn.imm = static_cast<i32>(static_cast<u32>(insn.imm) << 1);
                break;
            case 2:
                insn.imm = insn.imm / 2;
                break;
            case 3:
                insn.imm = static_cast<i32>(random_());
                break;
            default:
                insn.imm += static_cast<i32>(below(9)) - 4;
                break;
        }
    }
    void offset(isa::Insn& insn) {
        if (is_jump(insn) && below(4) != 0) return operation(insn);
        insn.off = static_cast<i16>(insn.off + static_cast<i16>(below(17)) - 8);
    }
    void registers(isa::Insn& insn) {
        if (below(3) == 0 && insn.code != isa::code_wide) {
            const u8 dst = insn.dst;
            insn.dst = insn.src, insn.src = dst & 15;
        } else if (below(2) == 0) {
            insn.dst = static_cast<u8>(below(11)) & 15;
        } else if (insn.code != isa::code_wide) {
            insn.src = static_cast<u8>(below(11)) & 15;
        }
    }
    void size(isa::Insn& insn) {
        const u32 of = kind(insn);
        if (of == isa::class_ldx || of == isa::class_stx || of == isa::class_st)
            insn.code = static_cast<u8>((insn.code & ~0x18U) | below(4) << 3);
        else if (of == isa::class_alu32 || of == isa::class_alu64)
            insn.code = static_cast<u8>(insn.code ^ 3U);  // the other width
        else if (of == isa::class_jmp || of == isa::class_jmp32)
            insn.code = is_check(insn) ? static_cast<u8>(insn.code ^ 3U) : insn.code;
    }
    void operation(isa::Insn& insn) {
        const u32 of = kind(insn);
        if (of == isa::class_alu32 || of == isa::class_alu64)
            insn.code = static_cast<u8>((insn.code & 0x0fU) | below(13) << 4);
        else if (is_check(insn))
            insn.code = static_cast<u8>((insn.code & 0x0fU) | (1 + below(13)) << 4);
        else
            constant(insn);
    }

    std::vector<isa::Insn>& insns_;
    std::mt19937_64& random_;
};

}  // namespace

void mutate(std::vector<isa::Insn>& insns, std::mt19937_64& random) { Mutation(insns, random).apply(); }

}  // namespace anybpf::verdicts

// SPDX-License-Identifier: Apache-2.0
// Constant folding, in the lowered form, so that every engine has it.
//
//   propagate   follows what registers surely hold (a number, a map, a place in a map's values) along the ways that a
//               run may take; a jump whose outcome is known opens one of them (Wegman and Zadeck's conditional
//               constants, over registers alone)
//   rewrite     says with immediates what is known: results, operands, jumps; loads from values that never change
//   sweep       drops what no way reaches any more, and arithmetic whose result nobody reads
//   compact     numbers the rest anew
//
// What operations mean stands in isa/eval.hpp, and for lowered ones in meaning.cpp.
#include "fold.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <vector>

#include "anybpf/engine/op.hpp"
#include "anybpf/isa/decode.hpp"

namespace anybpf::engine {
namespace {

using program::Lowered;
using program::LoweredInsn;

// What a register holds on every way that leads to an instruction.
struct Known {
    enum class Kind : u8 { unreached, number, map, place, unknown };
    Kind kind = Kind::unknown;
    u32 map = 0;
    u64 value = 0;  // the number, or the offset of the place
    bool operator==(const Known&) const = default;
};
using Kind = Known::Kind;
using Registers = std::array<Known, 10>;
using Set = u16;  // of registers
constexpr Set arguments = 0x3e, caller_saved = 0x3f;
constexpr Set only(u32 reg) { return static_cast<Set>(1U << reg); }

constexpr Known number(u64 value) { return {.kind = Kind::number, .value = value}; }

Known join(const Known& a, const Known& b) {
    if (a.kind == Kind::unreached) return b;
    return b.kind == Kind::unreached || a == b ? a : Known{};
}

// Most operations are none of what the switches are about.
#define ANYBPF_CASE(name, ...)       \
    case static_cast<u16>(Op::name): \
        return __VA_ARGS__;

// The form of an operation whose second operand is an immediate instead of a register, and of how many bits.
struct Immediate {
    Op op;
    u32 bits;
    bool shifts = false;
};
std::optional<Immediate> with_immediate(Op op) {
    using isa::AluOp;
    constexpr auto shifts = [](AluOp alu) { return alu == AluOp::lsh || alu == AluOp::rsh || alu == AluOp::arsh; };
    switch (static_cast<u16>(op)) {
#define ANYBPF_ALU(name, code, off, symbol, mnemonic, form)                         \
    ANYBPF_CASE(name##64_reg, Immediate{Op::name##64_imm, 64, shifts(AluOp::name)}) \
    ANYBPF_CASE(name##32_reg, Immediate{Op::name##32_imm, 32, shifts(AluOp::name)})
#define ANYBPF_JUMP(name, code, symbol, mnemonic)              \
    ANYBPF_CASE(name##64_reg, Immediate{Op::name##64_imm, 64}) \
    ANYBPF_CASE(name##32_reg, Immediate{Op::name##32_imm, 32})
#define ANYBPF_WIDTH(name, code, bytes, text, suffix) \
    ANYBPF_CASE(store_##name, Immediate{Op::store_imm_##name, (bytes) * 8})
#include "anybpf/isa/isa.def"
        default:
            return {};
    }
}

// Bytes of a plain load; whether it extends the sign.
struct Load {
    u32 bytes;
    bool sign;
};
std::optional<Load> as_load(Op op) {
    switch (static_cast<u16>(op)) {
#define ANYBPF_WIDTH(name, code, bytes, text, suffix) \
    ANYBPF_CASE(load_##name, Load{bytes, false})      \
    ANYBPF_CASE(load_sx_##name, Load{bytes, true})
#include "anybpf/isa/isa.def"
        default:
            return {};
    }
}

#undef ANYBPF_CASE

// An instruction that does nothing but set dst.
bool only_computes(Op op) { return compute(op, 0, 0).has_value() || op == Op::get_vcpu || op == Op::get_pid_tgid; }

bool fits(u64 value) { return static_cast<i64>(value) == static_cast<i32>(value); }

class Folding {
  public:
    Folding(Lowered& lowered, std::span<const program::MapInfo> maps)
        : lowered_(lowered), insns_(lowered.insns), maps_(maps) {}
    void run() {
        find_starts();
        propagate();
        rewrite();
        sweep();
        compact();
    }

  private:
    u32 count() const { return static_cast<u32>(insns_.size()); }
    void find_starts();
    void propagate();
    void walk(u32 at);
    void reach(u32 at, const Registers& state);
    Known result(u32 at, const Registers& state) const;
    Known loaded(const LoweredInsn& insn, const Load& load, const Known& base) const;
    Known moved(const Known& base, u64 distance) const;
    u64 operand(const LoweredInsn& insn, Op op, const Registers& state, bool& known) const;
    std::optional<bool> outcome(const LoweredInsn& insn, const Registers& state) const;
    void step(u32 at, Registers& state) const;
    void rewrite();
    void rewrite(u32 at, const Registers& state);
    void become_constant(u32 at, const Known& value);
    Set live_before(u32 at, Set behind, Set at_target) const;
    void sweep();
    void compact();

    Lowered& lowered_;
    std::vector<LoweredInsn>& insns_;
    std::span<const program::MapInfo> maps_;
    std::vector<Known> uses_;    // by instruction, of mov64_imm: the map that it loads, or number
    std::vector<u32> start_of_;  // by instruction: index in states_, or none
    std::vector<Registers> states_;
    std::vector<u32> open_;
    std::vector<bool> kept_;
};
constexpr u32 none = ~u32{0};

void Folding::find_starts() {
    start_of_.assign(count(), none);
    Registers nothing;
    nothing.fill({.kind = Kind::unreached});
    const auto add = [&](u32 at) {
        if (start_of_[at] != none) return;
        start_of_[at] = static_cast<u32>(states_.size());
        states_.push_back(nothing);
    };
    for (const program::LoweredSubprogram& sub : lowered_.subprograms) add(sub.first);
    for (const LoweredInsn& insn : insns_)
        if (op_indices[insn.op] == Index::jump) add(static_cast<u32>(insn.off));
    uses_.assign(count(), number(0));
    for (const program::MapUse& use : lowered_.map_uses)
        uses_[use.insn] = {.kind = use.value != 0 ? Kind::place : Kind::map, .map = use.map, .value = use.offset};
}

// Every subprogram counts as called, by anybody.
void Folding::propagate() {
    kept_.assign(count(), false);
    for (const program::LoweredSubprogram& sub : lowered_.subprograms) reach(sub.first, {});
    while (!open_.empty()) {
        const u32 at = open_.back();
        open_.pop_back();
        walk(at);
    }
}

void Folding::reach(u32 at, const Registers& state) {
    Registers& known = states_[start_of_[at]];
    const Registers before = known;
    for (u32 r = 0; r < known.size(); ++r) known[r] = join(known[r], state[r]);
    if (known != before) open_.push_back(at);
}

// A straight line, up to where other ways come in.
void Folding::walk(u32 at) {
    Registers state = states_[start_of_[at]];
    while (true) {
        kept_[at] = true;
        const LoweredInsn& insn = insns_[at];
        const Op op{insn.op};
        if (op_indices[insn.op] == Index::jump) {
            const std::optional<bool> known = op == Op::jump ? true : outcome(insn, state);
            if (known != false) reach(static_cast<u32>(insn.off), state);
            if (known == true) return;
        }
        if (op == Op::exit) return;
        step(at, state);
        ++at;
        if (start_of_[at] != none) return reach(at, state);
    }
}

// The second operand: a register or the immediate.
u64 Folding::operand(const LoweredInsn& insn, Op op, const Registers& state, bool& known) const {
    if (!operands(op).reads_src) return static_cast<u64>(insn.imm);
    known &= insn.src < state.size() && state[insn.src].kind == Kind::number;
    return known ? state[insn.src].value : 0;
}

std::optional<bool> Folding::outcome(const LoweredInsn& insn, const Registers& state) const {
    const Op op{insn.op};
    if (insn.dst >= state.size() || state[insn.dst].kind != Kind::number) return {};
    bool known = true;
    const u64 b = operand(insn, op, state, known);
    return known ? taken(op, state[insn.dst].value, b) : std::nullopt;
}

// An address some way behind another one, as long as it is one of the same value.
Known Folding::moved(const Known& base, u64 distance) const {
    const u64 at = base.value + distance;
    if (base.kind != Kind::place || base.map >= maps_.size() || at > maps_[base.map].value_size) return {};
    return {.kind = Kind::place, .map = base.map, .value = at};
}

// From values that the verifier takes for constants, too.
Known Folding::loaded(const LoweredInsn& insn, const Load& load, const Known& base) const {
    const u64 at = base.value + static_cast<u64>(i64{insn.off});
    if (base.kind != Kind::place || base.map >= maps_.size()) return {};
    const std::span<const std::byte> values = maps_[base.map].frozen;
    if (at > values.size() || values.size() - at < load.bytes) return {};
    u64 value = 0;
    std::memcpy(&value, values.data() + at, load.bytes);
    const u32 unused = 64 - 8 * load.bytes;
    if (load.sign) value = static_cast<u64>(static_cast<i64>(value << unused) >> unused);
    return number(value);
}

// What dst holds behind an instruction that sets it.
Known Folding::result(u32 at, const Registers& state) const {
    const LoweredInsn& insn = insns_[at];
    const Op op{insn.op};
    if (op == Op::mov64_imm) return uses_[at].kind == Kind::number ? number(static_cast<u64>(insn.imm)) : uses_[at];
    const Operands uses = operands(op);
    const Known unknown{};
    const Known& dst = insn.dst < state.size() ? state[insn.dst] : unknown;
    const Known& src = insn.src < state.size() ? state[insn.src] : unknown;
    if (op == Op::mov64_reg) return src;
    if (op == Op::add64_imm && dst.kind == Kind::place) return moved(dst, static_cast<u64>(insn.imm));
    if (op == Op::add64_reg && dst.kind == Kind::place && src.kind == Kind::number) return moved(dst, src.value);
    if (op == Op::add64_reg && src.kind == Kind::place && dst.kind == Kind::number) return moved(src, dst.value);
    if (const auto load = as_load(op)) return loaded(insn, *load, src);
    if (uses.reads_dst && dst.kind != Kind::number) return {};
    bool known = true;
    const u64 b = operand(insn, op, state, known);
    if (!known) return {};
    const auto value = compute(op, dst.value, b);
    return value ? number(*value) : unknown;
}

void Folding::step(u32 at, Registers& state) const {
    const LoweredInsn& insn = insns_[at];
    const Op op{insn.op};
    const Operands uses = operands(op);
    const Known dst = uses.writes_dst ? result(at, state) : Known{};
    if (clobbers_arguments(op)) std::fill_n(state.begin(), 6, Known{});
    if (uses.writes_r0) state[0] = {};
    if (uses.writes_src && insn.src < state.size()) state[insn.src] = {};
    if (uses.writes_dst && insn.dst < state.size()) state[insn.dst] = dst;
}

void Folding::rewrite() {
    Registers state;
    for (u32 at = 0; at < count(); ++at) {
        if (!kept_[at]) continue;
        if (start_of_[at] != none) state = states_[start_of_[at]];
        Registers behind = state;
        step(at, behind);
        rewrite(at, state);
        state = behind;
    }
}

void Folding::become_constant(u32 at, const Known& value) {
    const u8 dst = insns_[at].dst;
    insns_[at] = {.op = static_cast<u16>(Op::mov64_imm), .dst = dst};
    if (value.kind == Kind::number)
        insns_[at].imm = static_cast<i64>(value.value);
    else
        uses_[at] = value;
}

void Folding::rewrite(u32 at, const Registers& state) {
    LoweredInsn& insn = insns_[at];
    const Op op{insn.op};
    if (op_indices[insn.op] == Index::jump) {
        if (const auto known = outcome(insn, state)) {
            kept_[at] = *known;
            insn = {.op = static_cast<u16>(Op::jump), .off = insn.off};
            return;
        }
    } else if (operands(op).writes_dst) {
        const Known value = result(at, state);
        // A copy is shorter than a long constant.
        const bool copy = op == Op::mov64_reg && !(value.kind == Kind::number && fits(value.value));
        if (op == Op::mov64_imm || copy) return;
        if (value.kind == Kind::number || value.kind == Kind::place) return become_constant(at, value);
    }
    const auto form = with_immediate(op);
    if (!form || insn.src >= state.size() || state[insn.src].kind != Kind::number) return;
    const u64 value = state[insn.src].value;
    if (form->bits == 64 && !fits(value)) return;
    insn.op = static_cast<u16>(form->op);
    insn.src = 0;
    insn.imm = static_cast<i32>(value);
    if (form->shifts) insn.imm &= form->bits - 1;
}

Set Folding::live_before(u32 at, Set behind, Set at_target) const {
    const LoweredInsn& insn = insns_[at];
    const Op op{insn.op};
    if (!kept_[at]) return behind;
    if (op == Op::jump) return at_target;
    if (only_computes(op) && (behind & only(insn.dst)) == 0) return behind;
    const Operands uses = operands(op);
    Set live = op == Op::exit ? Set{0} : static_cast<Set>(behind | at_target);
    if (uses.writes_dst) live &= static_cast<Set>(~only(insn.dst));
    if (uses.writes_src) live &= static_cast<Set>(~only(insn.src));
    if (uses.writes_r0) live &= static_cast<Set>(~only(0));
    if (clobbers_arguments(op)) live = static_cast<Set>((live & ~caller_saved) | arguments);
    if (op == Op::tail_call) live |= arguments;
    if (uses.reads_dst) live |= only(insn.dst);
    if (uses.reads_src) live |= only(insn.src);
    if (uses.reads_r0) live |= only(0);
    return live;
}

// Backwards over the program until nothing changes: once, and once more for each loop in a loop. Where that takes long
// nothing is dropped.
void Folding::sweep() {
    constexpr u32 most_rounds = 16;
    std::vector<Set> live(count() + 1, Set{0});
    bool changed = true;
    for (u32 round = 0; changed; ++round) {
        if (round == most_rounds) return;
        changed = false;
        for (u32 at = count(); at-- > 0;) {
            const bool jumps = op_indices[insns_[at].op] == Index::jump;
            const Set now = live_before(at, live[at + 1], jumps ? live[static_cast<u32>(insns_[at].off)] : Set{0});
            changed |= now != live[at];
            live[at] = now;
        }
    }
    for (u32 at = 0; at < count(); ++at)
        if (only_computes(Op{insns_[at].op}) && (live[at + 1] & only(insns_[at].dst)) == 0) kept_[at] = false;
}

void Folding::compact() {
    // A jump over nothing goes, too; from the end, so that of several that follow each other all do.
    u32 next_kept = count();
    for (u32 at = count(); at-- > 0;) {
        const LoweredInsn& insn = insns_[at];
        const auto target = static_cast<u32>(insn.off);
        if (kept_[at] && Op{insn.op} == Op::jump && target > at && target <= next_kept) kept_[at] = false;
        if (kept_[at]) next_kept = at;
    }
    std::vector<u32> place(count());
    u32 next = 0;
    for (u32 at = 0; at < count(); ++at) {
        place[at] = next;
        next += kept_[at] ? 1U : 0U;
    }
    lowered_.map_uses.clear();
    for (u32 at = 0; at < count(); ++at) {
        if (!kept_[at]) continue;
        LoweredInsn insn = insns_[at];
        if (op_indices[insn.op] == Index::jump) insn.off = static_cast<i32>(place[static_cast<u32>(insn.off)]);
        if (op_indices[insn.op] == Index::call) insn.imm = place[static_cast<u32>(insn.imm)];
        if (const Known& use = uses_[at]; use.kind != Kind::number)
            lowered_.map_uses.push_back(
                {place[at], use.map, static_cast<u32>(use.value), use.kind == Kind::place ? 1U : 0U});
        insns_[place[at]] = insn;
    }
    insns_.resize(next);
    for (program::LoweredSubprogram& sub : lowered_.subprograms) sub.first = place[sub.first];
}

}  // namespace

void fold(Lowered& lowered, std::span<const program::MapInfo> maps) { Folding(lowered, maps).run(); }

}  // namespace anybpf::engine

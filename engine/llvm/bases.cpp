// SPDX-License-Identifier: Apache-2.0
#include "bases.hpp"

#include <algorithm>

#include "anybpf/engine/op.hpp"

namespace anybpf::engine::llvm {
namespace {

constexpr Base any = ~Base{0};  // no path has come here yet

Base sum(Base a, Base b) { return a == unknown ? b : b == unknown ? a : unknown; }

}  // namespace

bool has_values(const Program& program, u32 map) {
    return program.arrays != nullptr && program.arrays[map].values != nullptr;
}

const program::MapUse* map_use(const Program& program, u32 insn) {
    const auto* const end = program.map_uses + program.map_use_count;
    const auto* const use = std::ranges::lower_bound(program.map_uses, end, insn, {}, &program::MapUse::insn);
    return use != end && use->insn == insn ? use : nullptr;
}

BaseAnalysis::BaseAnalysis(const Program& program, const Body& body) : program_(program), body_(body) {
    Bases none{};
    none.fill(program.proved != 0 ? any : unknown);
    before_.assign(body.insns().size(), none);
}

u64 BaseAnalysis::index(u32 insn) const {
    return static_cast<u64>(std::ranges::lower_bound(body_.insns(), insn) - body_.insns().begin());
}
const Bases& BaseAnalysis::before(u32 insn) const { return before_[index(insn)]; }

void BaseAnalysis::run(u32 first) {
    if (program_.proved == 0) return;
    Bases start{};
    start[10] = in_frame;
    reach(first, start);
    while (!open_.empty()) {
        const u32 insn = open_.back();
        open_.pop_back();
        walk(insn);
    }
}

// A straight line, up to where others come in.
void BaseAnalysis::walk(u32 insn) {
    Bases bases = before(insn);
    do {
        if (insn == program_.insn_count) return;
        const program::LoweredInsn& at = program_.insns[insn];
        const Op op{at.op};
        step(program_, insn, bases);
        if (op_indices[at.op] == Index::jump) reach(static_cast<u32>(at.off), bases);
        if (op == Op::jump || op == Op::exit) return;
    } while (!body_.leads(++insn));
    reach(insn, bases);
}

void BaseAnalysis::reach(u32 insn, const Bases& bases) {
    Bases& known = before_[index(insn)];
    const Bases old = known;
    for (u32 r = 0; r < known.size(); ++r)
        known[r] = known[r] == any ? bases[r] : known[r] == bases[r] ? known[r] : unknown;
    if (known != old) open_.push_back(insn);
}

void BaseAnalysis::step(const Program& program, u32 insn, Bases& bases) {
    if (program.proved == 0) return;
    const program::LoweredInsn& at = program.insns[insn];
    const Op op{at.op};
    const Operands uses = operands(op);
    const Base dst = bases[at.dst], src = bases[at.src];
    if (uses.writes_dst) bases[at.dst] = unknown;
    if (uses.writes_src) bases[at.src] = unknown;
    if (uses.writes_r0) bases[0] = unknown;
    if (clobbers_arguments(op)) std::fill_n(bases.begin(), 6, unknown);
    // The verifier lets no pointer be added to another one.
    if (op == Op::mov64_reg) bases[at.dst] = src;
    if (op == Op::add64_imm) bases[at.dst] = dst;
    if (op == Op::add64_reg) bases[at.dst] = sum(dst, src);
    if (op == Op::lookup_array && has_values(program, static_cast<u32>(at.imm)))
        bases[at.dst] = first_map + static_cast<u32>(at.imm);
    const program::MapUse* const use = op == Op::mov64_imm ? map_use(program, insn) : nullptr;
    if (use != nullptr && use->value != 0 && has_values(program, use->map)) bases[at.dst] = first_map + use->map;
}

}  // namespace anybpf::engine::llvm

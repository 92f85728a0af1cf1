// SPDX-License-Identifier: Apache-2.0
#include "anybpf/program/flow.hpp"

#include <algorithm>

#include "anybpf/isa/decode.hpp"

namespace anybpf::program {

u32 Flow::subprogram_of(u32 insn) const {
    const auto after = std::upper_bound(starts.begin(), starts.end(), insn);
    return static_cast<u32>(after - starts.begin()) - 1;
}

std::optional<u32> Flow::starting_at(u32 insn) const {
    const auto found = std::lower_bound(starts.begin(), starts.end(), insn);
    if (found == starts.end() || *found != insn) return std::nullopt;
    return static_cast<u32>(found - starts.begin());
}

Flow find_flow(std::span<const isa::Insn> insns) {
    Flow flow;
    flow.starts.push_back(0);
    for (u32 pc = 0; pc < insns.size(); pc += isa::slots(insns[pc])) {
        const isa::Form form = isa::decode(insns[pc]).form;
        const bool call = form.kind == isa::Kind::call && form.call == isa::CallKind::subprogram;
        const bool function = form.kind == isa::Kind::wide && form.pseudo == isa::Pseudo::func;
        if (!call && !function) continue;
        const i64 target = i64{pc} + 1 + insns[pc].imm;
        if (target < 0 || target >= static_cast<i64>(insns.size())) continue;
        flow.starts.push_back(static_cast<u32>(target));
        flow.calls.push_back({pc, static_cast<u32>(target), function});
    }
    std::sort(flow.starts.begin(), flow.starts.end());
    flow.starts.erase(std::unique(flow.starts.begin(), flow.starts.end()), flow.starts.end());
    return flow;
}

std::optional<i64> jump_target(std::span<const isa::Insn> insns, u32 pc) {
    const u8 kind = insns[pc].code & 7;
    if (kind != isa::class_jmp && kind != isa::class_jmp32) return std::nullopt;  // most: asked again and again
    const isa::Form form = isa::decode(insns[pc]).form;
    switch (form.kind) {
        case isa::Kind::jump:
        case isa::Kind::ja:
        case isa::Kind::may_goto:
            return i64{pc} + 1 + insns[pc].off;
        case isa::Kind::gotol:
            return i64{pc} + 1 + insns[pc].imm;
        case isa::Kind::alu:
        case isa::Kind::extend:
        case isa::Kind::swap:
        case isa::Kind::cast:
        case isa::Kind::gotox:
        case isa::Kind::call:
        case isa::Kind::callx:
        case isa::Kind::exit:
        case isa::Kind::load:
        case isa::Kind::load_sx:
        case isa::Kind::store_imm:
        case isa::Kind::store:
        case isa::Kind::atomic:
        case isa::Kind::wide:
        case isa::Kind::packet_abs:
        case isa::Kind::packet_ind:
            break;
    }
    return std::nullopt;
}

}  // namespace anybpf::program

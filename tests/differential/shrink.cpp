// SPDX-License-Identifier: Apache-2.0
#include "shrink.hpp"

#include "anybpf/isa/decode.hpp"
#include "anybpf/program/flow.hpp"

namespace anybpf::differential {
namespace {

using isa::Insn;

bool names_function(const Insn& insn) {
    return (insn.code == static_cast<u8>(isa::ControlCode::call) &&
            insn.src == static_cast<u8>(isa::CallKind::subprogram)) ||
           (insn.code == isa::code_wide && insn.src == static_cast<u8>(isa::Pseudo::func));
}

// Where the instruction at pc leads, and setting that.
std::optional<i64> target_of(const Insns& insns, u32 pc) {
    if (names_function(insns[pc])) return i64{pc} + 1 + insns[pc].imm;
    return program::jump_target(insns, pc);
}
void lead(Insn& insn, i64 distance) {
    if (names_function(insn) || insn.code == static_cast<u8>(isa::ControlCode::gotol))
        insn.imm = static_cast<i32>(distance);
    else
        insn.off = static_cast<i16>(distance);
}

}  // namespace

std::optional<Insns> without(const Insns& insns, u32 first, u32 last) {
    std::vector<u32> place(insns.size() + 1);
    std::vector<bool> starts(insns.size() + 1);
    for (u32 pc = 0; pc < insns.size(); pc += isa::slots(insns[pc])) starts[pc] = true;
    starts[insns.size()] = true;
    if (!starts[first] || !starts[last]) return std::nullopt;
    for (u32 pc = 0; pc <= insns.size(); ++pc) place[pc] = pc < first ? pc : pc < last ? first : pc - (last - first);
    Insns out;
    for (u32 pc = 0; pc < insns.size(); ++pc) {
        if (pc >= first && pc < last) continue;
        out.push_back(insns[pc]);
        if (!starts[pc]) continue;
        if (const auto target = target_of(insns, pc)) {
            if (*target < 0 || *target > static_cast<i64>(insns.size())) return std::nullopt;
            lead(out.back(), i64{place[static_cast<u32>(*target)]} - place[pc] - 1);
        }
    }
    return out;
}

void insert(Insns& insns, u32 pc, const Insn& insn) {
    const auto moved = [&](i64 at) { return at >= i64{pc} ? at + 1 : at; };
    std::vector<bool> starts(insns.size());
    for (u32 at = 0; at < insns.size(); at += isa::slots(insns[at])) starts[at] = true;
    for (u32 at = 0; at < insns.size(); ++at)
        if (const auto target = starts[at] ? target_of(insns, at) : std::nullopt)
            lead(insns[at], moved(*target) - moved(at) - 1);
    insns.insert(insns.begin() + pc, insn);
}

namespace {

Insn set_to_one(u8 dst) { return {.code = 0xb7, .dst = static_cast<u8>(dst & 15), .src = 0, .off = 0, .imm = 1}; }

// Without the function that starts there; who named it sets its register instead.
std::optional<Insns> without_function(Insns insns, u32 first, u32 last) {
    for (u32 pc = 0; pc < insns.size(); pc += isa::slots(insns[pc])) {
        Insn& insn = insns[pc];
        if (!names_function(insn) || target_of(insns, pc) != first) continue;
        const bool wide = insn.code == isa::code_wide;
        insn = wide ? Insn{.code = isa::code_wide, .dst = insn.dst, .src = 0, .off = 0, .imm = 1} : set_to_one(0);
    }
    return without(insns, first, last);
}

class Minimiser {
  public:
    Minimiser(Insns insns, const std::function<bool(const Insns&)>& fails) : insns_(std::move(insns)), fails_(fails) {}

    Insns run() {
        while (drop() | simplify()) {
        }
        return std::move(insns_);
    }

  private:
    bool take(std::optional<Insns> candidate) {
        if (!candidate || candidate->empty() || !fails_(*candidate)) return false;
        insns_ = std::move(*candidate);
        return true;
    }
    // Functions, then ranges, large ones first.
    bool drop() {
        bool any = false;
        const std::vector<u32> starts = program::find_flow(insns_).starts;
        for (std::size_t i = starts.size(); i-- > 1;) {
            const u32 last = i + 1 < starts.size() ? starts[i + 1] : static_cast<u32>(insns_.size());
            if (take(without_function(insns_, starts[i], last))) return true;
        }
        for (u32 size = static_cast<u32>(insns_.size()) / 2; size > 0; size /= 2)
            for (u32 first = 0; first + size <= insns_.size();)
                if (take(without(insns_, first, first + size)))
                    any = true;
                else
                    first += size > 3 ? size / 2 : 1;
        for (u32 pc = 0; pc + 1 < insns_.size(); ++pc)  // wide ones
            if (insns_[pc].code == isa::code_wide) any |= take(without(insns_, pc, pc + 2));
        return any;
    }
    // What sets a register sets it to a small number, and other numbers become small.
    bool simplify() {
        bool any = false;
        for (u32 pc = 0; pc < insns_.size(); pc += isa::slots(insns_[pc])) {
            const Insn insn = insns_[pc];
            const auto form = isa::decode(insn).form;
            const auto replaced = [&](const Insn& by) {
                Insns candidate = insns_;
                candidate[pc] = by;
                return candidate;
            };
            using isa::Kind;
            const bool sets = form.kind == Kind::alu || form.kind == Kind::extend || form.kind == Kind::swap ||
                              form.kind == Kind::load || form.kind == Kind::load_sx;
            if (sets && insn.code != 0xb7) any |= take(replaced(set_to_one(insn.dst)));
            const bool has_number = (form.kind == Kind::alu || form.kind == Kind::jump) && !form.by_register;
            if (!has_number && form.kind != Kind::store_imm) continue;
            for (const i32 imm : {0, 1}) {
                if (static_cast<u32>(insns_[pc].imm) <= static_cast<u32>(imm)) break;
                Insn smaller = insns_[pc];
                smaller.imm = imm;
                if (take(replaced(smaller))) {
                    any = true;
                    break;
                }
            }
        }
        return any;
    }
    Insns insns_;
    const std::function<bool(const Insns&)>& fails_;
};

}  // namespace

Insns shrink(const Insns& insns, const std::function<bool(const Insns&)>& fails) {
    return Minimiser(insns, fails).run();
}

}  // namespace anybpf::differential

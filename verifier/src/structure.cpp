// SPDX-License-Identifier: Apache-2.0
#include "structure.hpp"

#include <algorithm>

#include "anybpf/abi/context.hpp"
#include "anybpf/abi/helper.hpp"
#include "anybpf/abi/kfunc.hpp"
#include "anybpf/btf/btf.hpp"
#include "anybpf/program/exception.hpp"
#include "extension.hpp"

namespace anybpf::verifier {
namespace {

using isa::Kind;

constexpr std::size_t max_program = 1'000'000;
constexpr std::size_t max_subprograms = 256;

Diagnostic refuse(Finding what, u32 pc, i64 a = 0, i64 b = 0, i64 c = 0) { return {what, Pc{pc}, {a, b, c}}; }

bool supported(abi::ProgType type) { return abi::knows_context(type) || has_typed_context(type); }

bool is_packet_load(Kind kind) { return kind == Kind::packet_abs || kind == Kind::packet_ind; }

// An address in it, or the one behind it.
bool in_arena(const program::MapInfo& map, u32 offset) {
    constexpr u32 max_offset = 1U << 29, page_size = 4096;
    return offset < max_offset && offset <= u64{map.max_entries} * page_size;
}

// Whether the instruction at pc is not followed by the next one.
bool ends_path(Kind kind) { return kind == Kind::exit || kind == Kind::ja || kind == Kind::gotol; }

class Analysis {
  public:
    Analysis(const program::Program& program, Structure& out) : program_(program), insns_(program.insns), out_(out) {}

    std::optional<Diagnostic> run() {
        if (auto bad = check_extension(program_)) return bad;
        if (!supported(program_.type))
            return refuse(Finding::unsupported_program_type, 0, static_cast<i64>(program_.type));
        if (program_.type == abi::ProgType::syscall && !program_.sleepable)
            return refuse(Finding::must_sleep, 0, static_cast<i64>(program_.type));
        if (insns_.empty() || insns_.size() > max_program)
            return refuse(Finding::bad_program_size, 0, static_cast<i64>(insns_.size()));
        if (auto bad = find_attach(program_, out_.attach)) return bad;
        if (auto bad = decode()) return bad;
        out_.flow = program::find_flow(insns_);
        if (auto bad = find_exception_callback()) return bad;
        if (auto bad = targets()) return bad;
        if (auto bad = reach()) return bad;
        if (auto bad = recursion()) return bad;
        liveness();
        find_tail_calls();
        return std::nullopt;
    }

  private:
    // The program's function is tagged with the name of the one that is called after bpf_throw().
    std::optional<Diagnostic> find_exception_callback() {
        const auto flawed = [](program::ExceptionFlaw flaw, u32 pc = 0) {
            return refuse(Finding::bad_exception_callback, pc, static_cast<i64>(flaw));
        };
        const auto [insn, flaw] = program::find_exception_callback(program_);
        if (flaw != program::ExceptionFlaw::none) return flawed(flaw);
        if (insn == 0) return std::nullopt;
        for (const program::Call& call : out_.flow.calls)
            if (call.target == insn) return flawed(program::ExceptionFlaw::called, call.insn);
        out_.exception_callback = insn;
        auto& starts = out_.flow.starts;
        const auto at = std::ranges::lower_bound(starts, insn);
        if (at == starts.end() || *at != insn) starts.insert(at, insn);
        return std::nullopt;
    }

    void find_tail_calls() {
        out_.tail_calls.resize(out_.flow.starts.size());
        for (u32 pc = 0; pc < insns_.size(); pc += isa::slots(insns_[pc]))
            if (out_.forms[pc].kind == Kind::call && out_.forms[pc].call == isa::CallKind::helper &&
                insns_[pc].imm == static_cast<i32>(abi::HelperId::tail_call))
                out_.tail_calls[out_.flow.subprogram_of(pc)] = true;
    }

    std::optional<Diagnostic> decode() {
        out_.forms.resize(insns_.size());
        out_.faulty.resize(insns_.size());
        second_.resize(insns_.size());
        for (u32 pc = 0; pc < insns_.size(); pc += isa::slots(insns_[pc])) {
            const isa::Insn& insn = insns_[pc];
            const isa::Form form = out_.forms[pc] = isa::decode(insn).form;
            std::optional<Diagnostic> bad;
            const auto defect = isa::kernel_defect_at(insns_, pc);
            if (defect == isa::DefectKind::bad_register)
                bad = refuse(Finding::bad_register, pc, std::max<i64>(insn.dst, insn.src));
            else if (defect)
                bad = refuse(Finding::bad_insn, pc, insn.code, static_cast<i64>(*defect));
            if (defect && counts_anywhere(*defect, form)) return bad;
            if (form.kind == Kind::callx || form.kind == Kind::gotox)
                return bad ? bad : refuse(Finding::unsupported_insn, pc, insn.code);
            if (isa::slots(insn) == 2) {
                second_[pc + 1] = true;
                if (auto reference = wide(pc)) return reference;
            }
            if (!bad) bad = one(pc);
            if (!bad) continue;
            out_.faulty[pc] = true;
            out_.faults.push_back(*bad);
        }
        return std::nullopt;
    }

    // What Linux looks for before it walks, and so also where no path leads.
    static bool counts_anywhere(isa::DefectKind defect, const isa::Form& form) {
        switch (defect) {
            case isa::DefectKind::unknown_opcode:
            case isa::DefectKind::unknown_wide:
            case isa::DefectKind::half_wide:
            case isa::DefectKind::bad_second_half:
            case isa::DefectKind::stray_half:
                return true;
            case isa::DefectKind::reserved_imm:
                return form.kind == Kind::load || form.kind == Kind::load_sx;
            case isa::DefectKind::unknown_atomic:
            case isa::DefectKind::unknown_width:
            case isa::DefectKind::unknown_call:
            case isa::DefectKind::bad_register:
            case isa::DefectKind::reserved_dst:
            case isa::DefectKind::reserved_src:
            case isa::DefectKind::reserved_off:
                break;
        }
        return false;
    }

    // What an instruction must fulfil by itself.
    std::optional<Diagnostic> one(u32 pc) const {
        const isa::Insn& insn = insns_[pc];
        const isa::Form& form = out_.forms[pc];
        const auto writes_dst = [&] {
            switch (form.kind) {
                case Kind::alu:
                case Kind::extend:
                case Kind::swap:
                case Kind::cast:
                case Kind::load:
                case Kind::load_sx:
                case Kind::wide:
                    return true;
                case Kind::atomic:
                    return form.atomic == isa::AtomicOp::load_acquire;
                case Kind::jump:
                case Kind::ja:
                case Kind::gotol:
                case Kind::gotox:
                case Kind::call:
                case Kind::callx:
                case Kind::exit:
                case Kind::may_goto:
                case Kind::store_imm:
                case Kind::store:
                case Kind::packet_abs:
                case Kind::packet_ind:
                    break;
            }
            return false;
        };
        if (writes_dst() && insn.dst == 10) return refuse(Finding::frame_pointer_write, pc);
        if (form.kind == Kind::atomic && insn.src == 10) {
            const auto how = isa::row(form.atomic).form;
            if (how == isa::AtomicForm::fetch || how == isa::AtomicForm::exchange)
                return refuse(Finding::frame_pointer_write, pc);
        }
        if (is_packet_load(form.kind) && !abi::loads_packets(program_.type))
            return refuse(Finding::packet_load_type, pc, static_cast<i64>(program_.type));
        if (form.kind == Kind::alu && !form.by_register) {
            using isa::AluOp;
            const bool divides =
                form.alu == AluOp::div || form.alu == AluOp::mod || form.alu == AluOp::sdiv || form.alu == AluOp::smod;
            const bool shifts = form.alu == AluOp::lsh || form.alu == AluOp::rsh || form.alu == AluOp::arsh;
            if ((divides && insn.imm == 0) || (shifts && (insn.imm < 0 || insn.imm >= (form.is64 ? 64 : 32))))
                return refuse(Finding::bad_immediate, pc, insn.imm);
        }
        return std::nullopt;
    }

    std::optional<Diagnostic> wide(u32 pc) const {
        const isa::Insn& insn = insns_[pc];
        switch (out_.forms[pc].pseudo) {
            case isa::Pseudo::imm64:
                return std::nullopt;
            case isa::Pseudo::map_idx:
                if (insn.imm < 0 || static_cast<std::size_t>(insn.imm) >= program_.maps.size()) break;
                return std::nullopt;
            case isa::Pseudo::map_idx_value: {
                if (insn.imm < 0 || static_cast<std::size_t>(insn.imm) >= program_.maps.size()) break;
                const auto& map = program_.maps[static_cast<std::size_t>(insn.imm)];
                const u32 offset = static_cast<u32>(insns_[pc + 1].imm);
                if (map.type == abi::MapType::arena
                        ? !in_arena(map, offset)
                        : map.type != abi::MapType::array || map.max_entries != 1 || offset >= map.value_size)
                    break;
                return std::nullopt;
            }
            case isa::Pseudo::func: {
                const i64 target = i64{pc} + 1 + insn.imm;
                return static_function(target) ? std::nullopt
                                               : std::optional(refuse(Finding::bad_callback_target, pc, target));
            }
            case isa::Pseudo::btf_id:
                if (!is_symbol(program_, static_cast<u32>(insn.imm)) || insns_[pc + 1].imm != 0)
                    return refuse(Finding::unknown_symbol, pc, insn.imm);
                return std::nullopt;
            case isa::Pseudo::map_fd:
            case isa::Pseudo::map_value:
                break;
        }
        return refuse(Finding::bad_map_reference, pc, insn.imm);
    }

    // What BTF says of the function that starts there.
    std::optional<btf::Type> function_type(i64 first) const {
        if (program_.btf == nullptr) return std::nullopt;
        for (const program::FuncInfo& func : program_.funcs) {
            if (func.insn != first || !program_.btf->contains(func.type_id)) continue;
            const btf::Type type = program_.btf->type(func.type_id);
            return type.kind == btf::Kind::func ? std::optional(type) : std::nullopt;
        }
        return std::nullopt;
    }
    bool static_function(i64 first) const {
        const auto type = function_type(first);
        return type && btf::Btf::func_linkage(*type) == btf::FuncLinkage::static_;
    }
    bool returns_number(i64 first) const {
        const auto type = function_type(first);
        if (!type) return false;
        const btf::Type prototype = program_.btf->type(type->target());
        const btf::Type result = program_.btf->type(program_.btf->skip_modifiers(prototype.target()));
        return result.kind == btf::Kind::int_ || result.is_enum();
    }

    // Calls reach instructions, jumps stay within their subprogram, and a subprogram does not run into the next.
    std::optional<Diagnostic> targets() {
        const auto& starts = out_.flow.starts;
        if (starts.size() > max_subprograms) return refuse(Finding::too_many_subprograms, 0, max_subprograms);
        const i64 count = static_cast<i64>(insns_.size());
        for (u32 pc = 0; pc < insns_.size(); pc += isa::slots(insns_[pc])) {
            const isa::Form& form = out_.forms[pc];
            if (form.kind == Kind::call && form.call == isa::CallKind::subprogram) {
                const i64 target = i64{pc} + 1 + insns_[pc].imm;
                if (target < 0 || target >= count || second_[static_cast<u32>(target)])
                    return refuse(Finding::bad_call_target, pc, target);
            }
            if (form.kind == Kind::wide && form.pseudo == isa::Pseudo::func &&
                second_[static_cast<u32>(i64{pc} + 1 + insns_[pc].imm)])
                return refuse(Finding::bad_callback_target, pc, i64{pc} + 1 + insns_[pc].imm);
        }
        for (std::size_t sub = 0; sub < starts.size(); ++sub) {
            const u32 first = starts[sub];
            const u32 last = sub + 1 < starts.size() ? starts[sub + 1] : static_cast<u32>(insns_.size());
            u32 final = first;
            for (u32 pc = first; pc < last; pc += isa::slots(insns_[pc])) {
                final = pc;
                // It may return 0 for its function.
                if (sub > 0 && is_packet_load(out_.forms[pc].kind) && !returns_number(first))
                    return refuse(Finding::packet_load_function, pc);
                const auto target = program::jump_target(insns_, pc);
                if (!target) continue;
                if (*target < first || *target >= last || second_[static_cast<u32>(*target)])
                    return refuse(Finding::jump_out_of_range, pc, *target);
            }
            if (!ends_path(out_.forms[final].kind)) return refuse(Finding::falls_off_end, final);
        }
        return std::nullopt;
    }

    // Marks what control flow reaches and where states are remembered.
    std::optional<Diagnostic> reach() {
        std::vector<bool> reached(insns_.size());
        std::vector<u32> todo = {0};
        reached[0] = true;
        out_.remember.resize(insns_.size());
        out_.targets.resize(insns_.size());
        out_.rounds.resize(insns_.size());
        const auto go = [&](u32 pc) {
            if (!reached[pc]) reached[pc] = true, todo.push_back(pc);
        };
        if (out_.exception_callback != 0) go(out_.exception_callback);
        while (!todo.empty()) {
            const u32 pc = todo.back();
            todo.pop_back();
            const isa::Form& form = out_.forms[pc];
            if (const auto target = program::jump_target(insns_, pc)) {
                out_.targets[pc] = static_cast<u32>(*target);
                go(static_cast<u32>(*target));
                out_.remember[static_cast<u32>(*target)] = true;
                if (form.kind == Kind::jump || form.kind == Kind::may_goto) out_.remember[pc] = true;
            }
            if (ends_path(form.kind)) continue;
            const u32 next = pc + isa::slots(insns_[pc]);
            go(next);
            const bool call = form.kind == Kind::call && form.call == isa::CallKind::subprogram;
            const bool function = form.kind == Kind::wide && form.pseudo == isa::Pseudo::func;
            if (call || function) go(static_cast<u32>(i64{pc} + 1 + insns_[pc].imm));
            if (function) out_.remember[static_cast<u32>(i64{pc} + 1 + insns_[pc].imm)] = true;
            if (call)
                out_.remember[pc] = out_.remember[next] =
                    out_.remember[static_cast<u32>(i64{pc} + 1 + insns_[pc].imm)] = true;
            out_.rounds[pc] = calls_back(pc);
            if (out_.rounds[pc] || asks_iterator(pc)) out_.remember[pc] = out_.remember[next] = true;
        }
        for (u32 pc = 0; pc < insns_.size(); pc += isa::slots(insns_[pc]))
            if (!reached[pc]) return refuse(Finding::unreachable_insn, pc);
        return std::nullopt;
    }

    bool calls_back(u32 pc) const {
        const isa::Form& form = out_.forms[pc];
        if (form.kind != Kind::call) return false;
        if (form.call == isa::CallKind::helper) return verifier::calls_back(static_cast<abi::HelperId>(insns_[pc].imm));
        const abi::Kfunc* row = kfunc(pc);
        return row != nullptr && row->name == "bpf_rbtree_add_impl";
    }

    const abi::Kfunc* kfunc(u32 pc) const {
        const isa::Form& form = out_.forms[pc];
        const auto id = static_cast<u32>(insns_[pc].imm);
        if (form.kind != Kind::call || form.call != isa::CallKind::kfunc || program_.kernel_btf == nullptr ||
            !program_.kernel_btf->contains(id))
            return nullptr;
        return abi::find_kfunc(program_.kernel_btf->type(id).name);
    }

    bool asks_iterator(u32 pc) const {
        const abi::Kfunc* row = kfunc(pc);
        return row != nullptr && row->has(abi::kfunc::iter_next);
    }

    // Subprograms call each other without a cycle: those without calls are taken away until none is left.
    std::optional<Diagnostic> recursion() {
        const std::size_t count = out_.flow.starts.size();
        std::vector<std::vector<u32>> callers(count);
        std::vector<u32> calls(count);
        for (const program::Call& call : out_.flow.calls) {
            if (call.callback) continue;  // frames are counted when it is walked
            const u32 from = out_.flow.subprogram_of(call.insn), to = *out_.flow.starting_at(call.target);
            callers[to].push_back(from);
            ++calls[from];
        }
        std::vector<u32> done;
        for (u32 sub = 0; sub < count; ++sub)
            if (calls[sub] == 0) done.push_back(sub);
        for (std::size_t i = 0; i < done.size(); ++i)
            for (const u32 caller : callers[done[i]])
                if (--calls[caller] == 0) done.push_back(caller);
        if (done.size() == count) return std::nullopt;
        // Follow calls within what is left: the first that comes back to a subprogram on the way closes the cycle.
        std::vector<bool> visited(count);
        u32 sub = 0;
        while (calls[sub] == 0) ++sub;
        while (true) {
            visited[sub] = true;
            for (const program::Call& call : out_.flow.calls) {
                const u32 to = *out_.flow.starting_at(call.target);
                if (call.callback) continue;
                if (out_.flow.subprogram_of(call.insn) != sub || calls[to] == 0) continue;
                if (visited[to]) return refuse(Finding::recursion, call.insn, call.target);
                sub = to;
                break;
            }
        }
    }

    void liveness() {
        out_.live.assign(insns_.size() + 1, 0);
        for (bool changed = true; changed;) {
            changed = false;
            for (u32 pc = static_cast<u32>(insns_.size()); pc-- > 0;) {
                if (second_[pc]) continue;
                const u16 before = live_before(pc);
                changed |= before != out_.live[pc];
                out_.live[pc] = before;
            }
        }
    }

    u16 live_before(u32 pc) const {
        const isa::Insn& insn = insns_[pc];
        const isa::Form& form = out_.forms[pc];
        u16 after = 0;
        if (const auto target = program::jump_target(insns_, pc)) after |= out_.live[static_cast<u32>(*target)];
        if (!ends_path(form.kind)) after |= out_.live[pc + isa::slots(insn)];
        const u16 dst = static_cast<u16>(1U << insn.dst), src = static_cast<u16>(1U << insn.src);
        const auto with = [&](u16 written, u16 read) { return static_cast<u16>((after & ~written) | read); };
        const u16 operand = form.by_register ? src : u16{0};
        constexpr u16 r0 = 1, r1_to_r5 = 0x3e, r6 = 0x40;
        switch (form.kind) {
            case Kind::alu:
                return form.alu == isa::AluOp::mov ? with(dst, operand) : with(0, dst | operand);
            case Kind::extend:
            case Kind::cast:
            case Kind::load:
            case Kind::load_sx:
                return with(dst, src);
            case Kind::swap:
            case Kind::store_imm:
                return with(0, dst);
            case Kind::jump:
                return with(0, dst | operand);
            case Kind::ja:
            case Kind::gotol:
            case Kind::may_goto:
                return after;
            case Kind::wide:
                return with(dst, 0);
            case Kind::exit:
                return r0;
            case Kind::store:
                return with(0, dst | src);
            case Kind::atomic:
                switch (isa::row(form.atomic).form) {
                    case isa::AtomicForm::load:
                        return with(dst, src);
                    case isa::AtomicForm::compare_exchange:
                        return with(0, dst | src | r0);
                    case isa::AtomicForm::modify:
                    case isa::AtomicForm::fetch:
                    case isa::AtomicForm::exchange:
                    case isa::AtomicForm::store:
                        return with(0, dst | src);
                }
                return after;
            case Kind::call: {
                u16 read = r1_to_r5;
                if (form.call == isa::CallKind::subprogram) {
                    read &= out_.live[static_cast<u32>(i64{pc} + 1 + insn.imm)];
                } else if (const auto* proto = abi::find_helper(static_cast<u32>(insn.imm), program_.type,
                                                                program_.expected_attach_type);
                           form.call == isa::CallKind::helper && proto != nullptr) {
                    read = 0;
                    for (u32 i = 0; i < 5; ++i)
                        if (proto->args[i] != abi::ArgKind::none) read |= static_cast<u16>(2U << i);
                }
                return with(r0 | r1_to_r5, read);
            }
            case Kind::packet_abs:
                return with(r0 | r1_to_r5, r6);
            case Kind::packet_ind:
                return with(r0 | r1_to_r5, r6 | src);
            case Kind::gotox:
            case Kind::callx:
                return 0x7ff;
        }
        return 0x7ff;
    }

    const program::Program& program_;
    const std::vector<isa::Insn>& insns_;
    Structure& out_;
    std::vector<bool> second_;
};

}  // namespace

std::optional<Diagnostic> analyse(const program::Program& program, Structure& out) {
    return Analysis(program, out).run();
}

}  // namespace anybpf::verifier

// SPDX-License-Identifier: Apache-2.0
#include "analysis.hpp"

#include <algorithm>

#include "anybpf/engine/op.hpp"
#include "anybpf/isa/decode.hpp"

namespace anybpf::engine {
namespace {

using program::Lowered;
using program::LoweredInsn;

Registers named(const LoweredInsn& insn, const Operands& uses) {
    Registers all = 0;
    if (uses.reads_dst || uses.writes_dst) all |= only(insn.dst);
    if (uses.reads_src || uses.writes_src) all |= only(insn.src);
    if (uses.reads_r0 || uses.writes_r0) all |= only(0);
    return all;
}

// The registers that the program may read before it sets them: those that its first straight line does not set before
// it reads them or ends. A call counts as setting what it clobbers, and as reading nothing: a helper that takes three
// arguments does not look at the other two.
Registers unset_registers(const Lowered& lowered, const std::vector<bool>& is_target, Registers all) {
    Registers set = only(1) | only(2) | only(10), unset = 0;
    for (u32 at = 0; at < lowered.insns.size(); ++at) {
        const LoweredInsn& insn = lowered.insns[at];
        const Op op{insn.op};
        if (at != 0 && is_target[at]) break;
        const Operands uses = operands(op);
        Registers read = 0;
        if (uses.reads_dst) read |= only(insn.dst);
        if (uses.reads_src) read |= only(insn.src);
        if (uses.reads_r0) read |= only(0);
        unset |= static_cast<Registers>(read & ~set);
        if (uses.writes_dst) set |= only(insn.dst);
        if (uses.writes_src) set |= only(insn.src);
        if (uses.writes_r0) set |= only(0);
        if (op == Op::call_helper || is_packet_load(op)) set |= 0x3f;
        if (op == Op::exit) return unset;
        if (op_indices[insn.op] == Index::jump) break;
    }
    return static_cast<Registers>(unset | (all & ~set));
}

// One function with everything that any of them needs: for a leaf, and where control flows from one into another.
Function merged(const std::vector<Function>& functions) {
    Function all = functions.front();
    for (const Function& function : functions) {
        all.end = function.end;
        all.stack_bytes = std::max(all.stack_bytes, function.stack_bytes);
        all.named |= function.named;
        all.calls_helpers |= function.calls_helpers;
        all.reads_run |= function.reads_run;
        all.calls_functions |= function.calls_functions;
        all.loops |= function.loops;
    }
    return all;
}

class Scan {
  public:
    Scan(const Lowered& lowered, std::span<const BoundMap> maps, bool bound_helpers)
        : lowered_(lowered), maps_(maps), bound_helpers_(bound_helpers) {
        out_.is_target.assign(lowered.insns.size(), false);
    }
    Analysis run();

  private:
    void insn(Function& function, const LoweredInsn& insn);

    const Lowered& lowered_;
    std::span<const BoundMap> maps_;
    bool bound_helpers_;
    bool crosses_ = false;  // from one function into another without a call
    bool only_helpers_ = true;
    Analysis out_;
};

void Scan::insn(Function& function, const LoweredInsn& insn) {
    const Op op{insn.op};
    function.named |= named(insn, operands(op));
    if (op_indices[insn.op] == Index::jump) {
        const auto target = static_cast<u32>(insn.off);
        out_.is_target[target] = true;
        if (target < function.first || target >= function.end) crosses_ = true;
    }
    if (op == Op::mov64_imm && is_function(static_cast<u64>(insn.imm))) out_.has_functions = true;
    if (op == Op::call_helper) function.calls_helpers = true;
    if (op == Op::callx || is_packet_load(op)) function.calls_helpers = true;
    if (op == Op::get_vcpu || op == Op::get_pid_tgid) function.reads_run = true;
    if (op == Op::lookup_array && maps_[static_cast<u64>(insn.imm)].array.block != 0) function.reads_run = true;
    if (op == Op::loop) function.loops = true;
    if (op == Op::call_local || op == Op::loop || op == Op::callx || op == Op::tail_call)
        function.calls_functions = true;
    if (function.calls_functions || op == Op::may_goto || (op == Op::call_helper && !bound_helpers_))
        only_helpers_ = false;
}

Analysis Scan::run() {
    const auto count = static_cast<u32>(lowered_.insns.size());
    for (std::size_t i = 0; i < lowered_.subprograms.size(); ++i) {
        const program::LoweredSubprogram& sub = lowered_.subprograms[i];
        const u32 end = i + 1 < lowered_.subprograms.size() ? lowered_.subprograms[i + 1].first : count;
        Function function{.first = sub.first, .end = end, .stack_bytes = sub.stack_bytes};
        for (u32 at = sub.first; at < end; ++at) insn(function, lowered_.insns[at]);
        if (end != count && !ends_flow(Op{lowered_.insns[end - 1].op})) crosses_ = true;
        out_.functions.push_back(function);
    }
    out_.open_end = !ends_flow(Op{lowered_.insns.back().op});
    out_.leaf = only_helpers_ && !out_.has_functions && !out_.open_end;
    if (out_.leaf) {
        out_.functions = {merged(out_.functions)};
        out_.unset = unset_registers(lowered_, out_.is_target, out_.functions[0].named);
    } else if (crosses_) {
        const Function all = merged(out_.functions);
        for (Function& function : out_.functions) {
            const u32 first = function.first, end = function.end;
            function = all;
            function.first = first;
            function.end = end;
        }
    }
    return std::move(out_);
}

}  // namespace

Analysis analyse(const Lowered& lowered, std::span<const BoundMap> maps, bool bound_helpers) {
    return Scan(lowered, maps, bound_helpers).run();
}

}  // namespace anybpf::engine

// SPDX-License-Identifier: Apache-2.0
// Jumps, calls and what they do to frames.
#include <algorithm>
#include <cerrno>

#include "anybpf/abi/types.hpp"
#include "anybpf/engine/layout.hpp"
#include "compiler.hpp"

namespace anybpf::engine {
namespace {

// When the jump is taken, after a comparison, or a test for jset.
x86::CondCode condition(isa::JumpOp op) {
    switch (op) {
        case isa::JumpOp::jeq:
            return x86::CondCode::kEqual;
        case isa::JumpOp::jne:
        case isa::JumpOp::jset:
            return x86::CondCode::kNotEqual;
        case isa::JumpOp::jgt:
            return x86::CondCode::kUnsignedGT;
        case isa::JumpOp::jge:
            return x86::CondCode::kUnsignedGE;
        case isa::JumpOp::jlt:
            return x86::CondCode::kUnsignedLT;
        case isa::JumpOp::jle:
            return x86::CondCode::kUnsignedLE;
        case isa::JumpOp::jsgt:
            return x86::CondCode::kSignedGT;
        case isa::JumpOp::jsge:
            return x86::CondCode::kSignedGE;
        case isa::JumpOp::jslt:
            return x86::CondCode::kSignedLT;
        case isa::JumpOp::jsle:
            return x86::CondCode::kSignedLE;
    }
    return x86::CondCode::kEqual;
}

x86::Mem of_run(std::size_t offset) { return x86::qword_ptr(run_register, static_cast<i32>(offset)); }
x86::Mem of_state(const x86::Gp& state, std::size_t offset) { return x86::dword_ptr(state, static_cast<i32>(offset)); }

}  // namespace

// A jump that makes no difference.
bool Compiler::leads_to_next(u32 at) const {
    return static_cast<u32>(lowered_.insns[at].off) == at + 1 && at + 1 != function_end_;
}

void Compiler::branch(isa::JumpOp op, u32 at) {
    a_.j(condition(op), label_of(static_cast<u32>(lowered_.insns[at].off)));
}

void Compiler::branch_imm(isa::JumpOp op, bool is64, u32 at) {
    const LoweredInsn& insn = lowered_.insns[at];
    if (leads_to_next(at)) return;
    const i64 imm = is64 ? insn.imm : static_cast<i32>(insn.imm);
    const x86::Gp dst = sized(insn.dst, is64);
    const bool small = imm == static_cast<i32>(imm);
    if (op == isa::JumpOp::jset && small)
        a_.test(imm >= 0 ? dst.r32() : dst, static_cast<i32>(imm));
    else if (op == isa::JumpOp::jset)
        a_.test(dst, operand(imm, is64));
    else if (imm == 0)
        a_.test(dst, dst);  // the same flags as the comparison's
    else if (small)
        a_.cmp(dst, static_cast<i32>(imm));
    else
        a_.cmp(dst, operand(imm, is64));
    branch(op, at);
}

void Compiler::branch_reg(isa::JumpOp op, bool is64, u32 at) {
    const LoweredInsn& insn = lowered_.insns[at];
    if (leads_to_next(at)) return;
    const x86::Gp dst = sized(insn.dst, is64), src = sized(insn.src, is64);
    if (op == isa::JumpOp::jset)
        a_.test(dst, src);
    else
        a_.cmp(dst, src);
    branch(op, at);
}

void Compiler::may_goto(u32 at) {
    a_.mov(scratch, of_run(offsetof(abi::Run, engine)));
    a_.cmp(of_state(scratch, offsetof(State, loops)), 0);
    a_.je(label_of(static_cast<u32>(lowered_.insns[at].off)));
    a_.sub(of_state(scratch, offsetof(State, loops)), 1);
}

asmjit::Label Compiler::give_up() {
    if (!give_up_.isValid()) give_up_ = a_.newLabel();
    return give_up_;
}

// Says, for call_back, which functions the helper may call and how deep it stands.
void Compiler::publish() {
    if (!analysis_.has_functions) return;
    a_.mov(scratch, of_run(offsetof(abi::Run, engine)));
    a_.mov(scratch3.r32(), frame_.depth());
    a_.mov(of_state(scratch, offsetof(State, depth)), scratch3.r32());
    a_.lea(scratch3, x86::ptr(table_));
    a_.mov(x86::qword_ptr(scratch, offsetof(State, table)), scratch3);
}

void Compiler::call_helper(u32 number) {
    if (helpers_ != nullptr) {
        Label& cell = helper_cells_[number];
        if (!cell.isValid()) cell = a_.newLabel();
        publish();
        a_.mov(argument_register, run_register);
        a_.call(x86::qword_ptr(cell));
        return;
    }
    a_.mov(scratch2, of_run(offsetof(abi::Run, helpers)));
    a_.test(scratch2, scratch2);
    a_.jz(give_up());
    a_.mov(scratch2, x86::qword_ptr(scratch2, static_cast<i32>(number * sizeof(abi::HelperBody))));
    a_.test(scratch2, scratch2);
    a_.jz(give_up());
    publish();
    a_.mov(argument_register, run_register);
    a_.call(scratch2);
}

// Leaves the callee's depth in r11, or gives up.
void Compiler::depth_of_callee() {
    a_.mov(scratch.r32(), frame_.depth());
    a_.cmp(scratch.r32(), abi::max_frames - 1);
    a_.jae(give_up());
    a_.add(scratch.r32(), 1);
}

asmjit::Label Compiler::entry_of(u32 first) {
    const auto found = std::ranges::lower_bound(analysis_.functions, first, {}, &Function::first);
    return entries_[static_cast<std::size_t>(found - analysis_.functions.begin())];
}

void Compiler::call_local(u32 first) {
    depth_of_callee();
    a_.call(entry_of(first));
}

// bpf_loop: what the helper does, around a direct call. Three registers that callees give back hold its state.
void Compiler::loop(u32 first) {
    const Label wrong = a_.newLabel(), next = a_.newLabel(), again = a_.newLabel(), end = a_.newLabel();
    const x86::Gp i = wide(6), count = wide(7), context = wide(8);
    a_.mov(x86::eax, -EINVAL);
    a_.test(wide(4), wide(4));
    a_.jnz(wrong);
    a_.mov(x86::eax, -E2BIG);
    a_.cmp(narrow(1), abi::max_loop_iterations);
    a_.ja(wrong);
    a_.xor_(x86::eax, x86::eax);
    a_.test(narrow(1), narrow(1));
    a_.jz(next);
    a_.mov(frame_.kept(0), i);
    a_.mov(frame_.kept(1), count);
    a_.mov(frame_.kept(2), context);
    a_.xor_(i.r32(), i.r32());
    a_.mov(count.r32(), narrow(1));
    a_.mov(context, wide(3));
    a_.bind(again);
    a_.mov(narrow(1), i.r32());
    a_.mov(wide(2), context);
    depth_of_callee();
    a_.call(entry_of(first));
    a_.add(i.r32(), 1);
    a_.test(wide(0), wide(0));
    a_.jnz(end);
    a_.cmp(i.r32(), count.r32());
    a_.jb(again);
    a_.bind(end);
    a_.mov(x86::eax, i.r32());
    a_.mov(i, frame_.kept(0));
    a_.mov(count, frame_.kept(1));
    a_.mov(context, frame_.kept(2));
    a_.jmp(next);
    a_.bind(wrong);
    a_.movsxd(x86::rax, x86::eax);
    a_.bind(next);
}

// What a register names is known only now: a function of this program, or a helper.
void Compiler::callx(u8 dst) {
    const Label helper = a_.newLabel(), done = a_.newLabel();
    a_.mov(scratch2, wide(dst));
    a_.mov(scratch, scratch2);
    a_.shr(scratch, 32);
    a_.cmp(scratch.r32(), static_cast<i32>(function_tag >> 32));
    a_.jne(helper);
    a_.cmp(scratch2.r32(), static_cast<i32>(entries_.size()));
    a_.jae(give_up());
    a_.mov(scratch2.r32(), scratch2.r32());
    a_.lea(scratch3, x86::ptr(table_));
    a_.movsxd(scratch2, x86::dword_ptr(scratch3, scratch2, 2, sizeof(Table)));
    a_.add(scratch2, scratch3);
    depth_of_callee();
    a_.call(scratch2);
    a_.jmp(done);
    a_.bind(helper);
    a_.cmp(scratch2, abi::helper_count);
    a_.jae(give_up());
    a_.mov(scratch, of_run(offsetof(abi::Run, helpers)));
    a_.test(scratch, scratch);
    a_.jz(give_up());
    a_.mov(scratch2, x86::qword_ptr(scratch, scratch2, 3));
    a_.test(scratch2, scratch2);
    a_.jz(give_up());
    publish();
    a_.mov(argument_register, run_register);
    a_.call(scratch2);
    a_.bind(done);
}

// Outside of the packet the function returns 0.
void Compiler::packet_load(const LoweredInsn& insn, bool indirect, u32 bytes) {
    if (!packet_cell_.isValid()) packet_cell_ = a_.newLabel();
    const Label inside = a_.newLabel();
    if (indirect)
        a_.lea(x86::esi, x86::ptr(wide(insn.src), static_cast<i32>(insn.imm)));
    else
        a_.mov(x86::esi, static_cast<u32>(insn.imm));
    a_.mov(x86::edx, bytes);
    a_.mov(argument_register, run_register);
    a_.call(x86::qword_ptr(packet_cell_));
    a_.mov(scratch, x86::rax);
    a_.shr(scratch, 32);
    a_.jz(inside);
    a_.xor_(x86::eax, x86::eax);
    epilogue();
    a_.ret();
    a_.bind(inside);
}

// Asks the host for the target; where there is one, its function takes this one's place: the frame is gone before it is
// entered.
void Compiler::tail_call() {
    constexpr auto kept = std::to_array<u8>({0, 1, 2, 3, 4, 5});  // an even number: the stack stays aligned
    const Label next = a_.newLabel();
    a_.cmp(of_run(offsetof(abi::Run, tail_target)), 0);
    a_.je(next);
    a_.mov(scratch, of_run(offsetof(abi::Run, engine)));
    a_.cmp(of_state(scratch, offsetof(State, tail_calls)), abi::max_tail_calls);
    a_.jae(next);
    for (const u8 reg : kept) a_.push(wide(reg));
    a_.mov(argument_register, run_register);
    a_.mov(x86::rsi, wide(2));
    a_.mov(x86::edx, narrow(3));
    a_.call(of_run(offsetof(abi::Run, tail_target)));
    a_.mov(scratch2, x86::rax);
    for (auto reg = kept.rbegin(); reg != kept.rend(); ++reg) a_.pop(wide(*reg));
    a_.test(scratch2, scratch2);
    a_.jz(next);
    a_.mov(scratch, of_run(offsetof(abi::Run, engine)));
    a_.add(of_state(scratch, offsetof(State, tail_calls)), 1);
    a_.mov(x86::qword_ptr(scratch, offsetof(State, table)), 0);  // its functions are the target's, if it has any
    a_.mov(scratch.r32(), frame_.depth());
    epilogue();
    a_.mov(argument_register, run_register);
    a_.jmp(x86::qword_ptr(scratch2, offsetof(JitProgram, tail_body)));
    a_.bind(next);
}

}  // namespace anybpf::engine

// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "lifting.hpp"

namespace anybpf::engine::llvm {

Lifting::Lifting(Unit& unit, const Program& program, const Surroundings& surroundings, const Subprograms& subprograms,
                 u32 index, const Body& body)
    : u_(unit),
      program_(program),
      surroundings_(surroundings),
      subprograms_(subprograms),
      body_(body),
      subprogram_(program.subprograms[index]),
      stack_bytes_(program.proved != 0 ? subprogram_.stack_bytes : abi::stack_size),
      function_(subprograms.functions[index]),
      run_(LLVMGetParam(function_, 0)),
      state_(LLVMGetParam(function_, 1)),
      depth_(LLVMGetParam(function_, 2)),
      analysis_(program, body),
      choices_(program) {
    analysis_.run(subprogram_.first);
}

// The entry block: registers get what the caller hands over, and the frame its place.
void Lifting::start() {
    LLVMPositionBuilderAtEnd(u_.at, u_.block(function_, "entry"));
    stack_ = LLVMBuildAlloca(u_.at, LLVMArrayType2(u_.i8, stack_bytes_), "stack");
    LLVMSetAlignment(stack_, 16);
    const Value end = u_.field_address(stack_, stack_bytes_);
    frame_pointer_ = LLVMBuildPtrToInt(u_.at, end, u_.i64, "frame");
    for (u32 r = 0; r < registers; ++r) {
        const std::string name = "r" + std::to_string(r);
        variables_[r] = LLVMBuildAlloca(u_.at, u_.i64, name.c_str());
        pointers_[r] = LLVMBuildAlloca(u_.at, u_.pointer, name.c_str());
    }
    for (u32 r = 0; r < frame; ++r) LLVMBuildStore(u_.at, LLVMGetParam(function_, 3 + r), variables_[r]);
    LLVMBuildStore(u_.at, frame_pointer_, variables_[frame]);
    LLVMBuildStore(u_.at, end, pointers_[frame]);
}

LLVMBasicBlockRef Lifting::block_of(u32 insn) const {
    return blocks_[static_cast<u64>(std::ranges::lower_bound(body_.insns(), insn) - body_.insns().begin())];
}

void Lifting::start_block(u32 insn) {
    LLVMBasicBlockRef block = block_of(insn);
    if (open_) LLVMBuildBr(u_.at, block);
    LLVMPositionBuilderAtEnd(u_.at, block);
    open_ = true;
    bases_ = analysis_.before(insn);
    loaded_.fill({});
    found_.fill(nullptr);
}

void Lifting::lift() {
    start();
    for (const u32 at : body_.insns())
        blocks_.push_back(body_.leads(at) ? u_.block(function_, "L" + std::to_string(at)) : nullptr);
    // The subprogram's first instruction need not be the lowest that it reaches.
    LLVMBuildBr(u_.at, block_of(subprogram_.first));
    for (const u32 at : body_.insns()) {
        if (body_.leads(at)) start_block(at);
        if (at == program_.insn_count) {
            exit(u_.number(0), false, false);
            continue;
        }
        Bases behind = bases_;
        BaseAnalysis::step(program_, at, behind);
        insn(at);
        bases_ = behind;
    }
    if (give_up_ != nullptr) {
        LLVMPositionBuilderAtEnd(u_.at, give_up_);
        if (surroundings_.exported == nullptr)
            LLVMBuildStore(u_.at, LLVMConstInt(u_.i8, 1, false), u_.field_address(run_, u_.layout.gave_up));
        exit(u_.number(0), false, false);
    }
}

void Lifting::jump(u32 at, Value taken) {
    LLVMBuildCondBr(u_.at, taken, block_of(static_cast<u32>(program_.insns[at].off)), block_of(at + 1));
    open_ = false;
}

// Where a tree of comparisons starts: a switch. Whether that is all; else the tree is where any other number goes.
bool Lifting::choose(u32 at) {
    const auto choice = choices_.at(at);
    if (!choice) return false;
    const Value value = choice->bits == 64 ? get(program_.insns[at].dst) : low(program_.insns[at].dst);
    LLVMBasicBlockRef others = choice->others ? block_of(*choice->others) : u_.block(function_);
    const Value made = LLVMBuildSwitch(u_.at, value, others, static_cast<u32>(choice->targets.size()));
    for (u64 i = 0; i < choice->targets.size(); ++i)
        if (choice->targets[i] != choice->others)
            LLVMAddCase(made, constant(value, static_cast<u64>(choice->first) + i), block_of(choice->targets[i]));
    open_ = !choice->others;
    if (open_) LLVMPositionBuilderAtEnd(u_.at, others);
    return !open_;
}

void Lifting::insn(u32 at) {
    using isa::ExtendOp, isa::SwapOp;
    const LoweredInsn& insn = program_.insns[at];
    const u32 dst = insn.dst, src = insn.src;
    const Value imm = u_.number(static_cast<u64>(insn.imm)), imm32 = u_.number32(static_cast<u32>(insn.imm));
    const Op op{insn.op};
    if (pointer_alu(insn, op)) return;
    if (op == Op::mov64_imm) return immediate(at);
    if (const Value known = asks_for_element(insn)) return jump(at, known);
    if (op_indices[insn.op] == Index::jump && choose(at)) return;
    switch (op) {
#define ANYBPF_ALU(name, code, off, symbol, mnemonic, form)      \
    case Op::name##64_imm:                                       \
        return set(dst, alu(AluOp::name, get(dst), imm));        \
    case Op::name##64_reg:                                       \
        return set(dst, alu(AluOp::name, get(dst), get(src)));   \
    case Op::name##32_imm:                                       \
        return set_zext(dst, alu(AluOp::name, low(dst), imm32)); \
    case Op::name##32_reg:                                       \
        return set_zext(dst, alu(AluOp::name, low(dst), low(src)));
#define ANYBPF_EXTEND(name, bits, text, narrow)            \
    case Op::name##_64:                                    \
        return set_sext(dst, swap(get(src), bits, false)); \
    case Op::name##_32:                                    \
        set_sext(dst, swap(get(src), bits, false));        \
        return set_zext(dst, low(dst));
#define ANYBPF_SWAP(name, code, bits, text) \
    case Op::name:                          \
        return set_zext(dst, swap(get(dst), bits, (code) != 0xd4));
#define ANYBPF_JUMP(name, code, symbol, mnemonic)                   \
    case Op::name##64_imm:                                          \
        return jump(at, compare(JumpOp::name, get(dst), imm));      \
    case Op::name##64_reg:                                          \
        return jump(at, compare(JumpOp::name, get(dst), get(src))); \
    case Op::name##32_imm:                                          \
        return jump(at, compare(JumpOp::name, low(dst), imm32));    \
    case Op::name##32_reg:                                          \
        return jump(at, compare(JumpOp::name, low(dst), low(src)));
#define ANYBPF_WIDTH(name, code, bytes, text, suffix)                                                               \
    case Op::load_##name:                                                                                           \
        return load_to(dst, src, insn.off, (bytes) * 8);                                                            \
    case Op::load_sx_##name:                                                                                        \
        return set_sext(dst, LLVMBuildFreeze(u_.at, load(src, insn.off, (bytes) * 8), ""));                         \
    case Op::store_imm_##name:                                                                                      \
        return store(dst, insn.off, (bytes) * 8, imm);                                                              \
    case Op::store_##name:                                                                                          \
        return store(dst, insn.off, (bytes) * 8, loaded_[src].bits == (bytes) * 8 ? loaded_[src].value : get(src)); \
    case Op::load_acquire_##name:                                                                                   \
        return atomic(AtomicOp::load_acquire, insn, (bytes) * 8);                                                   \
    case Op::store_release_##name:                                                                                  \
        return atomic(AtomicOp::store_release, insn, (bytes) * 8);
#define ANYBPF_RMW(name)                         \
    case Op::atomic_##name##_word:               \
        return atomic(AtomicOp::name, insn, 32); \
    case Op::atomic_##name##_dword:              \
        return atomic(AtomicOp::name, insn, 64);
#define ANYBPF_OPS_modify(name) ANYBPF_RMW(name)
#define ANYBPF_OPS_fetch(name) ANYBPF_RMW(name)
#define ANYBPF_OPS_exchange(name) ANYBPF_RMW(name)
#define ANYBPF_OPS_compare_exchange(name) ANYBPF_RMW(name)
#define ANYBPF_OPS_load(name)
#define ANYBPF_OPS_store(name)
#define ANYBPF_ATOMIC(name, code, text, form) ANYBPF_OPS_##form(name)
#include "anybpf/isa/isa.def"
        case Op::jump:
            LLVMBuildBr(u_.at, block_of(static_cast<u32>(insn.off)));
            open_ = false;
            return;
        case Op::may_goto: {
            const Value left = u_.get_state(state_, StateField::loops);
            const Value none = LLVMBuildICmp(u_.at, LLVMIntEQ, left, u_.number32(0), "");
            LLVMBasicBlockRef next = u_.block(function_);
            LLVMBuildCondBr(u_.at, none, block_of(static_cast<u32>(insn.off)), next);
            LLVMPositionBuilderAtEnd(u_.at, next);
            u_.set_state(state_, StateField::loops, LLVMBuildSub(u_.at, left, u_.number32(1), ""));
            return;
        }
        case Op::call_helper:
            return call_helper(helper_body(static_cast<u32>(insn.imm)));
        case Op::call_local:
            return call_local(static_cast<u32>(insn.imm));
        case Op::loop:
            return loop(static_cast<u32>(insn.imm));
        case Op::callx:
            return callx(dst);
        case Op::tail_call:
            return tail_call();
        case Op::exit:
            return exit(get(0), true, program_.proved == 0);
        case Op::lookup_array:
            return lookup_array(insn);
        case Op::get_vcpu:
        case Op::get_pid_tgid:
            return run_field(dst, op);
#define ANYBPF_PACKET(name)                                    \
    case Op::packet_abs_##name:                                \
        return packet_load(imm, isa::bytes(isa::Width::name)); \
    case Op::packet_ind_##name:                                \
        return packet_load(LLVMBuildAdd(u_.at, get(src), imm, ""), isa::bytes(isa::Width::name));
            ANYBPF_PACKET(word)
            ANYBPF_PACKET(half)
            ANYBPF_PACKET(byte)
#undef ANYBPF_PACKET
    }
}

void lift_subprogram(Unit& unit, const Program& program, const Surroundings& surroundings,
                     const Subprograms& subprograms, u32 index, const Body& body) {
    Lifting(unit, program, surroundings, subprograms, index, body).lift();
}

}  // namespace anybpf::engine::llvm

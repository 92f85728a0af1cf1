// SPDX-License-Identifier: Apache-2.0
#include "compiler.hpp"

#include <cpuid.h>
#include <fmt/format.h>

#include <algorithm>

#include "anybpf/engine/check.hpp"
#include "anybpf/engine/layout.hpp"

namespace anybpf::engine {
namespace {

constexpr u32 no_label = asmjit::Globals::kInvalidId;
constexpr u32 code_alignment = 16;
// More than most programs need, so that the buffer seldom grows.
constexpr std::size_t usual_bytes = 6, room_for_the_rest = 512;
// The machine registers that a function must give back as it found them, in the order in which they are pushed.
constexpr auto enter_saves = std::to_array<u8>(
    {x86::Gp::kIdBp, x86::Gp::kIdBx, x86::Gp::kIdR12, x86::Gp::kIdR13, x86::Gp::kIdR14, x86::Gp::kIdR15});
constexpr u32 enter_padding = 8;  // aligns the stack for the call
constexpr i32 enter_stack_arguments = 8 * (i32{enter_saves.size()} + 1) + i32{enter_padding};

}  // namespace

// Asked once: where a hypervisor answers, it takes longer than a small program.
MachineFeatures MachineFeatures::host() {
    static const MachineFeatures features = ask();
    return features;
}

MachineFeatures MachineFeatures::ask() {
    u32 eax = 0, ebx = 0, ecx = 0, edx = 0;
    constexpr u32 features_leaf = 7, bmi2_bit = 1U << 8;
    return {.bmi2 = __get_cpuid_count(features_leaf, 0, &eax, &ebx, &ecx, &edx) != 0 && (ebx & bmi2_bit) != 0};
}

Compiler::Compiler(const program::Lowered& lowered, std::span<const BoundMap> maps, const abi::HelperBodies* helpers,
                   MachineFeatures features)
    : lowered_(lowered), maps_(maps), helpers_(helpers), features_(features) {
    map_uses_ = lowered.map_uses;
    std::ranges::stable_sort(map_uses_, {}, &program::MapUse::insn);
}

void Compiler::handleError(asmjit::Error error, const char* message, asmjit::BaseEmitter*) {
    if (failure_.empty()) failure_ = message != nullptr ? message : asmjit::DebugUtils::errorAsString(error);
}

Result<CodeImage> Compiler::run() {
    asmjit::Error error = code_.init(asmjit::Environment(asmjit::Arch::kX64));
    const std::size_t room = usual_bytes * lowered_.insns.size() + room_for_the_rest;
    if (error == asmjit::kErrorOk) error = code_.reserveBuffer(&code_.textSection()->buffer(), room);
    if (error == asmjit::kErrorOk) error = code_.attach(&a_);
    // The message's function is that of asmjit_messages.cpp, which is so linked before asmjit's.
    if (error != asmjit::kErrorOk)
        return fail(Errc::unsupported, fmt::format("machine code: {}", asmjit::DebugUtils::errorAsString(error)));
    code_.setErrorHandler(this);
    analysis_ = analyse(lowered_, maps_, helpers_ != nullptr);
    labels_.assign(lowered_.insns.size(), no_label);
    entries_.resize(analysis_.functions.size());
    for (Label& entry : entries_) entry = a_.newLabel();
    if (!analysis_.leaf) {
        table_ = a_.newLabel();
        enter_stub();
    }
    functions();
    behind_the_code();
    if (!failure_.empty()) return fail(Errc::unsupported, fmt::format("machine code: {}", failure_));
    const asmjit::CodeBuffer& buffer = code_.textSection()->buffer();
    const auto bytes = std::as_bytes(std::span(buffer.data(), buffer.size()));
    out_.code.assign(bytes.begin(), bytes.end());
    return std::move(out_);
}

// Keeps the C++ caller's registers and enters the subprogram that the seventh argument names, at the depth that the
// eighth one says. Nothing that was in the caller's registers is left to be seen.
void Compiler::enter_stub() {
    out_.enter = offset();
    for (const u8 reg : enter_saves) a_.push(x86::gpq(reg));
    a_.sub(x86::rsp, enter_padding);
    a_.mov(run_register, argument_register);
    a_.mov(scratch, x86::qword_ptr(run_register, offsetof(abi::Run, engine)));
    a_.mov(x86::qword_ptr(scratch, offsetof(State, unwind)), x86::rsp);
    a_.mov(scratch2, x86::qword_ptr(x86::rsp, enter_stack_arguments));
    a_.mov(scratch.r32(), x86::dword_ptr(x86::rsp, enter_stack_arguments + 8));
    set_registers_to_zero(only(0) | only(6) | only(7) | only(8) | only(9));
    a_.call(scratch2);
    jump_to_caller_of_run();
}

// What follows the call in Enter, and what ends a run that is given up.
void Compiler::jump_to_caller_of_run() {
    a_.add(x86::rsp, enter_padding);
    for (auto reg = enter_saves.rbegin(); reg != enter_saves.rend(); ++reg) a_.pop(x86::gpq(*reg));
    a_.ret();
}

void Compiler::set_registers_to_zero(Registers set) {
    for (u8 reg = 0; reg < 10; ++reg)
        if ((set & only(reg)) != 0) a_.xor_(narrow(reg), narrow(reg));
}

void Compiler::functions() {
    for (u32 index = 0; index < analysis_.functions.size(); ++index) {
        const Function& function = analysis_.functions[index];
        begin_function(index);
        for (u32 at = function.first; at < function.end; ++at) {
            if (analysis_.is_target[at]) a_.bind(label_of(at));
            at += instruction(at);
        }
    }
    if (analysis_.open_end) a_.jmp(give_up());
    for (const Miss& miss : misses_) {
        a_.bind(miss.entry);
        a_.xor_(narrow(miss.reg), narrow(miss.reg));
        a_.jmp(miss.back);
    }
    if (give_up_.isValid()) {
        a_.bind(give_up_);
        a_.mov(x86::byte_ptr(run_register, offsetof(abi::Run, gave_up)), 1);
        a_.mov(scratch, x86::qword_ptr(run_register, offsetof(abi::Run, engine)));
        a_.mov(x86::rsp, x86::qword_ptr(scratch, offsetof(State, unwind)));
        a_.xor_(x86::eax, x86::eax);
        jump_to_caller_of_run();
    }
}

void Compiler::begin_function(u32 index) {
    const Function& function = analysis_.functions[index];
    // Only code that nobody verified runs from one function into the next: past its prologue, with the same frame.
    if (index != 0 && !ends_flow(Op{lowered_.insns[function.first - 1].op})) {
        analysis_.is_target[function.first] = true;
        a_.jmp(label_of(function.first));
    }
    function_ = index;
    function_end_ = function.end;
    frame_ = frame_of(function);
    a_.align(asmjit::AlignMode::kCode, code_alignment);
    if (index == 0) out_.body = out_.tail_body = offset();
    // A tail call brings r1 to r5 and r0 along.
    constexpr Registers passed = 0x3f;
    if (analysis_.leaf) {
        set_registers_to_zero(analysis_.unset & passed);
        out_.tail_body = offset();
    }
    a_.bind(entries_[index]);
    prologue();
    if (analysis_.leaf) set_registers_to_zero(static_cast<Registers>(analysis_.unset & ~passed));
}

Compiler::Frame Compiler::frame_of(const Function& function) const {
    Frame frame;
    for (u8 reg = 6; reg < 10; ++reg)
        if (((function.named | (function.loops ? loop_registers : 0)) & only(reg)) != 0)
            frame.saved[frame.saved_count++] = static_cast<u8>(machine_registers[reg]);
    const bool calls = function.calls_helpers || function.calls_functions;
    if (analysis_.leaf && (calls || function.reads_run))
        frame.saved[frame.saved_count++] = static_cast<u8>(run_register.id());
    frame.has_stack = (function.named & only(10)) != 0;
    frame.has_depth = function.calls_functions || (function.calls_helpers && analysis_.has_functions);
    frame.area = (frame.has_stack ? function.stack_bytes : 0) + (frame.has_depth ? 8 : 0) +
                 (function.loops ? 8 * loop_register_count : 0);
    const u32 whole = 8 + (frame.has_stack ? 8 : 0) + frame.area + 8 * frame.saved_count;
    if (calls && whole % 16 != 0) frame.area += 8;
    return frame;
}

void Compiler::prologue() {
    if (frame_.has_stack) {
        a_.push(x86::rbp);
        a_.mov(x86::rbp, x86::rsp);
    }
    if (frame_.area != 0) a_.sub(x86::rsp, frame_.area);
    for (u32 i = 0; i < frame_.saved_count; ++i) a_.push(x86::gpq(frame_.saved[i]));
    if (frame_.has_depth) a_.mov(frame_.depth(), scratch.r32());
    const Function& function = analysis_.functions[function_];
    if (analysis_.leaf && (function.calls_helpers || function.reads_run)) a_.mov(run_register, argument_register);
}

// All but the return. Goes by rsp and not by rbp, which a program that nobody verified may have changed.
void Compiler::epilogue() {
    for (u32 i = frame_.saved_count; i > 0; --i) a_.pop(x86::gpq(frame_.saved[i - 1]));
    if (frame_.area != 0) a_.add(x86::rsp, frame_.area);
    if (frame_.has_stack) a_.pop(x86::rbp);
}

asmjit::Label Compiler::label_of(u32 insn) {
    if (labels_[insn] == no_label) labels_[insn] = a_.newLabel().id();
    return Label(labels_[insn]);
}

bool Compiler::follows(u32 at) const { return at + 1 < function_end_ && !analysis_.is_target[at + 1]; }

u32 Compiler::offset() const { return static_cast<u32>(a_.offset()); }

// The next eight bytes, with an address that is known when the code is linked.
void Compiler::cell(const Label& label, CodeImage::Patch patch) {
    constexpr u64 later = 0;
    a_.bind(label);
    patch.at = offset();
    out_.patches.push_back(patch);
    a_.embed(&later, sizeof(later));
}

void Compiler::move_address(const x86::Gp& to, CodeImage::Patch patch) {
    constexpr u64 later = u64{1} << 63;  // so that the instruction has all eight bytes, its last ones
    a_.mov(to.r64(), later);
    patch.at = offset() - u32{sizeof(later)};
    out_.patches.push_back(patch);
}

// The addresses of helpers, and the table of functions.
void Compiler::behind_the_code() {
    out_.instruction_bytes = offset();
    a_.align(asmjit::AlignMode::kZero, 8);
    for (u32 number = 0; number < abi::helper_count; ++number) {
        if (!helper_cells_[number].isValid()) continue;
        cell(helper_cells_[number], {.what = CodeImage::Address::helper, .index = number});
    }
    if (packet_cell_.isValid()) cell(packet_cell_, {.what = CodeImage::Address::packet});
    if (analysis_.leaf) return;
    const auto table = static_cast<i64>(a_.offset());
    a_.bind(table_);
    std::vector<i32> words = {static_cast<i32>(static_cast<i64>(*out_.enter) - table),
                              static_cast<i32>(entries_.size())};
    for (const Label& entry : entries_)
        words.push_back(static_cast<i32>(static_cast<i64>(code_.labelOffset(entry)) - table));
    a_.embed(words.data(), words.size() * sizeof(i32));
}

u32 Compiler::instruction(u32 at) {
    const LoweredInsn& insn = lowered_.insns[at];
    switch (Op{insn.op}) {
#define ANYBPF_ALU(name, code, off, symbol, mnemonic, form)     \
    case Op::name##64_imm:                                      \
        return alu_imm(isa::AluOp::name, true, at);             \
    case Op::name##64_reg:                                      \
        if (isa::AluOp::name == isa::AluOp::mov)                \
            if (const u32 more = move_and_add(at)) return more; \
        alu_reg(isa::AluOp::name, true, insn);                  \
        return 0;                                               \
    case Op::name##32_imm:                                      \
        return alu_imm(isa::AluOp::name, false, at);            \
    case Op::name##32_reg:                                      \
        alu_reg(isa::AluOp::name, false, insn);                 \
        return 0;
#define ANYBPF_EXTEND(name, bits, text, narrow)   \
    case Op::name##_64:                           \
        extend(isa::ExtendOp::name, true, insn);  \
        return 0;                                 \
    case Op::name##_32:                           \
        extend(isa::ExtendOp::name, false, insn); \
        return 0;
#define ANYBPF_SWAP(name, code, bits, text) \
    case Op::name:                          \
        swap(isa::SwapOp::name, insn.dst);  \
        return 0;
#define ANYBPF_JUMP(name, code, symbol, mnemonic) \
    case Op::name##64_imm:                        \
        branch_imm(isa::JumpOp::name, true, at);  \
        return 0;                                 \
    case Op::name##64_reg:                        \
        branch_reg(isa::JumpOp::name, true, at);  \
        return 0;                                 \
    case Op::name##32_imm:                        \
        branch_imm(isa::JumpOp::name, false, at); \
        return 0;                                 \
    case Op::name##32_reg:                        \
        branch_reg(isa::JumpOp::name, false, at); \
        return 0;
// On x86-64 every load acquires and every store releases.
#define ANYBPF_WIDTH(name, code, bytes, text, suffix) \
    case Op::load_##name:                             \
    case Op::load_acquire_##name:                     \
        load(isa::Width::name, false, insn);          \
        return 0;                                     \
    case Op::load_sx_##name:                          \
        load(isa::Width::name, true, insn);           \
        return 0;                                     \
    case Op::store_imm_##name:                        \
        store_imm(isa::Width::name, insn);            \
        return 0;                                     \
    case Op::store_##name:                            \
    case Op::store_release_##name:                    \
        store(isa::Width::name, insn);                \
        return 0;
#define ANYBPF_OPS_rmw(name)                      \
    case Op::atomic_##name##_word:                \
        atomic(isa::AtomicOp::name, false, insn); \
        return 0;                                 \
    case Op::atomic_##name##_dword:               \
        atomic(isa::AtomicOp::name, true, insn);  \
        return 0;
#define ANYBPF_OPS_modify(name) ANYBPF_OPS_rmw(name)
#define ANYBPF_OPS_fetch(name) ANYBPF_OPS_rmw(name)
#define ANYBPF_OPS_exchange(name) ANYBPF_OPS_rmw(name)
#define ANYBPF_OPS_compare_exchange(name) ANYBPF_OPS_rmw(name)
#define ANYBPF_OPS_load(name)
#define ANYBPF_OPS_store(name)
#define ANYBPF_ATOMIC(name, imm, text, form) ANYBPF_OPS_##form(name)
#include "anybpf/isa/isa.def"
        case Op::jump:
            if (!leads_to_next(at)) a_.jmp(label_of(static_cast<u32>(insn.off)));
            return 0;
        case Op::may_goto:
            may_goto(at);
            return 0;
        case Op::call_helper:
            call_helper(static_cast<u32>(insn.imm));
            return 0;
        case Op::call_local:
            call_local(static_cast<u32>(insn.imm));
            return 0;
        case Op::loop:
            loop(static_cast<u32>(insn.imm));
            return 0;
        case Op::callx:
            callx(insn.dst);
            return 0;
        case Op::tail_call:
            tail_call();
            return 0;
        case Op::exit:
            epilogue();
            a_.ret();
            return 0;
        case Op::lookup_array:
            return lookup_array(at);
        case Op::get_vcpu:
            a_.mov(narrow(insn.dst), x86::dword_ptr(run_register, offsetof(abi::Run, vcpu)));
            return 0;
        case Op::get_pid_tgid:
            a_.mov(wide(insn.dst), x86::qword_ptr(run_register, offsetof(abi::Run, environment)));
            a_.mov(wide(insn.dst), x86::qword_ptr(wide(insn.dst)));
            a_.mov(wide(insn.dst), x86::qword_ptr(wide(insn.dst)));
            return 0;
#define ANYBPF_PACKET(name)                                     \
    case Op::packet_abs_##name:                                 \
        packet_load(insn, false, isa::bytes(isa::Width::name)); \
        return 0;                                               \
    case Op::packet_ind_##name:                                 \
        packet_load(insn, true, isa::bytes(isa::Width::name));  \
        return 0;
            ANYBPF_PACKET(word)
            ANYBPF_PACKET(half)
            ANYBPF_PACKET(byte)
#undef ANYBPF_PACKET
    }
    return 0;
}

}  // namespace anybpf::engine

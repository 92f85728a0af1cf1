// SPDX-License-Identifier: Apache-2.0
// The compiler: goes over the lowered code once and emits what each instruction means, by itself but for a few pairs
// that are one instruction here. layout.hpp says which register is which and what a function looks like.
#pragma once

#include <asmjit/x86.h>

#include <array>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "analysis.hpp"
#include "anybpf/abi/run.hpp"
#include "anybpf/base/result.hpp"
#include "anybpf/engine/code.hpp"
#include "anybpf/engine/engine.hpp"
#include "anybpf/isa/decode.hpp"

namespace anybpf::engine {

namespace x86 = asmjit::x86;

// Registers of BPF as those of the machine, 64 or 32 bits of them.
constexpr auto machine_registers = std::to_array<u32>({
    x86::Gp::kIdAx,
    x86::Gp::kIdSi,
    x86::Gp::kIdDx,
    x86::Gp::kIdCx,
    x86::Gp::kIdR8,
    x86::Gp::kIdR9,
    x86::Gp::kIdBx,
    x86::Gp::kIdR13,
    x86::Gp::kIdR14,
    x86::Gp::kIdR15,
    x86::Gp::kIdBp,
});
inline x86::Gp wide(u8 reg) { return x86::gpq(machine_registers[reg]); }
inline x86::Gp narrow(u8 reg) { return x86::gpd(machine_registers[reg]); }
inline x86::Gp sized(const x86::Gp& reg, bool is64) {
    if (is64) return reg.r64();
    return reg.r32();
}
inline x86::Gp sized(u8 reg, bool is64) { return sized(wide(reg), is64); }

// Kept in every function that calls; the others are free between two instructions of BPF.
inline constexpr x86::Gpq run_register = x86::r12;
inline constexpr x86::Gpq argument_register = x86::rdi;
inline constexpr x86::Gpq scratch = x86::r11, scratch2 = x86::r10, scratch3 = x86::rdi;

struct MachineFeatures {
    bool bmi2 = false;  // shlx and its sisters
    static MachineFeatures host();

  private:
    static MachineFeatures ask();
};

class Compiler : asmjit::ErrorHandler {
  public:
    // All of them outlive the compiler. The program has been checked.
    Compiler(const program::Lowered& lowered, std::span<const BoundMap> maps, const abi::HelperBodies* helpers,
             MachineFeatures features);
    Result<CodeImage> run();  // once

  private:
    using LoweredInsn = program::LoweredInsn;
    using Label = asmjit::Label;
    // What a function keeps on the stack, from its return address downwards: the caller's rbp, where it has r10; BPF's
    // stack, whose end is rbp; what loops keep; the depth of the frame, where it needs that; the registers that it
    // saves.
    struct Frame {
        bool has_stack = false, has_depth = false;
        u32 area = 0;  // bytes between rbp and the saved registers
        std::array<u8, 5> saved{};
        u32 saved_count = 0;
        x86::Mem depth() const { return x86::dword_ptr(x86::rsp, static_cast<i32>(8 * saved_count)); }
        // Where a loop keeps the program's value of one of the registers it needs.
        x86::Mem kept(u32 index) const {
            return x86::qword_ptr(x86::rsp, static_cast<i32>(8 * (saved_count + 1 + index)));
        }
    };

    void handleError(asmjit::Error error, const char* message, asmjit::BaseEmitter* origin) override;

    // compiler.cpp: the whole, and functions.
    void enter_stub();
    void functions();
    void begin_function(u32 index);
    Frame frame_of(const Function& function) const;
    void prologue();
    void epilogue();
    void code_of(u32 at);
    void behind_the_code();
    u32 offset() const;
    void cell(const Label& label, CodeImage::Patch patch);
    void move_address(const x86::Gp& to, CodeImage::Patch patch);
    Label label_of(u32 insn);
    bool follows(u32 at) const;  // whether nothing jumps to the instruction after at, in the same function
    void set_registers_to_zero(Registers set);

    // One instruction; yields how many more of the following it has covered.
    u32 instruction(u32 at);

    // alu.cpp
    u32 alu_imm(isa::AluOp op, bool is64, u32 at);
    void alu_reg(isa::AluOp op, bool is64, const LoweredInsn& insn);
    u32 move_and_add(u32 at);
    u32 shift_pair(u32 at);
    void move_imm(const x86::Gp& to, u64 value);
    x86::Gp operand(i64 imm, bool is64);
    void shift_imm(isa::AluOp op, bool is64, const LoweredInsn& insn);
    void shift_reg(isa::AluOp op, bool is64, const LoweredInsn& insn);
    void divide_imm(isa::AluOp op, bool is64, const LoweredInsn& insn);
    void divide_reg(isa::AluOp op, bool is64, const LoweredInsn& insn);
    void divide_by_magic(isa::AluOp op, bool is64, u8 dst, u64 divisor);
    void divide(isa::AluOp op, bool is64, u8 dst);
    void zero_extend(u8 reg);
    void extend(isa::ExtendOp op, bool is64, const LoweredInsn& insn);
    void swap(isa::SwapOp op, u8 dst);

    // memory.cpp
    void load(isa::Width width, bool sign, const LoweredInsn& insn);
    void store(isa::Width width, const LoweredInsn& insn);
    void store_imm(isa::Width width, const LoweredInsn& insn);
    void atomic(isa::AtomicOp op, bool is64, const LoweredInsn& insn);
    u32 lookup_array(u32 at);
    void address_of_element(u32 map, u8 reg);
    void fetch_by_exchange(isa::AtomicOp op, bool is64, const LoweredInsn& insn);

    // control.cpp
    bool leads_to_next(u32 at) const;
    void branch_imm(isa::JumpOp op, bool is64, u32 at);
    void branch_reg(isa::JumpOp op, bool is64, u32 at);
    void branch(isa::JumpOp op, u32 at);
    void may_goto(u32 at);
    void call_helper(u32 number);
    void call_local(u32 first);
    Label entry_of(u32 first);
    void loop(u32 first);
    void callx(u8 dst);
    void tail_call();
    void packet_load(const LoweredInsn& insn, bool indirect, u32 bytes);
    void jump_to_caller_of_run();
    void depth_of_callee();
    void publish();
    Label give_up();

    const program::Lowered& lowered_;
    std::span<const BoundMap> maps_;
    const abi::HelperBodies* helpers_;
    MachineFeatures features_;
    std::vector<program::MapUse> map_uses_;  // by instruction
    std::size_t next_map_use_ = 0;

    Analysis analysis_;
    Frame frame_;
    u32 function_ = 0, function_end_ = 0;
    std::vector<Label> entries_;  // of functions
    std::vector<u32> labels_;     // of instructions that jumps lead to; asmjit's numbers
    std::array<Label, abi::helper_count> helper_cells_;
    Label packet_cell_, give_up_, table_;
    // Lookups that found nothing, out of the way: they set the register to 0 and go on.
    struct Miss {
        Label entry, back;
        u8 reg;
    };
    std::vector<Miss> misses_;
    CodeImage out_;

    asmjit::CodeHolder code_;
    x86::Assembler a_;
    std::string failure_;
};

}  // namespace anybpf::engine

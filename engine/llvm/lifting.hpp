// SPDX-License-Identifier: Apache-2.0
// Lifting: one subprogram on its way into a function. What the operations mean stands in isa/eval.hpp; this is its
// mirror in LLVM's instructions, each of which is chosen so that no operand whatever makes it undefined: shifts are
// masked, divisors are replaced where they would trap, and what memory yields is frozen, because it may change under
// the program, and the program was verified against one value.
//
// Blocks and the table of operations are in lift.cpp, values and memory in values.cpp, calls in calls.cpp.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "anybpf/abi/types.hpp"
#include "anybpf/engine/op.hpp"
#include "anybpf/isa/decode.hpp"
#include "bases.hpp"
#include "choice.hpp"
#include "lift.hpp"

namespace anybpf::engine::llvm {

using isa::AluOp;
using isa::AtomicOp;
using isa::JumpOp;
using program::LoweredInsn;
using Value = LLVMValueRef;

constexpr u32 registers = 11, frame = 10;

class Lifting {
  public:
    Lifting(Unit& unit, const Program& program, const Surroundings& surroundings, const Subprograms& subprograms,
            u32 index, const Body& body);
    void lift();

  private:
    // Registers: a number, and where the base is known a pointer, too.
    Value get(u32 r) {
        if (bases_[r] == unknown) return LLVMBuildLoad2(u_.at, u_.i64, variables_[r], "");
        return LLVMBuildPtrToInt(u_.at, pointer(r), u_.i64, "");
    }
    Value pointer(u32 r) {
        if (bases_[r] == unknown) return LLVMBuildIntToPtr(u_.at, get(r), u_.pointer, "");
        return LLVMBuildLoad2(u_.at, u_.pointer, pointers_[r], "");
    }
    Value low(u32 r) { return LLVMBuildTrunc(u_.at, get(r), u_.i32, ""); }
    void set(u32 r, Value value) {
        LLVMBuildStore(u_.at, value, variables_[r]);
        bases_[r] = unknown;
        loaded_[r] = {};
        found_[r] = nullptr;
    }
    void set_pointer(u32 r, Base base, Value value) {
        set(r, LLVMBuildPtrToInt(u_.at, value, u_.i64, ""));
        LLVMBuildStore(u_.at, value, pointers_[r]);
        bases_[r] = base;
    }
    void set_zext(u32 r, Value value) { set(r, LLVMBuildZExt(u_.at, value, u_.i64, "")); }
    void set_sext(u32 r, Value value) { set(r, LLVMBuildSExt(u_.at, value, u_.i64, "")); }

    void start();
    LLVMBasicBlockRef block_of(u32 insn) const;
    void start_block(u32 insn);
    void insn(u32 at);
    void jump(u32 at, Value taken);
    bool choose(u32 at);

    Value alu(AluOp op, Value a, Value b);
    Value divide(Value a, Value b, bool is_signed, bool remainder);
    Value compare(JumpOp op, Value a, Value b);
    Value asks_for_element(const LoweredInsn& insn);
    Value constant(Value like, u64 value) const { return LLVMConstInt(LLVMTypeOf(like), value, true); }
    Value swap(Value value, u32 bits, bool reverse);
    bool pointer_alu(const LoweredInsn& insn, Op op);
    void immediate(u32 at);

    Value address(u32 base, i32 off);
    Value offset(Value pointer, Value distance);
    Value load(u32 base, i32 off, u32 bits);
    void load_to(u32 r, u32 base, i32 off, u32 bits);
    void store(u32 base, i32 off, u32 bits, Value value);
    void atomic(AtomicOp op, const LoweredInsn& insn, u32 bits);

    Value helper_body(Value number);
    Value helper_body(u32 number);
    Value call(Value body, const std::array<Value, 5>& r);
    void call_helper(Value body);
    Value map_address(u32 map);
    void lookup_array(const LoweredInsn& insn);
    void run_field(u32 r, Op op);
    void packet_load(Value offset, u32 bytes);
    Value subprogram(u32 first) const;
    void call_local(u32 first);
    void loop(u32 first);
    void callx(u32 r);
    void tail_call();
    void entered(Value result);
    std::array<Value, 14> arguments(Value depth, std::optional<Value> index);
    void exit(Value r0, bool goes_on, bool keeps_registers);
    void give_up_if(Value condition);
    Value deeper();

    Unit& u_;
    const Program& program_;
    const Surroundings& surroundings_;
    const Subprograms& subprograms_;
    const Body& body_;
    const program::LoweredSubprogram& subprogram_;
    u32 stack_bytes_;  // what the verifier found, or all that there may be
    Value function_, run_, state_, depth_, stack_ = nullptr, frame_pointer_ = nullptr;
    LLVMBasicBlockRef give_up_ = nullptr;
    std::array<Value, registers> variables_{}, pointers_{};
    BaseAnalysis analysis_;
    Choices choices_;
    Bases bases_{};
    // Of registers that hold just what was loaded in this block: that, before it was frozen. A copy to memory need not
    // know that it copies one value.
    struct Loaded {
        Value value = nullptr;
        u32 bits = 0;
    };
    std::array<Loaded, registers> loaded_{};
    // Of registers that hold what a lookup in this block yielded: whether there was an element. No element lies at 0.
    std::array<Value, registers> found_{};
    bool open_ = false;                      // the block has no end yet
    std::vector<LLVMBasicBlockRef> blocks_;  // one per instruction of the body; null where none starts
};

}  // namespace anybpf::engine::llvm

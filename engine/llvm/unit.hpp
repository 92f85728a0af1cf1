// SPDX-License-Identifier: Apache-2.0
// Unit: one LLVM module under construction, with the types and the few shapes of instruction that lifting needs.
// Through LLVM's C interface, which compiles in a fraction of the time of the other one.
#pragma once

#include <llvm-c/Core.h>

#include <array>
#include <initializer_list>
#include <string>

#include "llvm_module.hpp"

namespace anybpf::engine::llvm {

// Fields of the state of a run, which lives in the frame of its entry function.
enum class StateField : u32 { program, depth, tail_calls, loops };

class Unit {
  public:
    explicit Unit(const RunLayout& layout);
    ~Unit();
    Unit(const Unit&) = delete;
    Unit& operator=(const Unit&) = delete;

    LLVMContextRef context;
    LLVMModuleRef module;
    LLVMBuilderRef at;
    RunLayout layout;
    LLVMTypeRef i1, i8, i16, i32, i64, pointer, state;
    LLVMTypeRef result;  // of a subprogram: r0 to r5, and whether the run goes on
    LLVMTypeRef pair;    // of a program that is tail-called: r0, and whether the run goes on
    LLVMTypeRef subprogram, run_type, tail_type, callback_type, call_back_type, helper_type, tail_target_type;

    LLVMTypeRef integer(u32 bits) const { return LLVMIntTypeInContext(context, bits); }
    LLVMTypeRef function(LLVMTypeRef returns, std::initializer_list<LLVMTypeRef> takes, u32 more_i64 = 0) const;
    LLVMValueRef number(u64 value) const { return LLVMConstInt(i64, value, false); }
    LLVMValueRef number32(u32 value) const { return LLVMConstInt(i32, value, false); }
    LLVMValueRef null() const { return LLVMConstNull(pointer); }
    LLVMValueRef address(u64 value) const { return LLVMConstIntToPtr(number(value), pointer); }

    // A function nothing is known of yet but that it does not throw. Internal ones may be called as LLVM pleases.
    LLVMValueRef define(const std::string& name, LLVMTypeRef type, bool internal);
    // A parameter points to so many bytes at least. Others may know them, too: helpers find a run's state by the run.
    void points_to(LLVMValueRef function, u32 parameter, u64 bytes) const;
    LLVMBasicBlockRef block(LLVMValueRef function, const std::string& name = "") const;
    LLVMValueRef call(LLVMTypeRef type, LLVMValueRef callee, std::initializer_list<LLVMValueRef> arguments);
    LLVMValueRef call(LLVMTypeRef type, LLVMValueRef callee, LLVMValueRef* arguments, u32 count);

    LLVMValueRef field_address(LLVMValueRef base, u32 offset) const;
    LLVMValueRef field(LLVMTypeRef type, LLVMValueRef base, u32 offset) const;
    // Of something that no one writes during the run.
    LLVMValueRef constant_field(LLVMTypeRef type, LLVMValueRef base, u32 offset) const;
    LLVMValueRef constant_element(LLVMValueRef table, LLVMValueRef index) const;  // a pointer of a table of pointers
    LLVMValueRef state_address(LLVMValueRef of, StateField field) const;
    LLVMValueRef get_state(LLVMValueRef of, StateField field) const;
    void set_state(LLVMValueRef of, StateField field, LLVMValueRef value) const;

  private:
    LLVMAttributeRef attribute(const char* name, u64 value = 0) const;
    u32 invariant_;
    LLVMValueRef empty_node_;
    std::array<LLVMAttributeRef, 2> attributes_;
};

}  // namespace anybpf::engine::llvm

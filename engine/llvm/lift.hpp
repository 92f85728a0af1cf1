// SPDX-License-Identifier: Apache-2.0
// lift: the lowered form as LLVM sees it.
//
// A subprogram is a function {r0..r5, goes on} f(run, state, depth, r0..r9). Its registers are variables, which LLVM's
// first pass turns into values; its stack is a variable, too, and what the program reads and writes at known places of
// it need not be memory at all. Where the interpreter gives up a run, the function returns at once with "goes on"
// false, and so do its callers. Around the subprograms of a program stand
//   run       what the host calls: makes the run's state, and enters subprogram 0
//   tail      what another program's tail call enters, with the registers as they are
//   callback  what a helper's call back enters, through call_back, which all programs of a module share
#pragma once

#include "anybpf/base/result.hpp"
#include "body.hpp"
#include "unit.hpp"

namespace anybpf::engine::llvm {

// How a program refers to itself and to its maps: in code for this process by addresses, else by symbols.
struct Surroundings {
    LLVMValueRef self = nullptr;               // its Entry
    const LLVMValueRef* map_values = nullptr;  // one per map: what stands for its values; null where it has none
    LLVMValueRef call_back = nullptr;          // abi::Run::call_back; null: one of the module's own
    const char* exported = nullptr;            // the function's name for an application; null: it has none
};

struct LiftedProgram {
    LLVMValueRef run = nullptr, tail = nullptr, callback = nullptr;  // callback only where functions are called back
};

// The program has passed check(). Fails on code that would grow out of proportion.
Result<LiftedProgram> lift(Unit& unit, const Program& program, const Surroundings& surroundings);

// Parts of it.
struct Subprograms {
    std::vector<LLVMValueRef> functions;
    LLVMValueRef dispatch = nullptr;  // calls the one whose number it gets; null where no number is ever made
};
void lift_subprogram(Unit& unit, const Program& program, const Surroundings& surroundings,
                     const Subprograms& subprograms, u32 index, const Body& body);

}  // namespace anybpf::engine::llvm

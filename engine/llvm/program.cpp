// SPDX-License-Identifier: Apache-2.0
// What stands around a program's subprograms: its entries, and what helpers call back through.
#include <algorithm>

#include "anybpf/abi/types.hpp"
#include "anybpf/engine/op.hpp"
#include "lift.hpp"

namespace anybpf::engine::llvm {
namespace {

using Value = LLVMValueRef;

constexpr u64 state_bytes = 24;  // of the struct that Unit::state is

Value set_up(Unit& u, const std::string& name, LLVMTypeRef type, bool internal) {
    Value function = u.define(name, type, internal);
    LLVMPositionBuilderAtEnd(u.at, u.block(function, "entry"));
    return function;
}

Value parameter(Value function, u32 index) { return LLVMGetParam(function, index); }

// r0 of a subprogram's result; where it gave up that is 0.
Value outcome(Unit& u, Value result) { return LLVMBuildExtractValue(u.at, result, 0, ""); }

// Calls the subprogram with that number: one way for callx and for callbacks. It exists where a number can come from:
// a program that loads no subprogram's value has none to hand over.
Value make_dispatch(Unit& u, const Program& program, const std::vector<Value>& functions) {
    const bool needed = std::any_of(program.insns, program.insns + program.insn_count, [](const auto& insn) {
        return Op{insn.op} == Op::callx || (Op{insn.op} == Op::mov64_imm && is_function(static_cast<u64>(insn.imm)));
    });
    if (!needed) return nullptr;
    LLVMTypeRef type = u.function(u.result, {u.pointer, u.pointer, u.i32, u.i32}, 10);
    Value dispatch = set_up(u, std::string(program.name) + ".dispatch", type, true);
    LLVMBasicBlockRef nothing = u.block(dispatch, "nothing");
    Value choice = LLVMBuildSwitch(u.at, parameter(dispatch, 3), nothing, static_cast<u32>(functions.size()));
    for (u32 i = 0; i < functions.size(); ++i) {
        LLVMBasicBlockRef block = u.block(dispatch);
        LLVMAddCase(choice, u.number32(i), block);
        LLVMPositionBuilderAtEnd(u.at, block);
        std::array<Value, 13> all;
        for (u32 k = 0; k < all.size(); ++k) all[k] = parameter(dispatch, k < 3 ? k : k + 1);
        LLVMBuildRet(u.at, u.call(u.subprogram, functions[i], all.data(), all.size()));
    }
    LLVMPositionBuilderAtEnd(u.at, nothing);
    LLVMBuildRet(u.at, LLVMConstNull(u.result));
    return dispatch;
}

// abi::Run::call_back: what the state says is the program, in a new frame above the one whose helper call is under way.
Value make_call_back(Unit& u) {
    if (Value made = LLVMGetNamedFunction(u.module, "anybpf.call_back")) return made;
    Value function = set_up(u, "anybpf.call_back", u.call_back_type, true);
    LLVMBasicBlockRef enter = u.block(function, "enter"), refuse = u.block(function, "refuse");
    Value run = parameter(function, 0), callee = parameter(function, 1);
    Value state = u.field(u.pointer, run, u.layout.engine);
    Value depth = u.get_state(state, StateField::depth);
    Value deeper = LLVMBuildAdd(u.at, depth, u.number32(1), "");
    Value tag = LLVMBuildLShr(u.at, callee, u.number(32), "");
    Value is_function = LLVMBuildICmp(u.at, LLVMIntEQ, tag, u.number(function_tag >> 32), "");
    Value has_room = LLVMBuildICmp(u.at, LLVMIntNE, deeper, u.number32(abi::max_frames), "");
    LLVMBuildCondBr(u.at, LLVMBuildAnd(u.at, is_function, has_room, ""), enter, refuse);

    LLVMPositionBuilderAtEnd(u.at, enter);
    Value program = u.get_state(state, StateField::program);
    Value code = u.constant_field(u.pointer, program, offsetof(Entry, callback));
    LLVMBasicBlockRef known = u.block(function, "known");
    LLVMBuildCondBr(u.at, LLVMBuildIsNull(u.at, code, ""), refuse, known);
    LLVMPositionBuilderAtEnd(u.at, known);
    Value index = LLVMBuildTrunc(u.at, callee, u.i32, "");
    Value r0 = u.call(u.callback_type, code,
                      {run, state, deeper, index, parameter(function, 2), parameter(function, 3),
                       parameter(function, 4), parameter(function, 5), parameter(function, 6)});
    u.set_state(state, StateField::depth, depth);
    LLVMBuildRet(u.at, r0);
    LLVMPositionBuilderAtEnd(u.at, refuse);
    LLVMBuildRet(u.at, u.number(0));
    return function;
}

// For an application the program is a function of its context and its host alone.
Value make_run(Unit& u, const Program& program, const Surroundings& surroundings, Value first, Value call_back) {
    const bool exported = surroundings.exported != nullptr;
    LLVMTypeRef exported_type = u.function(u.i64, {u.pointer, u.pointer});
    Value function = exported ? set_up(u, surroundings.exported, exported_type, false)
                              : set_up(u, std::string(program.name) + ".run", u.run_type, false);
    Value context = parameter(function, 0), run = parameter(function, 1);
    Value state = LLVMBuildAlloca(u.at, u.state, "state");
    u.set_state(state, StateField::program, surroundings.self);
    u.set_state(state, StateField::depth, u.number32(0));
    u.set_state(state, StateField::tail_calls, u.number32(0));
    u.set_state(state, StateField::loops, u.number32(abi::max_loop_iterations));
    LLVMBuildStore(u.at, call_back, u.field_address(run, u.layout.call_back));
    LLVMBuildStore(u.at, state, u.field_address(run, u.layout.engine));
    std::array<Value, 13> all;
    all.fill(u.number(0));
    all[0] = run;
    all[1] = state;
    all[2] = u.number32(0);
    all[4] = LLVMBuildPtrToInt(u.at, context, u.i64, "");
    if (!exported) all[5] = parameter(function, 2);
    LLVMBuildRet(u.at, outcome(u, u.call(u.subprogram, first, all.data(), all.size())));
    return function;
}

// The caller's registers lie in a table, and what a call leaves of r1 to r5 goes back into it, for code that nobody
// verified may read it.
Value make_tail(Unit& u, const Program& program, Value first) {
    Value function = set_up(u, std::string(program.name) + ".tail", u.tail_type, false);
    std::array<Value, 13> all{parameter(function, 0), parameter(function, 1), parameter(function, 2)};
    for (u32 r = 0; r < 10; ++r) all[3 + r] = u.field(u.i64, parameter(function, 3), r * 8);
    Value result = u.call(u.subprogram, first, all.data(), all.size());
    if (program.proved == 0)
        for (u32 r = 1; r <= 5; ++r)
            LLVMBuildStore(u.at, LLVMBuildExtractValue(u.at, result, r, ""),
                           u.field_address(parameter(function, 3), r * 8));
    Value both = LLVMGetUndef(u.pair);
    both = LLVMBuildInsertValue(u.at, both, LLVMBuildExtractValue(u.at, result, 0, ""), 0, "");
    Value goes_on = LLVMBuildZExt(u.at, LLVMBuildExtractValue(u.at, result, 6, ""), u.i64, "");
    LLVMBuildRet(u.at, LLVMBuildInsertValue(u.at, both, goes_on, 1, ""));
    return function;
}

Value make_callback(Unit& u, const Program& program, Value dispatch) {
    if (dispatch == nullptr) return nullptr;
    Value function = set_up(u, std::string(program.name) + ".callback", u.callback_type, false);
    std::array<Value, 14> all;
    all.fill(u.number(0));
    for (u32 i = 0; i < 4; ++i) all[i] = parameter(function, i);
    for (u32 r = 1; r <= 5; ++r) all[4 + r] = parameter(function, 3 + r);
    LLVMBuildRet(u.at, outcome(u, u.call(LLVMGlobalGetValueType(dispatch), dispatch, all.data(), all.size())));
    return function;
}

}  // namespace

Result<LiftedProgram> lift(Unit& unit, const Program& program, const Surroundings& surroundings) {
    Subprograms subprograms;
    for (u64 i = 0; i < program.subprogram_count; ++i) {
        const std::string name = std::string(program.name) + "." + std::to_string(i);
        Value function = unit.define(name, unit.subprogram, true);
        LLVMSetFunctionCallConv(function, 8);  // fastcc
        unit.points_to(function, 0, std::max(unit.layout.engine, unit.layout.helpers) + 8);
        unit.points_to(function, 1, state_bytes);
        subprograms.functions.push_back(function);
    }
    subprograms.dispatch = make_dispatch(unit, program, subprograms.functions);
    Body body(program);
    u64 total = 0;
    for (u32 i = 0; i < program.subprogram_count; ++i) {
        body.find(program.subprograms[i].first);
        total += body.insns().size();
        if (total > 2 * program.insn_count + 64)
            return fail(Errc::unsupported, "the subprograms share too much of their code");
        lift_subprogram(unit, program, surroundings, subprograms, i, body);
    }
    Value call_back = surroundings.call_back != nullptr ? surroundings.call_back : make_call_back(unit);
    return LiftedProgram{.run = make_run(unit, program, surroundings, subprograms.functions[0], call_back),
                         .tail = make_tail(unit, program, subprograms.functions[0]),
                         .callback = make_callback(unit, program, subprograms.dispatch)};
}

}  // namespace anybpf::engine::llvm

// SPDX-License-Identifier: Apache-2.0
// Where a program leaves its subprogram: helpers, or what stands for them; subprograms; other programs.
#include <algorithm>
#include <bit>
#include <cerrno>

#include "anybpf/abi/helper.hpp"
#include "lifting.hpp"

namespace anybpf::engine::llvm {

Value Lifting::deeper() { return LLVMBuildAdd(u_.at, depth_, u_.number32(1), ""); }

void Lifting::give_up_if(Value condition) {
    if (give_up_ == nullptr) give_up_ = u_.block(function_, "give_up");
    LLVMBasicBlockRef next = u_.block(function_);
    LLVMBuildCondBr(u_.at, condition, give_up_, next);
    LLVMPositionBuilderAtEnd(u_.at, next);
}

void Lifting::exit(Value r0, bool goes_on, bool keeps_registers) {
    Value all = LLVMGetUndef(u_.result);
    all = LLVMBuildInsertValue(u_.at, all, r0, 0, "");
    // What a call leaves in r1 to r5 is read only by code that nobody verified.
    for (u32 r = 1; r <= 5; ++r) all = LLVMBuildInsertValue(u_.at, all, keeps_registers ? get(r) : u_.number(0), r, "");
    all = LLVMBuildInsertValue(u_.at, all, LLVMConstInt(u_.i1, goes_on ? 1 : 0, false), 6, "");
    LLVMBuildRet(u_.at, all);
    open_ = false;
}

// A helper's body, from the run's table; one that is not there ends the run.
Value Lifting::helper_body(Value number) {
    const Value helpers = u_.constant_field(u_.pointer, run_, u_.layout.helpers);
    give_up_if(LLVMBuildIsNull(u_.at, helpers, ""));
    const Value body = u_.constant_element(helpers, number);
    give_up_if(LLVMBuildIsNull(u_.at, body, ""));
    return body;
}
// The same, bound to the code where that may be.
Value Lifting::helper_body(u32 number) {
    if (program_.helpers == nullptr) return helper_body(u_.number(number));
    return u_.address(std::bit_cast<u64>(program_.helpers[number]));
}

Value Lifting::call(Value body, const std::array<Value, 5>& r) {
    u_.set_state(state_, StateField::depth, depth_);  // for call_back
    return u_.call(u_.helper_type, body, {run_, r[0], r[1], r[2], r[3], r[4]});
}

// r0 = body(run, r1..r5)
void Lifting::call_helper(Value body) {
    set(0, call(body, {get(1), get(2), get(3), get(4), get(5)}));
    if (program_.proved != 0)
        for (u32 r = 1; r <= 5; ++r) set(r, u_.number(0));
}

// Where the value lies, as abi::ArrayPlace says; a host does its lookups itself.
void Lifting::lookup_array(const LoweredInsn& insn) {
    const auto map = static_cast<u32>(insn.imm);
    if (surroundings_.exported != nullptr) {
        const Value none = u_.number(0), key = LLVMBuildPtrToInt(u_.at, address(insn.src, 0), u_.i64, "");
        const Value body = helper_body(static_cast<u32>(abi::HelperId::map_lookup_elem));
        return set(insn.dst, call(body, {map_address(map), key, none, none, none}));
    }
    const abi::ArrayPlace& place = program_.arrays[map];
    const Value key = LLVMBuildFreeze(u_.at, load(insn.src, 0, 32), "");
    const Value index = LLVMBuildZExt(u_.at, key, u_.i64, "");
    const Value inside = LLVMBuildICmp(u_.at, LLVMIntULT, index, u_.number(place.entries), "");
    // The virtual CPU's values first: where they lie is the same in each round of a loop.
    Value first = surroundings_.map_values[map];
    if (place.block != 0) {
        const Value vcpu = LLVMBuildZExt(u_.at, u_.constant_field(u_.i32, run_, u_.layout.vcpu), u_.i64, "");
        first = offset(first, LLVMBuildMul(u_.at, vcpu, u_.number(place.block), ""));
    }
    const Value found = offset(first, LLVMBuildMul(u_.at, index, u_.number(place.stride), ""));
    const Value value = LLVMBuildSelect(u_.at, inside, found, u_.null(), "");
    if (program_.proved != 0) {
        set_pointer(insn.dst, first_map + map, value);
        found_[insn.dst] = inside;
        return;
    }
    set(insn.dst, LLVMBuildPtrToInt(u_.at, value, u_.i64, ""));
}

// What a host is asked for by a helper without arguments, and an abi::Run has in it.
void Lifting::run_field(u32 r, Op op) {
    const bool vcpu = op == Op::get_vcpu;
    if (surroundings_.exported != nullptr) {
        const Value none = u_.number(0);
        const auto id = vcpu ? abi::HelperId::get_smp_processor_id : abi::HelperId::get_current_pid_tgid;
        return set(r, call(helper_body(static_cast<u32>(id)), {none, none, none, none, none}));
    }
    if (vcpu) return set_zext(r, u_.constant_field(u_.i32, run_, u_.layout.vcpu));
    const Value environment = u_.constant_field(u_.pointer, run_, u_.layout.environment);
    set(r, u_.field(u_.i64, u_.field(u_.pointer, environment, 0), 0));
}

// Outside of the packet the subprogram returns 0.
void Lifting::packet_load(Value offset, u32 bytes) {
    const Value none = u_.number(0), body = u_.address(std::bit_cast<u64>(&abi::load_packet_of));
    const Value loaded = call(body, {offset, u_.number(bytes), none, none, none});
    LLVMBasicBlockRef outside = u_.block(function_), next = u_.block(function_);
    const Value missing = LLVMBuildICmp(u_.at, LLVMIntEQ, loaded, u_.number(abi::packet_outside), "");
    LLVMBuildCondBr(u_.at, missing, outside, next);
    LLVMPositionBuilderAtEnd(u_.at, outside);
    exit(none, true, program_.proved == 0);
    LLVMPositionBuilderAtEnd(u_.at, next);
    open_ = true;
    set(0, loaded);
    if (program_.proved != 0)
        for (u32 r = 1; r <= 5; ++r) set(r, none);
}

// Of a subprogram (or of dispatch, which takes the subprogram's number before the registers).
std::array<Value, 14> Lifting::arguments(Value depth, std::optional<Value> index) {
    std::array<Value, 14> all{run_, state_, depth};
    u32 next = 3;
    if (index) all[next++] = *index;
    for (u32 r = 0; r < frame; ++r) {
        const bool is_argument = r >= 1 && r <= 5;
        all[next++] = program_.proved != 0 && !is_argument ? u_.number(0) : get(r);
    }
    return all;
}

// Behind a call of a subprogram.
void Lifting::entered(Value result) {
    give_up_if(LLVMBuildNot(u_.at, LLVMBuildExtractValue(u_.at, result, 6, ""), ""));
    for (u32 r = 0; r <= 5; ++r) set(r, LLVMBuildExtractValue(u_.at, result, r, ""));
    if (program_.proved == 0) set(frame, frame_pointer_);
}

Value Lifting::subprogram(u32 first) const {
    const auto* const end = program_.subprograms + program_.subprogram_count;
    const auto* const found =
        std::ranges::lower_bound(program_.subprograms, end, first, {}, &program::LoweredSubprogram::first);
    return subprograms_.functions[static_cast<u64>(found - program_.subprograms)];
}

void Lifting::call_local(u32 first) {
    const Value depth = deeper();
    give_up_if(LLVMBuildICmp(u_.at, LLVMIntEQ, depth, u_.number32(abi::max_frames), ""));
    auto all = arguments(depth, {});
    entered(u_.call(u_.subprogram, subprogram(first), all.data(), all.size() - 1));
}

// bpf_loop: what the helper does, around a direct call.
void Lifting::loop(u32 first) {
    LLVMBasicBlockRef again = u_.block(function_), more = u_.block(function_), end = u_.block(function_);
    const Value zero = u_.number32(0), count = low(1), context = get(3);
    const Value flags = LLVMBuildICmp(u_.at, LLVMIntNE, get(4), u_.number(0), "");
    const Value many = LLVMBuildICmp(u_.at, LLVMIntUGT, count, u_.number32(abi::max_loop_iterations), "");
    Value refused = LLVMBuildSelect(u_.at, many, u_.number(static_cast<u64>(i64{-E2BIG})), u_.number(0), "");
    refused = LLVMBuildSelect(u_.at, flags, u_.number(static_cast<u64>(i64{-EINVAL})), refused, "");
    Value none = LLVMBuildICmp(u_.at, LLVMIntEQ, count, zero, "");
    none = LLVMBuildOr(u_.at, LLVMBuildOr(u_.at, none, many, ""), flags, "");
    // Asked before the loop, although only a round needs the frame: within, it would be one more way out of the loop.
    const Value depth = deeper();
    const Value too_deep = LLVMBuildICmp(u_.at, LLVMIntEQ, depth, u_.number32(abi::max_frames), "");
    give_up_if(LLVMBuildAnd(u_.at, too_deep, LLVMBuildNot(u_.at, none, ""), ""));
    LLVMBasicBlockRef start = LLVMGetInsertBlock(u_.at);
    LLVMBuildCondBr(u_.at, none, end, again);

    LLVMPositionBuilderAtEnd(u_.at, again);
    Value i = LLVMBuildPhi(u_.at, u_.i32, "i");
    auto all = arguments(depth, {});
    std::fill_n(all.begin() + 3, frame, u_.number(0));
    all[3 + 1] = LLVMBuildZExt(u_.at, i, u_.i64, "");
    all[3 + 2] = context;
    const Value result = u_.call(u_.subprogram, subprogram(first), all.data(), all.size() - 1);
    give_up_if(LLVMBuildNot(u_.at, LLVMBuildExtractValue(u_.at, result, 6, ""), ""));
    const Value made = LLVMBuildAdd(u_.at, i, u_.number32(1), "");
    const Value made_so_far = LLVMBuildZExt(u_.at, made, u_.i64, "");
    const Value r0 = LLVMBuildExtractValue(u_.at, result, 0, "");
    LLVMBasicBlockRef asked = LLVMGetInsertBlock(u_.at);
    LLVMBuildCondBr(u_.at, LLVMBuildICmp(u_.at, LLVMIntNE, r0, u_.number(0), ""), end, more);
    LLVMPositionBuilderAtEnd(u_.at, more);
    LLVMBuildCondBr(u_.at, LLVMBuildICmp(u_.at, LLVMIntULT, made, count, ""), again, end);
    std::array<Value, 2> values{zero, made};
    std::array<LLVMBasicBlockRef, 2> blocks{start, more};
    LLVMAddIncoming(i, values.data(), blocks.data(), values.size());

    LLVMPositionBuilderAtEnd(u_.at, end);
    const Value iterations = LLVMBuildPhi(u_.at, u_.i64, "");
    std::array<Value, 3> outcomes{refused, made_so_far, made_so_far};
    std::array<LLVMBasicBlockRef, 3> from{start, asked, more};
    LLVMAddIncoming(iterations, outcomes.data(), from.data(), outcomes.size());
    set(0, iterations);
    if (program_.proved != 0)
        for (u32 r = 1; r <= 5; ++r) set(r, u_.number(0));
}

// A subprogram, or a helper by its number.
void Lifting::callx(u32 r) {
    const Value callee = get(r);
    LLVMBasicBlockRef local = u_.block(function_), helper = u_.block(function_), next = u_.block(function_);
    const Value tag = LLVMBuildLShr(u_.at, callee, u_.number(32), "");
    const Value is_local = LLVMBuildICmp(u_.at, LLVMIntEQ, tag, u_.number(function_tag >> 32), "");
    LLVMBuildCondBr(u_.at, is_local, local, helper);

    LLVMPositionBuilderAtEnd(u_.at, helper);
    give_up_if(LLVMBuildICmp(u_.at, LLVMIntUGE, callee, u_.number(abi::helper_count), ""));
    call_helper(helper_body(callee));
    LLVMBuildBr(u_.at, next);

    LLVMPositionBuilderAtEnd(u_.at, local);
    const Value depth = deeper();
    give_up_if(LLVMBuildICmp(u_.at, LLVMIntEQ, depth, u_.number32(abi::max_frames), ""));
    auto all = arguments(depth, LLVMBuildTrunc(u_.at, callee, u_.i32, ""));
    entered(u_.call(LLVMGlobalGetValueType(subprograms_.dispatch), subprograms_.dispatch, all.data(), all.size()));
    LLVMBuildBr(u_.at, next);

    LLVMPositionBuilderAtEnd(u_.at, next);
}

// In the same frame: what the other program returns, this subprogram returns.
void Lifting::tail_call() {
    LLVMBasicBlockRef ask = u_.block(function_), allowed = u_.block(function_), enter = u_.block(function_),
                      next = u_.block(function_);
    const Value target_of = u_.constant_field(u_.pointer, run_, u_.layout.tail_target);
    LLVMBuildCondBr(u_.at, LLVMBuildIsNull(u_.at, target_of, ""), next, allowed);

    LLVMPositionBuilderAtEnd(u_.at, allowed);
    const Value count = u_.get_state(state_, StateField::tail_calls);
    const Value more = LLVMBuildICmp(u_.at, LLVMIntULT, count, u_.number32(abi::max_tail_calls), "");
    LLVMBuildCondBr(u_.at, more, ask, next);

    LLVMPositionBuilderAtEnd(u_.at, ask);
    const Value target = u_.call(u_.tail_target_type, target_of, {run_, get(2), low(3)});
    LLVMBuildCondBr(u_.at, LLVMBuildIsNull(u_.at, target, ""), next, enter);

    LLVMPositionBuilderAtEnd(u_.at, enter);
    u_.set_state(state_, StateField::tail_calls, LLVMBuildAdd(u_.at, count, u_.number32(1), ""));
    u_.set_state(state_, StateField::program, target);
    LLVMBasicBlockRef here = LLVMGetInsertBlock(u_.at);
    LLVMPositionBuilderBefore(u_.at, LLVMGetFirstInstruction(LLVMGetEntryBasicBlock(function_)));
    const Value table = LLVMBuildAlloca(u_.at, LLVMArrayType2(u_.i64, frame), "handed_over");
    LLVMPositionBuilderAtEnd(u_.at, here);
    for (u32 r = 0; r < frame; ++r) LLVMBuildStore(u_.at, get(r), u_.field_address(table, r * 8));
    const Value code = u_.constant_field(u_.pointer, target, offsetof(Entry, tail));
    const Value result = u_.call(u_.tail_type, code, {run_, state_, depth_, table});
    u_.set_state(state_, StateField::program, surroundings_.self);
    Value all = LLVMConstNull(u_.result);
    all = LLVMBuildInsertValue(u_.at, all, LLVMBuildExtractValue(u_.at, result, 0, ""), 0, "");
    if (program_.proved == 0)
        for (u32 r = 1; r <= 5; ++r) all = LLVMBuildInsertValue(u_.at, all, u_.field(u_.i64, table, r * 8), r, "");
    const Value goes_on = LLVMBuildTrunc(u_.at, LLVMBuildExtractValue(u_.at, result, 1, ""), u_.i1, "");
    LLVMBuildRet(u_.at, LLVMBuildInsertValue(u_.at, all, goes_on, 6, ""));

    LLVMPositionBuilderAtEnd(u_.at, next);
}

}  // namespace anybpf::engine::llvm

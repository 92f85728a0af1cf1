// SPDX-License-Identifier: Apache-2.0
#include "unit.hpp"

#include <cstring>
#include <vector>

namespace anybpf::engine::llvm {

Unit::Unit(const RunLayout& run_layout)
    : context(LLVMContextCreate()),
      module(LLVMModuleCreateWithNameInContext("anybpf", context)),
      at(LLVMCreateBuilderInContext(context)),
      layout(run_layout),
      i1(integer(1)),
      i8(integer(8)),
      i16(integer(16)),
      i32(integer(32)),
      i64(integer(64)),
      pointer(LLVMPointerTypeInContext(context, 0)) {
    std::array<LLVMTypeRef, 7> six_and_flag = {i64, i64, i64, i64, i64, i64, i1};
    result = LLVMStructTypeInContext(context, six_and_flag.data(), six_and_flag.size(), false);
    std::array<LLVMTypeRef, 2> two = {i64, i64};
    pair = LLVMStructTypeInContext(context, two.data(), two.size(), false);
    std::array<LLVMTypeRef, 4> fields = {pointer, i32, i32, i32};
    state = LLVMStructTypeInContext(context, fields.data(), fields.size(), false);
    subprogram = function(result, {pointer, pointer, i32}, 10);
    run_type = function(i64, {pointer, pointer}, 1);
    tail_type = function(pair, {pointer, pointer, i32, pointer});
    callback_type = function(i64, {pointer, pointer, i32, i32}, 5);
    call_back_type = function(i64, {pointer}, 6);
    helper_type = function(i64, {pointer}, 5);
    tail_target_type = function(pointer, {pointer, i64, i32});
    invariant_ = LLVMGetMDKindIDInContext(context, "invariant.load", 14);
    empty_node_ = LLVMMetadataAsValue(context, LLVMMDNodeInContext2(context, nullptr, 0));
    // A program nobody has verified may read address 0; what happens then is the machine's business, not LLVM's.
    attributes_ = {attribute("nounwind"), attribute("null_pointer_is_valid")};
}

Unit::~Unit() {
    LLVMDisposeBuilder(at);
    LLVMDisposeModule(module);
    LLVMContextDispose(context);
}

LLVMAttributeRef Unit::attribute(const char* name, u64 value) const {
    return LLVMCreateEnumAttribute(context, LLVMGetEnumAttributeKindForName(name, std::strlen(name)), value);
}

void Unit::points_to(LLVMValueRef function, u32 parameter, u64 bytes) const {
    for (LLVMAttributeRef each : {attribute("nonnull"), attribute("align", 8), attribute("dereferenceable", bytes)})
        LLVMAddAttributeAtIndex(function, parameter + 1, each);
}

LLVMTypeRef Unit::function(LLVMTypeRef returns, std::initializer_list<LLVMTypeRef> takes, u32 more_i64) const {
    std::vector<LLVMTypeRef> types = takes;
    types.insert(types.end(), more_i64, i64);
    return LLVMFunctionType(returns, types.data(), static_cast<u32>(types.size()), false);
}

LLVMValueRef Unit::define(const std::string& name, LLVMTypeRef type, bool internal) {
    LLVMValueRef added = LLVMAddFunction(module, name.c_str(), type);
    for (LLVMAttributeRef attribute : attributes_)
        LLVMAddAttributeAtIndex(added, static_cast<LLVMAttributeIndex>(LLVMAttributeFunctionIndex), attribute);
    if (internal) LLVMSetLinkage(added, LLVMInternalLinkage);
    return added;
}

LLVMBasicBlockRef Unit::block(LLVMValueRef function, const std::string& name) const {
    return LLVMAppendBasicBlockInContext(context, function, name.c_str());
}

LLVMValueRef Unit::call(LLVMTypeRef type, LLVMValueRef callee, LLVMValueRef* arguments, u32 count) {
    LLVMValueRef made = LLVMBuildCall2(at, type, callee, arguments, count, "");
    LLVMAddCallSiteAttribute(made, static_cast<LLVMAttributeIndex>(LLVMAttributeFunctionIndex), attributes_[0]);
    if (LLVMIsAFunction(callee) != nullptr) LLVMSetInstructionCallConv(made, LLVMGetFunctionCallConv(callee));
    return made;
}
LLVMValueRef Unit::call(LLVMTypeRef type, LLVMValueRef callee, std::initializer_list<LLVMValueRef> arguments) {
    std::vector<LLVMValueRef> list = arguments;
    return call(type, callee, list.data(), static_cast<u32>(list.size()));
}

LLVMValueRef Unit::field_address(LLVMValueRef base, u32 offset) const {
    LLVMValueRef index = number(offset);
    return LLVMBuildInBoundsGEP2(at, i8, base, &index, 1, "");
}
LLVMValueRef Unit::field(LLVMTypeRef type, LLVMValueRef base, u32 offset) const {
    return LLVMBuildLoad2(at, type, field_address(base, offset), "");
}
LLVMValueRef Unit::constant_field(LLVMTypeRef type, LLVMValueRef base, u32 offset) const {
    LLVMValueRef loaded = field(type, base, offset);
    LLVMSetMetadata(loaded, invariant_, empty_node_);
    return loaded;
}
LLVMValueRef Unit::constant_element(LLVMValueRef table, LLVMValueRef index) const {
    LLVMValueRef loaded = LLVMBuildLoad2(at, pointer, LLVMBuildInBoundsGEP2(at, pointer, table, &index, 1, ""), "");
    LLVMSetMetadata(loaded, invariant_, empty_node_);
    return loaded;
}

LLVMValueRef Unit::state_address(LLVMValueRef of, StateField field) const {
    return LLVMBuildStructGEP2(at, state, of, static_cast<u32>(field), "");
}
LLVMValueRef Unit::get_state(LLVMValueRef of, StateField field) const {
    return LLVMBuildLoad2(at, field == StateField::program ? pointer : i32, state_address(of, field), "");
}
void Unit::set_state(LLVMValueRef of, StateField field, LLVMValueRef value) const {
    LLVMBuildStore(at, value, state_address(of, field));
}

}  // namespace anybpf::engine::llvm

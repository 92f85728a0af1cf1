// SPDX-License-Identifier: Apache-2.0
// One subprogram. What the operations mean stands in isa/eval.hpp; this is its mirror in LLVM's instructions, each of
// which is chosen so that no operand whatever makes it undefined: shifts are masked, divisors are replaced where they
// would trap, and what memory yields is frozen, because it may change under the program, and the program was verified
// against one value.
#include "lift.hpp"

#include <algorithm>
#include <bit>
#include <optional>

#include "anybpf/abi/helper.hpp"
#include "anybpf/abi/types.hpp"
#include "anybpf/engine/op.hpp"
#include "anybpf/isa/decode.hpp"

namespace anybpf::engine::llvm {
namespace {

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
    // Registers. A write forgets that the register pointed into the frame.
    Value get(u32 r) { return LLVMBuildLoad2(u_.at, u_.i64, variables_[r], ""); }
    Value low(u32 r) { return LLVMBuildTrunc(u_.at, get(r), u_.i32, ""); }
    void set(u32 r, Value value) {
        LLVMBuildStore(u_.at, value, variables_[r]);
        in_frame_[r].reset();
    }
    void set_zext(u32 r, Value value) { set(r, LLVMBuildZExt(u_.at, value, u_.i64, "")); }
    void set_sext(u32 r, Value value) { set(r, LLVMBuildSExt(u_.at, value, u_.i64, "")); }

    void start();
    void start_block(u32 insn);
    void insn(u32 at);
    void jump(u32 at, Value taken);

    Value alu(AluOp op, Value a, Value b);
    Value divide(Value a, Value b, bool is_signed, bool remainder);
    Value compare(JumpOp op, Value a, Value b);
    Value constant(Value like, u64 value) const { return LLVMConstInt(LLVMTypeOf(like), value, true); }
    Value swap(Value value, u32 bits, bool reverse);
    void track_alu(const LoweredInsn& insn, Op op);
    Value immediate(u32 at);

    Value address(u32 base, i32 off, u32 bytes);
    Value load(u32 base, i32 off, u32 bits);
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
    void call_local(u32 first);
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
    std::array<Value, registers> variables_{};
    // Of registers that hold the frame pointer plus a number that is known here: that number.
    std::array<std::optional<i64>, registers> in_frame_;
    bool open_ = false;                      // the block has no end yet
    std::vector<LLVMBasicBlockRef> blocks_;  // one per instruction of the body; null where none starts
    LLVMBasicBlockRef block_of(u32 insn) const;
};

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
      depth_(LLVMGetParam(function_, 2)) {}

// The entry block: registers get what the caller hands over, and the frame its place.
void Lifting::start() {
    LLVMPositionBuilderAtEnd(u_.at, u_.block(function_, "entry"));
    stack_ = LLVMBuildAlloca(u_.at, LLVMArrayType2(u_.i8, stack_bytes_), "stack");
    LLVMSetAlignment(stack_, 16);
    frame_pointer_ = LLVMBuildPtrToInt(u_.at, u_.field_address(stack_, stack_bytes_), u_.i64, "frame");
    for (u32 r = 0; r < registers; ++r) {
        const std::string name = "r" + std::to_string(r);
        variables_[r] = LLVMBuildAlloca(u_.at, u_.i64, name.c_str());
    }
    for (u32 r = 0; r < frame; ++r) LLVMBuildStore(u_.at, LLVMGetParam(function_, 3 + r), variables_[r]);
    LLVMBuildStore(u_.at, frame_pointer_, variables_[frame]);
}

LLVMBasicBlockRef Lifting::block_of(u32 insn) const {
    return blocks_[static_cast<u64>(std::ranges::lower_bound(body_.insns(), insn) - body_.insns().begin())];
}

void Lifting::start_block(u32 insn) {
    LLVMBasicBlockRef block = block_of(insn);
    if (open_) LLVMBuildBr(u_.at, block);
    LLVMPositionBuilderAtEnd(u_.at, block);
    open_ = true;
    in_frame_.fill({});
    // The verifier lets no program write r10.
    if (program_.proved != 0) in_frame_[frame] = 0;
}

void Lifting::lift() {
    start();
    for (const u32 at : body_.insns())
        blocks_.push_back(body_.leads(at) ? u_.block(function_, "L" + std::to_string(at)) : nullptr);
    // The subprogram's first instruction need not be the lowest that it reaches.
    LLVMBuildBr(u_.at, block_of(subprogram_.first));
    for (const u32 at : body_.insns()) {
        if (body_.leads(at)) start_block(at);
        if (at == program_.insn_count)
            exit(u_.number(0), false, false);
        else
            insn(at);
    }
    if (give_up_ != nullptr) {
        LLVMPositionBuilderAtEnd(u_.at, give_up_);
        if (surroundings_.exported == nullptr)
            LLVMBuildStore(u_.at, LLVMConstInt(u_.i8, 1, false), u_.field_address(run_, u_.layout.gave_up));
        exit(u_.number(0), false, false);
    }
}

// --- values

Value Lifting::divide(Value a, Value b, bool is_signed, bool remainder) {
    const Value zero = constant(b, 0), one = constant(b, 1);
    Value special = LLVMBuildICmp(u_.at, LLVMIntEQ, b, zero, "");
    Value minus_one = nullptr;
    if (is_signed) minus_one = LLVMBuildICmp(u_.at, LLVMIntEQ, b, constant(b, ~u64{0}), "");
    const Value traps = is_signed ? LLVMBuildOr(u_.at, special, minus_one, "") : special;
    const Value divisor = LLVMBuildSelect(u_.at, traps, one, b, "");
    if (remainder) {
        // By -1 the rest is 0, as by 1; by 0 it is the dividend.
        const Value rest = is_signed ? LLVMBuildSRem(u_.at, a, divisor, "") : LLVMBuildURem(u_.at, a, divisor, "");
        return LLVMBuildSelect(u_.at, special, a, rest, "");
    }
    Value quotient = is_signed ? LLVMBuildSDiv(u_.at, a, divisor, "") : LLVMBuildUDiv(u_.at, a, divisor, "");
    if (is_signed) quotient = LLVMBuildSelect(u_.at, minus_one, LLVMBuildNeg(u_.at, a, ""), quotient, "");
    return LLVMBuildSelect(u_.at, special, zero, quotient, "");
}

Value Lifting::alu(AluOp op, Value a, Value b) {
    const auto shift = [&] { return LLVMBuildAnd(u_.at, b, constant(b, LLVMGetIntTypeWidth(LLVMTypeOf(b)) - 1), ""); };
    switch (op) {
        case AluOp::add:
            return LLVMBuildAdd(u_.at, a, b, "");
        case AluOp::sub:
            return LLVMBuildSub(u_.at, a, b, "");
        case AluOp::mul:
            return LLVMBuildMul(u_.at, a, b, "");
        case AluOp::div:
            return divide(a, b, false, false);
        case AluOp::sdiv:
            return divide(a, b, true, false);
        case AluOp::mod:
            return divide(a, b, false, true);
        case AluOp::smod:
            return divide(a, b, true, true);
        case AluOp::or_:
            return LLVMBuildOr(u_.at, a, b, "");
        case AluOp::and_:
            return LLVMBuildAnd(u_.at, a, b, "");
        case AluOp::xor_:
            return LLVMBuildXor(u_.at, a, b, "");
        case AluOp::lsh:
            return LLVMBuildShl(u_.at, a, shift(), "");
        case AluOp::rsh:
            return LLVMBuildLShr(u_.at, a, shift(), "");
        case AluOp::arsh:
            return LLVMBuildAShr(u_.at, a, shift(), "");
        case AluOp::neg:
            return LLVMBuildNeg(u_.at, a, "");
        case AluOp::mov:
            return b;
    }
    return nullptr;
}

Value Lifting::compare(JumpOp op, Value a, Value b) {
    const auto is = [&](LLVMIntPredicate predicate) { return LLVMBuildICmp(u_.at, predicate, a, b, ""); };
    switch (op) {
        case JumpOp::jeq:
            return is(LLVMIntEQ);
        case JumpOp::jne:
            return is(LLVMIntNE);
        case JumpOp::jgt:
            return is(LLVMIntUGT);
        case JumpOp::jge:
            return is(LLVMIntUGE);
        case JumpOp::jlt:
            return is(LLVMIntULT);
        case JumpOp::jle:
            return is(LLVMIntULE);
        case JumpOp::jsgt:
            return is(LLVMIntSGT);
        case JumpOp::jsge:
            return is(LLVMIntSGE);
        case JumpOp::jslt:
            return is(LLVMIntSLT);
        case JumpOp::jsle:
            return is(LLVMIntSLE);
        case JumpOp::jset:
            return LLVMBuildICmp(u_.at, LLVMIntNE, LLVMBuildAnd(u_.at, a, b, ""), constant(a, 0), "");
    }
    return nullptr;
}

// The low bits of a value, in the other order or as they are.
Value Lifting::swap(Value value, u32 bits, bool reverse) {
    LLVMTypeRef type = u_.integer(bits);
    const Value narrow = LLVMBuildTrunc(u_.at, value, type, "");
    if (!reverse) return narrow;
    Value intrinsic = LLVMGetIntrinsicDeclaration(u_.module, LLVMLookupIntrinsicID("llvm.bswap", 10), &type, 1);
    return u_.call(LLVMGlobalGetValueType(intrinsic), intrinsic, {narrow});
}

// A copy of the frame pointer, and what a constant is added to, stay known.
void Lifting::track_alu(const LoweredInsn& insn, Op op) {
    const std::optional<i64> dst = in_frame_[insn.dst], src = in_frame_[insn.src];
    const Value a = get(insn.dst);
    constexpr i64 far = 1 << 16;
    if (op == Op::mov64_reg) {
        set(insn.dst, get(insn.src));
        in_frame_[insn.dst] = src;
        return;
    }
    set(insn.dst, LLVMBuildAdd(u_.at, a, u_.number(static_cast<u64>(insn.imm)), ""));
    if (dst && insn.imm > -far && insn.imm < far && *dst > -far && *dst < far) in_frame_[insn.dst] = *dst + insn.imm;
}

// What mov64_imm loads: a number, or in code without addresses what a map stands for.
Value Lifting::immediate(u32 at) {
    const auto* const end = program_.map_uses + program_.map_use_count;
    const auto* const use = std::ranges::lower_bound(program_.map_uses, end, at, {}, &program::MapUse::insn);
    if (use == end || use->insn != at) return u_.number(static_cast<u64>(program_.insns[at].imm));
    if (use->value != 0)
        return LLVMBuildPtrToInt(u_.at, u_.field_address(surroundings_.map_values[use->map], use->offset), u_.i64, "");
    return map_address(use->map);
}

// What the host takes for the map.
Value Lifting::map_address(u32 map) {
    const Value maps = u_.constant_field(u_.pointer, run_, u_.layout.maps);
    return LLVMBuildPtrToInt(u_.at, u_.constant_element(maps, u_.number(map)), u_.i64, "");
}

// --- memory

Value Lifting::address(u32 base, i32 off, u32 bytes) {
    const i64 place = in_frame_[base].value_or(0) + off + stack_bytes_;
    if (in_frame_[base] && place >= 0 && place + bytes <= stack_bytes_)
        return u_.field_address(stack_, static_cast<u32>(place));
    const Value start = LLVMBuildIntToPtr(u_.at, get(base), u_.pointer, "");
    Value distance = u_.number(static_cast<u64>(i64{off}));
    return LLVMBuildGEP2(u_.at, u_.i8, start, &distance, 1, "");
}

Value Lifting::load(u32 base, i32 off, u32 bits) {
    const Value loaded = LLVMBuildLoad2(u_.at, u_.integer(bits), address(base, off, bits / 8), "");
    LLVMSetAlignment(loaded, 1);
    return LLVMBuildFreeze(u_.at, loaded, "");
}
void Lifting::store(u32 base, i32 off, u32 bits, Value value) {
    const Value narrow = LLVMBuildTrunc(u_.at, value, u_.integer(bits), "");
    LLVMSetAlignment(LLVMBuildStore(u_.at, narrow, address(base, off, bits / 8)), 1);
}

void Lifting::atomic(AtomicOp op, const LoweredInsn& insn, u32 bits) {
    const Value operand = LLVMBuildTrunc(u_.at, get(insn.src), u_.integer(bits), "");
    const Value place = address(insn.dst, insn.off, bits / 8);
    const auto modify = [&](LLVMAtomicRMWBinOp how) {
        return LLVMBuildAtomicRMW(u_.at, how, place, operand, LLVMAtomicOrderingSequentiallyConsistent, false);
    };
    switch (op) {
        case AtomicOp::add:
            modify(LLVMAtomicRMWBinOpAdd);
            return;
        case AtomicOp::or_:
            modify(LLVMAtomicRMWBinOpOr);
            return;
        case AtomicOp::and_:
            modify(LLVMAtomicRMWBinOpAnd);
            return;
        case AtomicOp::xor_:
            modify(LLVMAtomicRMWBinOpXor);
            return;
        case AtomicOp::fetch_add:
            return set_zext(insn.src, modify(LLVMAtomicRMWBinOpAdd));
        case AtomicOp::fetch_or:
            return set_zext(insn.src, modify(LLVMAtomicRMWBinOpOr));
        case AtomicOp::fetch_and:
            return set_zext(insn.src, modify(LLVMAtomicRMWBinOpAnd));
        case AtomicOp::fetch_xor:
            return set_zext(insn.src, modify(LLVMAtomicRMWBinOpXor));
        case AtomicOp::xchg:
            return set_zext(insn.src, modify(LLVMAtomicRMWBinOpXchg));
        case AtomicOp::cmpxchg: {
            const Value expected = LLVMBuildTrunc(u_.at, get(0), u_.integer(bits), "");
            const Value both =
                LLVMBuildAtomicCmpXchg(u_.at, place, expected, operand, LLVMAtomicOrderingSequentiallyConsistent,
                                       LLVMAtomicOrderingSequentiallyConsistent, false);
            return set_zext(0, LLVMBuildExtractValue(u_.at, both, 0, ""));
        }
        case AtomicOp::load_acquire: {
            const Value loaded = LLVMBuildLoad2(u_.at, u_.integer(bits), address(insn.src, insn.off, bits / 8), "");
            LLVMSetOrdering(loaded, LLVMAtomicOrderingAcquire);
            LLVMSetAlignment(loaded, bits / 8);
            return set_zext(insn.dst, loaded);
        }
        case AtomicOp::store_release: {
            const Value stored = LLVMBuildStore(u_.at, operand, place);
            LLVMSetOrdering(stored, LLVMAtomicOrderingRelease);
            LLVMSetAlignment(stored, bits / 8);
            return;
        }
    }
}

// --- calls

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
    const Value key = address(insn.src, 0, 4);
    if (surroundings_.exported != nullptr) {
        const Value none = u_.number(0), key_number = LLVMBuildPtrToInt(u_.at, key, u_.i64, "");
        const Value body = helper_body(static_cast<u32>(abi::HelperId::map_lookup_elem));
        return set(insn.dst, call(body, {map_address(map), key_number, none, none, none}));
    }
    const abi::ArrayPlace& place = program_.arrays[map];
    const Value index = LLVMBuildZExt(u_.at, load(insn.src, 0, 32), u_.i64, "");
    const Value inside = LLVMBuildICmp(u_.at, LLVMIntULT, index, u_.number(place.entries), "");
    Value found = LLVMBuildMul(u_.at, index, u_.number(place.stride), "");
    found = LLVMBuildAdd(u_.at, found, u_.number(std::bit_cast<u64>(place.values)), "");
    if (place.block != 0) {
        const Value vcpu = LLVMBuildZExt(u_.at, u_.constant_field(u_.i32, run_, u_.layout.vcpu), u_.i64, "");
        found = LLVMBuildAdd(u_.at, found, LLVMBuildMul(u_.at, vcpu, u_.number(place.block), ""), "");
    }
    set(insn.dst, LLVMBuildSelect(u_.at, inside, found, u_.number(0), ""));
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
    set(frame, frame_pointer_);
    in_frame_[frame] = 0;
}

void Lifting::call_local(u32 first) {
    const Value depth = deeper();
    give_up_if(LLVMBuildICmp(u_.at, LLVMIntEQ, depth, u_.number32(abi::max_frames), ""));
    const auto* const end = program_.subprograms + program_.subprogram_count;
    const auto* const found =
        std::ranges::lower_bound(program_.subprograms, end, first, {}, &program::LoweredSubprogram::first);
    auto all = arguments(depth, {});
    entered(u_.call(u_.subprogram, subprograms_.functions[static_cast<u64>(found - program_.subprograms)], all.data(),
                    all.size() - 1));
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
    in_frame_.fill({});
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

// --- all of them

void Lifting::jump(u32 at, Value taken) {
    LLVMBuildCondBr(u_.at, taken, block_of(static_cast<u32>(program_.insns[at].off)), block_of(at + 1));
    open_ = false;
}

void Lifting::insn(u32 at) {
    using isa::ExtendOp, isa::SwapOp;
    const LoweredInsn& insn = program_.insns[at];
    const u32 dst = insn.dst, src = insn.src;
    const Value imm = u_.number(static_cast<u64>(insn.imm)), imm32 = u_.number32(static_cast<u32>(insn.imm));
    const Op op{insn.op};
    if (op == Op::mov64_reg || op == Op::add64_imm) return track_alu(insn, op);
    if (op == Op::mov64_imm) return set(dst, immediate(at));
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
#define ANYBPF_WIDTH(name, code, bytes, text, suffix)             \
    case Op::load_##name:                                         \
        return set_zext(dst, load(src, insn.off, (bytes) * 8));   \
    case Op::load_sx_##name:                                      \
        return set_sext(dst, load(src, insn.off, (bytes) * 8));   \
    case Op::store_imm_##name:                                    \
        return store(dst, insn.off, (bytes) * 8, imm);            \
    case Op::store_##name:                                        \
        return store(dst, insn.off, (bytes) * 8, get(src));       \
    case Op::load_acquire_##name:                                 \
        return atomic(AtomicOp::load_acquire, insn, (bytes) * 8); \
    case Op::store_release_##name:                                \
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
#define ANYBPF_PACKET(name)                                                   \
    case Op::packet_abs_##name:                                               \
        return packet_load(imm, isa::bytes(isa::Width::name));                \
    case Op::packet_ind_##name:                                               \
        return packet_load(LLVMBuildAdd(u_.at, get(src), imm, ""), isa::bytes(isa::Width::name));
            ANYBPF_PACKET(word)
            ANYBPF_PACKET(half)
            ANYBPF_PACKET(byte)
#undef ANYBPF_PACKET
    }
}

}  // namespace

void lift_subprogram(Unit& unit, const Program& program, const Surroundings& surroundings,
                     const Subprograms& subprograms, u32 index, const Body& body) {
    Lifting(unit, program, surroundings, subprograms, index, body).lift();
}

}  // namespace anybpf::engine::llvm

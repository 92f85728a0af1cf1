// SPDX-License-Identifier: Apache-2.0
#include "maker.hpp"

namespace anybpf::differential {
namespace making {

State join(const State& a, const State& b) {
    State out;
    for (u32 r = 0; r < a.registers.size(); ++r)
        if (a.registers[r] == b.registers[r]) out.registers[r] = a.registers[r];
    for (u32 s = 0; s < a.slots.size(); ++s) {
        if (a.slots[s] == b.slots[s])
            out.slots[s] = a.slots[s];
        else if (is_address(a.slots[s]) || is_address(b.slots[s]))
            out.slots[s] = {.what = What::unclear};
    }
    return out;
}

// ---------------------------------------------------------------------------------------------------------- the basics

u32 Maker::go() {
    emit(static_cast<u8>(random_.chance(70) ? isa::ControlCode::ja : isa::ControlCode::gotol), 0, 0, 0, 0);
    return here() - 1;
}

void Maker::aim(u32 jump, u32 target) {
    Insn& insn = body_.insns[jump];
    const i32 distance = static_cast<i32>(target) - static_cast<i32>(jump) - 1;
    if (insn.code == static_cast<u8>(isa::ControlCode::gotol))
        insn.imm = distance;
    else
        insn.off = static_cast<i16>(distance);
}

u8 Maker::free_register() {
    while (true)
        if (const u8 r = static_cast<u8>(random_.below(10)); !reserved(r)) return r;
}

u8 Maker::any(What what, bool also_reserved) {
    std::array<u8, 10> having{};
    u32 count = 0;
    for (u8 r = 0; r < 10; ++r)
        if (state().registers[r].what == what && (also_reserved || (scope_.reserved >> r & 1) == 0))
            having[count++] = r;
    return count == 0 ? frame_pointer : having[random_.below(count)];
}

u8 Maker::some_number() {
    if (const u8 r = any(What::number); r != frame_pointer) return r;
    const u8 r = free_register();
    set(r, immediate());
    return r;
}

u8 Maker::operand() {
    const u8 r = any(What::number, true);
    return r != frame_pointer ? r : some_number();
}

void Maker::fill_slot(u32 slot) {
    const u8 src = any(What::number, true);
    if (src == frame_pointer || random_.chance(50))
        emit(isa::class_st | isa::mode_mem | 0x18U, frame_pointer, 0, slot_at(slot), immediate());
    else
        store_dword(frame_pointer, slot_at(slot), src);
    state().slots[slot] = number;
}

// One that holds a number, and no address; mostly one that is in use.
u32 Maker::clean_slot() {
    u32 slot = random_.below(scope_.slots);
    for (u32 i = 0; i < 3 && state().slots[slot] != number; ++i) slot = random_.below(scope_.slots);
    if (state().slots[slot] != number) fill_slot(slot);
    return slot;
}

u32 Maker::clean_pair() {
    const u32 slot = random_.below(scope_.slots - 1);
    for (const u32 one : {slot, slot + 1})
        if (state().slots[one] != number || random_.chance(30)) fill_slot(one);
    return slot;
}

void Maker::slot_address(u8 dst, u32 slot) {
    alu_reg(isa::AluOp::mov, dst, frame_pointer);
    alu_imm(isa::AluOp::add, dst, slot_at(slot));
    state().registers[dst] = {.what = What::frame, .at = static_cast<i16>(slot_at(slot))};
}

// An element that is updated or deleted may be used again for another key.
void Maker::forget_hashed() {
    for (Held& held : state().registers)
        if (is_hashed(held)) held = {};
    for (Held& held : state().slots)
        if (is_hashed(held)) held = {.what = What::unclear};
}

// Of initialized memory, aligned.
Maker::Address Maker::address(u32 bytes) {
    const u32 kind = random_.below(10);
    u8 base = any(kind < 2 ? What::frame : kind < 3 ? What::buffer : What::value);
    const auto within = [&](u32 size) { return static_cast<i16>(bytes * random_.below(size / bytes)); };
    if (base == frame_pointer && kind >= 6) data_address(base = free_register(), 8 * random_.below(8));
    if (base == frame_pointer) return {base, static_cast<i16>(slot_at(clean_slot()) + within(8))};
    const Held held = state().registers[base];
    if (held.what == What::frame) {
        const i32 slot = slot_at(clean_slot());
        return {base, static_cast<i16>(slot + within(8) - state().registers[base].at)};
    }
    const u32 size = held.what == What::buffer ? buffer_bytes : held.map == data ? data_bytes : value_bytes;
    return {base, static_cast<i16>(within(size) - held.at)};
}

// ----------------------------------------------------------------------------------------------------------- functions

void Maker::give_up(i32 result) {
    if (body_.leaving.empty()) return;
    for (const u32 jump : body_.leaving) land(jump);
    set(0, result);
    emit(static_cast<u8>(isa::ControlCode::exit), 0, 0, 0, 0);
}

// Makes one beside what is being made, and returns its number.
u32 Maker::function(Takes takes) {
    const bool callback = takes == Takes::index_and_buffer;
    ++begun_;
    Body outer_body = std::exchange(body_, {});
    const Scope outer = std::exchange(scope_, {});
    const u32 outer_depth = std::exchange(depth_, 1);
    scope_.level = outer.level + 1;
    scope_.slots = function_slots;
    scope_.callback = callback || outer.callback;
    state().registers[1] = state().registers[2] = number;
    if (!callback) state().registers[3] = number;
    if (callback) state().registers[2] = {.what = What::buffer};
    if (takes == Takes::buffer) state().registers[1] = {.what = What::buffer};
    if (takes == Takes::context) {
        alu_reg(isa::AluOp::mov, context_register, 1);
        state().registers[1] = state().registers[context_register] = {.what = What::context};
        scope_.has_context = true;
    }
    block(1 + random_.below(5));
    const u8 left = some_number();
    if (const u8 r = free_register(); r != left) {
        data_address(r, functions_at + 8 * (static_cast<u32>(functions_.size()) % 6));
        store_dword(r, 0, left);
    }
    if (callback) {
        alu_reg(isa::AluOp::mov, 0, left);
        alu_imm(isa::AluOp::and_, 0, random_.chance(60) ? 0 : 1);
    } else if (left != 0) {
        alu_reg(isa::AluOp::mov, 0, left);
    }
    emit(static_cast<u8>(isa::ControlCode::exit), 0, 0, 0, 0);
    give_up(callback ? static_cast<i32>(random_.below(2)) : immediate());
    const auto id = static_cast<u32>(functions_.size());
    functions_.push_back({.takes = takes, .level = scope_.level, .quiet = scope_.callback || takes != Takes::context});
    bodies_.push_back(std::move(body_));
    // Functions that this one made came first: their numbers are theirs.
    body_ = std::move(outer_body);
    scope_ = outer;
    depth_ = outer_depth;
    return id;
}

// Most registers start with numbers that nobody knows when the program is compiled.
void Maker::start() {
    scope_.has_context = true;
    if (random_.chance(40)) scope_.unused = random_.below(max_unused + 1);
    state().registers[1] = {.what = What::context};
    alu_reg(isa::AluOp::mov, context_register, 1);
    state().registers[context_register] = {.what = What::context};
    if (type_ == abi::ProgType::socket_filter) data_address(1, 0);
    for (const u8 r : std::array<u8, 8>{0, 2, 3, 4, 5, 7, 8, 9}) {
        const u32 how = random_.below(10);
        if (how < 6) {
            load_dword(r, 1, static_cast<i32>(8 * random_.below(12)));
            state().registers[r] = number;
        } else if (how < 8) {
            set(r, immediate());
        }
    }
}

// Every number that is left goes into the map, and a part of the stack.
void Maker::finish() {
    data_address(context_register, registers_at);
    for (u8 r = 0; r < 10; ++r)
        if (state().registers[r] == number) store_dword(context_register, 8 * r, r);
    u32 kept = 0;
    for (u32 slot = 0; slot < scope_.slots && kept < 2; ++slot) {
        if (state().slots[slot] != number) continue;
        load_dword(1, frame_pointer, slot_at(slot));
        store_dword(context_register, static_cast<i32>(functions_at - registers_at + 8 * (4 + kept++)), 1);
        state().registers[1] = number;
    }
    if (state().registers[0] != number) set(0, immediate());
    emit(static_cast<u8>(isa::ControlCode::exit), 0, 0, 0, 0);
    give_up(immediate());
}

program::Program Maker::program() {
    type_ = random_.chance(50) ? abi::ProgType::socket_filter : abi::ProgType::raw_tracepoint;
    start();
    block(3 + random_.below(10));
    finish();
    // The functions follow, and what names them learns where.
    std::vector<u32> firsts;
    u32 next = here();
    for (const Body& body : bodies_) {
        firsts.push_back(next);
        next += static_cast<u32>(body.insns.size());
    }
    std::vector<Insn> insns;
    const auto append = [&](Body& body) {
        const auto first = static_cast<u32>(insns.size());
        for (const auto& [at, callee] : body.references)
            body.insns[at].imm = static_cast<i32>(firsts[callee]) - static_cast<i32>(first + at) - 1;
        insns.insert(insns.end(), body.insns.begin(), body.insns.end());
    };
    append(body_);
    for (Body& body : bodies_) append(body);
    return make_program(std::move(insns), type_);
}

}  // namespace making

u64 Random::value() {
    const u64 edge = below(4) == 0 ? 0 : u64{1} << below(64);
    const u64 near = edge + below(5) - 2;
    return below(3) == 0 ? (*this)() : below(2) == 0 ? near : ~near;
}

program::Program generate(u64 seed) { return making::Maker(seed).program(); }

}  // namespace anybpf::differential

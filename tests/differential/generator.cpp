// SPDX-License-Identifier: Apache-2.0
#include "generator.hpp"

#include <array>
#include <utility>

#include "anybpf/abi/helper.hpp"
#include "anybpf/abi/run.hpp"
#include "anybpf/base/assert.hpp"
#include "anybpf/isa/decode.hpp"

namespace anybpf::differential {
namespace {

using isa::Insn;
using isa::Width;

constexpr u8 frame_pointer = 10, context_register = 6;
constexpr u32 main_slots = 12, function_slots = 6;  // of 8 bytes, in the frame
constexpr u32 max_unused = 20;                      // that the frames of all functions have room beside
constexpr u32 buffer_bytes = 16;                    // what a function gets of its caller's frame
constexpr u32 max_level = 4;                        // of functions that call functions

// What a register holds, or a slot of the stack.
enum class What : u8 {
    nothing,
    number,
    context,
    frame,    // the frame pointer + at
    value,    // of a map, + at
    buffer,   // of the caller, + at
    unclear,  // a slot that may hold an address
};
struct Held {
    What what = What::nothing;
    MapIndex map = data;
    i16 at = 0;
    friend bool operator==(const Held&, const Held&) = default;
};
constexpr Held number = {.what = What::number};

bool is_address(const Held& held) { return held.what != What::nothing && held.what != What::number; }
bool is_hashed(const Held& held) { return held.what == What::value && (held.map == hash || held.map == percpu_hash); }

struct State {
    std::array<Held, 10> registers{};
    std::array<Held, main_slots> slots{};  // [i] at slot_at(i)
};

// What holds at a place that two ways lead to.
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

enum class Takes : u8 { numbers, buffer, context };
struct Function {
    Takes takes{};
    u32 level = 0;
    bool quiet = false;  // may be called from callbacks: loads nothing from the packet
};

class Generator {
  public:
    explicit Generator(u64 seed) : random_(seed) {}
    program::Program program();

  private:
    // A function while it is made.
    struct Body {
        std::vector<Insn> insns;
        std::vector<std::pair<u32, u32>> references;  // instructions that name a function, and which
        std::vector<u32> leaving;                     // jumps to where it gives up
    };
    struct Scope {
        State state;
        u32 level = 0, slots = main_slots;
        u32 unused = 0;    // slots above
        u16 reserved = 0;  // registers that must keep what they hold
        u32 loops = 0;
        bool has_context = false, callback = false;
    };

    // --- instructions
    u32 here() const { return static_cast<u32>(body_.insns.size()); }
    void emit(const Insn& insn) { body_.insns.push_back(insn); }
    void emit(u32 code, u32 dst, u32 src, i32 off, i32 imm) {
        emit(Insn{.code = static_cast<u8>(code),
                  .dst = static_cast<u8>(dst & 15),
                  .src = static_cast<u8>(src & 15),
                  .off = static_cast<i16>(off),
                  .imm = imm});
    }
    void alu_imm(isa::AluOp op, u8 dst, i32 imm) { emit(isa::row(op).code | isa::class_alu64, dst, 0, 0, imm); }
    void alu_reg(isa::AluOp op, u8 dst, u8 src) {
        emit(isa::row(op).code | isa::class_alu64 | isa::source_register, dst, src, 0, 0);
    }
    void set(u8 r, i32 imm) {
        alu_imm(isa::AluOp::mov, r, imm);
        state().registers[r] = number;
    }
    void wide(isa::Pseudo pseudo, u8 dst, u32 low, u32 high) {
        emit(isa::code_wide, dst, static_cast<u8>(pseudo), 0, static_cast<i32>(low));
        emit(0, 0, 0, 0, static_cast<i32>(high));
    }
    void data_address(u8 dst, u32 at) {
        wide(isa::Pseudo::map_idx_value, dst, data, at);
        state().registers[dst] = {.what = What::value, .map = data, .at = static_cast<i16>(at)};
    }
    void store_dword(u8 base, i32 off, u8 src) { emit(isa::class_stx | isa::mode_mem | 0x18U, base, src, off, 0); }
    void load_dword(u8 dst, u8 base, i32 off) { emit(isa::class_ldx | isa::mode_mem | 0x18U, dst, base, off, 0); }
    u32 jump_if(isa::JumpOp op, u8 dst, i32 imm) {
        emit(isa::row(op).code | isa::class_jmp, dst, 0, 0, imm);
        return here() - 1;
    }
    u32 go();
    void aim(u32 jump, u32 target);
    void land(u32 jump) { aim(jump, here()); }  // it leads to what comes next
    void helper(abi::HelperId id, Held result) {
        emit(static_cast<u8>(isa::ControlCode::call), 0, 0, 0, static_cast<i32>(id));
        called(result);
    }
    void called(Held result) {
        for (u32 r = 1; r <= 5; ++r) state().registers[r] = {};
        state().registers[0] = result;
    }

    // --- what there is
    State& state() { return scope_.state; }
    bool reserved(u32 r) const {
        return (scope_.reserved >> r & 1) != 0 || (r == context_register && scope_.has_context);
    }
    u8 free_register();
    u8 some_number();                               // to be changed
    u8 operand();                                   // a number to be read: a loop's counter, too
    u8 any(What what, bool also_reserved = false);  // a register that holds it; frame_pointer where none does
    i32 immediate() { return static_cast<i32>(random_.value()); }
    Width some_width() { return isa::width_rows[random_.below(4)].width; }
    i32 slot_at(u32 slot) const { return -8 * static_cast<i32>(scope_.unused + slot + 1); }
    void fill_slot(u32 slot);
    u32 clean_slot();
    u32 clean_pair();  // the upper slot of two
    void slot_address(u8 dst, u32 slot);
    void forget_hashed();

    struct Address {
        u8 base;
        i16 off;
    };
    Address address(u32 bytes);

    // --- statements
    void arithmetic();
    void extension();
    void byte_swap();
    void constant();
    void load();
    void store();
    void atomic();
    void indexed();
    void context_load();
    void packet_load();
    void move_address();
    void save_address();
    void restore_address();
    void branch();
    void loop();
    void call();
    void rounds();
    u32 key(MapIndex map);
    MapIndex some_map();
    void map_argument(MapIndex map);
    void look_up();
    void update();
    void erase();
    void tail_call();
    void other_helper();
    void statement();
    void block(u32 count) {
        for (u32 i = 0; i < count; ++i) statement();
    }

    u32 function(Takes takes, bool callback);
    void start();
    void finish();
    void leave_at(u32 jump) { body_.leaving.push_back(jump); }
    void give_up(i32 result);

    Random random_;
    abi::ProgType type_{};
    Body body_;
    Scope scope_;
    std::vector<Body> bodies_;
    std::vector<Function> functions_;
    u32 depth_ = 0, branches_ = 0, loops_ = 0;
    u32 begun_ = 0;  // functions
};

// ---------------------------------------------------------------------------------------------------------- the basics

u32 Generator::go() {
    emit(static_cast<u8>(random_.chance(70) ? isa::ControlCode::ja : isa::ControlCode::gotol), 0, 0, 0, 0);
    return here() - 1;
}

void Generator::aim(u32 jump, u32 target) {
    Insn& insn = body_.insns[jump];
    const i32 distance = static_cast<i32>(target) - static_cast<i32>(jump) - 1;
    if (insn.code == static_cast<u8>(isa::ControlCode::gotol))
        insn.imm = distance;
    else
        insn.off = static_cast<i16>(distance);
}

u8 Generator::free_register() {
    while (true)
        if (const u8 r = static_cast<u8>(random_.below(10)); !reserved(r)) return r;
}

u8 Generator::any(What what, bool also_reserved) {
    std::array<u8, 10> having{};
    u32 count = 0;
    for (u8 r = 0; r < 10; ++r)
        if (state().registers[r].what == what && (also_reserved || (scope_.reserved >> r & 1) == 0))
            having[count++] = r;
    return count == 0 ? frame_pointer : having[random_.below(count)];
}

u8 Generator::some_number() {
    if (const u8 r = any(What::number); r != frame_pointer) return r;
    const u8 r = free_register();
    set(r, immediate());
    return r;
}

u8 Generator::operand() {
    const u8 r = any(What::number, true);
    return r != frame_pointer ? r : some_number();
}

void Generator::fill_slot(u32 slot) {
    const u8 src = any(What::number, true);
    if (src == frame_pointer || random_.chance(50))
        emit(isa::class_st | isa::mode_mem | 0x18U, frame_pointer, 0, slot_at(slot), immediate());
    else
        store_dword(frame_pointer, slot_at(slot), src);
    state().slots[slot] = number;
}

// One that holds a number, and no address; mostly one that is in use.
u32 Generator::clean_slot() {
    u32 slot = random_.below(scope_.slots);
    for (u32 i = 0; i < 3 && state().slots[slot] != number; ++i) slot = random_.below(scope_.slots);
    if (state().slots[slot] != number) fill_slot(slot);
    return slot;
}

u32 Generator::clean_pair() {
    const u32 slot = random_.below(scope_.slots - 1);
    for (const u32 one : {slot, slot + 1})
        if (state().slots[one] != number || random_.chance(30)) fill_slot(one);
    return slot;
}

void Generator::slot_address(u8 dst, u32 slot) {
    alu_reg(isa::AluOp::mov, dst, frame_pointer);
    alu_imm(isa::AluOp::add, dst, slot_at(slot));
    state().registers[dst] = {.what = What::frame, .at = static_cast<i16>(slot_at(slot))};
}

// An element that is updated or deleted may be used again for another key.
void Generator::forget_hashed() {
    for (Held& held : state().registers)
        if (is_hashed(held)) held = {};
    for (Held& held : state().slots)
        if (is_hashed(held)) held = {.what = What::unclear};
}

// Of initialized memory, aligned.
Generator::Address Generator::address(u32 bytes) {
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

// ---------------------------------------------------------------------------------------------------------- arithmetic

void Generator::arithmetic() {
    using isa::AluOp;
    const isa::AluRow& row = isa::alu_rows[random_.below(isa::alu_rows.size())];
    const bool is64 = random_.chance(60), by_register = row.form == isa::AluForm::binary && random_.chance(50);
    const u8 dst = row.op == AluOp::mov ? free_register() : some_number();
    const u8 src = by_register ? operand() : u8{0};
    const bool shifts = row.op == AluOp::lsh || row.op == AluOp::rsh || row.op == AluOp::arsh;
    const bool divides = row.op == AluOp::div || row.op == AluOp::mod || row.op == AluOp::sdiv || row.op == AluOp::smod;
    i32 imm = row.form == isa::AluForm::unary || by_register ? 0 : immediate();
    if (shifts && !by_register) imm = static_cast<i32>(random_.below(is64 ? 64 : 32));
    if (divides && !by_register && imm == 0) imm = 1 + static_cast<i32>(random_.below(100));
    emit(row.code | (is64 ? isa::class_alu64 : isa::class_alu32) | (by_register ? isa::source_register : 0), dst, src,
         row.off, imm);
    state().registers[dst] = number;
}

void Generator::extension() {
    const isa::ExtendRow& row = isa::extend_rows[random_.below(isa::extend_rows.size())];
    const bool is64 = !row.narrow || random_.chance(50);
    const u8 src = operand(), dst = free_register();
    emit(isa::row(isa::AluOp::mov).code | isa::source_register | (is64 ? isa::class_alu64 : isa::class_alu32), dst, src,
         row.bits, 0);
    state().registers[dst] = number;
}

void Generator::byte_swap() {
    const isa::SwapRow& row = isa::swap_rows[random_.below(isa::swap_rows.size())];
    emit(row.code, some_number(), 0, 0, row.bits);
}

void Generator::constant() {
    const u8 dst = free_register();
    const u64 value = random_.value();
    wide(isa::Pseudo::imm64, dst, static_cast<u32>(value), static_cast<u32>(value >> 32));
    state().registers[dst] = number;
}

// -------------------------------------------------------------------------------------------------------------- memory

void Generator::load() {
    const Width width = some_width();
    const Address from = address(isa::bytes(width));
    const u8 dst = free_register();
    const bool extends = width != Width::dword && random_.chance(35);
    emit(isa::class_ldx | (extends ? isa::mode_memsx : isa::mode_mem) | static_cast<u8>(width), dst, from.base,
         from.off, 0);
    state().registers[dst] = number;
}

void Generator::store() {
    const Width width = some_width();
    const bool immediate_form = random_.chance(40);
    const u8 src = immediate_form ? u8{0} : operand();
    const Address to = address(isa::bytes(width));
    // Making the address may have taken the register.
    if (immediate_form || state().registers[src].what != What::number)
        emit(isa::class_st | isa::mode_mem | static_cast<u8>(width), to.base, 0, to.off, immediate());
    else
        emit(isa::class_stx | isa::mode_mem | static_cast<u8>(width), to.base, src, to.off, 0);
}

void Generator::atomic() {
    const isa::AtomicRow& row = isa::atomic_rows[random_.below(isa::atomic_rows.size())];
    const bool any_width = row.form == isa::AtomicForm::load || row.form == isa::AtomicForm::store;
    const Width width = any_width ? some_width() : random_.chance(50) ? Width::word : Width::dword;
    const Address at = address(isa::bytes(width));
    const u32 code = isa::class_stx | isa::mode_atomic | static_cast<u8>(width);
    if (row.form == isa::AtomicForm::load) {
        const u8 dst = free_register();
        emit(code, dst, at.base, at.off, row.imm);
        state().registers[dst] = number;
        return;
    }
    if (row.form == isa::AtomicForm::compare_exchange && state().registers[0].what != What::number) {
        if (at.base == 0) return;
        set(0, immediate());
    }
    const u8 src = any(What::number);
    if (src == frame_pointer) return;
    // What comparing finds there is known now and then.
    if (row.form == isa::AtomicForm::compare_exchange && random_.chance(50))
        emit(isa::class_ldx | isa::mode_mem | static_cast<u8>(width), 0, at.base, at.off, 0);
    emit(code, at.base, src, at.off, row.imm);
}

// At an offset that only a mask bounds.
void Generator::indexed() {
    const u8 number_register = operand();
    const Width width = some_width();
    const u32 bytes = isa::bytes(width), slots = 4;
    const bool on_stack = random_.chance(40);
    u32 first = 0;  // the slot at the highest address
    if (on_stack) {
        first = random_.below(scope_.slots - slots + 1);
        for (u32 slot = first; slot < first + slots; ++slot)
            if (state().slots[slot] != number) fill_slot(slot);
    }
    if (state().registers[number_register].what != What::number) return;
    u8 index = free_register(), base = free_register();
    if (index == base || base == number_register) return;
    alu_reg(isa::AluOp::mov, index, number_register);
    alu_imm(isa::AluOp::and_, index, static_cast<i32>((8 * slots - 1) & ~(bytes - 1)));
    state().registers[index] = number;
    if (on_stack)
        slot_address(base, first + slots - 1);
    else
        data_address(base, 8 * random_.below(8));
    alu_reg(isa::AluOp::add, base, index);
    state().registers[base] = {};
    if (random_.chance(50)) {
        emit(isa::class_ldx | isa::mode_mem | static_cast<u8>(width), index, base, 0, 0);
    } else {
        emit(isa::class_st | isa::mode_mem | static_cast<u8>(width), base, 0, 0, immediate());
    }
}

// Fields of __sk_buff that are the same in every run of a packet; of a raw tracepoint, any part.
void Generator::context_load() {
    const u8 base = any(What::context);
    if (base == frame_pointer) return;
    const u8 dst = free_register();
    if (type_ == abi::ProgType::raw_tracepoint) {
        const Width width = random_.chance(60) ? Width::dword : some_width();
        const u32 bytes = isa::bytes(width);
        emit(isa::class_ldx | isa::mode_mem | static_cast<u8>(width), dst, base,
             static_cast<i32>(bytes * random_.below(12 * 8 / bytes)), 0);
    } else {
        constexpr u8 fields[] = {0, 4, 8, 16, 20, 24, 28, 32, 44, 48, 64, 68};
        emit(isa::class_ldx | isa::mode_mem, dst, base, fields[random_.below(std::size(fields))], 0);
    }
    state().registers[dst] = number;
}

void Generator::packet_load() {
    if (type_ != abi::ProgType::socket_filter || !scope_.has_context || scope_.callback) return;
    constexpr Width widths[] = {Width::word, Width::half, Width::byte};
    const u8 width = static_cast<u8>(widths[random_.below(3)]);
    constexpr i32 headers[] = {abi::net_offset, abi::link_offset};
    if (random_.chance(50)) {
        const i32 at = static_cast<i32>(random_.below(random_.chance(90) ? 16 : 70));
        emit(isa::class_ld | isa::mode_abs | width, 0, 0, 0, random_.chance(75) ? at : headers[random_.below(2)] + at);
    } else {
        const u8 index = some_number();
        if (random_.chance(90)) alu_imm(isa::AluOp::and_, index, 15);
        emit(isa::class_ld | isa::mode_ind | width, 0, index, 0, static_cast<i32>(random_.below(16)));
    }
    called(number);
}

void Generator::move_address() {
    constexpr What kinds[] = {What::value, What::frame, What::buffer};
    const u8 src = any(kinds[random_.below(3)]);
    if (src == frame_pointer) return slot_address(free_register(), random_.below(scope_.slots));
    const Held held = state().registers[src];
    const u8 dst = free_register();
    const i32 step = 8 * (static_cast<i32>(random_.below(5)) - 2);
    const i32 at = held.at + step;
    const i32 first = held.what == What::frame ? slot_at(scope_.slots - 1) : 0;
    const i32 last = held.what == What::frame ? slot_at(0) : 8;
    if (at < first || at > last) return;
    if (dst != src) alu_reg(isa::AluOp::mov, dst, src);
    if (held.what == What::value && random_.chance(50))  // Linux has it for no address of the stack
        alu_imm(isa::AluOp::sub, dst, -step);
    else
        alu_imm(isa::AluOp::add, dst, step);
    state().registers[dst] = held;
    state().registers[dst].at = static_cast<i16>(at);
}

void Generator::save_address() {
    constexpr What kinds[] = {What::value, What::frame, What::context};
    const u8 src = any(kinds[random_.below(3)]);
    if (src == frame_pointer || scope_.loops > 0) return;
    const u32 slot = random_.below(scope_.slots);
    store_dword(frame_pointer, slot_at(slot), src);
    state().slots[slot] = state().registers[src];
}

void Generator::restore_address() {
    for (u32 slot = 0; slot < scope_.slots; ++slot) {
        const Held held = state().slots[slot];
        if (!is_address(held) || held.what == What::unclear) continue;
        const u8 dst = free_register();
        load_dword(dst, frame_pointer, slot_at(slot));
        state().registers[dst] = held;
        return;
    }
}

// ------------------------------------------------------------------------------------------------------------- control

void Generator::branch() {
    if (depth_ >= 3 || branches_ >= 6) return;
    ++branches_;
    const isa::JumpRow& row = isa::jump_rows[random_.below(isa::jump_rows.size())];
    const bool is64 = random_.chance(60), by_register = random_.chance(45);
    const u8 a = operand(), b = by_register ? operand() : u8{0};
    emit(row.code | (is64 ? isa::class_jmp : isa::class_jmp32) | (by_register ? isa::source_register : 0), a, b, 0,
         by_register ? 0 : immediate());
    const u32 otherwise = here() - 1;
    const State before = state();
    ++depth_;
    block(1 + random_.below(3));
    if (random_.chance(50)) {
        const State first = state();
        const u32 past = go();
        land(otherwise);
        state() = before;
        block(1 + random_.below(2));
        land(past);
        state() = join(state(), first);
    } else {
        land(otherwise);
        state() = join(state(), before);
    }
    --depth_;
}

// Its end is a counter's, or, as far as the verifier knows, may_goto's.
void Generator::loop() {
    const u8 counter = static_cast<u8>(7 + random_.below(3));
    if (depth_ >= 2 || loops_ >= 2 || reserved(counter)) return;
    ++loops_, ++depth_, ++scope_.loops;
    for (u8 r = 0; r < 10; ++r)
        if (is_address(state().registers[r]) && !reserved(r)) state().registers[r] = {};
    for (Held& held : state().slots)
        if (is_address(held)) held = {.what = What::unclear};
    set(counter, static_cast<i32>(random_.below(3)));
    scope_.reserved |= static_cast<u16>(1U << counter);
    const State before = state();
    const u32 head = here();
    const bool budget = random_.chance(40);
    if (budget) emit(static_cast<u8>(isa::ControlCode::may_goto), 0, 0, 0, 0);
    block(1 + random_.below(3));
    for (u8 r = 0; r < 10; ++r)
        if (before.registers[r] == number && state().registers[r] != number) set(r, immediate());
    alu_imm(isa::AluOp::add, counter, 1 + static_cast<i32>(random_.below(2)));
    const i32 rounds = 3 + static_cast<i32>(random_.below(4));
    if (budget) {
        const u32 past = jump_if(isa::JumpOp::jsgt, counter, rounds);
        aim(go(), head);
        land(past);
        land(head);
    } else {
        const isa::JumpOp test = random_.chance(50) ? isa::JumpOp::jlt : isa::JumpOp::jsle;
        aim(jump_if(test, counter, rounds), head);
    }
    state() = before;
    scope_.reserved &= static_cast<u16>(~(1U << counter));
    --depth_, --scope_.loops;
}

void Generator::call() {
    if (scope_.level >= max_level || depth_ >= 3) return;
    u32 callee = 0;
    const bool again = !functions_.empty() && random_.chance(40);
    if (again) {
        callee = random_.below(static_cast<u32>(functions_.size()));
        const Function& function = functions_[callee];
        if (function.level <= scope_.level || (scope_.callback && !function.quiet)) return;
    } else {
        if (begun_ + 1 >= max_functions) return;
        const Takes takes = random_.chance(40)                         ? Takes::numbers
                            : scope_.has_context && random_.chance(60) ? Takes::context
                                                                       : Takes::buffer;
        callee = function(takes, false);
    }
    const Takes takes = functions_[callee].takes;
    if (takes == Takes::context && !scope_.has_context) return;
    const u32 pair = takes == Takes::buffer ? clean_pair() : 0;
    for (u8 r = takes == Takes::numbers ? 1 : 2; r <= 3; ++r) {
        const u8 src = operand();
        if (random_.chance(70))
            alu_reg(isa::AluOp::mov, r, src);
        else
            alu_imm(isa::AluOp::mov, r, immediate());
        state().registers[r] = number;
    }
    if (takes == Takes::buffer) slot_address(1, pair + 1);
    if (takes == Takes::context) alu_reg(isa::AluOp::mov, 1, context_register);
    body_.references.emplace_back(here(), callee);
    emit(static_cast<u8>(isa::ControlCode::call), 0, static_cast<u8>(isa::CallKind::subprogram), 0, 0);
    called(number);
    forget_hashed();
}

// bpf_loop() with numbers of this frame.
void Generator::rounds() {
    if (scope_.level >= max_level || depth_ >= 2 || begun_ + 1 >= max_functions) return;
    const u32 callee = function(Takes::buffer, true);
    const u32 pair = clean_pair();
    if (random_.chance(60)) {
        set(1, static_cast<i32>(random_.below(6)));
    } else {
        alu_reg(isa::AluOp::mov, 1, operand());
        alu_imm(isa::AluOp::and_, 1, 3);
    }
    body_.references.emplace_back(here(), callee);
    wide(isa::Pseudo::func, 2, 0, 0);
    slot_address(3, pair + 1);
    set(4, random_.chance(97) ? 0 : 1);
    helper(abi::HelperId::loop, number);
    forget_hashed();
}

// ---------------------------------------------------------------------------------------------------------------- maps

MapIndex Generator::some_map() { return static_cast<MapIndex>(table + random_.below(percpu_hash - table + 1)); }

// In a slot of the stack, which it returns; mostly one that is there.
u32 Generator::key(MapIndex map) {
    const u32 slot = clean_slot();
    const u32 mostly = map == percpu ? percpu_entries : map == hash || map == percpu_hash ? 6 : array_entries;
    if (random_.chance(60)) {
        emit(isa::class_st | isa::mode_mem, frame_pointer, 0, slot_at(slot),
             static_cast<i32>(random_.below(random_.chance(80) ? mostly : keys)));
    } else {
        const u8 src = some_number();
        alu_imm(isa::AluOp::and_, src, random_.chance(80) ? 3 : keys - 1);
        emit(isa::class_stx | isa::mode_mem, frame_pointer, src, slot_at(slot), 0);
    }
    return slot;
}

// Not always where lowering sees which map it is; table's values lie where no call finds them.
void Generator::map_argument(MapIndex map) {
    const bool hidden = map != table && random_.chance(20);
    wide(isa::Pseudo::map_idx, hidden ? 5 : 1, map, 0);
    if (hidden) alu_reg(isa::AluOp::mov, 1, 5);
}

void Generator::look_up() {
    const MapIndex map = some_map();
    slot_address(2, key(map));
    map_argument(map);
    helper(abi::HelperId::map_lookup_elem, {});
    const u32 missing = jump_if(isa::JumpOp::jeq, 0, 0);
    const Held found = {.what = What::value, .map = map};
    if (random_.chance(50)) {
        leave_at(missing);
        state().registers[0] = found;
        if (const u8 r = free_register(); r != 0 && random_.chance(60)) {
            alu_reg(isa::AluOp::mov, r, 0);
            state().registers[r] = found;
        }
        return;
    }
    const State before = state();
    state().registers[0] = found;
    ++depth_;
    block(1 + random_.below(2));
    --depth_;
    land(missing);
    state() = join(state(), before);
}

void Generator::update() {
    MapIndex map = some_map();
    if (map == table) map = cells;
    const u32 pair = clean_pair();
    const u32 key_slot = key(map);
    slot_address(2, key_slot);
    slot_address(3, pair + 1);
    constexpr u8 flags[] = {0, 0, 0, 1, 2, 3};
    set(4, flags[random_.below(std::size(flags))]);
    map_argument(map);
    helper(abi::HelperId::map_update_elem, number);
    forget_hashed();
}

void Generator::erase() {
    const MapIndex map = random_.chance(80) ? (random_.chance(50) ? hash : percpu_hash) : cells;
    slot_address(2, key(map));
    map_argument(map);
    helper(abi::HelperId::map_delete_elem, number);
    forget_hashed();
}

void Generator::tail_call() {
    if (scope_.level > 0 || scope_.callback || random_.chance(60)) return;
    if (random_.chance(50)) {
        set(3, static_cast<i32>(random_.below(progs_entries + 1)));
    } else {
        alu_reg(isa::AluOp::mov, 3, operand());
        if (random_.chance(80)) alu_imm(isa::AluOp::and_, 3, 3);
    }
    alu_reg(isa::AluOp::mov, 1, context_register);
    wide(isa::Pseudo::map_idx, 2, progs, 0);
    helper(abi::HelperId::tail_call, {});
}

// What differs from run to run is not looked at.
void Generator::other_helper() {
    switch (random_.below(5)) {
        case 0:
            return helper(abi::HelperId::get_current_pid_tgid, number);
        case 1:
            helper(abi::HelperId::ktime_get_ns, {});
            return set(0, immediate());
        case 2:
            helper(abi::HelperId::get_prandom_u32, {});
            return alu_imm(isa::AluOp::and_, 0, 0), void(state().registers[0] = number);
        case 3:
            helper(abi::HelperId::get_smp_processor_id, {});
            return alu_imm(isa::AluOp::rsh, 0, 16), void(state().registers[0] = number);
        default: {
            const u32 pair = clean_pair();
            slot_address(1, pair + 1);
            set(2, 1 + static_cast<i32>(random_.below(buffer_bytes)));
            set(3, 0);
            return helper(abi::HelperId::probe_read_user, number);
        }
    }
}

void Generator::statement() {
    struct Row {
        u32 weight;
        void (Generator::*make)();
    };
    static constexpr Row rows[] = {
        {26, &Generator::arithmetic},
        {4, &Generator::extension},
        {4, &Generator::byte_swap},
        {3, &Generator::constant},
        {10, &Generator::load},
        {10, &Generator::store},
        {10, &Generator::atomic},
        {4, &Generator::indexed},
        {4, &Generator::context_load},
        {5, &Generator::packet_load},
        {2, &Generator::move_address},
        {2, &Generator::save_address},
        {2, &Generator::restore_address},
        {10, &Generator::branch},
        {3, &Generator::loop},
        {3, &Generator::call},
        {1, &Generator::rounds},
        {5, &Generator::look_up},
        {2, &Generator::update},
        {1, &Generator::erase},
        {1, &Generator::tail_call},
        {2, &Generator::other_helper},
    };
    static constexpr u32 total = [] {
        u32 sum = 0;
        for (const Row& row : rows) sum += row.weight;
        return sum;
    }();
    u32 at = random_.below(total);
    for (const Row& row : rows) {
        if (at < row.weight) return (this->*row.make)();
        at -= row.weight;
    }
}

// ----------------------------------------------------------------------------------------------------------- functions

void Generator::give_up(i32 result) {
    if (body_.leaving.empty()) return;
    for (const u32 jump : body_.leaving) land(jump);
    set(0, result);
    emit(static_cast<u8>(isa::ControlCode::exit), 0, 0, 0, 0);
}

// Makes one beside what is being made, and returns its number.
u32 Generator::function(Takes takes, bool callback) {
    ++begun_;
    Body outer_body = std::exchange(body_, {});
    const Scope outer = std::exchange(scope_, {});
    const u32 outer_depth = std::exchange(depth_, 1);
    scope_.level = outer.level + 1;
    scope_.slots = function_slots;
    scope_.callback = callback || outer.callback;
    state().registers[1] = state().registers[2] = number;
    const u8 given = callback ? 2 : 1;
    if (takes == Takes::buffer) state().registers[given] = {.what = What::buffer};
    if (!callback) state().registers[2] = state().registers[3] = number;
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
void Generator::start() {
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
void Generator::finish() {
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

program::Program Generator::program() {
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

}  // namespace

u64 Random::value() {
    const u64 edge = below(4) == 0 ? 0 : u64{1} << below(64);
    const u64 near = edge + below(5) - 2;
    return below(3) == 0 ? (*this)() : below(2) == 0 ? near : ~near;
}

program::Program generate(u64 seed) { return Generator(seed).program(); }

}  // namespace anybpf::differential

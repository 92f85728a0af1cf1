// SPDX-License-Identifier: Apache-2.0
// The statements that programs are made of, each of them right by itself.
#include "anybpf/abi/run.hpp"
#include "maker.hpp"

namespace anybpf::differential::making {

// ---------------------------------------------------------------------------------------------------------- arithmetic

void Maker::arithmetic() {
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

void Maker::extension() {
    const isa::ExtendRow& row = isa::extend_rows[random_.below(isa::extend_rows.size())];
    const bool is64 = !row.narrow || random_.chance(50);
    const u8 src = operand(), dst = free_register();
    emit(isa::row(isa::AluOp::mov).code | isa::source_register | (is64 ? isa::class_alu64 : isa::class_alu32), dst, src,
         row.bits, 0);
    state().registers[dst] = number;
}

void Maker::byte_swap() {
    const isa::SwapRow& row = isa::swap_rows[random_.below(isa::swap_rows.size())];
    emit(row.code, some_number(), 0, 0, row.bits);
}

void Maker::constant() {
    const u8 dst = free_register();
    const u64 value = random_.value();
    wide(isa::Pseudo::imm64, dst, static_cast<u32>(value), static_cast<u32>(value >> 32));
    state().registers[dst] = number;
}

// -------------------------------------------------------------------------------------------------------------- memory

void Maker::load() {
    const Width width = some_width();
    const Address from = address(isa::bytes(width));
    const u8 dst = free_register();
    const bool extends = width != Width::dword && random_.chance(35);
    emit(isa::class_ldx | (extends ? isa::mode_memsx : isa::mode_mem) | static_cast<u8>(width), dst, from.base,
         from.off, 0);
    state().registers[dst] = number;
}

void Maker::store() {
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

void Maker::atomic() {
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
void Maker::indexed() {
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
void Maker::context_load() {
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

void Maker::packet_load() {
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

void Maker::move_address() {
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

void Maker::save_address() {
    constexpr What kinds[] = {What::value, What::frame, What::context};
    const u8 src = any(kinds[random_.below(3)]);
    if (src == frame_pointer || scope_.loops > 0) return;
    const u32 slot = random_.below(scope_.slots);
    store_dword(frame_pointer, slot_at(slot), src);
    state().slots[slot] = state().registers[src];
}

void Maker::restore_address() {
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

void Maker::branch() {
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
void Maker::loop() {
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

void Maker::call() {
    if (scope_.level >= max_level || depth_ >= 3) return;
    u32 callee = 0;
    const bool again = !functions_.empty() && random_.chance(40);
    if (again) {
        callee = random_.below(static_cast<u32>(functions_.size()));
        const Function& function = functions_[callee];
        if (function.level <= scope_.level || (scope_.callback && !function.quiet)) return;
        if (function.takes == Takes::index_and_buffer) return;
    } else {
        if (begun_ + 1 >= max_functions) return;
        const Takes takes = random_.chance(40)                         ? Takes::numbers
                            : scope_.has_context && random_.chance(60) ? Takes::context
                                                                       : Takes::buffer;
        callee = function(takes);
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
void Maker::rounds() {
    if (scope_.level >= max_level || depth_ >= 2 || begun_ + 1 >= max_functions) return;
    const u32 callee = function(Takes::index_and_buffer);
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

MapIndex Maker::some_map() { return static_cast<MapIndex>(table + random_.below(percpu_hash - table + 1)); }

// In a slot of the stack, which it returns; mostly one that is there.
u32 Maker::key(MapIndex map) {
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
void Maker::map_argument(MapIndex map) {
    const bool hidden = map != table && random_.chance(20);
    wide(isa::Pseudo::map_idx, hidden ? 5 : 1, map, 0);
    if (hidden) alu_reg(isa::AluOp::mov, 1, 5);
}

void Maker::look_up() {
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

void Maker::update() {
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

void Maker::erase() {
    const MapIndex map = random_.chance(80) ? (random_.chance(50) ? hash : percpu_hash) : cells;
    slot_address(2, key(map));
    map_argument(map);
    helper(abi::HelperId::map_delete_elem, number);
    forget_hashed();
}

void Maker::tail_call() {
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

// What a reader of the ring buffer gets to see, in one piece; sometimes it is asked how much that is.
void Maker::output() {
    if (random_.chance(15)) {
        wide(isa::Pseudo::map_idx, 1, ring, 0);
        set(2, static_cast<i32>(random_.below(2)));  // the bytes, the size: positions go on from run to run
        return helper(abi::HelperId::ringbuf_query, number);
    }
    const u32 pair = clean_pair();
    slot_address(2, pair + 1);
    set(3, static_cast<i32>(random_.below(buffer_bytes + 1)));
    constexpr u8 flags[] = {0, 0, 1, 2, 4};
    set(4, flags[random_.below(std::size(flags))]);
    wide(isa::Pseudo::map_idx, 1, ring, 0);
    helper(abi::HelperId::ringbuf_output, number);
}

// Or reserved, filled with numbers, and submitted or discarded. Between that stands nothing that could leave the
// function.
void Maker::record() {
    const u8 kept = static_cast<u8>(7 + random_.below(3));
    if (reserved(kept)) return;
    const i32 size = 8 * static_cast<i32>(1 + random_.below(3)) - (random_.chance(20) ? 4 : 0);
    wide(isa::Pseudo::map_idx, 1, ring, 0);
    set(2, size);
    set(3, random_.chance(95) ? 0 : 1);
    helper(abi::HelperId::ringbuf_reserve, {});
    const State before = state();
    const u32 missing = jump_if(isa::JumpOp::jeq, 0, 0);
    alu_reg(isa::AluOp::mov, kept, 0);
    state().registers[kept] = {};
    scope_.reserved |= static_cast<u16>(1U << kept);
    for (i32 at = 0; at < size; at += 8) {
        const u32 width = static_cast<u8>(size - at >= 8 ? Width::dword : Width::word);
        const u8 src = any(What::number, true);
        if (src == frame_pointer || random_.chance(30))
            emit(isa::class_st | isa::mode_mem | width, kept, 0, at, immediate());
        else
            emit(isa::class_stx | isa::mode_mem | width, kept, src, at, 0);
    }
    static constexpr void (Maker::* between[])() = {&Maker::arithmetic, &Maker::extension, &Maker::byte_swap,
                                                    &Maker::constant,   &Maker::load,      &Maker::store};
    for (u32 i = random_.below(3); i > 0; --i) (this->*between[random_.below(std::size(between))])();
    if (const u8 r = free_register(); random_.chance(40)) {
        emit(isa::class_ldx | isa::mode_mem | static_cast<u8>(Width::word), r, kept, 0, 0);
        state().registers[r] = number;
    }
    alu_reg(isa::AluOp::mov, 1, kept);
    set(2, static_cast<i32>(random_.below(3)));
    helper(random_.chance(75) ? abi::HelperId::ringbuf_submit : abi::HelperId::ringbuf_discard, {});
    scope_.reserved &= static_cast<u16>(~(1U << kept));
    state().registers[kept] = {};
    land(missing);
    state() = join(state(), before);
}

// may_goto over something, once.
void Maker::budget() {
    if (depth_ >= 3 || branches_ >= 6) return;
    ++branches_;
    emit(static_cast<u8>(isa::ControlCode::may_goto), 0, 0, 0, 0);
    const u32 over = here() - 1;
    const State before = state();
    ++depth_;
    block(1 + random_.below(2));
    --depth_;
    land(over);
    state() = join(state(), before);
}

// What differs from run to run is not looked at.
void Maker::other_helper() {
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

void Maker::statement() {
    struct Row {
        u32 weight;
        void (Maker::*make)();
    };
    static constexpr Row rows[] = {
        {26, &Maker::arithmetic},     {4, &Maker::extension},    {4, &Maker::byte_swap},    {3, &Maker::constant},
        {10, &Maker::load},           {10, &Maker::store},       {10, &Maker::atomic},      {4, &Maker::indexed},
        {4, &Maker::context_load},    {5, &Maker::packet_load},  {2, &Maker::move_address}, {2, &Maker::save_address},
        {2, &Maker::restore_address}, {10, &Maker::branch},      {3, &Maker::loop},         {3, &Maker::call},
        {1, &Maker::rounds},          {5, &Maker::look_up},      {2, &Maker::update},       {1, &Maker::erase},
        {1, &Maker::tail_call},       {2, &Maker::other_helper}, {1, &Maker::output},       {2, &Maker::record},
        {1, &Maker::budget},
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

}  // namespace anybpf::differential::making

// SPDX-License-Identifier: Apache-2.0
// Maker: one program while it is made. generator.cpp has what follows types, and what functions are made of;
// statements.cpp what stands in them.
#pragma once

#include <array>
#include <utility>

#include "anybpf/abi/helper.hpp"
#include "anybpf/isa/decode.hpp"
#include "generator.hpp"

namespace anybpf::differential::making {

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

inline bool is_address(const Held& held) { return held.what != What::nothing && held.what != What::number; }
inline bool is_hashed(const Held& held) {
    return held.what == What::value && (held.map == hash || held.map == percpu_hash);
}

struct State {
    std::array<Held, 10> registers{};
    std::array<Held, main_slots> slots{};  // [i] at slot_at(i)
};

// What holds at a place that two ways lead to.
State join(const State& a, const State& b);

enum class Takes : u8 { numbers, buffer, context, index_and_buffer };
struct Function {
    Takes takes{};
    u32 level = 0;
    bool quiet = false;  // may be called from callbacks: loads nothing from the packet
};

class Maker {
  public:
    explicit Maker(u64 seed) : random_(seed) {}
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
    void output();
    void record();
    void budget();
    void statement();
    void block(u32 count) {
        for (u32 i = 0; i < count; ++i) statement();
    }

    u32 function(Takes takes);
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

}  // namespace anybpf::differential::making

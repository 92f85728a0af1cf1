// SPDX-License-Identifier: Apache-2.0
// Functions of the program that a helper calls: any number of times before it returns, or at some later time, by a
// timer.
#include "walker.hpp"

namespace anybpf::verifier {

using abi::HelperId;

// The callback runs any number of times. One path goes on behind the call, another enters the callback, from whose end
// it comes back to the call (Walker::visit cuts it off once it brings nothing new).
bool Walker::call_back(HelperId helper) {
    const std::array<Reg, 11> given = state_.frame().regs;
    const Reg& count = given[1];
    if (helper == HelperId::loop && !count.is_scalar()) return wrong_argument(1, abi::ArgKind::anything);
    if (helper == HelperId::loop) mark(count);
    const bool again = helper != HelperId::loop || state_.frame().rounds < count.value.umax;
    if (again) {
        State other = state_;
        ++other.frame().rounds;
        if (!enter(other, arguments_.function, true)) return false;
        callback_arguments(helper, given, other.frame());
        if (!set_aside(std::move(other), arguments_.function)) return false;
    }
    Frame& frame = state_.frame();
    frame.activation = frame.rounds = 0;
    for (u32 r = 1; r <= 5; ++r) frame.regs[r] = {};
    frame.regs[0] = unknown();
    return true;
}

// What the helper passes to its callback.
void Walker::callback_arguments(HelperId helper, const std::array<Reg, 11>& given, Frame& frame) {
    if (helper == HelperId::for_each_map_elem) {
        give_entry(given[1].object, given[1].off, frame);
        frame.regs[4] = given[3];
    } else if (helper == HelperId::find_vma) {
        frame.regs[1] = given[1];
        frame.regs[2] = Reg::pointer(Type::kernel_object);
        frame.regs[3] = given[4];
    } else if (helper == HelperId::user_ringbuf_drain) {
        frame.regs[1] = Reg::pointer(Type::kernel_object);
        frame.regs[2] = given[3];
    } else {
        frame.regs[1] = unknown();
        frame.regs[2] = given[3];
    }
}

// r1 to r3 are the map, the key and the value of one of its entries.
void Walker::give_entry(u32 map, i32 lookup, Frame& frame) {
    frame.regs[1] = Reg::pointer(Type::map, map);
    frame.regs[2] = Reg::pointer(Type::map_key, map);
    frame.regs[3] = Reg::pointer(Type::map_value, map);
    frame.regs[1].off = frame.regs[3].off = lookup;
    const Record& fields = fields_of(map);
    if (has_field(fields, FieldKind::spin_lock) || has_field(fields, FieldKind::resilient_lock))
        frame.regs[3].id = next_id_++;
}

// The function of a timer or of a work queue runs at any time, by itself: what is known here does not matter to it. Its
// states are compared with those of other such runs, not with the present path, on which it does not lie.
bool Walker::call_later(u32 function, u32 map, i32 lookup, Async how) {
    State later;
    Frame& frame = later.frames.push(arena_);
    frame.subprogram = *structure_.flow.starting_at(function);
    frame.async = how;
    frame.regs[10] = Reg::pointer(Type::stack);
    give_entry(map, lookup, frame);
    called_back_[frame.subprogram] = 1;
    if (async_.size() < called_back_.size()) async_.resize(called_back_.size());
    async_[frame.subprogram] = 1;
    return set_aside_alone(std::move(later), function);
}

}  // namespace anybpf::verifier

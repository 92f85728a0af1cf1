// SPDX-License-Identifier: Apache-2.0
#include "within.hpp"

#include <fmt/format.h>

#include <cstring>

namespace anybpf::verifier::testing {

namespace {

constexpr std::size_t chunk_count = Machine::stack_bytes / (8 * slots_per_chunk);

}  // namespace

Within::Within(const program::Program& program, const Structure& structure)
    : program_(program), structure_(structure), at_(program.insns.size()) {}

bool Within::at(Machine& machine, u32 pc) {
    ++checked_;
    pc_ = pc;
    if (machine.epoch() != epoch_) epoch_ = machine.epoch(), forget();
    // A frame that is entered again is another one.
    for (std::size_t f = depth_; f < machine.frames().size(); ++f) known_[f] = {};
    depth_ = machine.frames().size();
    // Mostly the one that the walk went to next.
    u32 found = last_ + 1;
    if (found >= states_.size() || pcs_[found] != pc || !holds(states_[found], machine)) {
        found = static_cast<u32>(states_.size());
        for (const u32 index : at_[pc])
            if (holds(states_[index], machine)) {
                found = index;
                break;
            }
        if (found == states_.size()) return false;
    }
    last_ = found;
    const State& state = states_[found];
    for (std::size_t f = 0; f < state.frames.size(); ++f) {
        const Frame& frame = state.frames[f];
        known_[f].frame = &frame;
        for (std::size_t c = 0; c < chunk_count; ++c)
            known_[f].chunks[c] =
                c * slots_per_chunk < frame.stack.size() ? &frame.stack[c * slots_per_chunk] : nullptr;
        machine.compared(f);
    }
    return true;
}

bool Within::holds(const State& state, const Machine& machine) const {
    if (state.frames.size() != machine.frames().size()) return false;
    // What was not to be had, and has not been compared with zero yet, counts in the state only.
    if (machine.references() > state.references.size() || state.lock.held != machine.holds_lock()) return false;
    for (std::size_t f = state.frames.size(); f-- > 0;)
        if (!holds(state.frames[f], machine, f)) return false;
    return true;
}

bool Within::holds(const Frame& frame, const Machine& machine, std::size_t depth) const {
    const Machine::Frame& here = machine.frames()[depth];
    const Known& known = known_[depth];
    if (structure_.flow.starts[frame.subprogram] != here.first) return false;
    const bool running = depth + 1 == machine.frames().size();
    if (running || known.frame != &frame)
        for (u32 r = running ? 0 : 6; r < 11; ++r)  // a caller's others are gone
            if (!holds(frame.regs[r], here.regs[r], machine)) return false;
    const u8* const memory = machine.stack(depth);
    const u8* const written = machine.written(depth);
    for (std::size_t c = 0; c * slots_per_chunk < frame.stack.size() && c < chunk_count; ++c) {
        const Slot* const slots = &frame.stack[c * slots_per_chunk];
        if (known.chunks[c] == slots && (here.dirty >> c & 1) == 0) continue;
        for (std::size_t i = 0; i < slots_per_chunk; ++i) {
            const std::size_t at = Machine::stack_bytes - 8 * (c * slots_per_chunk + i + 1);
            if (!holds(slots[i], memory + at, written + at, machine)) return false;
        }
    }
    return true;
}

bool Within::holds(const Slot& slot, const u8* bytes, const u8* written, const Machine& machine) const {
    u32 saved = 0;
    for (u32 i = 0; i < 8; ++i) {
        if (slot.bytes[i] == Byte::invalid) continue;
        if (written[i] == 0) return false;
        if (slot.bytes[i] == Byte::zero && bytes[i] != 0) return false;
        if (slot.bytes[i] == Byte::saved && saved == i) ++saved;
    }
    if (saved == 0) return true;
    u64 value = 0;
    std::memcpy(&value, bytes, saved);
    return holds(slot.saved, value, machine);
}

bool Within::holds(const Reg& reg, u64 value, const Machine& machine) const {
    using What = Machine::What;
    // What has been added to an address may lead far away from its object.
    const auto object = [&](What what, u32 map = 0) -> const Machine::Object* {
        const auto is = [&](const Machine::Object& one) {
            return one.what == what && one.alive && one.map == map && reg.value.contains(value - one.base);
        };
        const Machine::Object* near = machine.object_near(value);
        if (near != nullptr && is(*near)) return near;
        for (const Machine::Object& one : machine.objects())
            if (is(one)) return &one;
        return nullptr;
    };
    // From `start` on, where so many bytes follow before `end`.
    const auto in_packet = [&](u64 start, u64 end) {
        const u64 moved = value - static_cast<u64>(i64{reg.off});
        return reg.value.contains(moved - start) && (reg.object == 0 || moved + reg.object <= end);
    };
    switch (reg.type) {
        case Type::uninit:
            return true;
        case Type::scalar:
            return reg.value.contains(value);
        case Type::ctx:
            return reg.value.contains(value - machine.context_base());
        case Type::stack:
            return reg.frame < machine.frames().size() && reg.value.contains(value - machine.frame_pointer(reg.frame));
        case Type::inner_map_or_null:
            if (value == 0) return true;
            [[fallthrough]];
        case Type::map:
            return value == Machine::map_handle(reg.object);
        case Type::map_value_or_null:
            if (value == 0) return true;
            [[fallthrough]];
        case Type::map_value:
            return object(What::map_value, reg.object) != nullptr;
        case Type::map_key:
            return object(What::map_key, reg.object) != nullptr;
        case Type::record_or_null:
            if (value == 0) return true;
            [[fallthrough]];
        case Type::record: {
            const Machine::Object* found = object(What::record);
            return found != nullptr && found->size == reg.object;
        }
        case Type::function:
            return value == reg.object;
        case Type::packet:
            return in_packet(machine.packet_data(), machine.packet_end());
        case Type::packet_meta:
            return in_packet(machine.packet_meta(), machine.packet_data());
        case Type::packet_end:
            return value == machine.packet_end();
        case Type::sock_common_or_null:
        case Type::socket_or_null:
        case Type::tcp_sock_or_null:
        case Type::xdp_sock_or_null:
        case Type::cast_socket_or_null:
            if (value == 0) return true;
            [[fallthrough]];
        case Type::sock_common:
        case Type::socket:
        case Type::tcp_sock:
        case Type::xdp_sock:
        case Type::cast_socket: {
            const Machine::Object* found = object(What::socket);
            if (found == nullptr || (found->reference != 0) != (reg.reference() != 0)) return false;
            const Type type = without_null(reg.type);
            return (type != Type::socket || found->kind == abi::ObjectKind::socket) &&
                   (type != Type::tcp_sock || found->kind == abi::ObjectKind::tcp_sock) &&
                   (type != Type::xdp_sock || found->kind == abi::ObjectKind::xdp_sock);
        }
        case Type::flow_keys:
            return object(What::flow_keys) != nullptr;
        case Type::trace_buffer:
            return object(What::trace_buffer) != nullptr;
        case Type::arena:
            return true;  // any address, that is in the arena when it is used
        case Type::memory: {
            if (reg.has(flag::untrusted) || (value == 0 && reg.has(flag::null))) return true;
            // It may begin anywhere in what its dynptr is over: only its end is known.
            const Machine::Object* found = machine.object_near(value);
            if (found == nullptr || !found->alive || !reg.value.is_constant()) return found != nullptr;
            const u64 start = value - found->base - reg.value.umin;
            return start <= found->size && reg.object <= found->size - start;
        }
        case Type::task:
        case Type::kernel_object:
        case Type::btf: {
            if (value == 0) return reg.has(flag::null);
            const Machine::Object* found = machine.object_near(value);
            return found != nullptr && found->alive && (found->what == What::kernel || found->what == What::socket);
        }
        case Type::dynptr:
        case Type::iterator:
        case Type::interrupts:
            return true;  // nothing is known of what they are like
    }
    return false;
}

std::string Within::describe(const Machine& machine) const {
    std::string out = fmt::format("before {}, {} frames:", pc_, machine.frames().size());
    if (!machine.frames().empty())
        for (u32 r = 0; r < 11; ++r) out += fmt::format(" r{}={:#x}", r, machine.frames().back().regs[r]);
    out += '\n';
    for (const u32 index : at_[pc_]) out += print(states_[index], program_) + '\n';
    return out;
}

}  // namespace anybpf::verifier::testing

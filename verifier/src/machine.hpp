// SPDX-License-Identifier: Apache-2.0
// A machine that runs a program in made-up memory and objects to everything the verifier should have refused: accesses
// outside of objects, reads of what was not written, stack beyond what the proof says, records that are kept or given
// twice, runs that do not end. Addresses are numbers in a space of its own; nothing of this process is touched.
#pragma once

#include <cstring>
#include <deque>
#include <functional>
#include <random>

#include "anybpf/isa/eval.hpp"
#include "anybpf/program/flow.hpp"
#include "testing.hpp"

namespace anybpf::verifier::testing {

class Machine {
  public:
    struct Object {
        u64 base = 0;
        std::vector<u8> bytes;
        std::vector<bool> written;
        bool writable = true, alive = true, readable = true;
        i32 map = -1;
        bool record = false;
    };
    struct Frame {
        u32 first = 0;  // of the subprogram
        std::array<u64, 11> regs{};
        u32 return_to = 0;
        std::size_t stack = 0;  // its object
    };

    Machine(const program::Program& program, const program::Proof& proof, u64 seed)
        : program_(program), proof_(proof), random_(seed) {}

    // What went wrong; empty when nothing did.
    std::string run();
    std::function<void(u32 pc)> observe;
    bool reads_unwritten = false;  // privileged loads may

    std::vector<Frame> frames;
    std::deque<Object> objects;
    const Object* find(u64 address) const {
        for (const Object& object : objects)
            if (object.alive && address >= object.base && address - object.base < object.bytes.size()) return &object;
        return nullptr;
    }
    u64 frame_pointer(const Frame& frame) const { return objects[frame.stack].base + 512; }

  private:
    u32 below(u32 bound) { return static_cast<u32>(random_() % bound); }
    u64 number() {
        switch (below(5)) {
            case 0:
                return random_();
            case 1:
                return below(20);
            case 2:
                return static_cast<u64>(-i64{below(20)});
            case 3:
                return u64{1} << below(64);
            default:
                return random_() >> below(64);
        }
    }
    std::size_t add_object(u64 base, std::size_t size, bool written);
    void enter(u32 target);
    void wrong(std::string what) {
        if (wrong_.empty()) wrong_ = fmt::format("at {}: {}", pc_, what);
    }
    Object* access(u64 address, u32 size, bool write, bool argument = false);
    u64 load(u64 address, u32 size);
    void store(u64 address, u32 size, u64 value);
    bool uses_may_goto() const {
        for (const isa::Insn& insn : program_.insns)
            if (insn.code == static_cast<u8>(isa::ControlCode::may_goto)) return true;
        return false;
    }
    void leave(u64 result);
    void step();
    void helper(u32 id);
    bool subprogram(std::size_t depth);

    const program::Program& program_;
    const program::Proof& proof_;
    std::mt19937_64 random_;
    std::string wrong_;
    u32 pc_ = 0;
    u64 steps_ = 0, stacks_ = 0;
    u32 records_ = 0;
    u32 budget_ = 0;  // of may_goto
    std::size_t data_ = 0, rodata_ = 0;
    std::array<std::size_t, 2> values_{};
    std::size_t context_ = 0;
};

inline std::size_t Machine::add_object(u64 base, std::size_t size, bool written) {
    Object object;
    object.base = base;
    object.bytes.resize(size);
    for (u8& byte : object.bytes) byte = static_cast<u8>(below(3) == 0 ? random_() : below(2) == 0 ? 0 : below(20));
    object.written.assign(size, written);
    objects.push_back(std::move(object));
    return objects.size() - 1;
}

inline Machine::Object* Machine::access(u64 address, u32 size, bool write, bool argument) {
    for (Object& object : objects) {
        if (address < object.base || address - object.base >= object.bytes.size()) continue;
        const u64 at = address - object.base;
        if (!object.alive) return wrong("the object is gone"), nullptr;
        if (at + size > object.bytes.size()) return wrong("access beyond the end of an object"), nullptr;
        if (write && !object.writable) return wrong("write to read-only memory"), nullptr;
        if (!write && !object.readable) return wrong("read of write-only memory"), nullptr;
        for (std::size_t f = 0; f < frames.size(); ++f)
            if (&objects[frames[f].stack] == &object) {
                for (const program::Subprogram& sub : proof_.subprograms)
                    if (sub.first == frames[f].first && size > 0 && at < 512 - sub.stack_bytes)
                        wrong("stack beyond the proof's size");
            }
        if (!write && !reads_unwritten)
            for (u32 i = 0; i < size; ++i)
                if (!object.written[at + i]) return wrong("read of what was never written"), nullptr;
        if (!argument && !program_.insns.empty()) {
            using program::Region;
            const Region region = proof_.insns[pc_].region;
            const bool stack = object.base >= 0x7000'0000'0000 && object.base < 0x7100'0000'0000;
            const bool context = &object == &objects[context_];
            if ((region == Region::stack && !stack) || (region == Region::context) != context ||
                (region == Region::map_value && object.map < 0) || region == Region::none)
                wrong("the proof names another region");
        }
        return &object;
    }
    if (size > 0) wrong(fmt::format("no object at {:#x}", address));
    return nullptr;
}

inline u64 Machine::load(u64 address, u32 size) {
    const Object* object = access(address, size, false);
    u64 value = 0;
    if (object != nullptr) std::memcpy(&value, object->bytes.data() + (address - object->base), size);
    return value;
}

inline void Machine::store(u64 address, u32 size, u64 value) {
    Object* object = access(address, size, true);
    if (object == nullptr) return;
    const u64 at = address - object->base;
    std::memcpy(object->bytes.data() + at, &value, size);
    for (u32 i = 0; i < size; ++i) object->written[at + i] = true;
}

inline void Machine::enter(u32 target) {
    if (frames.size() >= 8) return wrong("a ninth frame");
    Frame frame;
    frame.first = target;
    frame.stack = add_object(0x7000'0000'0000 + (u64{frames.size()} << 32) + stacks_++ * 4096, 512, false);
    frame.return_to = pc_ + 1;
    for (u64& reg : frame.regs) reg = number();
    if (!frames.empty())
        for (u32 r = 1; r <= 5; ++r) frame.regs[r] = frames.back().regs[r];
    frames.push_back(frame);
    frames.back().regs[10] = frame_pointer(frames.back());
    pc_ = target;
}

inline std::string Machine::run() {
    context_ = add_object(0x1000'0000, 168, true);
    objects[context_].writable = false;
    data_ = add_object(0x2000'0000, 64, true);
    objects[data_].map = data;
    rodata_ = add_object(0x3000'0000, 32, true);
    objects[rodata_].map = rodata;
    objects[rodata_].writable = false;
    std::memcpy(objects[rodata_].bytes.data(), rodata_bytes, 32);
    for (u32 i = 0; i < 2; ++i) {
        values_[i] = add_object(0x4000'0000 + i * 0x1000, 16, true);
        objects[values_[i]].map = hash;
    }
    if (!program_.insns.empty() && uses_may_goto()) budget_ = below(3) == 0 ? 0 : below(60);
    enter(0);
    frames[0].regs[1] = objects[context_].base;
    subprogram(1);
    if (wrong_.empty() && records_ != 0) wrong("a record is kept");
    return wrong_;
}

// Runs until the frame at that depth is left.
inline bool Machine::subprogram(std::size_t depth) {
    while (wrong_.empty() && frames.size() >= depth) {
        if (++steps_ > 3'000'000) wrong("does not end");
        if (observe) observe(pc_);
        step();
    }
    return wrong_.empty();
}

inline void Machine::leave(u64 result) {
    pc_ = frames.back().return_to;
    objects[frames.back().stack].alive = false;
    frames.pop_back();
    if (frames.empty()) return;
    frames.back().regs[0] = result;
    for (u32 r = 1; r <= 5; ++r) frames.back().regs[r] = number();
}

inline void Machine::step() {
    if (pc_ >= program_.insns.size() || !proof_.insns[pc_].reached) return wrong("reached against the proof");
    const isa::Insn insn = program_.insns[pc_];
    const isa::Form form = isa::decode(insn).form;
    auto& regs = frames.back().regs;
    u64& dst = regs[insn.dst];
    const u64 src = form.by_register ? regs[insn.src] : static_cast<u64>(i64{insn.imm});
    u32 next = pc_ + isa::slots(insn);
    switch (form.kind) {
        case isa::Kind::alu:
            dst = isa::eval(form.alu, form.is64, dst, src);
            break;
        case isa::Kind::extend:
            dst = isa::eval(form.extend, form.is64, regs[insn.src]);
            break;
        case isa::Kind::swap:
            dst = isa::eval(form.swap, dst);
            break;
        case isa::Kind::jump:
            if (isa::test(form.jump, form.is64, dst, src))
                next = static_cast<u32>(*program::jump_target(program_.insns, pc_));
            break;
        case isa::Kind::ja:
        case isa::Kind::gotol:
            next = static_cast<u32>(*program::jump_target(program_.insns, pc_));
            break;
        case isa::Kind::load:
            dst = load(regs[insn.src] + static_cast<u64>(i64{insn.off}), isa::bytes(form.width));
            break;
        case isa::Kind::load_sx: {
            const u32 size = isa::bytes(form.width);
            const u64 value = load(regs[insn.src] + static_cast<u64>(i64{insn.off}), size);
            dst = static_cast<u64>(static_cast<i64>(value << (64 - 8 * size)) >> (64 - 8 * size));
            break;
        }
        case isa::Kind::store_imm:
            store(dst + static_cast<u64>(i64{insn.off}), isa::bytes(form.width), static_cast<u64>(i64{insn.imm}));
            break;
        case isa::Kind::store:
            store(dst + static_cast<u64>(i64{insn.off}), isa::bytes(form.width), regs[insn.src]);
            break;
        case isa::Kind::atomic: {
            const u32 size = isa::bytes(form.width);
            const auto how = isa::row(form.atomic).form;
            if (how == isa::AtomicForm::load) {
                dst = load(regs[insn.src] + static_cast<u64>(i64{insn.off}), size);
                break;
            }
            const u64 at = dst + static_cast<u64>(i64{insn.off}), operand = regs[insn.src];
            if (how == isa::AtomicForm::store) {
                store(at, size, operand);
                break;
            }
            if (at % size != 0) return wrong("misaligned atomic");
            const u64 old = load(at, size);
            const auto narrow = [&](u64 v) { return size == 8 ? v : static_cast<u32>(v); };
            u64 result = operand;
            switch (form.atomic) {
                case isa::AtomicOp::add:
                case isa::AtomicOp::fetch_add:
                    result = old + operand;
                    break;
                case isa::AtomicOp::or_:
                case isa::AtomicOp::fetch_or:
                    result = old | operand;
                    break;
                case isa::AtomicOp::and_:
                case isa::AtomicOp::fetch_and:
                    result = old & operand;
                    break;
                case isa::AtomicOp::xor_:
                case isa::AtomicOp::fetch_xor:
                    result = old ^ operand;
                    break;
                case isa::AtomicOp::cmpxchg:
                    result = old == narrow(regs[0]) ? operand : old;
                    break;
                case isa::AtomicOp::xchg:
                case isa::AtomicOp::load_acquire:
                case isa::AtomicOp::store_release:
                    break;
            }
            store(at, size, result);
            if (how == isa::AtomicForm::fetch || how == isa::AtomicForm::exchange) regs[insn.src] = old;
            if (how == isa::AtomicForm::compare_exchange) regs[0] = old;
            break;
        }
        case isa::Kind::wide:
            switch (form.pseudo) {
                case isa::Pseudo::imm64:
                    dst = isa::wide_imm(insn, program_.insns[pc_ + 1]);
                    break;
                case isa::Pseudo::map_idx:
                    dst = 0x5000'0000 + static_cast<u32>(insn.imm) * 0x1000;
                    break;
                case isa::Pseudo::map_idx_value:
                    if (insn.imm == static_cast<i32>(secret)) return wrong("a map that the machine does not have");
                    dst = objects[insn.imm == static_cast<i32>(data) ? data_ : rodata_].base +
                          static_cast<u32>(program_.insns[pc_ + 1].imm);
                    break;
                case isa::Pseudo::func:
                    dst = static_cast<u64>(i64{pc_} + 1 + insn.imm);
                    break;
                case isa::Pseudo::map_fd:
                case isa::Pseudo::map_value:
                case isa::Pseudo::btf_id:
                    return wrong("unresolved");
            }
            break;
        case isa::Kind::call:
            if (form.call == isa::CallKind::subprogram) return enter(static_cast<u32>(i64{pc_} + 1 + insn.imm));
            helper(static_cast<u32>(insn.imm));
            break;
        case isa::Kind::exit:
            leave(regs[0]);
            return;
        case isa::Kind::may_goto:
            if (budget_ == 0)
                next = static_cast<u32>(*program::jump_target(program_.insns, pc_));
            else
                --budget_;
            break;
        case isa::Kind::packet_abs:
        case isa::Kind::packet_ind:
            if (regs[6] != objects[context_].base) return wrong("a packet load without the context");
            if (below(4) == 0) {  // it has no such bytes
                leave(0);
                return;
            }
            regs[0] = number() & ((u64{1} << (8 * isa::bytes(form.width))) - 1);
            for (u32 r = 1; r <= 5; ++r) regs[r] = number();
            break;
        case isa::Kind::cast:
        case isa::Kind::gotox:
        case isa::Kind::callx:
            return wrong("unsupported instruction");
    }
    pc_ = next;
}

constexpr u32 number_of(abi::HelperId id) { return static_cast<u32>(id); }

inline void Machine::helper(u32 id) {
    const std::size_t depth = frames.size();
    const auto regs = frames.back().regs;
    const auto fill = [&](u64 address, u64 size) {
        if (size > 512) return wrong("size beyond any object");
        if (Object* object = access(address, static_cast<u32>(size), true, true))
            for (u64 i = 0; i < size; ++i) {
                object->bytes[address - object->base + i] = static_cast<u8>(random_());
                object->written[address - object->base + i] = true;
            }
    };
    u64 result = number();
    switch (id) {
        case number_of(abi::HelperId::map_lookup_elem):
            if (regs[1] == 0x5000'0000 + hash * 0x1000) {
                access(regs[2], 4, false, true);
                const u32 which = below(3);
                result = which == 2 ? 0 : objects[values_[which]].base;
            } else if (regs[1] == 0x5000'0000 + data * 0x1000) {
                access(regs[2], 4, false, true);
                result = below(2) == 0 ? 0 : objects[data_].base;
            } else {
                result = 0;
            }
            break;
        case number_of(abi::HelperId::map_update_elem):
            access(regs[2], 4, false, true);
            access(regs[3], program_.maps[(regs[1] - 0x5000'0000) / 0x1000].value_size, false, true);
            break;
        case number_of(abi::HelperId::probe_read_kernel):
            fill(regs[1], regs[2]);
            break;
        case number_of(abi::HelperId::probe_read_kernel_str):
            fill(regs[1], regs[2]);
            result = below(2) == 0 ? static_cast<u64>(-i64{14}) : below(static_cast<u32>(regs[2]) + 1);
            break;
        case number_of(abi::HelperId::ringbuf_reserve): {
            result = 0;
            if (below(3) == 0 || regs[2] > 512) break;
            const std::size_t object = add_object(0x6000'0000 + objects.size() * 0x1000, regs[2], true);
            objects[object].record = true;
            ++records_;
            result = objects[object].base;
            break;
        }
        case number_of(abi::HelperId::ringbuf_submit):
        case number_of(abi::HelperId::ringbuf_discard): {
            Object* object = access(regs[1], 1, true, true);
            if (object == nullptr) break;
            if (!object->record || object->base != regs[1]) return wrong("not a record");
            object->alive = false;
            --records_;
            break;
        }
        case number_of(abi::HelperId::loop): {
            const u32 call = pc_;
            for (u64 i = 0; i < std::min<u64>(regs[1], 50) && wrong_.empty(); ++i) {
                frames.back().regs[1] = i;
                frames.back().regs[2] = regs[3];
                enter(static_cast<u32>(regs[2]));
                if (!subprogram(depth + 1)) return;
                const u64 stop = frames.back().regs[0];
                if (stop > 1) return wrong("a callback returned something else than 0 or 1");
                if (stop == 1) break;
                if (pc_ != call + 1) return wrong("lost");
                pc_ = call;
            }
            pc_ = call;
            break;
        }
        default:  // those that take nothing the machine knows
            if (id == number_of(abi::HelperId::trace_printk) && regs[2] <= 512)
                access(regs[1], static_cast<u32>(regs[2]), false, true);
            break;
    }
    for (u32 r = 1; r <= 5; ++r) frames.back().regs[r] = number();
    frames.back().regs[0] = result;
}

}  // namespace anybpf::verifier::testing

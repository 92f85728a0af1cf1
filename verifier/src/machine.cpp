// SPDX-License-Identifier: Apache-2.0
#include "machine.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "anybpf/isa/eval.hpp"
#include "walker.hpp"

namespace anybpf::verifier::testing {

using isa::Kind;
using program::Region;

namespace {

constexpr u64 most_steps = 3'000'000;
constexpr u32 context_bytes = 320;  // more than any context has

// What Machine::yields_ says of an instruction.
constexpr u8 not_asked = 0, refused = 255;

// Where a struct has what only helpers may touch. (objects.cpp finds it at any depth; the maps of tests have it here.)
template <class F>
void for_fields(const program::MapInfo& map, F&& found) {
    if (map.btf == nullptr || map.btf_value_type_id == 0) return;
    const btf::Type value = map.btf->type(map.btf->skip_modifiers(map.btf_value_type_id));
    if (value.kind != btf::Kind::struct_) return;
    for (u32 i = 0; i < value.vlen; ++i) {
        const btf::Member member = map.btf->member(value, i);
        const btf::Type type = map.btf->type(map.btf->skip_modifiers(member.type));
        if (type.kind != btf::Kind::struct_) continue;
        if (type.name == "bpf_spin_lock" || type.name == "bpf_timer")
            found(member.bit_offset / 8, type.size_or_type, type.name == "bpf_spin_lock");
    }
}

}  // namespace

Machine::Machine(const program::Program& program, const Structure& structure, const program::Proof& proof)
    : program_(program),
      structure_(structure),
      proof_(proof),
      helpers_(program.insns.size()),
      yields_(program.insns.size(), not_asked),
      stack_least_(program.insns.size(), stack_bytes),
      fields_(2 * program.maps.size()),
      values_(4 * program.maps.size()) {
    for (const isa::Form& form : structure.forms) may_goto_ |= form.kind == Kind::may_goto;
    for (const program::Subprogram& sub : proof.subprograms) stack_least_[sub.first] = stack_bytes - sub.stack_bytes;
    for (u32 map = 0; map < fields_.size(); ++map)
        if (map < maps() || program.maps[map - maps()].inner != nullptr)
            for_fields(map_of(map),
                       [&](u32 offset, u32 size, bool lock) { fields_[map].push_back({offset, size, lock}); });
    memory_.resize(1U << 16);
    objects_.resize(first_other);
    for (u32 i = 0; i < abi::max_frames; ++i) objects_[first_stack + i].at = take(2 * stack_bytes);
    objects_[context] = {.size = context_bytes, .at = take(context_bytes), .what = What::context};
    objects_[packet] = {.at = take(1U << 12), .what = What::packet};
    objects_[flow_keys] = {.size = abi::flow_keys_size, .at = take(abi::flow_keys_size), .what = What::flow_keys};
    objects_[trace_buffer] = {.size = 4096, .at = take(4096), .what = What::trace_buffer};
    objects_[kernel] = {.size = 8, .at = take(8), .what = What::kernel, .readable = false, .writable = false};
    for (u32 i = first_stack; i < first_other; ++i) place(i, objects_[i].size);
}

const program::MapInfo& Machine::map_of(u32 map) const { return verifier::map_of(program_, map); }

std::string_view Machine::cannot_run(const program::Program& program, const Structure& structure) {
    if (structure.attach.prototype != 0) return "a context that BTF describes";
    for (u32 pc = 0; pc < program.insns.size(); pc += isa::slots(program.insns[pc])) {
        const isa::Form& form = structure.forms[pc];
        if (form.kind == Kind::wide && form.pseudo == isa::Pseudo::btf_id) return "a variable of the kernel";
        if (form.kind != Kind::call) continue;
        if (form.call == isa::CallKind::kfunc) return "a function of the kernel";
        if (form.call != isa::CallKind::helper) continue;
        if (static_cast<abi::HelperId>(program.insns[pc].imm) == abi::HelperId::kptr_xchg) return "pointers in maps";
    }
    return {};
}

// -------------------------------------------------------------------------------------------------------------- chance

u64 Machine::number() {
    const u64 any = random();
    const u32 shift = any & 63;
    switch ((any >> 6) % 5) {
        case 0:
            return random();
        case 1:
            return (any >> 32) % 20;
        case 2:
            return static_cast<u64>(-static_cast<i64>((any >> 32) % 20));
        case 3:
            return u64{1} << shift;
        default:
            return random() >> shift;
    }
}

void Machine::fill(u32 at, u32 size) {
    for (u32 done = 0; done < size; done += 8) {
        u64 word = random();
        switch (word >> 61) {
            case 0:
            case 1:
                break;
            case 2:
            case 3:
                word &= 0x0f0f'0f0f'0f0f'0f0f;
                break;
            case 4:
                word = 0;
                break;
            case 5:
                word &= 0x0000'003f'0000'003f;
                break;
            default:
                word = number();
                break;
        }
        std::memcpy(memory_.data() + at + done, &word, 8);  // take() gives multiples of eight
    }
}

// ------------------------------------------------------------------------------------------------------------- objects

u32 Machine::take(u32 size) {
    const u32 at = used_;
    used_ += (size + 7) & ~7U;
    if (used_ > memory_.size()) memory_.resize(2 * used_);
    return at;
}

// Each time at another address, so that an old one is noticed.
void Machine::place(u32 index, u32 size) {
    objects_[index].base = object_space | u64{index} << 32 | (middle + (places_++ & 0xffff) * 0x1000);
    objects_[index].size = size;
    objects_[index].alive = true;
}

u32 Machine::add(What what, u32 size) {
    const u32 index = static_cast<u32>(objects_.size());
    objects_.push_back({.at = take(size), .what = what});
    place(index, size);
    fill(objects_[index].at, size);
    return index;
}

const Machine::Object* Machine::object_near(u64 address) const {
    if (address >> 48 != object_space >> 48) return nullptr;
    const u64 index = address >> 32 & 0xffff;
    return index < objects_.size() ? &objects_[index] : nullptr;
}

void Machine::new_packet() {
    static constexpr std::array<u32, 8> sizes = {16, 64, 64, 128, 128, 256, 256, 4000};
    const u32 meta = below(2) == 0 ? 0 : 4 * below(9);
    const u32 size = below(8) == 0 ? 0 : below(sizes[below(sizes.size())] + 1);
    place(packet, meta + size);
    fill(objects_[packet].at, (meta + size + 7) & ~7U);
    packet_data_ = objects_[packet].base + meta;
    ++epoch_;
}

void Machine::fail(const char* what, u64 detail) {
    if (wrong_ == nullptr) wrong_ = what, detail_ = detail;
}

std::string Machine::wrong() const {
    return wrong_ == nullptr ? std::string() : fmt::format("at {}: {} ({:#x})", pc_, wrong_, detail_);
}

// -------------------------------------------------------------------------------------------------------------- memory

// The bytes of an access that is as it should be; otherwise null.
u8* Machine::access(u64 address, u32 size, bool write) {
    const Object* object = object_near(address);
    if (object == nullptr) return fail("no address of anything", address), nullptr;
    const u64 at = address - object->base;
    if (at > object->size || size > object->size - at) return fail("outside of an object", address), nullptr;
    if (!object->alive) return fail("the object is gone", address), nullptr;
    if (!(write ? object->writable : object->readable)) return fail("not to be read or written", address), nullptr;
    u8* const bytes = memory_.data() + object->at + at;
    if (object->what == What::stack) {
        Frame& frame = frames_[static_cast<u32>(object - objects_.data()) - first_stack];
        if (at < frame.least && size > 0) return fail("stack beyond what the proof says", at), nullptr;
        u8* const written = bytes + stack_bytes;
        if (write) {
            std::memset(written, 1, size);
            for (u64 i = at; i < at + size; i += 8) frame.dirty |= 1U << ((stack_bytes - 1 - i) / 64);
            if (size > 0) frame.dirty |= 1U << ((stack_bytes - at - size) / 64);
        } else if (!reads_unwritten && std::memchr(written, 0, size) != nullptr) {
            return fail("read of what was never written", at), nullptr;
        }
    } else if (object->what == What::map_value) {
        for (const Protected& field : fields_[object->map])
            if (at < field.offset + field.size && field.offset < at + size)
                return fail("access to what is the kernel's in a map's value", at), nullptr;
    }
    return bytes;
}

// What the instruction touches is what the proof says to the engines.
void Machine::check_region(const Object& object) {
    const What what = object.what;
    switch (proof_.insns[pc_].region) {
        case Region::none:
            return fail("memory that the proof knows nothing of");
        case Region::context:
            return what == What::context ? void() : fail("not the context, as the proof says");
        case Region::stack:
            return what == What::stack ? void() : fail("not the stack, as the proof says");
        case Region::map_value:
            return what == What::map_value ? void() : fail("not a map's value, as the proof says");
        case Region::arena:
            return;  // there is no object
        case Region::btf_object:
            return what == What::socket || what == What::kernel ? void() : fail("not an object, as the proof says");
        case Region::memory:
            return what == What::context || what == What::socket || what == What::kernel
                       ? fail("not memory, as the proof says")
                       : void();
    }
}

// Whether the instruction touches the arena, which others change at any time: it has whatever is read from it.
bool Machine::in_arena() const { return proof_.insns[pc_].region == Region::arena; }

bool Machine::on_socket(u64 address, u32 size) {
    const Object* object = object_near(address);
    if (object == nullptr || object->what != What::socket) return true;
    return abi::object_load(object->kind, static_cast<i64>(address - object->base), size) ||
           (fail("a field that a socket has not", address - object->base), false);
}

u64 Machine::load(u64 address, u32 size) {
    if (in_arena()) return number() & (~u64{0} >> (64 - 8 * size));
    const u8* bytes = access(address, size, false);
    if (bytes == nullptr) return 0;
    const Object& object = *object_near(address);
    check_region(object);
    if (object.what == What::context) return load_context(size);
    if (object.what == What::socket && !on_socket(address, size)) return 0;
    u64 value = 0;
    std::memcpy(&value, bytes, size);
    return value;
}

u64 Machine::load_context(u32 size) {
    const isa::Insn& insn = program_.insns[pc_];
    if (frames_.back().regs[insn.src] != objects_[context].base) return fail("a moved context"), 0;
    u8& known = yields_[pc_];
    if (known == not_asked) {
        const auto yields = abi::context_load(program_.type, program_.expected_attach_type, insn.off, size);
        known = yields ? static_cast<u8>(1 + static_cast<u8>(*yields)) : refused;
    }
    if (known == refused) return fail("a field that the context has not", static_cast<u64>(insn.off)), 0;
    if (static_cast<u32>(insn.off) + size > proof_.context_bytes)
        return fail("more of the context than the proof says", static_cast<u64>(insn.off)), 0;
    const auto some_socket = [&](abi::ObjectKind kind, bool nullable) -> u64 {
        if (nullable && below(3) == 0) return 0;
        if (objects_.size() >= max_objects) return fail("too many objects"), 0;
        const u32 index = add(What::socket, 256);
        objects_[index].kind = kind;
        objects_[index].writable = false;
        return objects_[index].base;
    };
    switch (static_cast<abi::Yield>(known - 1)) {
        case abi::Yield::number:
            break;
        case abi::Yield::packet:
            return packet_data_;
        case abi::Yield::packet_meta:
            return packet_meta();
        case abi::Yield::packet_end:
            return packet_end();
        case abi::Yield::socket:
            return some_socket(abi::ObjectKind::socket, false);
        case abi::Yield::socket_or_null:
            return some_socket(abi::ObjectKind::socket, true);
        case abi::Yield::sock_common_or_null:
            return some_socket(abi::ObjectKind::sock_common, true);
        case abi::Yield::flow_keys:
            return objects_[flow_keys].base;
        case abi::Yield::trace_buffer:
            return objects_[trace_buffer].base;
        case abi::Yield::sk_buff:
        case abi::Yield::hook_state:
            return objects_[kernel].base;
    }
    u64 value = 0;
    std::memcpy(&value, memory_.data() + objects_[context].at + insn.off, size);
    return value;
}

void Machine::store(u64 address, u32 size, u64 value) {
    if (in_arena()) return;
    u8* bytes = access(address, size, true);
    if (bytes == nullptr) return;
    const Object& object = *object_near(address);
    check_region(object);
    if (object.what == What::context &&
        (frames_.back().regs[program_.insns[pc_].dst] != object.base ||
         !abi::context_store(program_.type, program_.expected_attach_type, program_.insns[pc_].off, size) ||
         static_cast<u32>(program_.insns[pc_].off) + size > proof_.context_bytes))
        return fail("a field of the context that is not written");
    if (object.what == What::packet && !abi::writes_packets(program_.type)) return fail("a packet that is not written");
    std::memcpy(bytes, &value, size);
}

void Machine::atomic(const isa::Insn& insn, const isa::Form& form) {
    auto& regs = frames_.back().regs;
    const u32 size = isa::bytes(form.width);
    const auto how = isa::row(form.atomic).form;
    const u64 off = static_cast<u64>(i64{insn.off});
    if (how == isa::AtomicForm::load) {
        regs[insn.dst] = load(regs[insn.src] + off, size);
        return;
    }
    const u64 at = regs[insn.dst] + off, operand = regs[insn.src];
    if (at % size != 0 && !in_arena()) return fail("an atomic access that is not aligned", at);
    if (how == isa::AtomicForm::store) return store(at, size, operand);
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
}

// --------------------------------------------------------------------------------------------------------------- a run

void Machine::begin(u64 seed) {
    random_ = seed;
    frames_.clear();
    objects_.resize(first_other);
    used_ = objects_[kernel].at + 8;
    for (const u32 index : touched_) values_[index] = 0;
    touched_.clear();
    held_.assign(1, false);
    dynptrs_.clear();
    later_.clear();
    live_references_ = 0;
    lock_ = 0;
    run_steps_ = 0;
    places_ = below(0x10000);
    wrong_ = nullptr;
    for (u32 i = 0; i < abi::max_frames; ++i) objects_[first_stack + i].alive = false;
    fill(objects_[context].at, context_bytes);
    fill(objects_[flow_keys].at, abi::flow_keys_size);
    new_packet();
    budget_ = !may_goto_ || below(3) == 0 ? 0 : below(60);
}

bool Machine::run(u64 seed) {
    begin(seed);
    pc_ = 0;
    enter(0, false);
    frames_[0].regs[1] = objects_[context].base;
    subprogram(1);
    run_later();
    steps_ += run_steps_;
    return good();
}

// Functions of timers, once the program has ended.
void Machine::run_later() {
    for (std::size_t i = 0; i < std::min<std::size_t>(later_.size(), 8) && good(); ++i) {
        const Later later = later_[i];
        pc_ = later.function;
        enter(later.function, true);
        frames_.back().async = true;
        give_entry(later.map, below(2));
        subprogram(1);
    }
}

// Runs until the frame at that depth is left.
bool Machine::subprogram(std::size_t depth) {
    while (good() && frames_.size() >= depth) {
        if (++run_steps_ > most_steps) fail("does not end");
        if (pc_ >= program_.insns.size() || !proof_.insns[pc_].reached) return fail("reached against the proof"), false;
        if (observer != nullptr && !observer->at(*this, pc_)) return fail("outside of what was proved"), false;
        step();
    }
    return good();
}

void Machine::enter(u32 target, bool callback) {
    const std::size_t depth = frames_.size();
    if (depth >= abi::max_frames) return fail("a ninth frame");
    Object& stack = objects_[first_stack + depth];
    place(first_stack + static_cast<u32>(depth), stack_bytes);
    stack.what = What::stack;
    Frame frame;
    frame.first = target;
    frame.return_to = pc_ + 1;
    frame.callback = callback;
    frame.least = stack_least_[target];
    frame.dirty = ~0U;
    fill(stack.at + frame.least, stack_bytes - frame.least);
    std::memset(memory_.data() + stack.at + stack_bytes, 0, stack_bytes);
    const u64 junk = number();
    for (u64& reg : frame.regs) reg = junk;
    if (!frames_.empty() && !callback)
        for (u32 r = 1; r <= 5; ++r) frame.regs[r] = frames_.back().regs[r];
    frame.regs[10] = stack.base + stack_bytes;
    frames_.push_back(frame);
    pc_ = target;
}

// `whole`: it has come to its own end, and not to one that another program or a short packet has given it.
void Machine::leave(u64 result, bool whole) {
    const Frame frame = frames_.back();
    if (frames_.size() == 1) {
        if (live_references_ != 0) return fail("something is kept");
        if (lock_ != 0) return fail("a lock is kept");
        const auto range = abi::return_range(program_.type, program_.expected_attach_type);
        const i64 value = static_cast<i64>(result);
        if (frame.async ? value != 0 : whole && range && (value < range->least || value > range->most))
            return fail("a result that is not to be", result);
    }
    if (frame.callback && !frame.async && result > 1) return fail("a callback's result", result);
    pc_ = frame.return_to;
    objects_[first_stack + frames_.size() - 1].alive = false;
    frames_.pop_back();
    if (frames_.empty()) return;
    auto& regs = frames_.back().regs;
    regs[0] = result;
    const u64 junk = number();
    for (u32 r = 1; r <= 5; ++r) regs[r] = junk;
}

void Machine::wide(const isa::Insn& insn, u64& dst) {
    const isa::Insn& second = program_.insns[pc_ + 1];
    switch (structure_.forms[pc_].pseudo) {
        case isa::Pseudo::imm64:
            dst = isa::wide_imm(insn, second);
            break;
        case isa::Pseudo::map_idx:
            dst = map_handle(static_cast<u32>(insn.imm));
            break;
        case isa::Pseudo::map_idx_value:
            if (program_.maps[static_cast<u32>(insn.imm)].type == abi::MapType::arena) {
                dst = number();
                break;
            }
            dst = value_of(static_cast<u32>(insn.imm), 0) + static_cast<u32>(second.imm);
            break;
        case isa::Pseudo::func:
            dst = static_cast<u64>(i64{pc_} + 1 + insn.imm);
            break;
        case isa::Pseudo::map_fd:
        case isa::Pseudo::map_value:
        case isa::Pseudo::btf_id:
            return fail("a reference to nothing");
    }
}

void Machine::step() {
    const isa::Insn& insn = program_.insns[pc_];
    const isa::Form& form = structure_.forms[pc_];
    auto& regs = frames_.back().regs;
    u64& dst = regs[insn.dst];
    const auto operand = [&] { return form.by_register ? regs[insn.src] : static_cast<u64>(i64{insn.imm}); };
    const u64 off = static_cast<u64>(i64{insn.off});
    u32 next = pc_ + isa::slots(insn);
    switch (form.kind) {
        case Kind::alu:
            dst = isa::eval(form.alu, form.is64, dst, operand());
            break;
        case Kind::extend:
            dst = isa::eval(form.extend, form.is64, regs[insn.src]);
            break;
        case Kind::swap:
            dst = isa::eval(form.swap, dst);
            break;
        case Kind::jump:
            if (isa::test(form.jump, form.is64, dst, operand())) next = structure_.targets[pc_];
            break;
        case Kind::ja:
        case Kind::gotol:
            next = structure_.targets[pc_];
            break;
        case Kind::load:
            dst = load(regs[insn.src] + off, isa::bytes(form.width));
            break;
        case Kind::load_sx: {
            const u32 size = isa::bytes(form.width);
            const u64 value = load(regs[insn.src] + off, size);
            dst = static_cast<u64>(static_cast<i64>(value << (64 - 8 * size)) >> (64 - 8 * size));
            break;
        }
        case Kind::store_imm:
            store(dst + off, isa::bytes(form.width), static_cast<u64>(i64{insn.imm}));
            break;
        case Kind::store:
            store(dst + off, isa::bytes(form.width), regs[insn.src]);
            break;
        case Kind::atomic:
            atomic(insn, form);
            break;
        case Kind::wide:
            wide(insn, dst);
            break;
        case Kind::call:
            if (lock_ != 0 && form.call != isa::CallKind::helper) return fail("a call while a lock is held");
            if (form.call == isa::CallKind::subprogram) return enter(static_cast<u32>(i64{pc_} + 1 + insn.imm), false);
            return helper(static_cast<u32>(insn.imm));
        case Kind::exit:
            return leave(regs[0]);
        case Kind::may_goto:
            if (budget_ == 0)
                next = structure_.targets[pc_];
            else
                --budget_;
            break;
        case Kind::packet_abs:
        case Kind::packet_ind:
            if (regs[6] != objects_[context].base) return fail("a packet load without the context");
            if (live_references_ != 0 || lock_ != 0) return fail("a packet load while something is kept");
            if (below(8) == 0) return leave(0, false);  // it has no such bytes
            regs[0] = number() & (~u64{0} >> (64 - 8 * isa::bytes(form.width)));
            for (u32 r = 1; r <= 5; ++r) regs[r] = random_;
            break;
        case Kind::cast:
            dst = insn.imm == 1 ? static_cast<u32>(regs[insn.src]) : number();
            break;
        case Kind::gotox:
        case Kind::callx:
            return fail("an instruction that is not supported");
    }
    pc_ = next;
}

}  // namespace anybpf::verifier::testing

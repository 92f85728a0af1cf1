// SPDX-License-Identifier: Apache-2.0
// Loads, stores and atomics, and memory that a helper reads or writes for the program.
#include <cstring>

#include "anybpf/abi/context.hpp"
#include "walker.hpp"

namespace anybpf::verifier {

namespace {

bool aligned(const Number& value, i64 off, u32 size) {
    const Tnum at = value.bits + Tnum::constant(static_cast<u64>(off));
    return ((at.value | at.mask) & (size - 1)) == 0;
}

}  // namespace

// ------------------------------------------------------------------------------------------------------- one access

program::Region Walker::region_of(const Reg& base) const {
    switch (base.type) {
        case Type::ctx:
            return Region::context;
        case Type::stack:
            return Region::stack;
        case Type::map_value:
            return Region::map_value;
        case Type::record:
        case Type::packet:
        case Type::packet_meta:
        case Type::map_key:
        case Type::flow_keys:
        case Type::trace_buffer:
            return Region::memory;
        case Type::arena:
            return Region::arena;
        case Type::memory:
            return base.has(flag::untrusted) ? Region::btf_object : Region::memory;
        case Type::task:
        case Type::sock_common:
        case Type::socket:
        case Type::tcp_sock:
        case Type::xdp_sock:
        case Type::cast_socket:
        case Type::btf:
            return Region::btf_object;
        case Type::uninit:
        case Type::scalar:
        case Type::map:
        case Type::map_value_or_null:
        case Type::record_or_null:
        case Type::function:
        case Type::packet_end:
        case Type::inner_map_or_null:
        case Type::sock_common_or_null:
        case Type::socket_or_null:
        case Type::tcp_sock_or_null:
        case Type::xdp_sock_or_null:
        case Type::cast_socket_or_null:
        case Type::kernel_object:
        case Type::dynptr:
        case Type::iterator:
        case Type::interrupts:
            break;
    }
    return Region::none;
}

// An engine may rewrite what touches the context, so such an instruction touches nothing else.
bool Walker::note_region(Region region) {
    Region& noted = report_.proof.insns[pc_].region;
    if (noted == Region::none) {
        noted = region;
    } else if (noted != region) {
        const auto special = [](Region one) {
            return one == Region::context || one == Region::btf_object || one == Region::arena;
        };
        if (special(noted) || special(region)) return fail(Finding::mixed_regions);
        noted = Region::memory;
    }
    return true;
}

bool Walker::check_alignment(const Reg& base, i64 off, u32 size) {
    if (base.type == Type::arena || aligned(base.value, off, size)) return true;
    const u64 at = static_cast<u64>(base.value.smin) + static_cast<u64>(off);  // may be out of every bound
    return fail(Finding::misaligned, static_cast<i64>(at), size);
}

// Where the host asks for it, as BPF_F_STRICT_ALIGNMENT: addresses in packets lie 2 bytes off, as the kernel has them.
bool Walker::check_strict_alignment(u32 base_reg, i64 off, u32 size) {
    if (!options_.strict_alignment) return true;
    const Reg& base = reg(base_reg);
    const bool packet = base.type == Type::packet || base.type == Type::packet_meta;
    return check_alignment(base, packet ? off + base.off + 2 : off, size);
}

bool Walker::check_object(const Reg& base, i64 off, i64 size, i64 limit, Finding finding) {
    const i128 first = i128{base.value.smin} + off, last = i128{base.value.smax} + off + size;
    if (first >= 0 && last <= limit) return true;
    // Of both ends that which is wrong.
    const i128 at = first < 0 ? first : last - size;
    return fail(finding, at > INT64_MAX ? INT64_MAX : at < INT64_MIN ? INT64_MIN : static_cast<i64>(at), size, limit);
}

bool Walker::check_map_access(u32 map, bool write) {
    const abi::MapType type = map_of(map).type;
    // A device map's value is the kernel's own.
    const bool kernels = type == abi::MapType::devmap || type == abi::MapType::devmap_hash;
    const u32 flags = map_of(map).flags | (kernels ? abi::map_rdonly_prog : 0);
    if (write && (flags & abi::map_rdonly_prog) != 0) return fail(Finding::map_read_only, map);
    if (!write && (flags & abi::map_wronly_prog) != 0) return fail(Finding::map_write_only, map);
    return true;
}

bool Walker::load_context(const Reg& base, u32 base_reg, i32 off, u32 size, Reg& out) {
    if (!base.value.is_constant(0)) return fail(Finding::context_offset, base_reg);
    if (structure_.attach.prototype != 0) return load_typed_context(off, size, out);
    const auto yields = abi::context_load(program_.type, program_.expected_attach_type, off, size);
    if (!yields) return fail(Finding::out_of_context, off, size);
    report_.proof.context_bytes = std::max(report_.proof.context_bytes, static_cast<u32>(off) + size);
    switch (*yields) {
        case abi::Yield::number:
            return true;
        case abi::Yield::packet:
            out = Reg::pointer(Type::packet);
            return true;
        case abi::Yield::packet_meta:
            out = Reg::pointer(Type::packet_meta);
            return true;
        case abi::Yield::packet_end:
            out = Reg::pointer(Type::packet_end);
            return true;
        case abi::Yield::socket:
            out = Reg::pointer(Type::socket);
            return true;
        case abi::Yield::socket_or_null:
            out = Reg::pointer(Type::socket_or_null, 0, next_id_++);
            return true;
        case abi::Yield::sock_common_or_null:
            out = Reg::pointer(Type::sock_common_or_null, 0, next_id_++);
            return true;
        case abi::Yield::flow_keys:
            out = Reg::pointer(Type::flow_keys);
            return true;
        case abi::Yield::trace_buffer:
            out = Reg::pointer(Type::trace_buffer);
            return true;
        case abi::Yield::sk_buff:
            out = context_object("sk_buff");
            return true;
        case abi::Yield::hook_state:
            out = context_object("nf_hook_state");
            return true;
    }
    return true;
}

bool Walker::store_context(const Reg& base, u32 base_reg, i32 off, u32 size, const Reg& value, u32 value_reg) {
    if (!abi::context_writable(program_.type, program_.expected_attach_type)) return fail(Finding::context_write);
    if (!base.value.is_constant(0)) return fail(Finding::context_offset, base_reg);
    if (!abi::context_store(program_.type, program_.expected_attach_type, off, size))
        return fail(Finding::context_write_field, off, size);
    // Whoever sees the packet next reads it.
    if (is_pointer(value.type) && !options_.allow_ptr_leaks)
        return fail(Finding::pointer_leak_store, value_reg, static_cast<i64>(value.type));
    report_.proof.context_bytes = std::max(report_.proof.context_bytes, static_cast<u32>(off) + size);
    return note_region(Region::context);
}

// What cannot be trusted may be read at any address: faults are caught, and read as zero.
bool Walker::check_memory(const Reg& base, u32 base_reg, i64 off, i64 size, bool write) {
    if (write && base.has(flag::read_only)) return fail(Finding::memory_read_only, base_reg);
    return base.has(flag::untrusted) || check_object(base, off, size, base.object, Finding::out_of_record);
}

// The bytes off..off+size from base on are in the packet.
bool Walker::check_packet(const Reg& base, i64 off, i64 size, bool write) {
    if (write && !abi::writes_packets(program_.type))
        return fail(Finding::packet_read_only, static_cast<i64>(program_.type));
    const i64 at = off + base.off;
    if (base.value.smin < 0 || at < 0 || at + size > i64{base.object})
        return fail(Finding::out_of_packet, at + std::min<i64>(base.value.smin, 0), size, base.object);
    return true;
}

// How long the buffer is shows when the program is attached.
bool Walker::check_trace_buffer(const Reg& base, u32 base_reg, i64 off) {
    return (base.value.is_constant() && base.value.smin + off >= 0) ||
           fail(Finding::pointer_offset, base_reg, static_cast<i64>(base.type));
}

bool Walker::load() {
    Reg loaded;
    const u8 src = insn().src;
    if (!load_from(src, insn().off, isa::bytes(form().width), form().kind == isa::Kind::load_sx, loaded)) return false;
    reg(insn().dst) = loaded;
    return true;
}

bool Walker::load_from(u32 base_reg, i32 off, u32 size, bool sign, Reg& out) {
    if (!readable(base_reg) || !check_strict_alignment(base_reg, off, size)) return false;
    const Reg& base = seen(base_reg);
    if (base.has(flag::null)) return fail(Finding::maybe_null, base_reg, static_cast<i64>(base.type));
    Number number = loaded(size);
    if (sign) number = sign_extend(number, 8 * size, false);
    switch (base.type) {
        case Type::uninit:
            return false;
        case Type::scalar:
            return fail(Finding::not_a_pointer, base_reg);
        case Type::map_value_or_null:
        case Type::record_or_null:
        case Type::inner_map_or_null:
        case Type::sock_common_or_null:
        case Type::socket_or_null:
        case Type::tcp_sock_or_null:
        case Type::xdp_sock_or_null:
        case Type::cast_socket_or_null:
            return fail(Finding::maybe_null, base_reg, static_cast<i64>(base.type));
        case Type::map: {
            Reg loaded = unknown(number);
            if (!load_map_struct(base, base_reg, off, size, sign, loaded)) return false;
            out = loaded;
            return true;
        }
        case Type::function:
        case Type::packet_end:
        case Type::dynptr:
        case Type::iterator:
        case Type::interrupts:
            return fail(Finding::not_memory, base_reg, static_cast<i64>(base.type));
        case Type::packet:
        case Type::packet_meta:
            if (!check_packet(base, off, size, false)) return false;
            break;
        case Type::sock_common:
        case Type::socket:
        case Type::tcp_sock:
        case Type::xdp_sock:
            if (!check_socket(base, off, size)) return false;
            break;
        case Type::map_key:
            if (!check_object(base, off, size, map_of(base.object).key_size, Finding::out_of_record)) return false;
            break;
        case Type::flow_keys:
            if (!check_object(base, off, size, abi::flow_keys_size, Finding::out_of_record)) return false;
            break;
        case Type::trace_buffer:
            if (!check_trace_buffer(base, base_reg, off)) return false;
            break;
        case Type::cast_socket: {
            Reg loaded = unknown(number);
            if (!load_cast_socket(base, base_reg, off, size, sign, loaded)) return false;
            out = loaded;
            return true;
        }
        case Type::kernel_object:
        case Type::task:
            return fail(Finding::typed_load_unsupported, base_reg, static_cast<i64>(base.type));
        case Type::btf: {
            Reg loaded = unknown(number);
            if (!load_typed(base, base_reg, off, size, sign, loaded) || !note_region(region_of(base))) return false;
            out = loaded;
            return true;
        }
        case Type::memory:
            if (!check_memory(base, base_reg, off, size, false)) return false;
            break;
        case Type::arena:
            break;
        case Type::ctx: {
            Reg loaded = unknown(number);
            if (!load_context(base, base_reg, off, size, loaded) || !note_region(Region::context)) return false;
            if (sign && is_pointer(loaded.type)) return fail(Finding::out_of_context, off, size);
            out = loaded;
            return true;
        }
        case Type::stack:
            if (!note_region(Region::stack)) return false;
            return load_stack(base, base_reg, off, size, sign, out);
        case Type::map_value: {
            const auto& map = map_of(base.object);
            if (!check_object(base, off, size, map.value_size, Finding::out_of_map_value)) return false;
            const ValueField* pointer = nullptr;
            if (!check_fields(base, off, size, form().kind == isa::Kind::load ? &pointer : nullptr) ||
                !check_map_access(base.object, false))
                return false;
            if (pointer != nullptr) return note_region(region_of(base)) && load_kptr(*pointer, base.object, out);
            const i64 at = base.value.smin + off;
            // Data that nobody can change any more is known.
            if (map.max_entries == 1 && base.value.is_constant() && at + size <= static_cast<i64>(map.frozen.size())) {
                u64 bytes = 0;
                std::memcpy(&bytes, map.frozen.data() + at, size);
                number = Number::constant(
                    sign ? static_cast<u64>(static_cast<i64>(bytes << (64 - 8 * size)) >> (64 - 8 * size)) : bytes);
            }
            break;
        }
        case Type::record:
            if (!check_object(base, off, size, base.object, Finding::out_of_record)) return false;
            break;
    }
    if (!note_region(region_of(base))) return false;
    out = unknown(number);
    return true;
}

// LD_ABS and LD_IND, as check_ld_abs() of Linux 6.18: r6 is the context, r1 to r5 are lost. Where the packet ends
// before, the function returns 0.
bool Walker::packet_load() {
    if (!readable(6)) return false;
    const Reg& context = reg(6);
    if (context.type != Type::ctx) return fail(Finding::packet_load_context, 6, static_cast<i64>(context.type));
    if (!context.value.is_constant(0)) return fail(Finding::context_offset, 6);
    if (form().kind == isa::Kind::packet_ind && !readable(insn().src)) return false;
    if (!check_released()) return false;
    for (const Frame& frame : state_.frames)
        if (frame.callback) return fail(Finding::packet_load_in_callback);
    if (state_.depth() > 0) {
        State other = state_;
        const u32 back = other.frame().call_site + 1;
        other.frames.pop_back();
        other.frame().regs[0] = constant(0);
        if (!set_aside(std::move(other), back)) return false;
    }
    for (u32 r = 1; r <= 5; ++r) reg(r) = {};
    reg(0) = unknown();
    return true;
}

bool Walker::store() {
    const u32 size = isa::bytes(form().width);
    if (form().kind == isa::Kind::store_imm)
        return store_to(insn().dst, insn().off, size, constant(static_cast<u64>(i64{insn().imm})), 0);
    if (!readable(insn().src)) return false;
    return store_to(insn().dst, insn().off, size, reg(insn().src), insn().src);
}

bool Walker::store_to(u32 base_reg, i32 off, u32 size, const Reg& value, u32 value_reg) {
    if (!readable(base_reg) || !check_strict_alignment(base_reg, off, size)) return false;
    const Reg& base = seen(base_reg);
    if (base.has(flag::null)) return fail(Finding::maybe_null, base_reg, static_cast<i64>(base.type));
    switch (base.type) {
        case Type::uninit:
            return false;
        case Type::scalar:
            return fail(Finding::not_a_pointer, base_reg);
        case Type::map_value_or_null:
        case Type::record_or_null:
        case Type::inner_map_or_null:
        case Type::sock_common_or_null:
        case Type::socket_or_null:
        case Type::tcp_sock_or_null:
        case Type::xdp_sock_or_null:
        case Type::cast_socket_or_null:
            return fail(Finding::maybe_null, base_reg, static_cast<i64>(base.type));
        case Type::btf:
            if (!store_typed(base, base_reg, off, size)) return false;
            break;
        case Type::memory:
            if (!check_memory(base, base_reg, off, size, true)) return false;
            break;
        case Type::arena:
            break;
        case Type::map:
        case Type::function:
        case Type::task:
        case Type::packet_end:
        case Type::dynptr:
        case Type::iterator:
        case Type::interrupts:
            return fail(Finding::not_memory, base_reg, static_cast<i64>(base.type));
        case Type::map_key:
        case Type::sock_common:
        case Type::socket:
        case Type::tcp_sock:
        case Type::xdp_sock:
        case Type::cast_socket:
        case Type::kernel_object:
            return fail(Finding::read_only, base_reg, static_cast<i64>(base.type));
        case Type::flow_keys:
            if (!check_object(base, off, size, abi::flow_keys_size, Finding::out_of_record)) return false;
            break;
        case Type::trace_buffer:
            if (!check_trace_buffer(base, base_reg, off)) return false;
            break;
        case Type::packet:
        case Type::packet_meta:
            if (!check_packet(base, off, size, true)) return false;
            break;
        case Type::ctx:
            return store_context(base, base_reg, off, size, value, value_reg);
        case Type::stack:
            if (!note_region(Region::stack)) return false;
            return store_stack(base, base_reg, off, size, value, value_reg);
        case Type::map_value: {
            const ValueField* pointer = nullptr;
            if (!check_object(base, off, size, map_of(base.object).value_size, Finding::out_of_map_value) ||
                !check_fields(base, off, size, form().kind == isa::Kind::atomic ? nullptr : &pointer) ||
                !check_map_access(base.object, true))
                return false;
            if (pointer != nullptr && !store_kptr(*pointer, base.object, value, value_reg)) return false;
            break;
        }
        case Type::record:
            if (!check_object(base, off, size, base.object, Finding::out_of_record)) return false;
            break;
    }
    if (is_pointer(value.type) && !options_.allow_ptr_leaks)
        return fail(Finding::pointer_leak_store, value_reg, static_cast<i64>(value.type));
    return note_region(region_of(base));
}

bool Walker::atomic() {
    const u8 dst = insn().dst, src = insn().src;
    const u32 size = isa::bytes(form().width);
    const auto how = isa::row(form().atomic).form;
    const bool plain_load = how == isa::AtomicForm::load;
    const u8 base_reg = plain_load ? src : dst;
    if (!readable(base_reg)) return false;
    const Reg base = seen(base_reg);
    if (base.type == Type::scalar) return fail(Finding::not_a_pointer, base_reg);
    if (may_be_null(base)) return fail(Finding::maybe_null, base_reg, static_cast<i64>(base.type));
    const bool object =
        base.type == Type::btf && (plain_load || is_allocated(base) || program_.type == abi::ProgType::struct_ops);
    const bool only_read = plain_load && (base.type == Type::map || base.type == Type::cast_socket);
    if (base.type == Type::arena) {
        if (!arena_atomic()) return false;
    } else if (base.type != Type::stack && base.type != Type::map_value && base.type != Type::record &&
               base.type != Type::memory && !object && !only_read)
        return fail(Finding::atomic_region, base_reg, static_cast<i64>(base.type));
    if (!check_alignment(base, insn().off, size)) return false;
    if (plain_load) {
        Reg loaded;
        if (!load_from(src, insn().off, size, false, loaded)) return false;
        reg(dst) = loaded;
        return true;
    }
    if (!readable(src)) return false;
    if (how == isa::AtomicForm::store) return store_to(dst, insn().off, size, reg(src), src);

    // Read, modify, write: only numbers take part.
    const bool compares = how == isa::AtomicForm::compare_exchange;
    if (compares && !readable(0)) return false;
    for (const u32 operand : {u32{src}, compares ? 0U : u32{src}})
        if (is_pointer(reg(operand).type) && !options_.allow_ptr_leaks)
            return fail(Finding::pointer_leak_store, operand, static_cast<i64>(reg(operand).type));
    Reg before;
    if (!load_from(dst, insn().off, size, false, before)) return false;
    if (is_pointer(before.type) && !options_.allow_ptr_leaks)
        return fail(Finding::partial_pointer, base.value.smin + insn().off);
    if (how != isa::AtomicForm::modify && (compares ? 0 : src) == dst) return fail(Finding::atomic_over_address, dst);
    if (!store_to(dst, insn().off, size, unknown(Number::of_width(8 * size)), src)) return false;
    switch (how) {
        case isa::AtomicForm::fetch:
        case isa::AtomicForm::exchange:
            reg(src) = before;
            break;
        case isa::AtomicForm::compare_exchange:
            reg(0) = before;
            break;
        case isa::AtomicForm::modify:
        case isa::AtomicForm::load:
        case isa::AtomicForm::store:
            break;
    }
    return true;
}

// ---------------------------------------------------------------------------------------------------------- the stack
// Offsets count from the frame pointer, down to -512, or to what the host allows. Slot i holds fp-8*(i+1) up to fp-8*i.

Slot& Walker::slot_at(u32 frame, i64 at) {
    const std::size_t index = static_cast<std::size_t>((-at - 1) / 8);
    auto& stack = state_.frames[frame].stack;
    if (stack.size() <= index) stack.resize(index + 1);
    return stack[index];
}

// The same to look at, which leaves it shared.
const Slot& Walker::slot_seen(u32 frame, i64 at) const {
    static constexpr Slot never_written{};
    const std::size_t index = static_cast<std::size_t>((-at - 1) / 8);
    const Stack& stack = state_.frames[frame].stack;
    return index < stack.size() ? stack[index] : never_written;
}

void Walker::use_stack(u32 frame, i64 low) {
    u32& used = stack_use_[std::as_const(state_).frames[frame].subprogram];
    used = std::max(used, static_cast<u32>(-low));
}

// The bytes low..high that an access of `size` bytes can touch.
bool Walker::stack_range(const Reg& base, u32 base_reg, i64 off, i64 size, i64& low, i64& high) {
    constexpr i64 bound = i64{1} << 29;
    if (base.value.smin < -bound || base.value.smax > bound) return fail(Finding::unbounded_stack, base_reg);
    low = base.value.smin + off;
    high = base.value.smax + off + size;
    const i64 lowest = -i64{stack_limit()};
    if (low < lowest || high > 0 || low >= 0)
        return fail(Finding::out_of_stack, low < lowest ? low : high - size, size, stack_limit());
    use_stack(base.frame, low);
    return true;
}

bool Walker::load_stack(const Reg& base, u32 base_reg, i32 off, u32 size, bool sign, Reg& out) {
    i64 low = 0, high = 0;
    if (!stack_range(base, base_reg, off, size, low, high) || !check_alignment(base, off, size)) return false;
    Number number = loaded(size);
    if (sign) number = sign_extend(number, 8 * size, false);
    if (!base.value.is_constant()) {
        if (!read_stack_bytes(base.frame, low, high, false)) return false;
        bool zero = true;
        for (i64 at = low; at < high; ++at)
            zero &= slot_seen(base.frame, at).bytes[static_cast<std::size_t>(at & 7)] == Byte::zero;
        out = unknown(zero ? Number::constant(0) : number);
        return true;
    }
    const Slot& slot = slot_seen(base.frame, low);
    const std::size_t first = static_cast<std::size_t>(low & 7);
    values_.mark(slot.version);
    const u32 saved = slot.saved_bytes();
    if (saved > 0 && is_pointer(slot.saved.type) && (first != 0 || size != 8))
        return fail(Finding::partial_pointer, low & ~i64{7});
    if (first == 0 && size <= saved) {
        out = slot.saved;
        if (size < 8 && out.value.umax > Number::Wide::mask >> (64 - 8 * size))
            out = Reg::number(truncate(out.value, 8 * size), values_.fresh(out.id));
        if (sign && size < 8) out = Reg::number(sign_extend(out.value, 8 * size, false), values_.fresh(out.id));
        return true;
    }
    bool zero = true;
    for (std::size_t i = first; i < first + size; ++i) {
        if (slot.bytes[i] == Byte::object) return fail(Finding::object_touched, low & ~i64{7});
        if (slot.bytes[i] == Byte::invalid && !options_.allow_ptr_leaks)
            return fail(Finding::uninitialized_stack, low, size);
        zero &= slot.bytes[i] == Byte::zero || (slot.bytes[i] == Byte::saved && slot.saved.is_zero());
    }
    if (zero && saved > 0) mark(slot.saved);
    out = unknown(zero ? Number::constant(0) : number);
    return true;
}

bool Walker::store_stack(const Reg& base, u32 base_reg, i32 off, u32 size, const Reg& value, u32 value_reg) {
    i64 low = 0, high = 0;
    if (!stack_range(base, base_reg, off, size, low, high) || !check_alignment(base, off, size)) return false;
    if (is_pointer(value.type)) {
        const bool known = base.value.is_constant();
        if (size != 8 && (known || !options_.allow_ptr_leaks)) return fail(Finding::partial_pointer, low);
        if (!known && !options_.allow_ptr_leaks) return fail(Finding::unbounded_stack, base_reg);
        if (value.type == Type::stack && base.frame != state_.depth())
            return fail(Finding::stack_pointer_saved, value_reg);
    }
    if (!base.value.is_constant()) return write_stack_bytes(base.frame, low, high, 0, 0);
    return store_slot(base.frame, low, size, value);
}

bool Walker::store_slot(u32 frame, i64 at, u32 size, const Reg& value) {
    if (!spoil_object(frame, at)) return false;
    Slot& slot = slot_at(frame, at);
    const std::size_t first = static_cast<std::size_t>(at & 7);
    slot.version = size == 8 ? values_.fresh() : values_.fresh(slot.version);
    slot.demote(options_.allow_ptr_leaks);
    if (first == 0) {
        slot.saved = value;
        slot.saved.unlink();
        if (size < 8 && value.value.umax > Number::Wide::mask >> (64 - 8 * size))
            slot.saved = Reg::number(truncate(value.value, 8 * size), values_.fresh(value.id));
        if (slot.saved.is_scalar()) values_.note_stored(slot.saved.base());
        for (std::size_t i = 0; i < size; ++i) slot.bytes[i] = Byte::saved;
        return true;
    }
    const bool zero = value.is_zero();
    if (zero) mark(value);
    for (std::size_t i = first; i < first + size; ++i) slot.bytes[i] = zero ? Byte::zero : Byte::misc;
    return true;
}

// All bytes low..high must be data. As a helper's argument they may not be an address either.
bool Walker::read_stack_bytes(u32 frame, i64 low, i64 high, bool argument) {
    for (i64 base = low & ~i64{7}; base < high; base += 8) {
        const Slot& slot = slot_seen(frame, base);
        values_.mark(slot.version);
        for (i64 at = std::max(base, low); at < std::min(base + 8, high); ++at) {
            const Byte byte = slot.bytes[static_cast<std::size_t>(at & 7)];
            if (byte == Byte::object) return fail(Finding::object_touched, base);
            if (options_.allow_ptr_leaks) continue;
            if (byte == Byte::invalid) return fail(Finding::uninitialized_stack, low, high - low);
            if (byte != Byte::saved || !is_pointer(slot.saved.type)) continue;
            if (argument && formats(static_cast<abi::HelperId>(insn().imm))) continue;
            if (argument) return fail(Finding::pointer_leak_stack, base, insn().imm);
            return fail(Finding::partial_pointer, base);
        }
    }
    return true;
}

// Some bytes of low..high are overwritten, those of sure_low..sure_high certainly.
bool Walker::write_stack_bytes(u32 frame, i64 low, i64 high, i64 sure_low, i64 sure_high) {
    const u32 written = values_.fresh();
    for (i64 base = low & ~i64{7}; base < high; base += 8) {
        if (slot_seen(frame, base).bytes[0] == Byte::object) return fail(Finding::object_touched, base);
        Slot& slot = slot_at(frame, base);
        const bool whole = sure_low <= base && base + 8 <= sure_high;
        if (!whole) values_.mark(slot.version);  // some of it stays
        slot.demote(options_.allow_ptr_leaks);
        slot.version = written;
        for (i64 at = std::max(base, low); at < std::min(base + 8, high); ++at) {
            Byte& byte = slot.bytes[static_cast<std::size_t>(at & 7)];
            if ((sure_low <= at && at < sure_high) || byte != Byte::invalid) byte = Byte::misc;
        }
    }
    return true;
}

// ---------------------------------------------------------------------------------------------- arguments of helpers

// The register is the address of least to most bytes that the helper reads or writes.
bool Walker::memory_argument(u32 index, u64 least, u64 most, bool write, abi::ArgKind kind) {
    Reg base = seen(index);
    const i64 size = static_cast<i64>(most);
    using K = abi::ArgKind;
    if (kind == K::mem_read_or_null || kind == K::mem_write_or_null || kind == K::map_value_or_null)
        base.type = without_null(base.type);
    switch (base.type) {
        case Type::stack: {
            i64 low = 0, high = 0;
            if (!stack_range(base, index, 0, size, low, high)) return false;
            if (!write) return read_stack_bytes(base.frame, low, high, form().call == isa::CallKind::helper);
            const bool fixed = base.value.is_constant();
            return write_stack_bytes(base.frame, low, high, low, fixed ? low + static_cast<i64>(least) : low);
        }
        case Type::map_value:
            return check_object(base, 0, size, map_of(base.object).value_size, Finding::out_of_map_value) &&
                   check_fields(base, 0, size) && check_map_access(base.object, write);
        case Type::map_key:
            if (write) return fail(Finding::read_only, index, static_cast<i64>(base.type));
            return check_object(base, 0, size, map_of(base.object).key_size, Finding::out_of_record);
        case Type::record:
            return check_object(base, 0, size, base.object, Finding::out_of_record);
        case Type::arena:
            return fail(Finding::arena_argument, index, static_cast<i64>(kind));
        case Type::memory:
            if (may_be_null(base)) return fail(Finding::maybe_null, index, static_cast<i64>(base.type));
            if (base.has(flag::untrusted)) break;
            return check_memory(base, index, 0, size, write);
        case Type::btf:
            if (may_be_null(base)) return fail(Finding::maybe_null, index, static_cast<i64>(base.type));
            // Helpers read what a load would; kernel functions have an argument's type for it.
            if (!write && is_trusted(base) && form().call == isa::CallKind::helper) {
                Reg read;
                return load_typed(base, index, 0, static_cast<u32>(std::min<u64>(most, UINT32_MAX)), false, read);
            }
            break;
        case Type::packet:
        case Type::packet_meta:
            if (arguments_.in_packet) return check_packet(base, 0, size, write);
            return fail(Finding::packet_argument, index, insn().imm);
        case Type::map_value_or_null:
        case Type::record_or_null:
        case Type::inner_map_or_null:
        case Type::sock_common_or_null:
        case Type::socket_or_null:
        case Type::tcp_sock_or_null:
        case Type::xdp_sock_or_null:
        case Type::cast_socket_or_null:
            return fail(Finding::maybe_null, index, static_cast<i64>(base.type));
        case Type::uninit:
        case Type::scalar:
        case Type::ctx:
        case Type::map:
        case Type::task:
        case Type::function:
        case Type::packet_end:
        case Type::sock_common:
        case Type::socket:
        case Type::tcp_sock:
        case Type::xdp_sock:
        case Type::cast_socket:
        case Type::flow_keys:
        case Type::trace_buffer:
        case Type::kernel_object:
        case Type::dynptr:
        case Type::iterator:
        case Type::interrupts:
            break;
    }
    return wrong_argument(index, kind);
}

// The same for a function that may read and write it.
bool Walker::update_argument(u32 index, u64 least, u64 most) {
    constexpr auto kind = abi::ArgKind::mem_update;
    return memory_argument(index, least, most, false, kind) && memory_argument(index, least, most, true, kind);
}

}  // namespace anybpf::verifier

// SPDX-License-Identifier: Apache-2.0
// Calls of helpers: the contract of abi/helpers.def, argument by argument, and what cannot be said in that table.
#include <algorithm>

#include "walker.hpp"

namespace anybpf::verifier {

using abi::ArgKind;
using abi::HelperId;
using abi::MapType;

namespace {

constexpr u64 max_size = u64{1} << 29;

// Maps that only some helpers may touch, and helpers that want one type of map (check_map_func_compatibility() of
// Linux 6.18).
bool map_fits(HelperId helper, MapType type) {
    using M = MapType;
    using H = HelperId;
    const auto is = [&](auto... types) { return ((type == types) || ...); };
    const auto calls = [&](auto... helpers) { return ((helper == helpers) || ...); };
    if (calls(H::ringbuf_output, H::ringbuf_reserve, H::ringbuf_query, H::ringbuf_reserve_dynptr))
        return is(M::ringbuf);
    if (calls(H::perf_event_output, H::perf_event_read, H::perf_event_read_value)) return is(M::perf_event_array);
    if (calls(H::tail_call)) return is(M::prog_array);
    if (calls(H::task_storage_get, H::task_storage_delete)) return is(M::task_storage);
    if (calls(H::inode_storage_get, H::inode_storage_delete)) return is(M::inode_storage);
    if (calls(H::cgrp_storage_get, H::cgrp_storage_delete)) return is(M::cgrp_storage);
    if (calls(H::skb_output, H::xdp_output)) return is(M::perf_event_array);
    if (calls(H::get_stackid)) return is(M::stack_trace);
    if (calls(H::skb_under_cgroup, H::current_task_under_cgroup)) return is(M::cgroup_array);
    if (calls(H::redirect_map)) return is(M::devmap, M::devmap_hash, M::cpumap, M::xskmap);
    if (calls(H::map_push_elem, H::map_peek_elem)) return is(M::queue, M::stack, M::bloom_filter);
    if (calls(H::map_pop_elem)) return is(M::queue, M::stack);
    if (calls(H::map_lookup_percpu_elem)) return is(M::percpu_array, M::percpu_hash, M::lru_percpu_hash);
    // Lookups in maps of maps and of sockets give other things than values.
    if (calls(H::map_lookup_elem) && is(M::devmap, M::devmap_hash)) return true;
    return is(M::hash, M::array, M::percpu_hash, M::percpu_array, M::lru_hash, M::lru_percpu_hash, M::lpm_trie);
}

// Takes an address to read from: that tells nobody where anything is.
bool reads_at(HelperId helper) {
    return helper == HelperId::probe_read || helper == HelperId::probe_read_str ||
           helper == HelperId::probe_read_user || helper == HelperId::probe_read_user_str ||
           helper == HelperId::probe_read_kernel || helper == HelperId::probe_read_kernel_str ||
           helper == HelperId::copy_from_user || helper == HelperId::copy_from_user_task;
}

// Gives -EFAULT and the like, or how many bytes of its buffer it has filled.
bool returns_length(HelperId helper) {
    return helper == HelperId::probe_read_str || helper == HelperId::probe_read_user_str ||
           helper == HelperId::probe_read_kernel_str;
}

}  // namespace

bool Walker::call() {
    switch (form().call) {
        case isa::CallKind::helper:
            return call_helper(static_cast<u32>(insn().imm));
        case isa::CallKind::subprogram:
            return call_subprogram(static_cast<u32>(i64{pc_} + 1 + insn().imm));
        case isa::CallKind::kfunc:
            return call_kfunc();
    }
    return fail(Finding::unsupported_insn, insn().code);
}

bool Walker::call_helper(u32 id) {
    const abi::HelperProto* proto = abi::find_helper(id);
    if (proto == nullptr)
        return fail(id > 0 && id < abi::helper_count ? Finding::helper_unavailable : Finding::unknown_helper,
                    insn().imm);
    if (proto->gpl_only && !program_.gpl_compatible) return fail(Finding::helper_gpl_only, id);
    if (!abi::may_call(proto->who, program_.type, program_.expected_attach_type))
        return fail(Finding::helper_program_type, id, static_cast<i64>(program_.type));
    if (proto->id == HelperId::d_path && !may_ask_for_paths())
        return fail(Finding::helper_attach, id, program_.attach_btf_id);
    const bool sleeps = proto->who == abi::HelperFor::sleepable || proto->id == HelperId::copy_from_user_task;
    if (sleeps && !program_.sleepable) return fail(Finding::helper_sleepable, id);

    if (sleeps && !may_sleep_here()) return false;

    arguments_ = {};
    arguments_.in_packet = proto->packet == abi::PacketUse::arguments;
    for (u32 i = 0; i < 5; ++i)
        if (!argument(i, *proto)) return false;

    if (proto->id == HelperId::tail_call) {
        if (!sections_ended()) return false;
        if (!state_.references.empty()) return fail(Finding::record_leak, state_.references.front().insn);
        for (const Frame& frame : state_.frames)
            if (frame.callback) return fail(Finding::tail_call_in_frame);
        tail_calls_ = true;
        if (state_.depth() > 0) {
            // When it succeeds, the function it stands in returns what the other program returns.
            State other = state_;
            const u32 back = other.frame().call_site + 1;
            other.frames.pop_back();
            other.frame().regs[0] = unknown();
            if (!set_aside(std::move(other), back)) return false;
        }
    }
    if (proto->id == HelperId::snprintf && arguments_.has_text) {
        if (arguments_.most % 8 != 0) return fail(Finding::bad_format, static_cast<i64>(arguments_.most / 8));
        if (!valid_format(arguments_.text, arguments_.most / 8))
            return fail(Finding::bad_format, static_cast<i64>(arguments_.most / 8));
    }
    if (proto->id == HelperId::loop) return call_back();
    return set_result(*proto);
}

bool Walker::set_result(const abi::HelperProto& proto) {
    if (arguments_.released != 0) {
        // Every copy of the record is gone.
        const u32 id = arguments_.released;
        state_.each([&](Reg& copy) {
            if (copy.type == Type::record && copy.id == id) copy = {};
        });
        for (Frame& frame : state_.frames)
            for (Slot& slot : frame.stack)
                if (slot.bytes[0] == Byte::saved && slot.saved.type == Type::uninit)
                    slot = {.bytes = {}, .version = values_.fresh(), .saved = {}};
        std::erase_if(state_.references, [&](const Reference& reference) { return reference.id == id; });
    }
    for (u32 r = 1; r <= 5; ++r) reg(r) = {};
    if (proto.packet == abi::PacketUse::moved ||
        (proto.id == HelperId::dynptr_write && dynptr_argument_.has(flag::in_packet)))
        lose_packets();
    switch (proto.returns) {
        case abi::RetKind::nothing:
            reg(0) = {};
            break;
        case abi::RetKind::scalar: {
            constexpr i64 max_errno = 4095;
            reg(0) = unknown(returns_length(proto.id) ? Number::of_range(-max_errno, static_cast<i64>(arguments_.most))
                                                      : Number::unknown());
            break;
        }
        case abi::RetKind::map_value_or_null:
            reg(0) = Reg::pointer(Type::map_value_or_null, arguments_.map, next_id_++);
            break;
        case abi::RetKind::ringbuf_record_or_null: {
            const u32 id = next_id_++;
            reg(0) = Reg::pointer(Type::record_or_null, static_cast<u32>(arguments_.allocate), id);
            state_.references.push_back({id, pc_, state_.depth()});
            break;
        }
        case abi::RetKind::btf_task:
            reg(0) = current_task();
            break;
        case abi::RetKind::btf_socket_or_null:
        case abi::RetKind::btf_pt_regs:
        case abi::RetKind::cpu_object:
        case abi::RetKind::cpu_object_or_null:
            reg(0) = typed_result(proto.returns);
            break;
        case abi::RetKind::dynptr_memory_or_null:
            reg(0) = dynptr_memory(static_cast<u32>(arguments_.allocate), false);
            break;
    }
    return true;
}

// bpf_loop(): the callback runs any number of times. One path goes on behind the call, another enters the callback,
// from whose end it comes back to the call (Walker::visit cuts it off once it brings nothing new).
bool Walker::call_back() {
    Frame& frame = state_.frame();
    const Reg count = frame.regs[1], context = frame.regs[3];
    mark(count);
    if (!count.is_scalar() || frame.rounds < count.value.umax) {
        State other = state_;
        ++other.frame().rounds;
        if (!enter(other, arguments_.function, true)) return false;
        other.frame().regs[1] = unknown();
        other.frame().regs[2] = context;
        if (!set_aside(std::move(other), arguments_.function)) return false;
    }
    frame.activation = frame.rounds = 0;
    for (u32 r = 1; r <= 5; ++r) frame.regs[r] = {};
    frame.regs[0] = unknown();
    return true;
}

// ---------------------------------------------------------------------------------------------------------- arguments

bool Walker::formats(HelperId helper) {
    return helper == HelperId::trace_printk || helper == HelperId::trace_vprintk || helper == HelperId::snprintf ||
           helper == HelperId::seq_printf || helper == HelperId::snprintf_btf || helper == HelperId::seq_printf_btf;
}

bool Walker::wrong_argument(u32 index, ArgKind kind) {
    return fail(Finding::wrong_argument, index, static_cast<i64>(reg(index).type), static_cast<i64>(kind));
}

bool Walker::argument(u32 i, const abi::HelperProto& proto) {
    const ArgKind kind = proto.args[i];
    if (kind == ArgKind::none) return true;
    const u32 index = i + 1;
    if (kind == ArgKind::variadic && reg(index).type == Type::uninit) return true;
    if (!readable(index)) return false;
    const Reg at = reg(index);
    switch (kind) {
        case ArgKind::none:
            return true;
        case ArgKind::anything:
        case ArgKind::variadic:
            if (is_pointer(at.type) && !options_.allow_ptr_leaks && !reads_at(proto.id) && !formats(proto.id))
                return fail(Finding::pointer_leak_argument, index, static_cast<i64>(at.type),
                            static_cast<i64>(proto.id));
            return true;
        case ArgKind::const_map:
            return map_argument(index, proto);
        case ArgKind::map_key: {
            const u32 size = program_.maps[arguments_.map].key_size;
            return memory_argument(index, size, size, false, kind);
        }
        case ArgKind::map_value: {
            const u32 size = program_.maps[arguments_.map].value_size;
            return memory_argument(index, size, size, false, kind);
        }
        case ArgKind::map_value_out: {
            const u32 size = program_.maps[arguments_.map].value_size;
            return memory_argument(index, size, size, true, kind);
        }
        case ArgKind::long_out: {
            if (at.type == Type::stack && !at.value.is_constant()) return fail(Finding::unbounded_stack, index);
            return check_alignment(at, at.off, 8) && memory_argument(index, 8, 8, true, kind);
        }
        case ArgKind::mem_update:
        case ArgKind::mem_read:
        case ArgKind::mem_write:
        case ArgKind::mem_read_or_null:
        case ArgKind::mem_write_or_null:
            arguments_.memory = index;  // looked at with its size
            arguments_.memory_kind = kind;
            return true;
        case ArgKind::size:
        case ArgKind::size_or_zero:
            return size_argument(index, kind);
        case ArgKind::alloc_size:
            if (!at.is_scalar()) return wrong_argument(index, kind);
            mark(at);
            if (!at.is_constant() || at.value.umin >= max_size) return fail(Finding::size_not_constant, index);
            arguments_.allocate = at.value.umin;
            return true;
        case ArgKind::context:
            if (at.type != Type::ctx) return wrong_argument(index, kind);
            return at.value.is_constant(0) || fail(Finding::context_offset, index);
        case ArgKind::ringbuf_record:
            return release_record(index);
        case ArgKind::const_string:
            arguments_.has_text = string_argument(index, arguments_.text);
            return arguments_.has_text;
        case ArgKind::callback:
            if (at.type != Type::function) return wrong_argument(index, kind);
            arguments_.function = at.object;
            return true;
        case ArgKind::map_value_or_null: {
            if (at.is_scalar()) mark(at);
            const u32 size = program_.maps[arguments_.map].value_size;
            return at.is_zero() || memory_argument(index, size, size, false, kind);
        }
        case ArgKind::btf_task:
        case ArgKind::btf_task_or_null:
        case ArgKind::btf_cgroup_or_null:
        case ArgKind::btf_file:
        case ArgKind::btf_path:
        case ArgKind::btf_inode_or_null:
        case ArgKind::btf_seq_file:
        case ArgKind::btf_skb:
        case ArgKind::btf_xdp:
        case ArgKind::percpu_object:
            return typed_argument(index, kind);
        case ArgKind::dynptr:
        case ArgKind::dynptr_ring:
        case ArgKind::dynptr_out:
        case ArgKind::dynptr_ring_out:
            return helper_dynptr(index, kind);
        case ArgKind::stack_or_null:
            if (at.is_scalar()) mark(at);
            return at.type == Type::stack || at.is_zero() || wrong_argument(index, kind);
    }
    return false;
}

bool Walker::map_argument(u32 index, const abi::HelperProto& proto) {
    const Reg& at = reg(index);
    if (at.type != Type::map) return wrong_argument(index, ArgKind::const_map);
    arguments_.map = at.object;
    const auto& map = program_.maps[at.object];
    if (!map_fits(proto.id, map.type)) return fail(Finding::wrong_map_type, at.object, static_cast<i64>(proto.id));
    const bool changes = proto.id == HelperId::map_update_elem || proto.id == HelperId::map_delete_elem;
    return !changes || check_map_access(at.object, true);
}

bool Walker::size_argument(u32 index, ArgKind kind) {
    const Reg size = reg(index);
    if (!size.is_scalar()) return wrong_argument(index, kind);
    mark(size);
    if (size.value.smin < 0 || size.value.umax >= max_size)
        return fail(Finding::unbounded_size, index, size.value.smin, size.value.smax);
    if (kind == ArgKind::size && size.value.umin == 0) return fail(Finding::zero_size, index);
    arguments_.most = size.value.umax;

    const Reg memory = reg(arguments_.memory);
    if (arguments_.memory_kind == ArgKind::mem_update)
        return memory_argument(arguments_.memory, size.value.umin, size.value.umax, false, ArgKind::mem_update) &&
               memory_argument(arguments_.memory, size.value.umin, size.value.umax, true, ArgKind::mem_update);
    const bool write =
        arguments_.memory_kind == ArgKind::mem_write || arguments_.memory_kind == ArgKind::mem_write_or_null;
    const bool nullable =
        arguments_.memory_kind == ArgKind::mem_read_or_null || arguments_.memory_kind == ArgKind::mem_write_or_null;
    if (memory.is_scalar() && nullable) {
        mark(memory);
        if (memory.is_zero()) return size.is_zero() || wrong_argument(arguments_.memory, arguments_.memory_kind);
    }
    return memory_argument(arguments_.memory, size.value.umin, size.value.umax, write, arguments_.memory_kind);
}

bool Walker::string_argument(u32 index, std::string_view& text) {
    const Reg& at = reg(index);
    if (at.type != Type::map_value) return wrong_argument(index, ArgKind::const_string);
    const auto& map = program_.maps[at.object];
    const auto bytes = map.frozen;
    if (map.max_entries != 1 || !at.value.is_constant() || at.value.smin < 0 ||
        at.value.umin >= std::min<u64>(bytes.size(), map.value_size))
        return fail(Finding::bad_string, index);
    const std::string_view all(static_cast<const char*>(static_cast<const void*>(bytes.data())),
                               std::min<std::size_t>(bytes.size(), map.value_size));
    const std::size_t end = all.find('\0', at.value.umin);
    if (end == std::string_view::npos) return fail(Finding::bad_string, index);
    text = all.substr(at.value.umin, end - at.value.umin);
    return true;
}

bool Walker::release_record(u32 index) {
    const Reg& at = reg(index);
    if (at.type == Type::record_or_null) return fail(Finding::maybe_null, index, static_cast<i64>(at.type));
    if (at.type != Type::record) return wrong_argument(index, ArgKind::ringbuf_record);
    if (!at.value.is_constant(0)) return fail(Finding::record_modified, index);
    for (const Reference& reference : state_.references) {
        if (reference.id != at.id) continue;
        // Rounds of a callback would release it again.
        for (u32 frame = reference.frame + 1; frame <= state_.depth(); ++frame)
            if (state_.frames[frame].callback) return fail(Finding::record_of_caller, reference.insn);
        arguments_.released = at.id;
        return true;
    }
    return fail(Finding::record_modified, index);
}

}  // namespace anybpf::verifier

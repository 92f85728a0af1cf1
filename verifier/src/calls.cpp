// SPDX-License-Identifier: Apache-2.0
// Calls of helpers: the contract of abi/helpers.def, argument by argument, and what cannot be said in that table.
#include <algorithm>

#include "anybpf/abi/context.hpp"
#include "walker.hpp"

namespace anybpf::verifier {

using abi::ArgKind;
using abi::HelperId;
using abi::MapType;

namespace {

constexpr u64 max_size = u64{1} << 29;

// Takes an address to read from: that tells nobody where anything is.
bool reads_at(HelperId helper) {
    return helper == HelperId::probe_read || helper == HelperId::probe_read_str ||
           helper == HelperId::probe_read_user || helper == HelperId::probe_read_user_str ||
           helper == HelperId::probe_read_kernel || helper == HelperId::probe_read_kernel_str ||
           helper == HelperId::copy_from_user || helper == HelperId::copy_from_user_task;
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
    const abi::HelperProto* proto = abi::find_helper(id, program_.type, program_.expected_attach_type);
    if (proto == nullptr)
        return fail(id > 0 && id < abi::helper_count ? Finding::helper_unavailable : Finding::unknown_helper,
                    insn().imm);
    if (proto->gpl_only && !program_.gpl_compatible) return fail(Finding::helper_gpl_only, id);
    const bool variant = proto != abi::find_helper(id);
    if (!variant && !abi::may_call(proto->who, program_.type, program_.expected_attach_type))
        return fail(Finding::helper_program_type, id, static_cast<i64>(program_.type));
    if (proto->id == HelperId::get_func_ip && program_.type != abi::ProgType::kprobe &&
        program_.type != abi::ProgType::tracing)
        return fail(Finding::helper_program_type, id, static_cast<i64>(program_.type));
    if (abi::sleeps(proto->id) && !sleepable()) return fail(Finding::helper_sleepable, id);
    if (state_.lock.held && proto->id != HelperId::spin_unlock)
        return fail(Finding::lock_held_call, id, state_.lock.insn);
    if (proto->id == HelperId::d_path && !may_ask_for_paths())
        return fail(Finding::helper_attach, id, program_.attach_btf_id);
    if (abi::sleeps(proto->id) && !may_sleep_here()) return false;

    arguments_ = {};
    arguments_.in_packet = abi::passes_packets(program_.type, proto->packet == abi::PacketUse::arguments);
    for (u32 i = 0; i < 5; ++i)
        if (!argument(i, *proto)) return false;
    argument_ = 0;

    if (proto->id == HelperId::tail_call) {
        if (!sections_ended()) return false;
        if (!state_.references.empty()) return fail_leak(state_.references.front());
        for (const Frame& frame : state_.frames)
            if (frame.callback) return fail(Finding::tail_call_in_frame);
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
        // Linux goes by the bits that are known of the size; what is longer is not looked at.
        const u64 bytes = seen(5).value.bits.value;
        if (bytes % 8 != 0 || !valid_format(arguments_.text, bytes / 8))
            return fail(Finding::bad_format, static_cast<i64>(bytes / 8));
    }
    if (calls_back(proto->id)) return call_back(proto->id);
    if (proto->id == HelperId::timer_set_callback &&
        !call_later(arguments_.function, arguments_.map, arguments_.lookup, Async::timer))
        return false;
    return set_result(*proto);
}

bool Walker::set_result(const abi::HelperProto& proto) {
    if (proto.id == HelperId::kptr_xchg) return exchange_kptr();
    if (arguments_.released != 0) release(arguments_.released);
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
            reg(0) =
                unknown(abi::returns_length(proto.id) ? Number::of_range(-max_errno, static_cast<i64>(arguments_.most))
                        : proto.id == HelperId::get_smp_processor_id ? Number::of_range(0, i64{options_.cpus} - 1)
                                                                     : Number::unknown());
            break;
        }
        case abi::RetKind::map_value_or_null:
            if (give_element(proto)) break;
            reg(0) = arguments_.in_array ? Reg::pointer(Type::map_value, arguments_.map)
                                         : Reg::pointer(Type::map_value_or_null, arguments_.map, next_id_++);
            reg(0).off = arguments_.lookup;
            // The locks of two lookups are different ones, also where neither can fail.
            if (reg(0).id == 0 && (field_of(arguments_.map, FieldKind::spin_lock) != nullptr ||
                                   field_of(arguments_.map, FieldKind::resilient_lock) != nullptr))
                reg(0).id = next_id_++;
            break;
        case abi::RetKind::map_value:
            reg(0) = Reg::pointer(Type::map_value, arguments_.map);
            break;
        case abi::RetKind::sock_common_or_null:
            give_socket(Type::sock_common_or_null, proto);
            break;
        case abi::RetKind::socket_or_null:
            give_socket(Type::socket_or_null, proto);
            break;
        case abi::RetKind::tcp_sock_or_null:
            give_socket(Type::tcp_sock_or_null, proto);
            break;
        case abi::RetKind::cast_socket_or_null:
            give_socket(Type::cast_socket_or_null, proto);
            break;
        case abi::RetKind::kernel_object:
            reg(0) = Reg::pointer(Type::kernel_object);
            break;
        case abi::RetKind::kernel_object_or_null:
            return fail(Finding::helper_unavailable, static_cast<i64>(proto.id));
        case abi::RetKind::ringbuf_record_or_null: {
            const u32 id = next_id_++;
            reg(0) = Reg::pointer(Type::record_or_null, static_cast<u32>(arguments_.allocate), id);
            state_.references.push_back({id, pc_});
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
    const u32 index = argument_ = i + 1;
    if (kind == ArgKind::variadic && reg(index).type == Type::uninit) return true;
    if (!readable(index)) return false;
    const Reg at = reg(index);
    const bool any = kind == ArgKind::anything || kind == ArgKind::variadic || kind == ArgKind::kptr_slot;
    if (!any && !note_reference(index)) return false;
    switch (kind) {
        case ArgKind::none:
            return true;
        case ArgKind::anything:
        case ArgKind::variadic:
            if (proto.id == HelperId::get_local_storage) {
                mark(at);
                return at.is_zero() || fail(Finding::storage_flags, index);
            }
            if (is_pointer(at.type) && !options_.allow_ptr_leaks && !reads_at(proto.id) && !formats(proto.id))
                return fail(Finding::pointer_leak_argument, index, static_cast<i64>(at.type),
                            static_cast<i64>(proto.id));
            return true;
        case ArgKind::const_map:
            return map_argument(index, proto);
        case ArgKind::map_key: {
            const u32 size = map_of(arguments_.map).key_size;
            if (!memory_argument(index, size, size, false, kind)) return false;
            arguments_.in_array = proto.id == HelperId::map_lookup_elem && is_element(at, arguments_.map);
            return true;
        }
        case ArgKind::map_value:
        case ArgKind::map_value_or_null: {
            const program::MapInfo& map = map_of(arguments_.map);
            if (map.type == MapType::sockmap || map.type == MapType::sockhash)
                return socket_argument(index, ArgKind::any_sock);
            if (at.is_scalar()) mark(at);
            if (kind == ArgKind::map_value_or_null && at.is_zero()) return true;
            return memory_argument(index, map.value_size, map.value_size, false, kind);
        }
        case ArgKind::map_value_out: {
            const program::MapInfo& map = map_of(arguments_.map);
            const bool write = map.type != MapType::bloom_filter;  // which is asked whether it has the value
            return memory_argument(index, map.value_size, map.value_size, write, kind);
        }
        case ArgKind::long_out: {
            if (at.type == Type::stack && !at.value.is_constant()) return fail(Finding::unbounded_stack, index);
            return check_alignment(at, at.off, 8) && memory_argument(index, 8, 8, true, kind);
        }
        case ArgKind::int_update:
            if (at.type == Type::stack && !at.value.is_constant()) return fail(Finding::unbounded_stack, index);
            return check_alignment(at, at.off, 4) && memory_argument(index, 4, 4, false, kind) &&
                   memory_argument(index, 4, 4, true, kind);
        case ArgKind::ipv4_header:
        case ArgKind::tcp_header:
            return memory_argument(index, 20, 20, false, kind);
        case ArgKind::ipv6_header:
            return memory_argument(index, 40, 40, false, kind);
        case ArgKind::sock_common:
        case ArgKind::any_sock:
        case ArgKind::any_sock_or_null:
        case ArgKind::socket_or_null:
        case ArgKind::released_sock:
            return socket_argument(index, kind);
        case ArgKind::spin_lock:
            return lock_argument(index, proto.id);
        case ArgKind::timer:
            return timer_argument(index);
        case ArgKind::kptr_slot:
            return kptr_slot_argument(index);
        case ArgKind::kernel_object_or_null:
            if (proto.id == HelperId::kptr_xchg) return kptr_argument(index);
            [[fallthrough]];
        case ArgKind::kernel_object:
            return fail(Finding::helper_unavailable, static_cast<i64>(proto.id));
        case ArgKind::context_or_null:
            if (at.is_scalar()) mark(at);
            if (at.is_zero()) return true;
            [[fallthrough]];
        case ArgKind::context:
            if (at.type != Type::ctx) return wrong_argument(index, kind);
            return at.value.is_constant(0) || fail(Finding::context_offset, index);
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
            if (!at.is_constant()) return fail(Finding::size_not_constant, index);
            arguments_.allocate = at.value.umin;  // of which Linux keeps 32 bits: the ring gives nothing of that size
            return true;
        case ArgKind::ringbuf_record:
            return release_record(index);
        case ArgKind::const_string:
            arguments_.has_text = string_argument(index, arguments_.text);
            return arguments_.has_text;
        case ArgKind::callback:
            if (at.type != Type::function) return wrong_argument(index, kind);
            arguments_.function = at.object;
            return true;
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

// Whether the key at that address is known, and is that of an element that the array has: looking it up cannot fail.
bool Walker::is_element(const Reg& key, u32 map) {
    if (map >= program_.maps.size()) return false;  // a map in a map: another one may have fewer elements
    const program::MapInfo& info = program_.maps[map];
    if (info.type != MapType::array && info.type != MapType::percpu_array) return false;
    if (key.type != Type::stack || !key.value.is_constant()) return false;
    const i64 at = key.value.smin;
    const Slot& slot = slot_seen(key.frame, at);
    const std::size_t first = static_cast<std::size_t>(at & 7);
    if (first > 4) return false;
    if (first == 0 && slot.saved_bytes() == 4 && slot.saved.is_constant() && slot.saved.value.umin < info.max_entries) {
        mark(slot.saved);
        return true;
    }
    bool zero = info.max_entries > 0;
    for (std::size_t i = first; i < first + 4; ++i)
        zero &= slot.bytes[i] == Byte::zero || (first == 4 && slot.bytes[i] == Byte::saved && slot.saved.is_zero());
    if (zero && slot.saved_bytes() == 8) mark(slot.saved);
    return zero;
}

bool Walker::map_argument(u32 index, const abi::HelperProto& proto) {
    const Reg& at = reg(index);
    if (at.type != Type::map) return wrong_argument(index, ArgKind::const_map);
    if (arguments_.timer && (arguments_.map != at.object || arguments_.lookup != at.off))
        return fail(Finding::timer_of_other_map, index);
    arguments_.map = at.object;
    arguments_.lookup = at.off;
    if (!map_fits(proto.id, map_of(at.object).type, program_.type, program_.expected_attach_type))
        return fail(Finding::wrong_map_type, at.object, static_cast<i64>(proto.id));
    const program::MapInfo& map = map_of(at.object);
    const bool of_maps = map.type == MapType::array_of_maps || map.type == MapType::hash_of_maps;
    if (of_maps && map.inner == nullptr)  // of which nobody knows what its maps are like
        return fail(Finding::wrong_map_type, at.object, static_cast<i64>(proto.id));
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
    arguments_.most = size.value.umax, arguments_.least = size.value.umin;

    argument_ = arguments_.memory;
    const Reg memory = reg(arguments_.memory);
    if (arguments_.memory_kind == ArgKind::mem_update)
        return update_argument(arguments_.memory, size.value.umin, size.value.umax);
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
    const auto& map = map_of(at.object);
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
    arguments_.released = at.id;
    return true;
}

}  // namespace anybpf::verifier

// SPDX-License-Identifier: Apache-2.0
// Objects that programs hold: maps in maps, sockets and records with their references, the lock and the timer in a map
// value. As check_map_func_compatibility(), check_reg_type(), process_spin_lock() and release_reference() of Linux
// 6.18 decide.
#include <algorithm>

#include "anybpf/abi/context.hpp"
#include "anybpf/btf/btf.hpp"
#include "walker.hpp"

namespace anybpf::verifier {

using abi::ArgKind;
using abi::HelperId;
using abi::MapType;
using abi::ProgType;

// ---------------------------------------------------------------------------------------------------------------- maps

namespace {

bool is_socket_map(MapType type) { return type == MapType::sockmap || type == MapType::sockhash; }

// Where a socket of a map of sockets may change: where nobody has it locked.
bool may_change_sockets(HelperId helper, ProgType type, abi::AttachType attach) {
    using P = ProgType;
    const auto one_of = [&](auto... types) { return ((type == types) || ...); };
    if (type == P::tracing) return attach == abi::AttachType::trace_iter;
    if (type == P::sock_ops) return helper == HelperId::map_delete_elem;
    return one_of(P::socket_filter, P::sched_cls, P::sched_act, P::xdp, P::sk_reuseport, P::flow_dissector,
                  P::sk_lookup);
}

// What the elements of a map can be, for the helpers that serve maps of several types.
bool is_plain_map(MapType type) {
    using M = MapType;
    const auto is = [&](auto... types) { return ((type == types) || ...); };
    return is(M::hash, M::array, M::percpu_hash, M::percpu_array, M::lru_hash, M::lru_percpu_hash, M::lpm_trie);
}

// Maps whose elements stay while a program that uses them sleeps.
bool may_sleep_over(MapType type) {
    using M = MapType;
    const auto is = [&](auto... types) { return ((type == types) || ...); };
    return (is_plain_map(type) && !is(M::lpm_trie)) ||
           is(M::array_of_maps, M::hash_of_maps, M::ringbuf, M::user_ringbuf, M::sk_storage, M::inode_storage,
              M::task_storage, M::cgrp_storage, M::queue, M::stack, M::arena);
}

// Maps whose values may have such a field (map_check_btf() of Linux 6.18).
bool may_have(MapType type, FieldKind kind) {
    using M = MapType;
    const auto is = [&](auto... types) { return ((type == types) || ...); };
    const bool storage = is(M::sk_storage, M::inode_storage, M::task_storage, M::cgrp_storage);
    switch (kind) {
        case FieldKind::spin_lock:
        case FieldKind::resilient_lock:
            return storage || is(M::hash, M::array, M::cgroup_storage);
        case FieldKind::timer:
        case FieldKind::work_queue:
        case FieldKind::task_work:
        case FieldKind::list_head:
        case FieldKind::tree_root:
            return is(M::hash, M::lru_hash, M::array);
        case FieldKind::kptr:
        case FieldKind::kptr_untrusted:
        case FieldKind::kptr_percpu:
        case FieldKind::refcount:
            return storage || is(M::hash, M::percpu_hash, M::lru_hash, M::lru_percpu_hash, M::array, M::percpu_array);
        case FieldKind::user_pointer:
            return is(M::task_storage);
        case FieldKind::list_node:
        case FieldKind::tree_node:
            break;  // of objects: in values they mean nothing
    }
    return true;
}

}  // namespace

bool map_fits(HelperId helper, MapType type, ProgType program, abi::AttachType attach) {
    using M = MapType;
    using H = HelperId;
    const auto is = [&](auto... types) { return ((type == types) || ...); };
    const auto calls = [&](auto... helpers) { return ((helper == helpers) || ...); };
    if (calls(H::ringbuf_output, H::ringbuf_reserve, H::ringbuf_query, H::ringbuf_reserve_dynptr))
        return is(M::ringbuf);
    if (calls(H::user_ringbuf_drain)) return is(M::user_ringbuf);
    if (calls(H::perf_event_output, H::perf_event_read, H::perf_event_read_value, H::skb_output, H::xdp_output))
        return is(M::perf_event_array);
    if (calls(H::tail_call)) return is(M::prog_array);
    if (calls(H::get_stackid)) return is(M::stack_trace);
    if (calls(H::skb_under_cgroup, H::current_task_under_cgroup)) return is(M::cgroup_array);
    if (calls(H::get_local_storage)) return is(M::cgroup_storage, M::percpu_cgroup_storage);
    if (calls(H::redirect_map)) return is(M::devmap, M::devmap_hash, M::cpumap, M::xskmap);
    if (calls(H::sk_redirect_map, H::msg_redirect_map, H::sock_map_update)) return is(M::sockmap);
    if (calls(H::sk_redirect_hash, H::msg_redirect_hash, H::sock_hash_update)) return is(M::sockhash);
    if (calls(H::sk_select_reuseport)) return is(M::reuseport_sockarray, M::sockmap, M::sockhash);
    if (calls(H::map_push_elem, H::map_peek_elem)) return is(M::queue, M::stack, M::bloom_filter);
    if (calls(H::map_pop_elem)) return is(M::queue, M::stack);
    if (calls(H::map_lookup_percpu_elem)) return is(M::percpu_array, M::percpu_hash, M::lru_percpu_hash);
    if (calls(H::sk_storage_get, H::sk_storage_delete)) return is(M::sk_storage);
    if (calls(H::task_storage_get, H::task_storage_delete)) return is(M::task_storage);
    if (calls(H::inode_storage_get, H::inode_storage_delete)) return is(M::inode_storage);
    if (calls(H::cgrp_storage_get, H::cgrp_storage_delete)) return is(M::cgrp_storage);
    if (calls(H::for_each_map_elem)) return is_plain_map(type) && !is(M::lpm_trie);
    if (calls(H::timer_init)) return true;  // has no say in it: its timer is of that map
    if (is_socket_map(type))
        return calls(H::map_lookup_elem) ||
               (calls(H::map_update_elem, H::map_delete_elem) && may_change_sockets(helper, program, attach));
    if (calls(H::map_lookup_elem) && is(M::devmap, M::devmap_hash, M::xskmap, M::array_of_maps, M::hash_of_maps))
        return true;
    return is_plain_map(type);
}

const program::MapInfo& Walker::map_of(u32 object) const { return verifier::map_of(program_, object); }

// Which programs may name a map at all (check_map_prog_compatibility()).
bool Walker::check_maps() {
    std::array<i32, 2> storages = {-1, -1};
    for (u32 pc = 0; pc < program_.insns.size(); pc += isa::slots(program_.insns[pc])) {
        const isa::Form& form = structure_.forms[pc];
        if (form.kind != isa::Kind::wide) continue;
        if (form.pseudo != isa::Pseudo::map_idx && form.pseudo != isa::Pseudo::map_idx_value) continue;
        const i32 index = program_.insns[pc].imm;
        const MapType type = map_of(static_cast<u32>(index)).type;
        pc_ = pc;
        if (!check_map_fields(static_cast<u32>(index))) return false;
        if (program_.sleepable && !may_sleep_over(type)) return fail(Finding::map_sleepable, index);
        if (type == MapType::arena && !use_arena(static_cast<u32>(index))) return false;
        if (type == MapType::struct_ops) return fail(Finding::wrong_map, index);
        if (type != MapType::cgroup_storage && type != MapType::percpu_cgroup_storage) continue;
        i32& mine = storages[type == MapType::cgroup_storage ? 0 : 1];
        if (mine >= 0 && mine != index) return fail(Finding::second_storage, index);
        mine = index;
    }
    pc_ = 0;
    return true;
}

// -------------------------------------------------------------------------------------- what lies in a map's value

const Fields& Walker::known_fields(u32 object) {
    fields_.resize(2 * program_.maps.size());
    auto& known = fields_[object];
    if (!known) {
        known.emplace();
        const program::MapInfo& map = map_of(object);
        if (map.btf != nullptr && map.btf_value_type_id != 0) *known = find_fields(*map.btf, map.btf_value_type_id);
    }
    return *known;
}

// What the map's values have goes together, and with the map's type and the program's.
bool Walker::check_map_fields(u32 map) {
    using P = ProgType;
    const auto one_of = [&](auto... types) { return ((program_.type == types) || ...); };
    const bool tracing = one_of(P::kprobe, P::tracepoint, P::perf_event, P::raw_tracepoint, P::raw_tracepoint_writable);
    const Fields& fields = known_fields(map);
    if (fields.flaw != Flaw::none) return fail(Finding::bad_map_fields, map, static_cast<i64>(fields.flaw));
    for (const ValueField& field : fields.record) {
        if (!may_have(map_of(map).type, field.kind))
            return fail(Finding::field_map_type, map, static_cast<i64>(field.kind));
        const bool lock = field.kind == FieldKind::spin_lock || field.kind == FieldKind::resilient_lock;
        const bool timer = field.kind == FieldKind::timer;
        const bool barred = lock || timer || field.kind == FieldKind::work_queue || is_graph_root(field.kind);
        if (!barred || (!tracing && !(lock && one_of(P::socket_filter)))) continue;
        return fail(field.kind == FieldKind::spin_lock ? Finding::lock_program
                    : timer                            ? Finding::timer_program
                                                       : Finding::field_program,
                    map, static_cast<i64>(program_.type), static_cast<i64>(field.kind));
    }
    return true;
}

// None of the bytes is the kernel's own; a whole pointer may be, where the caller takes one.
bool Walker::check_fields(const Reg& base, i64 off, i64 size, const ValueField** pointer) {
    for (const ValueField& field : fields_of(base.object)) {
        if (base.value.smin + off >= i64{field.offset} + i64{field.size} ||
            i64{field.offset} >= static_cast<i64>(base.value.umax) + off + size)
            continue;
        if (field.kind == FieldKind::spin_lock) return fail(Finding::lock_access, field.offset, base.object);
        if (field.kind == FieldKind::timer) return fail(Finding::timer_access, field.offset, base.object);
        if (!is_pointer(field.kind))
            return fail(Finding::field_access, field.offset, base.object, static_cast<i64>(field.kind));
        if (pointer == nullptr || size != 8 || !base.value.is_constant() || base.value.smin + off != field.offset)
            return fail(Finding::kptr_access, field.offset, base.object);
        *pointer = &field;
    }
    return true;
}

// ---------------------------------------------------------------------------------------------------------- references

// What has been acquired is lost here.
bool Walker::fail_leak(const Reference& reference) {
    const bool record = program_.insns[reference.insn].imm == static_cast<i32>(HelperId::ringbuf_reserve);
    return fail(record ? Finding::record_leak : Finding::reference_leak, reference.insn);
}

// Nothing that has been acquired is held where the program or a part of it ends.
bool Walker::check_released() {
    if (!state_.references.empty()) return fail_leak(state_.references.front());
    return !state_.lock.held || fail(Finding::lock_held_at_end, state_.lock.insn);
}

// All that lives by the reference is gone: whoever holds it, or points into what it stands for, holds nothing any more.
void Walker::release(u32 id) {
    lose([&](const Reg& reg) {
        return reg.reference() == id || (reg.type == Type::memory && static_cast<u32>(reg.off) == id);
    });
    for (Frame& frame : state_.frames)
        for (Slot& slot : frame.stack)
            if (slot.bytes[0] == Byte::object && slot.saved.reference() == id)
                slot = {.bytes = {}, .version = values_.fresh(), .saved = {}};
    std::erase_if(state_.references, [&](const Reference& reference) { return reference.id == id; });
}

// The reference that an argument lives by: at most one argument of a call has one.
bool Walker::note_reference(u32 index) {
    const u32 id = reg(index).reference();
    if (id == 0) return true;
    if (arguments_.reference != 0) return fail(Finding::two_references, index);
    arguments_.reference = id;
    return true;
}

// ------------------------------------------------------------------------------------------------------------- sockets

bool Walker::socket_argument(u32 index, ArgKind kind) {
    const Reg& at = reg(index);
    const bool nullable = kind == ArgKind::any_sock_or_null || kind == ArgKind::socket_or_null;
    if (at.is_scalar()) mark(at);
    if (nullable && at.is_zero()) return true;
    const bool any = kind == ArgKind::any_sock || kind == ArgKind::any_sock_or_null || kind == ArgKind::released_sock;
    if (at.type == Type::btf && any) {
        // An object that begins with a struct sock_common, in the kernel's own care.
        if (at.has(flag::null)) return fail(Finding::maybe_null, index, static_cast<i64>(at.type));
        if (at.has(flag::own | flag::untrusted | flag::rcu | flag::percpu | flag::user))
            return wrong_argument(index, kind);
        const u32 wanted = kernel_struct("sock_common");
        if (wanted == 0 || !at.value.is_constant() || at.value.smin < 0 ||
            !lies_within(*program_.kernel_btf, at.object, at.value.umin, wanted))
            return fail(Finding::typed_argument, index, type_argument(at), wanted);
        if (kind == ArgKind::released_sock && !at.has(flag::referenced))
            return fail(Finding::not_acquired, index, static_cast<i64>(at.type));
        if (kind == ArgKind::released_sock) arguments_.released = at.id;
        return true;
    }
    const Type type = nullable ? without_null(at.type) : at.type;
    if (may_be_null(type) && is_socket(type)) return fail(Finding::maybe_null, index, static_cast<i64>(type));
    const bool good = kind == ArgKind::sock_common      ? is_plain_socket(type)
                      : kind == ArgKind::socket_or_null ? type == Type::socket
                                                        : is_socket(type);
    if (!good) return wrong_argument(index, kind);
    if (!at.value.is_constant(0)) return wrong_argument(index, kind);
    if (kind == ArgKind::released_sock) {
        if (at.object == 0) return fail(Finding::not_acquired, index, static_cast<i64>(type));
        arguments_.released = at.object;
    }
    return true;
}

// A load from a socket that BTF does not describe.
bool Walker::check_socket(const Reg& base, i64 off, u32 size) {
    using abi::ObjectKind;
    const ObjectKind kind = base.type == Type::sock_common ? ObjectKind::sock_common
                            : base.type == Type::socket    ? ObjectKind::socket
                            : base.type == Type::tcp_sock  ? ObjectKind::tcp_sock
                                                           : ObjectKind::xdp_sock;
    return abi::object_load(kind, off, size) || fail(Finding::socket_field, off, size, static_cast<i64>(base.type));
}

// A socket that a helper returns, or zero: with a reference of its own, the argument's, or none.
void Walker::give_socket(Type type, const abi::HelperProto& proto) {
    using H = HelperId;
    const auto calls = [&](auto... helpers) { return ((proto.id == helpers) || ...); };
    const u32 id = next_id_++;
    u32 reference = 0;
    if (calls(H::sk_lookup_tcp, H::sk_lookup_udp, H::skc_lookup_tcp, H::map_lookup_elem)) {
        reference = id;
        state_.references.push_back({id, pc_});
    } else if (!calls(H::get_listener_sock, H::skc_to_unix_sock)) {
        reference = arguments_.reference;
    }
    reg(0) = Reg::pointer(type, reference, id);
    reg(0).off = static_cast<i32>(cast_type(proto.id));
}

// What a lookup finds in a map that holds something else than values.
bool Walker::give_element(const abi::HelperProto& proto) {
    using M = MapType;
    const u32 object = arguments_.map;
    const M type = map_of(object).type;
    if (proto.id != HelperId::map_lookup_elem || object >= program_.maps.size()) return false;
    if (type == M::array_of_maps || type == M::hash_of_maps) {
        const u32 inner = static_cast<u32>(program_.maps.size()) + object;
        reg(0) = Reg::pointer(Type::inner_map_or_null, inner, next_id_++);
        return true;
    }
    if (is_socket_map(type)) {
        give_socket(Type::socket_or_null, proto);
        return true;
    }
    if (type == M::xskmap) {
        reg(0) = Reg::pointer(Type::xdp_sock_or_null, 0, next_id_++);
        return true;
    }
    return false;
}

// A pointer turned out not to be zero.
void Walker::settle(Reg& found) {
    const bool inner = found.type == Type::inner_map_or_null;
    const bool value = found.type == Type::map_value_or_null;
    const bool record = found.type == Type::record_or_null;
    found.type = without_null(found.type);
    // The locks of different values are different ones, and the timers of different inner maps.
    const auto has = [&](auto... kinds) { return (has_field(fields_of(found.object), kinds) || ...); };
    if (inner && has(FieldKind::timer, FieldKind::work_queue, FieldKind::task_work))
        found.off = static_cast<i32>(found.id);
    if (value && has(FieldKind::spin_lock, FieldKind::resilient_lock)) return;
    if (!record) found.id = 0;
}

// -------------------------------------------------------------------------------------------------------------- timers

// The register points to the field of that kind in a map's value.
bool Walker::field_argument(u32 index, ArgKind argument, FieldKind kind) {
    const Reg& at = reg(index);
    if (at.type == Type::map_value_or_null) return fail(Finding::maybe_null, index, static_cast<i64>(at.type));
    if (at.type != Type::map_value) return wrong_argument(index, argument);
    const ValueField* field = field_of(at.object, kind);
    if (field == nullptr) return fail(Finding::no_timer, at.object);
    if (!at.value.is_constant(field->offset)) return fail(Finding::not_the_timer, index, field->offset);
    return true;
}

bool Walker::timer_argument(u32 index) {
    if (!field_argument(index, ArgKind::timer, FieldKind::timer)) return false;
    arguments_.map = reg(index).object;
    arguments_.lookup = reg(index).off;
    arguments_.timer = true;
    return true;
}

}  // namespace anybpf::verifier

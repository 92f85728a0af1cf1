// SPDX-License-Identifier: Apache-2.0
// Pointers that map values and a program's objects keep: what loads of them give, what may be stored, and
// bpf_kptr_xchg() (check_map_kptr_access() and process_kptr_func() of Linux 6.18).
#include <algorithm>
#include <cstring>

#include "walker.hpp"

namespace anybpf::verifier {

using abi::ArgKind;

namespace {

// Objects of the kernel's that stay whole in an RCU section after their last reference is gone.
bool kept_by_rcu(std::string_view name) {
    return name == "task_struct" || name == "cgroup" || name == "bpf_cpumask" || name == "bpf_crypto_ctx";
}

}  // namespace

// Types of the map's BTF are those of the program's.
bool Walker::has_program_types(u32 map) {
    const auto& types = map_of(map).btf;
    if (types == nullptr || program_.btf == nullptr) return false;
    if (types == program_.btf) return true;
    const auto a = types->bytes(), b = program_.btf->bytes();
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
}

// What the field points to: a struct of the kernel's where it has one of that name, else one of the program's. `map` is
// null for fields of the program's own objects.
bool Walker::kptr_target(const ValueField& field, const u32* map, u32& type, bool& own) {
    const btf::Btf& btf = map != nullptr ? *map_of(*map).btf : *program_.btf;
    if (program_.kernel_btf == nullptr) return fail(Finding::no_kernel_types, static_cast<i64>(program_.type));
    type = kernel_struct(btf.type(field.type).name);
    own = type == 0;
    if (!own) return true;
    if (map != nullptr && !has_program_types(*map)) return fail(Finding::foreign_types, *map);
    type = field.type;
    return true;
}

bool Walker::load_kptr(const ValueField& field, u32 map, Reg& out) {
    if (field.kind == FieldKind::user_pointer) {
        out = Reg::pointer(Type::memory, map_of(map).btf->size(field.type).value_or(0), next_id_++);
        out.flags = flag::null;
        return true;
    }
    u32 type = 0;
    bool own = false;
    if (!kptr_target(field, &map, type, own)) return false;
    const bool percpu = field.kind == FieldKind::kptr_percpu;
    const bool lasts =
        percpu || (field.kind == FieldKind::kptr && (own || kept_by_rcu(program_.kernel_btf->type(type).name)));
    out = Reg::pointer(Type::btf, type, next_id_++);
    out.flags = static_cast<u16>(flag::null | (own ? flag::own : 0));
    if (!lasts || !in_rcu_section()) {
        out.flags |= flag::untrusted;
        return true;
    }
    out.flags |= flag::rcu;
    if (percpu) out.flags |= flag::percpu;
    if (own && !percpu)
        for (const ValueField& one : own_fields(type).record)
            if (is_graph_node(one.kind)) out.flags |= flag::non_owning;
    return true;
}

// Only what owns nothing is stored without an exchange.
bool Walker::store_kptr(const ValueField& field, u32 map, const Reg& value, u32 value_reg) {
    if (field.kind != FieldKind::kptr_untrusted) return fail(Finding::kptr_stored, field.offset, map);
    if (value.is_scalar()) {
        mark(value);
        return value.is_zero() || fail(Finding::kptr_type, value_reg, static_cast<i64>(value.type));
    }
    return kptr_matches(field, &map, value_reg, value);
}

// map_kptr_match_type()
bool Walker::kptr_matches(const ValueField& field, const u32* map, u32 value_reg, const Reg& value) {
    u32 type = 0;
    bool own = false;
    if (!kptr_target(field, map, type, own)) return false;
    const bool untrusted = field.kind == FieldKind::kptr_untrusted;
    u16 allowed = flag::null | flag::referenced;
    if (own) {
        allowed |= flag::own;
        if (field.kind == FieldKind::kptr_percpu) allowed |= flag::percpu;
    } else {
        allowed |= flag::trusted | flag::rcu;
        if (untrusted) allowed |= flag::untrusted;
    }
    const i64 wanted = i64{type} | (own ? own_type_argument : 0);
    const auto refused = [&] { return fail(Finding::kptr_type, value_reg, static_cast<i64>(value.type), wanted); };
    if (value.type != Type::btf || (value.flags & ~allowed) != 0 || value.has(flag::own) != own) return refused();
    if (!value.value.is_constant() || value.value.smin < 0) return refused();
    const bool same = untrusted ? lies_within(types_of(value), value.object, value.value.umin, type)
                                : value.object == type && value.value.is_constant(0);
    return same || refused();
}

// The first argument of bpf_kptr_xchg().
bool Walker::kptr_slot_argument(u32 index) {
    const Reg& at = reg(index);
    if (may_be_null(at) && (at.type == Type::map_value_or_null || at.has(flag::own)))
        return fail(Finding::maybe_null, index, static_cast<i64>(at.type));
    if (at.type != Type::map_value && !is_owned(at)) return wrong_argument(index, ArgKind::kptr_slot);
    const Record& record = *record_of(at);
    if (!at.value.is_constant()) return fail(Finding::no_kptr, index);
    const auto field = std::ranges::find_if(
        record, [&](const ValueField& one) { return is_pointer(one.kind) && one.offset == at.value.umin; });
    if (field == record.end() || field->kind == FieldKind::user_pointer) return fail(Finding::no_kptr, index);
    if (field->kind == FieldKind::kptr_untrusted) return fail(Finding::kptr_not_exchanged, index);
    arguments_.field = &*field;
    arguments_.field_in_map = at.type == Type::map_value;
    arguments_.map = at.object;
    return true;
}

// The second one: null, or what the program owns.
bool Walker::kptr_argument(u32 index) {
    const Reg at = reg(index);
    if (at.is_scalar()) {
        mark(at);
        return at.is_zero() || fail(Finding::kptr_not_owned, index, static_cast<i64>(at.type));
    }
    if (may_be_null(at)) return fail(Finding::maybe_null, index, static_cast<i64>(at.type));
    if (at.reference() == 0) return fail(Finding::kptr_not_owned, index, static_cast<i64>(at.type));
    arguments_.released = at.reference();
    return kptr_matches(*arguments_.field, arguments_.field_in_map ? &arguments_.map : nullptr, index, at);
}

// What was there before belongs to the program now.
bool Walker::exchange_kptr() {
    const u32 released = arguments_.released;
    if (released != 0 && in_rcu_section()) {
        // Memory of each CPU that was given away stays while the section lasts.
        const auto lasts = [&](const Reg& copy) {
            return copy.reference() == released && copy.has(flag::own) && copy.has(flag::percpu);
        };
        state_.change(lasts, [](Reg& copy) {
            copy.flags = flag::own | flag::percpu | flag::rcu;
            copy.id = 0;
        });
    }
    if (released != 0) release(released);
    for (u32 r = 1; r <= 5; ++r) reg(r) = {};
    u32 type = 0;
    bool own = false;
    if (!kptr_target(*arguments_.field, arguments_.field_in_map ? &arguments_.map : nullptr, type, own)) return false;
    Reg& out = reg(0);
    out = Reg::pointer(Type::btf, type, next_id_++);
    out.flags = flag::null | flag::referenced;
    if (own) out.flags |= flag::own;
    if (own && arguments_.field->kind == FieldKind::kptr_percpu) out.flags |= flag::percpu;
    state_.references.push_back({out.id, pc_});
    return true;
}

}  // namespace anybpf::verifier

// SPDX-License-Identifier: Apache-2.0
// Objects that the program allocates, and the lists and trees that they are put into. Who has an object owns it until
// it is dropped, exchanged or put into a list or tree; what lies there can be looked at while the lock is held that
// lies beside the head (check_kfunc_args() and check_kfunc_call() of Linux 6.18).
#include <algorithm>

#include "walker.hpp"

namespace anybpf::verifier {

using btf::Kind;

namespace {

constexpr u32 max_percpu_object = 512;

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
    return std::ranges::find(names, name) != names.end();
}
bool inserts(std::string_view name) {
    return is_one_of(name, {"bpf_list_push_front_impl", "bpf_list_push_back_impl", "bpf_rbtree_add_impl"});
}
bool takes_out(std::string_view name) {
    return is_one_of(name, {"bpf_list_pop_front", "bpf_list_pop_back", "bpf_rbtree_remove"});
}
bool looks_at(std::string_view name) {
    return is_one_of(name, {"bpf_list_front", "bpf_list_back", "bpf_rbtree_first", "bpf_rbtree_root", "bpf_rbtree_left",
                            "bpf_rbtree_right"});
}

}  // namespace

const Fields& Walker::own_fields(u32 type) {
    for (const auto& [known, fields] : own_fields_)
        if (known == type) return *fields;
    return *own_fields_.emplace_back(type, std::make_unique<Fields>(find_fields(*program_.btf, type))).second;
}

// Of the map's value or the program's object that it points into; null elsewhere.
const Record* Walker::record_of(const Reg& at) {
    if (at.type == Type::map_value) return &fields_of(at.object);
    return at.type == Type::btf && at.has(flag::own) ? &own_fields(at.object).record : nullptr;
}

// None of an object's bytes is the kernel's own.
bool Walker::check_own_fields(const Reg& base, i64 off, i64 size) {
    for (const ValueField& field : own_fields(base.object).record)
        if (off < i64{field.offset} + i64{field.size} && i64{field.offset} < off + size)
            return fail(Finding::own_field_access, field.offset, static_cast<i64>(field.kind), type_argument(base));
    return true;
}

// ----------------------------------------------------------------------------------------------------------- arguments

// What is dropped.
bool Walker::allocated_argument(u32 index) {
    const Reg& at = reg(index);
    if (at.has(flag::own) && at.has(flag::null)) return fail(Finding::maybe_null, index, static_cast<i64>(at.type));
    const bool percpu = kfunc_.row->name == "bpf_percpu_obj_drop_impl";
    const u16 wanted = static_cast<u16>(flag::own | flag::referenced | (percpu ? flag::percpu : 0));
    return (at.type == Type::btf && at.flags == wanted) || fail(Finding::kfunc_argument, index, insn().imm);
}

// What gets another owner.
bool Walker::counted_argument(u32 index) {
    const Reg& at = reg(index);
    const bool offset_allowed = !at.has(flag::rcu) || at.has(flag::non_owning);
    if (!is_allocated(at) || !at.value.is_constant() || at.value.smin < 0 ||
        (!offset_allowed && !at.value.is_constant(0)))
        return fail(Finding::kfunc_argument, index, insn().imm);
    if (at.has(flag::percpu) || !has_field(own_fields(at.object).record, FieldKind::refcount))
        return fail(Finding::no_refcount, index, type_argument(at));
    kfunc_.counted = at.object;
    kfunc_.owning = !at.has(flag::non_owning);
    return true;
}

// The head of a list, or the root of a tree.
bool Walker::root_argument(u32 index, FieldKind kind) {
    const Reg& at = reg(index);
    if (may_be_null(at) && (at.type == Type::map_value_or_null || at.has(flag::own)))
        return fail(Finding::maybe_null, index, static_cast<i64>(at.type));
    if (at.type != Type::map_value && !is_owned(at)) return fail(Finding::kfunc_argument, index, insn().imm);
    const ValueField* field = at.value.is_constant() ? field_at(*record_of(at), kind, at.value.smin) : nullptr;
    if (field == nullptr) return fail(Finding::no_field, index, static_cast<i64>(kind));
    if (at.type == Type::map_value && !has_program_types(at.object)) return fail(Finding::foreign_types, at.object);
    kfunc_.root = at;
    kfunc_.field = field;
    return allocation_locked(index);
}

// A node of an object: such as goes in is owned; what is asked for or taken out may lie in the tree.
bool Walker::node_argument(u32 index, FieldKind kind) {
    const Reg at = reg(index);
    if (at.has(flag::own) && at.has(flag::null)) return fail(Finding::maybe_null, index, static_cast<i64>(at.type));
    if (inserts(kfunc_.row->name)) {
        if (!is_owned(at)) return fail(Finding::kfunc_argument, index, insn().imm);
    } else {
        const bool known = is_allocated(at) && at.has(flag::non_owning | flag::referenced) && !at.has(flag::percpu);
        if (!known) return fail(Finding::kfunc_argument, index, insn().imm);
        if (in_less()) return fail(Finding::less_changes, insn().imm);
    }
    const ValueField* node =
        at.value.is_constant() ? field_at(own_fields(at.object).record, kind, at.value.smin) : nullptr;
    if (node == nullptr) return fail(Finding::no_field, index, static_cast<i64>(kind));
    if (kfunc_.field == nullptr) return fail(Finding::kfunc_argument, index, insn().imm);
    if (at.object != kfunc_.field->type || node->offset != kfunc_.field->node)
        return fail(Finding::graph_node, index, i64{kfunc_.field->type} | own_type_argument, kfunc_.field->node);
    if (inserts(kfunc_.row->name)) kfunc_.inserted = at.id;
    return true;
}

bool Walker::function_argument(u32 index) {
    const Reg& at = reg(index);
    if (at.type != Type::function) return fail(Finding::kfunc_argument, index, insn().imm);
    kfunc_.function = at.object;
    return true;
}

// ------------------------------------------------------------------------------------------- the order of a tree

// In a function that bpf_rbtree_add() compares with.
bool Walker::in_less() const {
    const Frame& frame = state_.frame();
    if (!frame.callback) return false;
    const abi::Kfunc* row = kfunc_at(frame.call_site);
    return row != nullptr && row->name == "bpf_rbtree_add_impl";
}

// The function may be called any number of times, before the node is in the tree (see call_back()).
bool Walker::call_less() {
    State other = state_;
    ++other.frame().rounds;
    if (!enter(other, kfunc_.function, true)) return false;
    other.frame().regs[1] = other.frame().regs[2] = element(flag::non_owning);
    if (!set_aside(std::move(other), kfunc_.function)) return false;
    Frame& frame = state_.frame();
    frame.activation = frame.rounds = 0;
    return true;
}

// ------------------------------------------------------------------------------------------------------------- results

// A pointer to the node of an object in the list or tree.
Reg Walker::element(u16 flags) {
    Reg out = Reg::pointer(Type::btf, kfunc_.field->type);
    out.value = Number::constant(kfunc_.field->node);
    out.flags = static_cast<u16>(flag::own | flags);
    const bool borrowed = (flags & flag::non_owning) != 0;
    if (borrowed && has_field(own_fields(out.object).record, FieldKind::refcount)) out.flags |= flag::rcu;
    return out;
}

// What the program owned lies in a list or tree now.
void Walker::stop_owning(u32 id) {
    const auto owns = [&](const Reg& copy) { return copy.type == Type::btf && copy.reference() == id; };
    state_.change(owns, [&](Reg& copy) {
        const bool counted = has_field(own_fields(copy.object).record, FieldKind::refcount);
        copy.flags = static_cast<u16>(flag::own | flag::non_owning | (counted ? flag::rcu : 0));
        copy.id = 0;
    });
    std::erase_if(state_.references, [&](const Reference& reference) { return reference.id == id; });
}

// The lock is given back: others may take out what lies in lists and trees.
void Walker::lose_borrowed() {
    lose([](const Reg& copy) { return copy.type == Type::btf && copy.has(flag::non_owning); });
}

bool Walker::new_object(bool percpu) {
    if (program_.btf == nullptr) return fail(Finding::object_type, 0);
    const btf::Btf& btf = *program_.btf;
    const u64 id = kfunc_.constant;
    const bool there = id < btf.count();
    const btf::Type type = there ? btf.type(static_cast<u32>(id)) : btf::Type{};
    const i64 named = there ? static_cast<i64>(id) | own_type_argument : 0;
    if (type.kind != Kind::struct_) return fail(Finding::object_type, named);
    const Fields& fields = own_fields(type.id);
    if (fields.flaw != Flaw::none) return fail(Finding::bad_type_fields, named, static_cast<i64>(fields.flaw));
    if (percpu && (type.size_or_type > max_percpu_object || !fields.record.empty() || !is_of_numbers(btf, type.id)))
        return fail(Finding::percpu_type, named, max_percpu_object);
    reg(0) = Reg::pointer(Type::btf, type.id, next_id_++);
    reg(0).flags = static_cast<u16>(flag::own | flag::referenced | flag::null | (percpu ? flag::percpu : 0));
    state_.references.push_back({reg(0).id, pc_});
    return true;
}

// What the functions of this file return; nothing for others. r1 to r5 are gone already.
std::optional<bool> Walker::own_result() {
    const std::string_view name = kfunc_.row->name;
    Reg& out = reg(0);
    if (name == "bpf_obj_new_impl") return new_object(false);
    if (name == "bpf_percpu_obj_new_impl") return new_object(true);
    if (inserts(name)) {
        stop_owning(kfunc_.inserted);
        return std::nullopt;  // a number
    }
    if (name == "bpf_refcount_acquire_impl") {
        out = Reg::pointer(Type::btf, kfunc_.counted, next_id_++);
        out.flags = static_cast<u16>(flag::own | flag::referenced | (kfunc_.owning ? 0 : flag::null));
    } else if (takes_out(name)) {
        out = element(flag::referenced | flag::null);
        out.id = next_id_++;
    } else if (looks_at(name)) {
        out = element(flag::non_owning | flag::null);
        out.id = next_id_++;
        return true;
    } else {
        return std::nullopt;
    }
    state_.references.push_back({out.id, pc_});
    return true;
}

}  // namespace anybpf::verifier

// SPDX-License-Identifier: Apache-2.0
// Pointers into structs of the kernel's BTF: where programs get them as arguments, what loads through them yield.
#include "typed.hpp"

#include <algorithm>
#include <array>
#include <string>

#include "anybpf/base/text.hpp"
#include "walker.hpp"

namespace anybpf::verifier {

using abi::AttachType;
using abi::ProgType;
using btf::Kind;

namespace {

constexpr u32 argument_bytes = 8;
constexpr u32 max_arguments = 12;  // MAX_BPF_FUNC_ARGS

struct Iterator {
    Text<23> name;
    bool trusted;
};
constexpr auto iterators = std::to_array<Iterator>({
#define ANYBPF_ITERATOR(name, pointers) {#name, std::string_view(#pointers) == "trusted"},
#include "anybpf/abi/iterators.def"
});

struct NullArgument {
    Text<39> tracepoint;
    u32 argument;
};
constexpr auto null_arguments = std::to_array<NullArgument>({
#define ANYBPF_NULL_ARGUMENT(tracepoint, argument) {#tracepoint, argument},
#include "anybpf/abi/null_arguments.def"
});

bool skip_prefix(std::string_view& text, std::string_view prefix) {
    if (!text.starts_with(prefix)) return false;
    text.remove_prefix(prefix.size());
    return true;
}

// The function that a pointer points to: its FUNC_PROTO; 0 where it is none.
u32 pointed_function(const btf::Btf& btf, u32 type) {
    const btf::Type pointer = btf.type(btf.skip_modifiers(type));
    if (pointer.kind != Kind::ptr) return 0;
    const u32 target = btf.skip_modifiers(pointer.target());
    return btf.type(target).kind == Kind::func_proto ? target : 0;
}

bool attach_tracepoint(const btf::Btf& btf, const btf::Type& type, Attach& out) {
    std::string_view name = type.name;
    if (type.kind != Kind::typedef_ || !skip_prefix(name, "btf_trace_")) return false;
    out.prototype = pointed_function(btf, type.target());
    out.first = 1;  // behind what the tracepoint keeps for itself
    out.trusted = true;
    for (const NullArgument& row : null_arguments)
        if (row.tracepoint == name) out.nulls |= u64{1} << row.argument;
    return true;
}

bool attach_iterator(const btf::Type& type, Attach& out) {
    std::string_view name = type.name;
    if (type.kind != Kind::func || !skip_prefix(name, "bpf_iter_")) return false;
    const auto row =
        std::find_if(iterators.begin(), iterators.end(), [&](const Iterator& i) { return i.name == name; });
    if (row == iterators.end()) return false;
    out.prototype = type.target();
    out.trusted = row->trusted;
    out.nulls = ~u64{1};
    return true;
}

bool attach_struct_ops(const program::Program& program, const btf::Type& type, Attach& out) {
    const btf::Btf& btf = *program.kernel_btf;
    const auto index = static_cast<u32>(program.expected_attach_type);
    if (type.kind != Kind::struct_ || index >= type.vlen) return false;
    if (!btf.find("bpf_struct_ops_" + std::string(type.name), Kind::struct_)) return false;
    const btf::Member member = btf.member(type, index);
    out.prototype = pointed_function(btf, member.type);
    out.trusted = true;
    if (const auto stub = btf.find(std::string(type.name) + "__" + std::string(member.name), Kind::func))
        out.named = btf.type(*stub).target();
    return true;
}

bool attach(const program::Program& program, Attach& out) {
    const btf::Btf& btf = *program.kernel_btf;
    const btf::Type type = btf.type(program.attach_btf_id);
    if (program.type == ProgType::struct_ops) return attach_struct_ops(program, type, out);
    const AttachType how = program.expected_attach_type;
    if (program.type == ProgType::lsm) {
        if (type.kind != Kind::func || !type.name.starts_with("bpf_lsm_")) return false;
        out.trusted = out.result = true;
        out.prototype = type.target();
        return how == AttachType::lsm_mac || how == AttachType::lsm_cgroup;
    }
    if (how == AttachType::trace_raw_tp) return attach_tracepoint(btf, type, out);
    if (how == AttachType::trace_iter) return attach_iterator(type, out);
    if (type.kind != Kind::func) return false;
    out.prototype = type.target();
    out.result = how == AttachType::trace_fexit || how == AttachType::modify_return;
    return how == AttachType::trace_fentry || out.result;
}

}  // namespace

bool has_typed_context(ProgType type) {
    return type == ProgType::tracing || type == ProgType::lsm || type == ProgType::struct_ops;
}

std::optional<Diagnostic> find_attach(const program::Program& program, Attach& out) {
    if (!has_typed_context(program.type)) return std::nullopt;
    const auto refuse = [&](Finding what) {
        return Diagnostic{what, Pc{0}, {static_cast<i64>(program.type), program.attach_btf_id}};
    };
    if (program.kernel_btf == nullptr) return refuse(Finding::no_kernel_types);
    if (program.type != ProgType::tracing && !program.gpl_compatible) return refuse(Finding::program_gpl_only);
    if (program.attach_btf_id == 0 || !program.kernel_btf->contains(program.attach_btf_id) || !attach(program, out) ||
        out.prototype == 0)
        return refuse(Finding::bad_attach_target);
    const btf::Btf& btf = *program.kernel_btf;
    const u32 result = btf.skip_modifiers(btf.type(out.prototype).target());
    out.returns =
        program.type == ProgType::tracing || program.expected_attach_type == AttachType::lsm_cgroup || result != 0;
    return std::nullopt;
}

bool is_symbol(const program::Program& program, u32 id) {
    if (program.kernel_btf == nullptr || !program.kernel_btf->contains(id)) return false;
    const Kind kind = program.kernel_btf->type(id).kind;
    return kind == Kind::var || kind == Kind::func;
}

std::optional<Returns> typed_return_range(const program::Program& program, const Attach& attach) {
    constexpr i64 max_errno = 4095;
    const AttachType how = program.expected_attach_type;
    if (program.type == ProgType::tracing) {
        if (how == AttachType::trace_fentry || how == AttachType::trace_fexit) return Returns{0, 0};
        if (how == AttachType::trace_iter) return Returns{0, 1};
    }
    if (program.type != ProgType::lsm) return std::nullopt;
    if (how == AttachType::lsm_cgroup) return Returns{0, 1};
    const btf::Btf& btf = *program.kernel_btf;
    const btf::Type type = btf.type(btf.skip_modifiers(btf.type(attach.prototype).target()));
    const bool is_bool = type.kind == Kind::int_ && btf.int_info(type).is_bool;
    return is_bool ? Returns{0, 1} : Returns{-max_errno, 0};
}

// ------------------------------------------------------------------------------------------------------------- fields

namespace {

// The array's element, whatever its dimensions, and how many there are in all.
struct Elements {
    u32 type = 0;
    u64 count = 1;
};
Elements elements(const btf::Btf& btf, u32 type) {
    Elements out{btf.skip_modifiers(type), 1};
    for (u32 depth = 0; depth < btf::max_nesting && btf.type(out.type).kind == Kind::array; ++depth) {
        const btf::ArrayInfo info = btf.array_info(btf.type(out.type));
        out.count *= info.count;
        out.type = btf.skip_modifiers(info.element);
    }
    return out;
}

u16 tag_flags(const btf::Btf& btf, u32 target) {
    const btf::Type tag = btf.type(target);
    if (tag.kind != Kind::type_tag) return 0;
    if (tag.name == "user") return flag::user;
    if (tag.name == "percpu") return flag::percpu;
    return tag.name == "rcu" ? flag::rcu : u16{0};
}

// The struct of which the last member's array, without a length, holds the offset; that becomes one within the element.
u32 flexible_element(const btf::Btf& btf, const btf::Type& type, u64& off) {
    if (type.vlen == 0) return 0;
    const btf::Member last = btf.member(type, type.vlen - 1U);
    const btf::Type array = btf.type(btf.skip_modifiers(last.type));
    const u64 start = last.bit_offset / 8;
    if (array.kind != Kind::array || btf.array_info(array).count != 0 || off < start) return 0;
    const u32 element = btf.skip_modifiers(btf.array_info(array).element);
    const auto size = btf.size(element);
    if (!btf.type(element).is_composite() || !size || *size == 0) return 0;
    off = (off - start) % *size;
    return element;
}

}  // namespace

Field find_field(const btf::Btf& btf, u32 id, u64 off, u32 size) {
    u16 flags = 0;
    for (u32 depth = 0; depth < btf::max_nesting; ++depth) {
        const btf::Type type = btf.type(id);
        if (!type.is_composite()) return {};
        if (off + size > type.size_or_type) {
            id = flexible_element(btf, type, off);
            if (id == 0) return {};
            continue;
        }
        u32 inner = 0;
        for (u32 i = 0; i < type.vlen; ++i) {
            const btf::Member member = btf.member(type, i);
            u64 start = member.bit_offset / 8;
            if (off + size <= start) break;
            if (member.bits != 0) {
                const u64 end = (u64{member.bit_offset} + member.bits + 7) / 8;
                if (off <= start && end <= off + size) return {Field::Kind::number, 0, 0, member.name};
                continue;
            }
            if (off < start) break;
            const auto bytes = btf.size(member.type);
            if (!bytes || off >= start + *bytes) continue;
            const u64 end = start + *bytes;
            const Elements element = elements(btf, member.type);
            const btf::Type of = btf.type(element.type);
            u64 one = *bytes;
            if (element.count > 1) {
                one = *bytes / element.count;
                start += (off - start) / one * one;
            }
            if (of.is_composite()) {
                if (of.kind == Kind::union_ && of.vlen != 1) flags |= flag::untrusted;
                inner = element.type;
                off -= start;
                break;
            }
            if (of.kind == Kind::ptr) {
                if (one != size || off != start) return {};
                const u32 target = btf.skip_modifiers(of.target());
                const u16 tags = static_cast<u16>(flags | tag_flags(btf, of.target()));
                const bool object = btf.type(target).is_composite();
                return {object ? Field::Kind::object : Field::Kind::memory, target, tags, member.name};
            }
            if (off + size > end && (flags & flag::untrusted) == 0) return {};
            return {Field::Kind::number, 0, 0, member.name};
        }
        if (inner == 0) return {};
        id = inner;
    }
    return {};
}

bool lies_within(const btf::Btf& btf, u32 outer, u64 off, u32 inner) {
    for (u32 depth = 0; depth < btf::max_nesting; ++depth) {
        if (outer == inner && off == 0) return true;
        const btf::Type type = btf.type(outer);
        if (!type.is_composite()) return false;
        u32 next = 0;
        for (u32 i = 0; i < type.vlen && next == 0; ++i) {
            const btf::Member member = btf.member(type, i);
            const u64 start = member.bit_offset / 8;
            const auto bytes = btf.size(member.type);
            if (member.bits != 0 || !bytes || off < start || off >= start + *bytes) continue;
            const Elements element = elements(btf, member.type);
            if (!btf.type(element.type).is_composite() || element.count == 0) return false;
            const u64 one = *bytes / element.count;
            off = (off - start) % one;
            next = element.type;
        }
        if (next == 0) return false;
        outer = next;
    }
    return false;
}

namespace {

bool is_number(const btf::Type& type) { return type.kind == Kind::int_ || type.is_enum(); }

bool is_struct_of_numbers(const btf::Btf& btf, const btf::Type& outer, u32 depth) {
    constexpr u32 max_depth = 4;
    if (depth >= max_depth) return false;
    for (u32 i = 0; i < outer.vlen; ++i) {
        const btf::Type type = btf.type(btf.skip_modifiers(btf.member(outer, i).type));
        if (type.is_composite()) {
            if (!is_struct_of_numbers(btf, type, depth + 1)) return false;
        } else if (type.kind == Kind::array) {
            const btf::ArrayInfo array = btf.array_info(type);
            if (array.count == 0 || !is_number(btf.type(btf.skip_modifiers(array.element)))) return false;
        } else if (!is_number(type)) {
            return false;
        }
    }
    return true;
}

}  // namespace

bool is_of_numbers(const btf::Btf& btf, u32 id) {
    const btf::Type type = btf.type(btf.skip_modifiers(id));
    return is_number(type) || (type.is_composite() && is_struct_of_numbers(btf, type, 0));
}

SafeMembers::SafeMembers(const btf::Btf& btf) : btf_(btf) {
    struct Suffix {
        std::string_view text;
        Promise promise;
    };
    constexpr auto suffixes = std::to_array<Suffix>({{"__safe_rcu", Promise::rcu},
                                                     {"__safe_rcu_or_null", Promise::rcu_or_null},
                                                     {"__safe_trusted", Promise::trusted},
                                                     {"__safe_trusted_or_null", Promise::trusted_or_null}});
    for (u32 id = 1; id < btf.count(); ++id) {
        const btf::Type type = btf.type(id);
        if (type.kind != Kind::struct_) continue;
        for (const Suffix& suffix : suffixes)
            if (type.name.ends_with(suffix.text))
                lists_.push_back({type.name.substr(0, type.name.size() - suffix.text.size()), suffix.promise, id});
    }
}

SafeMembers::Promise SafeMembers::promise(u32 type, std::string_view member, u32 target) const {
    const std::string_view owner = btf_.type(type).name;
    for (const List& list : lists_) {
        if (list.owner != owner) continue;
        const btf::Type members = btf_.type(list.type);
        for (u32 i = 0; i < members.vlen; ++i) {
            const btf::Member safe = btf_.member(members, i);
            if (safe.name != member) continue;
            const btf::Type pointer = btf_.type(btf_.skip_modifiers(safe.type));
            if (pointer.kind == Kind::ptr && btf_.skip_modifiers(pointer.target()) == target) return list.promise;
        }
    }
    return Promise::none;
}

// ---------------------------------------------------------------------------------------------------------- the walker

const btf::Btf& Walker::types_of(const Reg& reg) const {
    return reg.has(flag::own) ? *program_.btf : *program_.kernel_btf;
}

i64 Walker::type_argument(const Reg& reg) { return i64{reg.object} | (reg.has(flag::own) ? own_type_argument : 0); }

// A pointer that the kernel vouches for (is_trusted_reg() of Linux 6.18).
bool Walker::is_trusted(const Reg& reg) {
    if (reg.has(flag::non_owning)) return !reg.has(flag::untrusted | flag::rcu | flag::null);
    return !reg.has(flag::untrusted) && reg.has(flag::trusted | flag::referenced);
}

// Objects that RCU keeps stay whole here.
bool Walker::in_rcu_section() const { return !sleepable() || state_.sections.rcu_locked || state_.lock.held; }

const SafeMembers& Walker::safe_members() {
    if (!safe_members_) safe_members_.emplace(*program_.kernel_btf);
    return *safe_members_;
}

u32 Walker::kernel_struct(std::string_view name) {
    for (const auto& [known, type] : kernel_structs_)
        if (known == name) return type;
    if (program_.kernel_btf == nullptr) return 0;
    kernel_structs_.emplace_back(name, program_.kernel_btf->find(name, Kind::struct_).value_or(0));
    return kernel_structs_.back().second;
}

Reg Walker::current_task() {
    if (program_.kernel_btf == nullptr) return Reg::pointer(Type::task);
    const u32 type = kernel_struct("task_struct");
    if (type == 0) return Reg::pointer(Type::task);
    Reg task = Reg::pointer(Type::btf, type);
    task.flags = flag::trusted;
    return task;
}

// btf_ctx_access() of Linux 6.18.
bool Walker::load_typed_context(i32 off, u32 size, Reg& out) {
    const Attach& attach = structure_.attach;
    const btf::Btf& btf = *program_.kernel_btf;
    const auto refused = [&] { return fail(Finding::context_argument, off, size, program_.attach_btf_id); };
    if (off < 0 || static_cast<u32>(off) >= argument_bytes * max_arguments ||
        static_cast<u32>(off) % argument_bytes != 0)
        return refused();
    const u32 index = static_cast<u32>(off) / argument_bytes;
    const btf::Type prototype = btf.type(attach.prototype);
    const u32 count = prototype.vlen - std::min<u32>(attach.first, prototype.vlen);
    const bool result = attach.result && index == count;
    if (index >= count && !result) return refused();
    const u32 at = index + attach.first;
    const u32 type_id = btf.skip_modifiers(result ? prototype.target() : btf.parameter(prototype, at).type);
    const btf::Type type = btf.type(type_id);
    if (type.kind == Kind::int_ || type.is_enum() || (result && type_id == 0)) return true;
    if (type.kind != Kind::ptr || size != argument_bytes) return refused();
    const u32 target = btf.skip_modifiers(type.target());
    const btf::Type object = btf.type(target);
    const bool iterator = program_.expected_attach_type == AttachType::trace_iter && program_.type == ProgType::tracing;
    if (iterator && target == 0) {  // a map's key or value, whose size is looked at when the program is attached
        const bool key = btf.parameter(prototype, at).name == "key";
        out = Reg::pointer(Type::memory, UINT32_MAX >> 1, next_id_++);
        out.flags = static_cast<u16>(flag::null | (key ? flag::read_only : 0));
        return true;
    }
    if (target == 0 || object.kind == Kind::int_) return true;  // plain addresses
    if (!object.is_composite()) return refused();
    out = Reg::pointer(Type::btf, operation_object(target));
    if (attach.trusted || (iterator && index == 0)) out.flags = flag::trusted;
    bool null = (attach.nulls >> index & 1) != 0;
    if (attach.named != 0) {
        const btf::Type named = btf.type(attach.named);
        null |= at < named.vlen && btf.parameter(named, at).name.ends_with("__nullable");
    }
    out.flags = static_cast<u16>(out.flags | tag_flags(btf, type.target()));
    if (null) out.flags |= flag::null, out.id = next_id_++;
    return true;
}

// check_ptr_to_btf_access() of Linux 6.18.
bool Walker::load_typed(const Reg& base, u32 base_reg, i32 off, u32 size, bool sign, Reg& out) {
    const btf::Btf& btf = types_of(base);
    if (!base.has(flag::own) && !program_.gpl_compatible) return fail(Finding::typed_gpl_only, type_argument(base));
    const i64 at = base.value.smin + off;
    if (!base.value.is_constant() || at < 0) return fail(Finding::typed_offset, base_reg, type_argument(base));
    if (base.has(flag::percpu | flag::user)) return fail(Finding::typed_elsewhere, base_reg, type_argument(base));
    if (is_allocated(base) && !check_own_fields(base, at, size)) return false;
    const Field field = find_field(btf, base.object, static_cast<u64>(at), size);
    switch (field.kind) {
        case Field::Kind::none:
            return fail(Finding::typed_field, at, size, type_argument(base));
        case Field::Kind::number:
            return true;
        case Field::Kind::memory:
        case Field::Kind::object:
            break;
    }
    if (sign) return fail(Finding::typed_field, at, size, type_argument(base));
    if (is_allocated(base)) return true;  // an address that the program may look at
    if (field.kind == Field::Kind::memory) {
        out = Reg::pointer(Type::memory);
        out.flags = flag::read_only | flag::untrusted;
        return true;
    }
    out = Reg::pointer(Type::btf, field.type);
    out.flags = base.has(flag::own) ? flag::own | flag::untrusted : pointer_flags(base, field);
    if (out.has(flag::null)) out.id = next_id_++;
    return true;
}

// The kernel's objects are read only; those that the program has allocated are not.
bool Walker::store_typed(const Reg& base, u32 base_reg, i32 off, u32 size) {
    if (!is_allocated(base))
        return operation_writes_to(base, off, size) || fail(Finding::typed_write, base_reg, type_argument(base));
    Reg before;
    return load_typed(base, base_reg, off, size, false, before);
}

// Addresses of the kernel's variables and functions (check_pseudo_btf_id() of Linux 6.18).
bool Walker::load_symbol(u32 id) {
    const btf::Btf& btf = *program_.kernel_btf;
    const btf::Type symbol = btf.type(id);
    Reg& out = reg(insn().dst);
    if (symbol.kind == Kind::func) {
        out = Reg::pointer(Type::memory);
        out.flags = flag::read_only;
        return true;
    }
    const u32 target = btf.skip_modifiers(symbol.target());
    const auto known = std::ranges::find(percpu_symbols_, id, &std::pair<u32, bool>::first);
    bool percpu = known != percpu_symbols_.end() && known->second;
    if (known == percpu_symbols_.end()) {
        if (const auto section = btf.find(".data..percpu", Kind::datasec)) {
            const btf::Type variables = btf.type(*section);
            for (u32 i = 0; i < variables.vlen && !percpu; ++i) percpu = btf.section_variable(variables, i).type == id;
        }
        percpu_symbols_.emplace_back(id, percpu);
    }
    if (percpu || btf.type(target).is_composite()) {
        out = Reg::pointer(Type::btf, target);
        out.flags = percpu ? flag::percpu : u16{0};
    } else {
        out = Reg::pointer(Type::memory, btf.size(target).value_or(0));
        out.flags = flag::read_only;
    }
    return true;
}

namespace {

std::string_view struct_of(abi::ArgKind kind) {
    using K = abi::ArgKind;
    if (kind == K::btf_task || kind == K::btf_task_or_null) return "task_struct";
    if (kind == K::btf_cgroup_or_null) return "cgroup";
    if (kind == K::btf_file) return "file";
    if (kind == K::btf_path) return "path";
    if (kind == K::btf_inode_or_null) return "inode";
    if (kind == K::btf_seq_file) return "seq_file";
    return kind == K::btf_skb ? "sk_buff" : "xdp_buff";
}

}  // namespace

// check_reg_type() and btf_struct_ids_match() of Linux 6.18.
bool Walker::typed_argument(u32 index, abi::ArgKind kind) {
    using K = abi::ArgKind;
    const Reg& at = reg(index);
    const bool nullable = kind == K::btf_task_or_null || kind == K::btf_cgroup_or_null || kind == K::btf_inode_or_null;
    if (at.is_scalar() && nullable) {
        mark(at);
        if (at.is_zero()) return true;
    }
    if (may_be_null(at) && !nullable) return fail(Finding::maybe_null, index, static_cast<i64>(at.type));
    if (at.type == Type::task && (kind == K::btf_task || kind == K::btf_task_or_null) && at.value.is_constant(0))
        return true;
    if (at.type != Type::btf) return wrong_argument(index, kind);
    if (kind == K::percpu_object) {
        percpu_own_ = at.has(flag::own);
        if (!at.has(flag::percpu) || at.has(flag::untrusted) || (percpu_own_ && !at.has(flag::rcu)))
            return wrong_argument(index, kind);
        percpu_argument_ = at.object;
        return true;
    }
    if (at.has(flag::own)) return wrong_argument(index, kind);
    if (at.has(flag::untrusted | flag::percpu | flag::user))
        return fail(Finding::typed_untrusted, index, type_argument(at));
    const std::string_view wanted = struct_of(kind);
    const u32 type = kernel_struct(wanted);
    if (type == 0 || !at.value.is_constant() || at.value.smin < 0 ||
        !lies_within(*program_.kernel_btf, at.object, at.value.umin, type))
        return fail(Finding::typed_argument, index, type_argument(at), type);
    return true;
}

Reg Walker::typed_result(abi::RetKind kind) {
    using R = abi::RetKind;
    if (program_.kernel_btf == nullptr) return Reg::pointer(Type::kernel_object);
    const btf::Btf& btf = *program_.kernel_btf;
    Reg out;
    const bool nullable = kind == R::btf_socket_or_null || kind == R::cpu_object_or_null;
    if ((kind == R::cpu_object || kind == R::cpu_object_or_null) && percpu_own_) {
        out = Reg::pointer(Type::btf, percpu_argument_);
        out.flags = flag::own | flag::rcu;
        return out;
    }
    if (kind == R::cpu_object || kind == R::cpu_object_or_null) {
        const bool object = btf.type(percpu_argument_).is_composite();
        out = object ? Reg::pointer(Type::btf, percpu_argument_)
                     : Reg::pointer(Type::memory, btf.size(percpu_argument_).value_or(0));
        if (!object) out.flags = flag::read_only;
    } else {
        out = Reg::pointer(Type::btf, kernel_struct(kind == R::btf_socket_or_null ? "socket" : "pt_regs"));
    }
    if (nullable) out.flags |= flag::null, out.id = next_id_++;
    return out;
}

// bpf_d_path() takes locks that some callers hold.
bool Walker::may_ask_for_paths() const {
    if (program_.type == ProgType::lsm) return program_.sleepable;
    if (program_.expected_attach_type == AttachType::trace_iter) return true;
    const std::string_view name = program_.kernel_btf->type(program_.attach_btf_id).name;
    for (const std::string_view one :
         {"security_file_permission", "security_inode_getattr", "security_file_open", "security_path_truncate",
          "vfs_truncate", "vfs_fallocate", "dentry_open", "vfs_getattr", "filp_close"})
        if (name == one) return true;
    return false;
}

// What may be relied on of a pointer that is loaded from an object.
u16 Walker::pointer_flags(const Reg& base, const Field& field) {
    constexpr u16 kept = flag::untrusted | flag::percpu | flag::user;
    const auto with = [](u16 flags, u16 more) { return static_cast<u16>(flags | more); };
    const u16 plain = field.flags & kept;
    if (base.has(flag::untrusted)) return with(plain, flag::untrusted);
    if (!is_trusted(base) && !base.has(flag::rcu)) return plain;
    using Promise = SafeMembers::Promise;
    const Promise promise = safe_members().promise(base.object, field.name, field.type);
    if (promise == Promise::trusted) return with(field.flags, flag::trusted);
    if (promise == Promise::trusted_or_null) return with(field.flags, flag::trusted | flag::null);
    if (!in_rcu_section()) return flag::untrusted;
    if (promise == Promise::rcu) return with(field.flags, flag::rcu);
    if (promise == Promise::rcu_or_null || (field.flags & flag::rcu) != 0)
        return with(field.flags, flag::rcu | flag::null);
    return plain;
}

}  // namespace anybpf::verifier

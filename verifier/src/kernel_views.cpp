// SPDX-License-Identifier: Apache-2.0
// Objects of the kernel's that a program holds under another name, read as the structs that they are: maps, sockets
// that were cast, what netfilter's context points to; and what operations may write of theirs
// (check_ptr_to_map_access() and check_ptr_to_btf_access() of Linux 6.18).
#include <array>

#include "anybpf/base/text.hpp"
#include "walker.hpp"

namespace anybpf::verifier {

// A map's own struct, whose pointers nobody vouches for.
bool Walker::load_map_struct(const Reg& base, u32 base_reg, i32 off, u32 size, bool sign, Reg& out) {
    const u32 type = kernel_struct(abi::kernel_struct(map_of(base.object).type));
    if (type == 0 || !options_.allow_ptr_leaks) return fail(Finding::not_memory, base_reg, static_cast<i64>(base.type));
    if (off < 0) return fail(Finding::typed_offset, base_reg, type);
    const Field field = find_field(*program_.kernel_btf, type, static_cast<u64>(off), size);
    const bool pointer = field.kind == Field::Kind::memory || field.kind == Field::Kind::object;
    if (field.kind == Field::Kind::none || (pointer && sign)) return fail(Finding::typed_field, off, size, type);
    if (!note_region(Region::btf_object)) return false;
    if (field.kind == Field::Kind::memory) {
        out = Reg::pointer(Type::memory);
        out.flags = flag::read_only | flag::untrusted;
    } else if (field.kind == Field::Kind::object) {
        out = Reg::pointer(Type::btf, field.type);
        out.flags = field.flags;
    }
    return true;
}

// The socket that a bpf_skc_to_*() gives is of the type that the helper is named after.
u32 Walker::cast_type(abi::HelperId helper) {
    std::string_view name = abi::helper_name(static_cast<u32>(helper));
    constexpr std::string_view prefix = "skc_to_";
    if (!name.starts_with(prefix)) return 0;
    return kernel_struct(name.substr(prefix.size()));
}

bool Walker::load_cast_socket(const Reg& base, u32 base_reg, i32 off, u32 size, bool sign, Reg& out) {
    if (base.off == 0) return fail(Finding::typed_load_unsupported, base_reg, static_cast<i64>(base.type));
    Reg object = Reg::pointer(Type::btf, static_cast<u32>(base.off), base.object);
    object.value = base.value;
    if (base.object != 0) object.flags = flag::referenced;
    return load_typed(object, base_reg, off, size, sign, out) && note_region(Region::btf_object);
}

// An object that the context points to, and that is whole while the program runs.
Reg Walker::context_object(std::string_view name) {
    const u32 type = kernel_struct(name);
    if (type == 0) return Reg::pointer(Type::kernel_object);
    Reg out = Reg::pointer(Type::btf, type);
    out.flags = flag::trusted;
    return out;
}

namespace {

struct OperationWrite {
    Text<23> operations, object, owner, member;
    bool anywhere;
};
constexpr auto operation_writes = std::to_array<OperationWrite>({
#define ANYBPF_OPERATION_WRITE(operations, object, owner, member, begins) \
    {#operations, #object, #owner, #member, std::string_view(#begins) == "anywhere"},
#include "anybpf/abi/operation_writes.def"
});

}  // namespace

// The struct that an operation's argument is taken for: TCP's congestion control has TCP's sockets.
u32 Walker::operation_object(u32 type) {
    if (program_.type != abi::ProgType::struct_ops || type != kernel_struct("sock")) return type;
    const bool tcp = program_.kernel_btf->type(program_.attach_btf_id).name == "tcp_congestion_ops";
    const u32 known = tcp ? kernel_struct("tcp_sock") : 0;
    return known != 0 ? known : type;
}

bool Walker::operation_writes_to(const Reg& base, i32 off, u32 size) {
    if (program_.type != abi::ProgType::struct_ops || !base.value.is_constant() ||
        base.has(flag::untrusted | flag::percpu | flag::user | flag::own))
        return false;
    const btf::Btf& btf = *program_.kernel_btf;
    const i64 at = base.value.smin + off;
    const std::string_view operations = btf.type(program_.attach_btf_id).name, object = btf.type(base.object).name;
    for (const OperationWrite& row : operation_writes) {
        if (row.operations != operations || row.object != object) continue;
        const auto member = btf.find_member(kernel_struct(row.owner), row.member);
        if (!member) continue;
        const i64 start = member->bit_offset / 8, end = start + static_cast<i64>(btf.size(member->type).value_or(0));
        if ((row.anywhere ? at >= start : at == start) && at + size <= end) return true;
    }
    return false;
}

}  // namespace anybpf::verifier

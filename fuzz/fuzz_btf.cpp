// SPDX-License-Identifier: Apache-2.0
// BTF from a stranger: it is refused, or everything it says can be read and holds together.
#include "anybpf/base/assert.hpp"
#include "anybpf/btf/btf.hpp"

using namespace anybpf;

namespace {

void read_parts(const btf::Btf& types, const btf::Type& type) {
    for (u32 i = 0; i < type.vlen; ++i) {
        if (type.is_composite()) {
            const btf::Member member = types.member(type, i);
            const auto size = types.size(member.type);
            ANYBPF_ASSERT(size.has_value());
            const u64 bits = member.bits != 0 ? member.bits : u64{*size} * 8;
            ANYBPF_ASSERT(member.bit_offset + bits <= u64{type.size_or_type} * 8);
            types.find_member(type.id, member.name);
        } else if (type.is_enum()) {
            ANYBPF_ASSERT(!types.enumerator(type, i).name.empty());
        } else if (type.kind == btf::Kind::func_proto) {
            ANYBPF_ASSERT(types.contains(types.parameter(type, i).type));
        } else if (type.kind == btf::Kind::datasec) {
            const btf::SectionVariable variable = types.section_variable(type, i);
            ANYBPF_ASSERT(u64{variable.offset} + variable.size <= type.size_or_type);
            ANYBPF_ASSERT(types.type(variable.type).kind == btf::Kind::var);
        }
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
    const auto parsed = btf::Btf::parse(std::as_bytes(std::span(data, size)));
    if (!parsed) {
        ANYBPF_ASSERT(!parsed.error().message.empty() && parsed.error().sys_errno != 0);
        return 0;
    }
    const btf::Btf& types = **parsed;
    for (u32 id = 0; id < types.count(); ++id) {
        const btf::Type type = types.type(id);
        types.skip_modifiers(id);
        types.size(id);
        types.find_member(id, "a.b");
        if (type.kind == btf::Kind::int_) types.int_info(type);
        if (type.kind == btf::Kind::array) ANYBPF_ASSERT(types.size(types.array_info(type).element).has_value());
        if (type.kind == btf::Kind::func) ANYBPF_ASSERT(types.type(type.target()).kind == btf::Kind::func_proto);
        if (type.kind == btf::Kind::var) types.variable_linkage(type);
        if (type.kind == btf::Kind::decl_tag) types.component(type);
        read_parts(types, type);
    }
    return 0;
}

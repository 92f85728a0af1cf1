// SPDX-License-Identifier: Apache-2.0
// Access to BTF that check.cpp has found sound: every offset used here was checked there.
#include "anybpf/btf/btf.hpp"

#include <cstring>

#include "anybpf/base/assert.hpp"
#include "layout.hpp"

namespace anybpf::btf {

std::string_view to_string(Kind kind) {
    switch (kind) {
#define ANYBPF_BTF_KIND(name, number, text) \
    case Kind::name:                        \
        return text;
#include "anybpf/btf/kinds.def"
    }
    return "UNKNOWN";
}

u32 Btf::word(std::size_t offset) const {
    u32 value;
    std::memcpy(&value, bytes_.data() + offset, sizeof value);
    return value;
}

std::string_view Btf::string(u32 offset) const {
    if (offset >= strings_.size()) return {};
    return strings_.data() + offset;  // the section ends with a NUL
}

Type Btf::type(u32 id) const {
    ANYBPF_ASSERT(id < offsets_.size());
    Type type;
    if (id == 0) return type;
    const std::size_t at = offsets_[id];
    const u32 info = word(at + 4);
    type.id = id;
    type.kind = static_cast<Kind>(info >> 24 & 0x1f);
    type.flag = info >> 31;
    type.vlen = static_cast<u16>(info);
    type.name_offset = word(at);
    type.name = string(type.name_offset);
    type.size_or_type = word(at + 8);
    return type;
}

IntInfo Btf::int_info(const Type& type) const {
    ANYBPF_ASSERT(type.kind == Kind::int_);
    const u32 data = word(body(type));
    const u32 encoding = data >> 24;
    return {.offset = static_cast<u8>(data >> 16),
            .bits = static_cast<u8>(data),
            .is_signed = (encoding & int_signed) != 0,
            .is_char = (encoding & int_char) != 0,
            .is_bool = (encoding & int_bool) != 0};
}

ArrayInfo Btf::array_info(const Type& type) const {
    ANYBPF_ASSERT(type.kind == Kind::array);
    const std::size_t at = body(type);
    return {.element = word(at), .index = word(at + 4), .count = word(at + 8)};
}

// An int that does not fill its bytes, or does not start at one, is a bitfield too: how BTF had them before kind_flag.
Member Btf::member(const Type& type, u32 index) const {
    ANYBPF_ASSERT(type.is_composite() && index < type.vlen);
    const std::size_t at = body(type) + std::size_t{12} * index;
    Member member{.name = string(word(at)), .type = word(at + 4), .bit_offset = word(at + 8), .bits = 0};
    if (type.flag) {
        member.bits = member.bit_offset >> 24;
        member.bit_offset &= 0xffffff;
    }
    if (member.bits != 0) return member;
    if (const u32 value = skip_modifiers(member.type); kind_of(value) == Kind::int_) {
        const Type target = this->type(value);
        const IntInfo integer = int_info(target);
        member.bit_offset += integer.offset;
        if (integer.bits != target.size_or_type * 8 || member.bit_offset % 8 != 0) member.bits = integer.bits;
    }
    return member;
}

Enumerator Btf::enumerator(const Type& type, u32 index) const {
    ANYBPF_ASSERT(type.is_enum() && index < type.vlen);
    if (type.kind == Kind::enum64) {
        const std::size_t at = body(type) + std::size_t{12} * index;
        return {.name = string(word(at)), .value = static_cast<i64>(u64{word(at + 8)} << 32 | word(at + 4))};
    }
    const std::size_t at = body(type) + std::size_t{8} * index;
    const u32 value = word(at + 4);
    return {.name = string(word(at)), .value = type.flag ? i64{static_cast<i32>(value)} : i64{value}};
}

Parameter Btf::parameter(const Type& type, u32 index) const {
    ANYBPF_ASSERT(type.kind == Kind::func_proto && index < type.vlen);
    const std::size_t at = body(type) + std::size_t{8} * index;
    return {.name = string(word(at)), .type = word(at + 4)};
}

SectionVariable Btf::section_variable(const Type& type, u32 index) const {
    ANYBPF_ASSERT(type.kind == Kind::datasec && index < type.vlen);
    const std::size_t at = body(type) + std::size_t{12} * index;
    return {.type = word(at), .offset = word(at + 4), .size = word(at + 8)};
}

u32 Btf::variable_linkage(const Type& type) const {
    ANYBPF_ASSERT(type.kind == Kind::var);
    return word(body(type));
}

i32 Btf::component(const Type& type) const {
    ANYBPF_ASSERT(type.kind == Kind::decl_tag);
    return static_cast<i32>(word(body(type)));
}

// Ends: the check refused loops of modifiers.
u32 Btf::skip_modifiers(u32 id) const {
    ANYBPF_ASSERT(id < offsets_.size());
    while (is_modifier(kind_of(id))) id = target_of(id);
    return id;
}

std::optional<u32> Btf::size(u32 id) const {
    ANYBPF_ASSERT(id < sizes_.size());
    if (sizes_[id] == no_size) return std::nullopt;
    return sizes_[id];
}

std::optional<u32> Btf::find(std::string_view name, Kind kind) const {
    for (u32 id = 1; id < count(); ++id) {
        if (kind_of(id) == kind && string(word(offsets_[id])) == name) return id;
    }
    return std::nullopt;
}

// Anonymous members fan out without growing: BTF that a stranger wrote must not keep us busy.
struct Btf::Search {
    u32 budget = 1U << 16;  // members looked at
};

std::optional<Field> Btf::find_member(u32 id, std::string_view path) const {
    Search search;
    return find_member(id, path, search);
}

std::optional<Field> Btf::find_member(u32 id, std::string_view path, Search& search) const {
    const std::size_t dot = path.find('.');
    const std::string_view first = path.substr(0, dot);
    const Type outer = type(skip_modifiers(id));
    if (!outer.is_composite() || first.empty()) return std::nullopt;
    std::optional<Field> found;
    for (u32 i = 0; i < outer.vlen && !found && search.budget > 0; ++i) {
        --search.budget;
        const Member member = this->member(outer, i);
        if (member.name == first) {
            if (dot == std::string_view::npos) {
                found = Field{member.type, member.bit_offset, member.bits};
                break;
            }
            found = find_member(member.type, path.substr(dot + 1), search);
        } else if (member.name.empty()) {
            found = find_member(member.type, path, search);
        }
        if (found) found->bit_offset += member.bit_offset;
    }
    return found;
}

}  // namespace anybpf::btf

// SPDX-License-Identifier: Apache-2.0
// Btf::parse: the check of untrusted BTF, in three passes like the kernel's (kernel/bpf/btf.c): the sections; each type
// alone (size, name, reserved bits); then what types say of each other (ids exist, no loops, members fit). A fourth
// thing comes out of the last pass: the size of every type, so that asking for it later is one load.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "anybpf/base/bytes.hpp"
#include "anybpf/btf/btf.hpp"
#include "layout.hpp"

namespace anybpf::btf {
namespace {

// The kernel's MAX_RESOLVE_DEPTH: nesting of types that were not yet resolved when they were needed.
constexpr u32 max_depth = 32;

// The kernel's ctype knows Latin-1.
constexpr bool is_letter(char c) {
    const auto byte = static_cast<u8>(c);
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '.' ||
           (byte >= 0xc0 && byte != 0xd7 && byte != 0xf7);
}
constexpr bool is_printable(char c) { return (c >= ' ' && c <= '~') || static_cast<u8>(c) >= 0xa0; }
constexpr bool is_digit(char c) { return c >= '0' && c <= '9'; }

// KSYM_NAME_LEN of 6.18 bounds every name.
constexpr std::size_t max_name = 512;

bool is_identifier(std::string_view name) {
    if (name.empty() || name.size() > max_name || !is_letter(name[0])) return false;
    for (const char c : name)
        if (!is_letter(c) && !is_digit(c)) return false;
    return true;
}

bool is_section_name(std::string_view name) {
    if (name.empty() || name.size() > max_name) return false;
    for (const char c : name)
        if (!is_printable(c)) return false;
    return true;
}

constexpr int enotsupp = 524;  // the kernel's own, unknown to libc

constexpr u32 round_up_bytes(u64 bits) { return static_cast<u32>((bits + 7) / 8); }

}  // namespace

class Checker {
  public:
    explicit Checker(Btf& btf) : btf_(btf) {}

    Result<> run() {
        ANYBPF_TRY(sections());
        ANYBPF_TRY(types());
        return relations();
    }

  private:
    enum class Mark : u8 { untouched, open, done };
    // A value contains its members and elements; a pointer chain passes through pointers and modifiers only.
    enum class Walk : u8 { contents, pointers };

    template <class... Args>
    tl::unexpected<Error> wrong(u32 id, fmt::format_string<Args...> text, Args&&... args) const {
        const Type type = btf_.type(id);
        return fail(Errc::malformed,
                    fmt::format("BTF type [{}] {} '{}': ", id, to_string(type.kind), type.name.substr(0, 64)) +
                        fmt::format(text, std::forward<Args>(args)...),
                    EINVAL);
    }

    Result<> sections();
    Result<> types();
    Result<std::size_t> body_size(const Type& type) const;
    Result<> alone(const Type& type);
    Result<> name_rule(const Type& type) const;
    Result<> shape_rule(const Type& type) const;
    Result<> composite(const Type& type);
    Result<> enumerators(const Type& type);
    Result<> section_variables(const Type& type);
    Result<> relations();
    Result<> visit(u32 id, Walk walk, u32 depth);
    Result<> enter(const Type& type, Walk walk, u32 depth);
    Result<u32> contents_of(const Type& type, u32 depth);
    Result<> contain(u32 outer, u32 inner, u32 depth);
    Result<u32> array_size(const Type& type, u32 depth);
    Result<> member_fits(const Type& type, u32 index) const;
    Result<> function(const Type& type);
    Result<> prototype(const Type& type);
    Result<> tag(const Type& type);
    Result<> variables(const Type& type);
    Result<> tags_come_first(const Type& type) const;
    bool refers_to_value(u32 id) const;
    bool is_regular(const Type& type) const;

    Btf& btf_;
    std::size_t types_at_ = 0, types_end_ = 0;
    std::vector<Mark> marks_[2];
    std::vector<u8> nesting_;  // composites and arrays within a value of each type
};

Result<> Checker::sections() {
    const std::span<const std::byte> bytes(btf_.bytes_);
    const auto bad = [](std::string text) { return fail(Errc::malformed, "BTF: " + std::move(text), EINVAL); };
    ByteReader in(bytes);
    const auto header = in.take<Header>();
    if (!header) return bad("the header is cut off");
    if (header->magic != btf_magic) return bad(fmt::format("magic is {:#x}, not {:#x}", header->magic, btf_magic));
    if (header->version != btf_version || header->flags != 0)
        return fail(Errc::unsupported,
                    fmt::format("BTF: version {} with flags {:#x} is not known", header->version, header->flags),
                    enotsupp);
    if (header->header_size < sizeof(Header) || header->header_size > bytes.size())
        return bad(fmt::format("header size {} does not fit", header->header_size));
    for (std::size_t i = sizeof(Header); i < header->header_size; ++i)
        if (bytes[i] != std::byte{0})
            return fail(Errc::too_big, "BTF: the header has fields that are not known", E2BIG);
    if (bytes.size() == header->header_size) return bad("there is no data");

    const std::size_t data = bytes.size() - header->header_size;
    if (header->type_offset % 4 != 0) return bad("the type section is not aligned");
    if (header->type_size == 0) return bad("there are no types");
    const u64 types_end = u64{header->type_offset} + header->type_size;
    const u64 strings_end = u64{header->string_offset} + header->string_size;
    // The sections fill the data exactly, in either order.
    const bool fits = (header->type_offset == 0 && header->string_offset == types_end && strings_end == data) ||
                      (header->string_offset == 0 && header->type_offset == strings_end && types_end == data);
    if (!fits) return bad("the sections overlap, leave gaps, or do not end with the data");
    if (header->string_size == 0 || header->string_size - 1 > max_name_offset)
        return bad("the string section is invalid");
    const auto strings = ANYBPF_TRY(in.slice(header->header_size + header->string_offset, header->string_size));
    if (strings.front() != std::byte{0} || strings.back() != std::byte{0}) return bad("the string section is invalid");
    btf_.strings_ = {static_cast<const char*>(static_cast<const void*>(strings.data())), strings.size()};
    types_at_ = header->header_size + std::size_t{header->type_offset};
    types_end_ = types_at_ + header->type_size;
    return {};
}

// Finds where each type starts, and checks it alone.
Result<> Checker::types() {
    btf_.offsets_.reserve((types_end_ - types_at_) / 20);
    btf_.offsets_.push_back(0);
    for (std::size_t at = types_at_; at < types_end_;) {
        const u32 id = btf_.count();
        const auto bad = [&](std::string text) {
            return fail(Errc::malformed, fmt::format("BTF type [{}]: ", id) + std::move(text), EINVAL);
        };
        if (id > max_type) return fail(Errc::too_big, "BTF: too many types", E2BIG);
        if (types_end_ - at < sizeof(RawType)) return bad("the type section ends in the middle of a type");
        const u32 info = btf_.word(at + 4);
        if ((info & ~info_mask) != 0) return bad(fmt::format("reserved bits are set in info {:#x}", info));
        const u32 kind = info >> 24 & 0x1f;
        if (kind == 0 || kind > static_cast<u32>(Kind::enum64)) return bad(fmt::format("kind {} is not known", kind));
        if (btf_.word(at) >= btf_.strings_.size())
            return bad(fmt::format("name offset {} lies outside", btf_.word(at)));
        btf_.offsets_.push_back(static_cast<u32>(at));
        const Type type = btf_.type(id);
        const std::size_t size = sizeof(RawType) + ANYBPF_TRY(body_size(type));
        if (types_end_ - at < size) return wrong(id, "the type section ends in the middle of it");
        ANYBPF_TRY(alone(type));
        at += size;
    }
    return {};
}

Result<std::size_t> Checker::body_size(const Type& type) const {
    switch (type.kind) {
        case Kind::int_:
        case Kind::var:
        case Kind::decl_tag:
            return 4U;
        case Kind::array:
            return 12U;
        case Kind::struct_:
        case Kind::union_:
        case Kind::enum64:
        case Kind::datasec:
            return 12U * type.vlen;
        case Kind::enum_:
        case Kind::func_proto:
            return 8U * type.vlen;
        case Kind::void_:
        case Kind::ptr:
        case Kind::fwd:
        case Kind::typedef_:
        case Kind::volatile_:
        case Kind::const_:
        case Kind::restrict_:
        case Kind::func:
        case Kind::float_:
        case Kind::type_tag:
            return 0U;
    }
    return wrong(type.id, "kind is not known");
}

// What the name may be, by kind.
Result<> Checker::name_rule(const Type& type) const {
    const bool named = type.name_offset != 0;
    switch (type.kind) {
        case Kind::ptr:
        case Kind::const_:
        case Kind::volatile_:
        case Kind::restrict_:
        case Kind::array:
        case Kind::func_proto:
            if (named) return wrong(type.id, "must not have a name");
            break;
        case Kind::typedef_:
        case Kind::fwd:
        case Kind::func:
        case Kind::var:
            if (!is_identifier(type.name)) return wrong(type.id, "must have an identifier as its name");
            break;
        case Kind::struct_:
        case Kind::union_:
        case Kind::enum_:
        case Kind::enum64:
            if (named && !is_identifier(type.name)) return wrong(type.id, "the name is not an identifier");
            break;
        case Kind::datasec:
            if (!is_section_name(type.name)) return wrong(type.id, "the name is not a section's");
            break;
        case Kind::type_tag:
        case Kind::decl_tag:
            if (type.name.empty()) return wrong(type.id, "must have a name");
            break;
        case Kind::void_:
        case Kind::int_:
        case Kind::float_:
            break;
    }
    return {};
}

// vlen, kind_flag and size_or_type, where the kind leaves no choice.
Result<> Checker::shape_rule(const Type& type) const {
    const bool counted = type.is_composite() || type.is_enum() || type.kind == Kind::func_proto ||
                         type.kind == Kind::datasec || type.kind == Kind::func;
    if (!counted && type.vlen != 0) return wrong(type.id, "vlen is {}, not 0", type.vlen);
    const bool flagged = type.is_composite() || type.is_enum() || type.kind == Kind::fwd ||
                         type.kind == Kind::decl_tag || type.kind == Kind::type_tag;
    if (!flagged && type.flag) return wrong(type.id, "kind_flag is set");
    if ((type.is_modifier() || type.kind == Kind::ptr) && type.target() > max_type)
        return wrong(type.id, "type id {} is too large", type.target());
    if ((type.kind == Kind::array || type.kind == Kind::fwd) && type.size_or_type != 0)
        return wrong(type.id, "size is {}, not 0", type.size_or_type);
    if (type.kind == Kind::func && type.vlen > static_cast<u32>(FuncLinkage::external))
        return wrong(type.id, "linkage {} is not known", type.vlen);
    return {};
}

Result<> Checker::alone(const Type& type) {
    ANYBPF_TRY(name_rule(type));
    ANYBPF_TRY(shape_rule(type));
    const u32 size = type.size_or_type;
    switch (type.kind) {
        case Kind::int_: {
            const u32 data = btf_.word(btf_.body(type));
            if ((data & 0xf0000000) != 0) return wrong(type.id, "reserved bits are set in {:#x}", data);
            const IntInfo info = btf_.int_info(type);
            const u32 bits = u32{info.bits} + info.offset;
            if (bits > 128) return wrong(type.id, "has {} bits", bits);
            if (round_up_bytes(bits) > size) return wrong(type.id, "has {} bits in {} bytes", bits, size);
            if (info.is_signed + info.is_char + info.is_bool > 1 || (data >> 24 & 0xf) > 4)
                return fail(Errc::unsupported, fmt::format("BTF type [{}]: encoding is not supported", type.id),
                            enotsupp);
            return {};
        }
        case Kind::float_:
            if (size != 2 && size != 4 && size != 8 && size != 12 && size != 16)
                return wrong(type.id, "has {} bytes", size);
            return {};
        case Kind::enum_:
        case Kind::enum64:
            return enumerators(type);
        case Kind::struct_:
        case Kind::union_:
            return composite(type);
        case Kind::datasec:
            return section_variables(type);
        case Kind::var:
            if (btf_.word(btf_.body(type)) > 1) return wrong(type.id, "linkage is not supported");
            return {};
        case Kind::decl_tag:
            if (btf_.component(type) < -1) return wrong(type.id, "component index {} is invalid", btf_.component(type));
            return {};
        case Kind::void_:
        case Kind::ptr:
        case Kind::array:
        case Kind::fwd:
        case Kind::typedef_:
        case Kind::volatile_:
        case Kind::const_:
        case Kind::restrict_:
        case Kind::func:
        case Kind::func_proto:
        case Kind::type_tag:
            return {};
    }
    return {};
}

Result<> Checker::enumerators(const Type& type) {
    const u32 size = type.size_or_type;
    if (size > 8 || size == 0 || (size & (size - 1)) != 0) return wrong(type.id, "has {} bytes", size);
    for (u32 i = 0; i < type.vlen; ++i)
        if (const Enumerator e = btf_.enumerator(type, i); !is_identifier(e.name))
            return wrong(type.id, "enumerator {} has no identifier as its name", i);
    return {};
}

Result<> Checker::composite(const Type& type) {
    const std::size_t at = btf_.body(type);
    u32 last = 0;
    for (u32 i = 0; i < type.vlen; ++i) {
        const u32 name = btf_.word(at + std::size_t{12} * i);
        const u32 raw = btf_.word(at + std::size_t{12} * i + 8);
        const u32 offset = type.flag ? raw & 0xffffff : raw;
        if (name != 0 && !is_identifier(btf_.string(name)))
            return wrong(type.id, "the name of member {} is invalid", i);
        if (type.kind == Kind::union_ && offset != 0) return wrong(type.id, "member {} of a union has an offset", i);
        if (offset < last) return wrong(type.id, "member {} lies before the one ahead of it", i);
        if (round_up_bytes(offset) > type.size_or_type) return wrong(type.id, "member {} starts behind the end", i);
        last = offset;
    }
    return {};
}

Result<> Checker::section_variables(const Type& type) {
    if (type.size_or_type == 0) return wrong(type.id, "size is 0");
    u64 end = 0;
    for (u32 i = 0; i < type.vlen; ++i) {
        const SectionVariable v = btf_.section_variable(type, i);
        if (v.offset < end || v.offset >= type.size_or_type) return wrong(type.id, "variable {} has a wrong offset", i);
        if (v.size == 0 || v.size > type.size_or_type) return wrong(type.id, "variable {} has a wrong size", i);
        end = u64{v.offset} + v.size;
        if (end > type.size_or_type) return wrong(type.id, "variable {} reaches behind the end", i);
    }
    return {};
}

// Types that are not types of values: nothing may refer to them but tags and sections.
bool Checker::refers_to_value(u32 id) const {
    if (!btf_.contains(id)) return false;
    const Kind kind = btf_.kind_of(id);
    return kind != Kind::var && kind != Kind::datasec && kind != Kind::decl_tag;
}

Result<> Checker::relations() {
    const u32 count = btf_.count();
    btf_.sizes_.assign(count, Btf::no_size);
    nesting_.assign(count, 0);
    for (auto& marks : marks_) marks.assign(count, Mark::untouched);
    for (u32 id = 1; id < count; ++id) {
        ANYBPF_TRY(visit(id, Walk::contents, 0));
        ANYBPF_TRY(visit(id, Walk::pointers, 0));
    }
    // Everything has its size now; what needs the sizes of others comes last.
    for (u32 id = 1; id < count; ++id) {
        const Type type = btf_.type(id);
        if (type.is_composite())
            for (u32 i = 0; i < type.vlen; ++i) ANYBPF_TRY(member_fits(type, i));
        if (type.is_modifier()) ANYBPF_TRY(tags_come_first(type));
        if (type.kind == Kind::func) ANYBPF_TRY(function(type));
        if (type.kind == Kind::func_proto) ANYBPF_TRY(prototype(type));
        if (type.kind == Kind::decl_tag) ANYBPF_TRY(tag(type));
        if (type.kind == Kind::datasec) ANYBPF_TRY(variables(type));
    }
    return {};
}

Result<> Checker::visit(u32 id, Walk walk, u32 depth) {
    Mark& mark = marks_[static_cast<u8>(walk)][id];
    if (mark == Mark::done) return {};
    if (mark == Mark::open)
        return fail(Errc::malformed,
                    fmt::format("BTF type [{}] {}: contains itself", id, to_string(btf_.type(id).kind)), EEXIST);
    if (depth == max_depth) return fail(Errc::too_big, fmt::format("BTF type [{}]: nested too deeply", id), E2BIG);
    mark = Mark::open;
    ANYBPF_TRY(enter(btf_.type(id), walk, depth));
    mark = Mark::done;
    return {};
}

Result<> Checker::enter(const Type& type, Walk walk, u32 depth) {
    if (walk == Walk::contents) {
        btf_.sizes_[type.id] = ANYBPF_TRY(contents_of(type, depth));
        return {};
    }
    if (!type.is_modifier() && type.kind != Kind::ptr) return {};
    if (!refers_to_value(type.target())) return wrong(type.id, "type id {} is invalid", type.target());
    if (type.target() == 0) return {};
    return visit(type.target(), walk, depth + 1);
}

// A value of type outer holds one of type inner.
Result<> Checker::contain(u32 outer, u32 inner, u32 depth) {
    ANYBPF_TRY(visit(inner, Walk::contents, depth + 1));
    if (nesting_[inner] >= max_nesting)
        return fail(Errc::too_big, fmt::format("BTF type [{}]: nested too deeply", outer), E2BIG);
    nesting_[outer] = std::max(nesting_[outer], static_cast<u8>(nesting_[inner] + 1));
    return {};
}

// The size of a value, after everything that it contains has one.
Result<u32> Checker::contents_of(const Type& type, u32 depth) {
    switch (type.kind) {
        case Kind::int_:
        case Kind::float_:
        case Kind::enum_:
        case Kind::enum64:
        case Kind::datasec:
            return type.size_or_type;
        case Kind::ptr:
            return 8U;
        case Kind::typedef_:
        case Kind::volatile_:
        case Kind::const_:
        case Kind::restrict_:
        case Kind::type_tag:
        case Kind::var:
            if (!refers_to_value(type.target()) || (type.kind == Kind::var && type.target() == 0))
                return wrong(type.id, "type id {} is invalid", type.target());
            if (type.target() != 0) ANYBPF_TRY(visit(type.target(), Walk::contents, depth + 1));
            nesting_[type.id] = nesting_[type.target()];
            return btf_.sizes_[type.target()];
        case Kind::struct_:
        case Kind::union_:
            for (u32 i = 0; i < type.vlen; ++i) {
                const u32 member = btf_.word(btf_.body(type) + std::size_t{12} * i + 4);
                if (member == 0 || !refers_to_value(member))
                    return wrong(type.id, "type id {} of member {} is invalid", member, i);
                ANYBPF_TRY(contain(type.id, member, depth));
                if (btf_.sizes_[member] == Btf::no_size) return wrong(type.id, "member {} has no size", i);
            }
            return type.size_or_type;
        case Kind::array:
            return array_size(type, depth);
        case Kind::void_:
        case Kind::fwd:
        case Kind::func:
        case Kind::func_proto:
        case Kind::decl_tag:
            return Btf::no_size;
    }
    return Btf::no_size;
}

// An integer of whole bytes, as processors have them.
bool Checker::is_regular(const Type& type) const {
    const IntInfo info = btf_.int_info(type);
    return info.offset == 0 && info.bits >= 8 && info.bits <= 128 && (info.bits & (info.bits - 1)) == 0;
}

Result<u32> Checker::array_size(const Type& type, u32 depth) {
    const ArrayInfo array = btf_.array_info(type);
    if (array.index == 0 || !refers_to_value(array.index)) return wrong(type.id, "the index type is invalid");
    if (array.element == 0 || !refers_to_value(array.element)) return wrong(type.id, "the element type is invalid");
    ANYBPF_TRY(visit(array.index, Walk::contents, depth + 1));
    if (const Type index = btf_.type(btf_.skip_modifiers(array.index)); index.kind != Kind::int_ || !is_regular(index))
        return wrong(type.id, "the index type is not an integer");
    ANYBPF_TRY(contain(type.id, array.element, depth));
    if (btf_.sizes_[array.element] == Btf::no_size) return wrong(type.id, "the elements have no size");
    if (const Type element = btf_.type(btf_.skip_modifiers(array.element));
        element.kind == Kind::int_ && !is_regular(element))
        return wrong(type.id, "the elements are integers that do not fill their bytes");
    const u64 size = u64{btf_.sizes_[array.element]} * array.count;
    if (size >= Btf::no_size) return wrong(type.id, "is larger than 4 GiB");
    return static_cast<u32>(size);
}

Result<> Checker::member_fits(const Type& type, u32 index) const {
    const Member member = btf_.member(type, index);
    if (member.bits > 128) return wrong(type.id, "member {} has {} bits", index, member.bits);
    if (member.bits == 0 && member.bit_offset % 8 != 0) return wrong(type.id, "member {} is not at a byte", index);
    const u64 bits = member.bits != 0 ? member.bits : u64{btf_.sizes_[member.type]} * 8;
    if ((u64{member.bit_offset} + bits + 7) / 8 > type.size_or_type)
        return wrong(type.id, "member {} reaches behind the end", index);
    const u32 value_id = btf_.skip_modifiers(member.type);
    const Kind kind = btf_.kind_of(value_id);
    if (kind == Kind::float_ && member.bit_offset / 8 % std::min(8U, btf_.sizes_[value_id]) != 0)
        return wrong(type.id, "member {} is not aligned", index);
    if (member.bits != 0) {
        if (kind != Kind::int_ && kind != Kind::enum_ && kind != Kind::enum64)
            return wrong(type.id, "bitfield {} is neither an integer nor an enum", index);
        if (member.bits > u64{btf_.sizes_[value_id]} * 8)
            return wrong(type.id, "bitfield {} is wider than its type", index);
    }
    return {};
}

// Of a pointer's modifiers, type tags are the outermost.
Result<> Checker::tags_come_first(const Type& type) const {
    if (type.kind == Kind::type_tag) return {};
    if (btf_.kind_of(type.target()) == Kind::type_tag) return wrong(type.id, "type tags must come before modifiers");
    return {};
}

Result<> Checker::function(const Type& type) {
    if (!btf_.contains(type.target()) || btf_.type(type.target()).kind != Kind::func_proto)
        return wrong(type.id, "type id {} is not a function prototype", type.target());
    const Type proto = btf_.type(type.target());
    for (u32 i = 0; i < proto.vlen; ++i)
        if (const Parameter p = btf_.parameter(proto, i); p.name.empty() && p.type != 0)
            return wrong(type.id, "parameter {} has no name", i);
    return {};
}

Result<> Checker::prototype(const Type& type) {
    const auto has_size = [&](u32 id) { return refers_to_value(id) && btf_.sizes_[id] != Btf::no_size; };
    if (type.target() != 0 && !has_size(type.target()) &&
        !(refers_to_value(type.target()) && btf_.skip_modifiers(type.target()) == 0))
        return wrong(type.id, "the return type {} is invalid", type.target());
    for (u32 i = 0; i < type.vlen; ++i) {
        const Parameter p = btf_.parameter(type, i);
        if (p.type == 0 && i + 1U == type.vlen) {
            if (!p.name.empty()) return wrong(type.id, "the variable arguments have a name");
            break;
        }
        if (p.type == 0 || !has_size(p.type)) return wrong(type.id, "the type of parameter {} is invalid", i);
        if (!p.name.empty() && !is_identifier(p.name)) return wrong(type.id, "the name of parameter {} is invalid", i);
    }
    return {};
}

Result<> Checker::tag(const Type& type) {
    if (!btf_.contains(type.target())) return wrong(type.id, "type id {} is invalid", type.target());
    const Type target = btf_.type(type.target());
    const i32 component = btf_.component(type);
    u32 parts = 0;
    if (target.is_composite()) {
        parts = target.vlen;
    } else if (target.kind == Kind::func) {
        parts = btf_.type(target.target()).vlen;
    } else if (target.kind != Kind::var && target.kind != Kind::typedef_) {
        return wrong(type.id, "type id {} cannot be tagged", type.target());
    }
    if (component >= 0 && static_cast<u32>(component) >= parts)
        return wrong(type.id, "component index {} is invalid", component);
    return {};
}

Result<> Checker::variables(const Type& type) {
    for (u32 i = 0; i < type.vlen; ++i) {
        const SectionVariable v = btf_.section_variable(type, i);
        if (!btf_.contains(v.type) || btf_.type(v.type).kind != Kind::var)
            return wrong(type.id, "type id {} of variable {} is not a variable", v.type, i);
        if (btf_.sizes_[v.type] == Btf::no_size || btf_.sizes_[v.type] > v.size)
            return wrong(type.id, "variable {} is larger than its place", i);
    }
    return {};
}

Result<std::shared_ptr<const Btf>> Btf::parse(std::span<const std::byte> bytes) {
    if (bytes.size() > max_size) return fail(Errc::too_big, "BTF: larger than 16 MiB", E2BIG);
    const std::shared_ptr<Btf> btf(new Btf);  // the constructor is private
    btf->bytes_.assign(bytes.begin(), bytes.end());
    ANYBPF_TRY(Checker(*btf).run());
    return btf;
}

}  // namespace anybpf::btf

// SPDX-License-Identifier: Apache-2.0
#include "anybpf/btf/builder.hpp"

#include <cstring>

#include "layout.hpp"

namespace anybpf::btf {

u32 Builder::text(std::string_view text) {
    if (text.empty()) return 0;
    const auto [known, is_new] = known_.emplace(text, static_cast<u32>(strings_.size()));
    if (is_new) strings_.append(text).push_back('\0');
    return known->second;
}

u32 Builder::begin(Kind kind, std::string_view name, u32 size_or_type, u32 vlen, bool flag) {
    open_ = types_.size();
    types_.insert(types_.end(), {text(name), make_info(static_cast<u8>(kind), vlen, flag), size_or_type});
    return next_id_++;
}

void Builder::part(std::initializer_list<u32> words) {
    types_.insert(types_.end(), words);
    ++types_[open_ + 1];  // vlen, the lowest bits of info
}

u32 Builder::add_int(std::string_view name, u32 bytes, IntEncoding encoding) {
    const u32 id = begin(Kind::int_, name, bytes);
    types_.push_back(static_cast<u32>(encoding) << 24 | bytes * 8);
    return id;
}

u32 Builder::add_float(std::string_view name, u32 bytes) { return begin(Kind::float_, name, bytes); }

u32 Builder::add_reference(Kind kind, std::string_view name, u32 target, u32 vlen) {
    return begin(kind, name, target, vlen);
}

u32 Builder::add_forward(std::string_view name, bool is_union) { return begin(Kind::fwd, name, 0, 0, is_union); }

u32 Builder::add_array(u32 element, u32 index, u32 count) {
    const u32 id = begin(Kind::array, {}, 0);
    types_.insert(types_.end(), {element, index, count});
    return id;
}

u32 Builder::add_variable(std::string_view name, u32 type, bool is_global) {
    const u32 id = begin(Kind::var, name, type);
    types_.push_back(is_global);
    return id;
}

u32 Builder::add_tag(std::string_view name, u32 target, u32 component) {
    const u32 id = begin(Kind::decl_tag, name, target);
    types_.push_back(component);
    return id;
}

u32 Builder::begin_composite(Kind kind, std::string_view name, u32 bytes) { return begin(kind, name, bytes); }

void Builder::add_member(std::string_view name, u32 type, u32 bit_offset) { part({text(name), type, bit_offset}); }

u32 Builder::begin_enum(std::string_view name, u32 bytes, bool is_signed) {
    return begin(bytes == 8 ? Kind::enum64 : Kind::enum_, name, bytes, 0, is_signed);
}

void Builder::add_enumerator(std::string_view name, i64 value) {
    const auto bits = static_cast<u64>(value);
    if ((types_[open_ + 1] >> 24 & 0x1f) == static_cast<u32>(Kind::enum64)) {
        part({text(name), static_cast<u32>(bits), static_cast<u32>(bits >> 32)});
    } else {
        part({text(name), static_cast<u32>(bits)});
    }
}

u32 Builder::begin_prototype(u32 returns) { return begin(Kind::func_proto, {}, returns); }

void Builder::add_parameter(std::string_view name, u32 type) { part({text(name), type}); }

u32 Builder::begin_section(std::string_view name, u32 bytes) { return begin(Kind::datasec, name, bytes); }

void Builder::add_section_variable(u32 variable, u32 offset, u32 bytes) { part({variable, offset, bytes}); }

std::vector<std::byte> Builder::finish() const {
    const auto type_size = static_cast<u32>(types_.size() * sizeof(u32));
    const Header header{btf_magic, btf_version, 0,         sizeof(Header),
                        0,         type_size,   type_size, static_cast<u32>(strings_.size())};
    std::vector<std::byte> bytes(sizeof header + type_size + strings_.size());
    std::memcpy(bytes.data(), &header, sizeof header);
    if (type_size > 0) std::memcpy(bytes.data() + sizeof header, types_.data(), type_size);
    std::memcpy(bytes.data() + sizeof header + type_size, strings_.data(), strings_.size());
    return bytes;
}

}  // namespace anybpf::btf

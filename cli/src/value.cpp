// SPDX-License-Identifier: Apache-2.0
#include "value.hpp"

#include <fmt/format.h>

#include <cstring>

namespace anybpf::cli {

namespace {

u64 read_bits(Bytes bytes, u32 bit_offset, u32 bits) {
    u64 value = 0;
    for (u32 i = 0; i < bits; ++i) {
        const u32 at = bit_offset + i;
        const u64 bit = (std::to_integer<u64>(bytes[at / 8]) >> (at % 8)) & 1;
        value |= bit << i;
    }
    return value;
}

i64 sign_extend(u64 value, u32 bits) { return static_cast<i64>(value << (64 - bits)) >> (64 - bits); }

bool fits(Bytes bytes, u32 bit_offset, u32 bits) { return (u64{bit_offset} + bits + 7) / 8 <= bytes.size(); }

bool is_text(const btf::Btf& btf, u32 element) {
    const btf::Type type = btf.type(btf.skip_modifiers(element));
    return type.kind == btf::Kind::int_ && btf.size(type.id) == 1U &&
           (type.name == "char" || btf.int_info(type).is_char);
}

Json text_of(Bytes bytes) {
    const std::string_view all(static_cast<const char*>(static_cast<const void*>(bytes.data())), bytes.size());
    return std::string(all.substr(0, all.find('\0')));
}

Json array_to_json(const btf::Btf& btf, const btf::Type& type, Bytes bytes, u32 bit_offset) {
    const btf::ArrayInfo array = btf.array_info(type);
    const u32 size = btf.size(array.element).value_or(0);
    const std::size_t start = bit_offset / 8;
    const std::size_t room = size == 0 || start > bytes.size() ? 0 : (bytes.size() - start) / size;
    const std::size_t count = std::min<std::size_t>(array.count, room);
    if (is_text(btf, array.element)) return text_of(bytes.subspan(std::min(start, bytes.size()), count));
    Json values = Json::array();
    for (std::size_t i = 0; i < count; ++i)
        values.push_back(to_json(btf, array.element, bytes, bit_offset + static_cast<u32>(i) * size * 8));
    return values;
}

Json enum_to_json(const btf::Btf& btf, const btf::Type& type, u64 raw, u32 bits) {
    const i64 wanted = type.flag ? sign_extend(raw, bits) : static_cast<i64>(raw);
    for (u32 i = 0; i < type.vlen; ++i) {
        const btf::Enumerator row = btf.enumerator(type, i);
        if (row.value == wanted) return std::string(row.name);
    }
    return wanted;
}

}  // namespace

Json to_json(const btf::Btf& btf, u32 id, Bytes bytes, u32 bit_offset, u32 bits) {
    const btf::Type type = btf.type(btf.skip_modifiers(id));
    if (type.is_composite()) {
        Json object = Json::object();
        for (u32 i = 0; i < type.vlen; ++i) {
            const btf::Member member = btf.member(type, i);
            Json value = to_json(btf, member.type, bytes, bit_offset + member.bit_offset, member.bits);
            if (!member.name.empty())
                object[std::string(member.name)] = std::move(value);
            else
                object.update(value);  // members of an anonymous struct or union are its parent's
        }
        return object;
    }
    if (type.kind == btf::Kind::datasec) {  // .bss and .data: their variables
        Json object = Json::object();
        for (u32 i = 0; i < type.vlen; ++i) {
            const btf::SectionVariable variable = btf.section_variable(type, i);
            const btf::Type named = btf.type(variable.type);
            object[std::string(named.name)] = to_json(btf, named.target(), bytes, bit_offset + variable.offset * 8);
        }
        return object;
    }
    if (type.kind == btf::Kind::array) return array_to_json(btf, type, bytes, bit_offset);

    const u32 width = bits ? bits : btf.size(type.id).value_or(0) * 8;
    if (width == 0 || width > 128 || !fits(bytes, bit_offset, width)) return nullptr;
    if (type.kind == btf::Kind::float_) {
        if (width == 32) {
            float number = 0;
            std::memcpy(&number, bytes.data() + bit_offset / 8, sizeof(number));
            return number;
        }
        double number = 0;
        if (width == 64) std::memcpy(&number, bytes.data() + bit_offset / 8, sizeof(number));
        return number;
    }
    if (width > 64)
        return fmt::format("0x{:016x}{:016x}", read_bits(bytes, bit_offset + 64, width - 64),
                           read_bits(bytes, bit_offset, 64));
    const u64 raw = read_bits(bytes, bit_offset, width);
    if (type.is_enum()) return enum_to_json(btf, type, raw, width);
    if (type.kind == btf::Kind::int_) {
        const btf::IntInfo info = btf.int_info(type);
        if (info.is_bool) return raw != 0;
        if (info.is_signed) return sign_extend(raw, width);
    }
    return raw;
}

Json to_json_untyped(Bytes bytes) {
    if (bytes.size() == 1 || bytes.size() == 2 || bytes.size() == 4 || bytes.size() == 8)
        return read_bits(bytes, 0, static_cast<u32>(bytes.size()) * 8);
    Json values = Json::array();
    for (const std::byte byte : bytes) values.push_back(fmt::format("0x{:02x}", std::to_integer<unsigned>(byte)));
    return values;
}

std::string hex(Bytes bytes) {
    std::string text;
    for (const std::byte byte : bytes) text += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
    return text;
}

std::string to_text(const Json& value) {
    if (value.is_string()) return value.get<std::string>();
    std::string text;
    if (value.is_object()) {
        for (const auto& [name, member] : value.items())
            text += fmt::format("{}{}: {}", text.empty() ? "" : ", ", name, to_text(member));
        return "{" + text + "}";
    }
    if (value.is_array()) {
        for (const Json& element : value) text += (text.empty() ? "" : ", ") + to_text(element);
        return "[" + text + "]";
    }
    return dump(value);
}

std::string dump(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

}  // namespace anybpf::cli

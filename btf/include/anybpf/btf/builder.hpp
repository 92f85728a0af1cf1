// SPDX-License-Identifier: Apache-2.0
// Builder makes BTF. Each call appends a type and returns its id; parts (members, enumerators, parameters, variables)
// go to the type begun last. Wrong use shows when the result is parsed: the builder itself checks nothing.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "anybpf/btf/btf.hpp"

namespace anybpf::btf {

enum class IntEncoding : u8 { none = 0, signed_ = 1, char_ = 2, bool_ = 4 };

class Builder {
  public:
    u32 add_int(std::string_view name, u32 bytes, IntEncoding encoding);
    u32 add_float(std::string_view name, u32 bytes);
    u32 add_pointer(u32 target) { return add_reference(Kind::ptr, {}, target); }
    // Any kind that has at most a name and a target: ptr, const_, volatile_, restrict_, typedef_, type_tag, func (its
    // linkage in vlen).
    u32 add_reference(Kind kind, std::string_view name, u32 target, u32 vlen = 0);
    u32 add_forward(std::string_view name, bool is_union);
    u32 add_array(u32 element, u32 index, u32 count);
    u32 add_variable(std::string_view name, u32 type, bool is_global);

    // A decl_tag of the type, or of one of its members or parameters.
    u32 add_tag(std::string_view name, u32 target, u32 component);

    u32 begin_composite(Kind kind, std::string_view name, u32 bytes);  // struct_ or union_
    void add_member(std::string_view name, u32 type, u32 bit_offset);
    u32 begin_enum(std::string_view name, u32 bytes, bool is_signed);  // enum64 where bytes is 8
    void add_enumerator(std::string_view name, i64 value);
    u32 begin_prototype(u32 returns);
    void add_parameter(std::string_view name, u32 type);
    u32 begin_section(std::string_view name, u32 bytes);
    void add_section_variable(u32 variable, u32 offset, u32 bytes);

    // The id that the next type will get: for pointers to what is not there yet.
    u32 next_id() const { return next_id_; }

    std::vector<std::byte> finish() const;

  private:
    u32 begin(Kind kind, std::string_view name, u32 size_or_type, u32 vlen = 0, bool flag = false);
    void part(std::initializer_list<u32> words);
    u32 text(std::string_view text);

    std::vector<u32> types_;
    std::string strings_ = std::string(1, '\0');
    std::unordered_map<std::string, u32> known_;
    std::size_t open_ = 0;  // where the type begun last starts in types_
    u32 next_id_ = 1;
};

}  // namespace anybpf::btf

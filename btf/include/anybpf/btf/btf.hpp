// SPDX-License-Identifier: Apache-2.0
// BTF, the type format of BPF objects and of the kernel (Documentation/bpf/btf.rst): header, type section, string
// section. Btf::parse checks untrusted bytes once, as the kernel's BTF_LOAD does; everything afterwards cannot fail for
// an id below count().
//
// A type is read where it lies and handed out by value; its parts (members, enumerators, parameters...) are asked for
// by index below type.vlen. Names are views into the object and live as long as it.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "anybpf/base/result.hpp"

namespace anybpf::btf {

enum class Kind : u8 {
#define ANYBPF_BTF_KIND(name, number, text) name = number,
#include "anybpf/btf/kinds.def"
};
std::string_view to_string(Kind kind);  // "INT", "FUNC_PROTO"; as bpftool prints them

constexpr bool is_modifier(Kind kind) {
    return kind == Kind::typedef_ || kind == Kind::volatile_ || kind == Kind::const_ || kind == Kind::restrict_ ||
           kind == Kind::type_tag;
}

struct Type {
    u32 id = 0;
    Kind kind = Kind::void_;
    bool flag = false;  // kind_flag: struct with bitfields, union in a fwd, signed enum
    u16 vlen = 0;       // how many members, enumerators, parameters, variables; linkage of a func
    u32 name_offset = 0;
    std::string_view name;
    u32 size_or_type = 0;

    u32 target() const {
        return size_or_type;
    }  // the type it refers to: ptr, modifiers, func, var, func_proto (return)
    bool is_modifier() const { return btf::is_modifier(kind); }
    bool is_composite() const { return kind == Kind::struct_ || kind == Kind::union_; }
    bool is_enum() const { return kind == Kind::enum_ || kind == Kind::enum64; }
};

struct IntInfo {
    u8 offset = 0, bits = 0;
    bool is_signed = false, is_char = false, is_bool = false;
};
struct ArrayInfo {
    u32 element = 0, index = 0, count = 0;
};
struct Member {
    std::string_view name;
    u32 type = 0;
    u32 bit_offset = 0;
    u32 bits = 0;  // of a bitfield; 0: an ordinary member, at byte bit_offset / 8
};
struct Enumerator {
    std::string_view name;
    i64 value = 0;  // sign-extended where the enum is signed
};
struct Parameter {
    std::string_view name;
    u32 type = 0;  // 0 as the last one: variable arguments
};
struct SectionVariable {
    u32 type = 0, offset = 0, size = 0;  // type is a var
};

// Where a path of members ends.
struct Field {
    u32 type = 0;        // of the last member, modifiers included
    u32 bit_offset = 0;  // from the start of the outermost type
    u32 bits = 0;        // of a bitfield; 0 otherwise
};

// Structs, unions and arrays within each other. The kernel has no such limit; ours keeps everything that walks a value
// from running out of stack, and no real program comes near.
constexpr u32 max_nesting = 64;

enum class FuncLinkage : u8 { static_ = 0, global = 1, external = 2 };

class Btf {
  public:
    // Copies the bytes. The error names the type and what is wrong with it; its sys_errno is the kernel's.
    static Result<std::shared_ptr<const Btf>> parse(std::span<const std::byte> bytes);

    std::span<const std::byte> bytes() const { return bytes_; }
    u32 count() const { return static_cast<u32>(offsets_.size()); }  // ids are 0 (void) to count() - 1
    bool contains(u32 id) const { return id < count(); }
    Type type(u32 id) const;

    // The text at an offset of the string section; empty when the offset lies outside.
    std::string_view string(u32 offset) const;

    // Parts; the type must be of the kind that has them, and index below type.vlen.
    IntInfo int_info(const Type& type) const;
    ArrayInfo array_info(const Type& type) const;
    Member member(const Type& type, u32 index) const;
    Enumerator enumerator(const Type& type, u32 index) const;
    Parameter parameter(const Type& type, u32 index) const;
    SectionVariable section_variable(const Type& type, u32 index) const;
    u32 variable_linkage(const Type& type) const;  // 0 static, 1 global
    i32 component(const Type& type) const;         // of a decl_tag: member or parameter index, -1 the whole
    static FuncLinkage func_linkage(const Type& type) { return static_cast<FuncLinkage>(type.vlen); }

    // Without typedefs, const, volatile, restrict and type tags; 0 for void.
    u32 skip_modifiers(u32 id) const;
    // Bytes of a value; nothing for void, functions and forward declarations. Pointers have 8.
    std::optional<u32> size(u32 id) const;

    // The first type of that name; a scan over all types (below a millisecond for a program's, some for a kernel's).
    std::optional<u32> find(std::string_view name, Kind kind) const;
    // A member by name, or by a path ("real_parent" gives the pointer, "cred.uid" descends into nested structs; members
    // of anonymous structs and unions count as their parent's). id may be a modifier of a struct or union.
    std::optional<Field> find_member(u32 id, std::string_view path) const;

  private:
    friend class Checker;
    struct Search;
    std::optional<Field> find_member(u32 id, std::string_view path, Search& search) const;
    Btf() = default;
    u32 word(std::size_t offset) const;  // 4 bytes at an offset that parse has checked
    // What type(id) says of kind and target, without measuring the name.
    Kind kind_of(u32 id) const {
        return id == 0 ? Kind::void_ : static_cast<Kind>(word(offsets_[id] + 4U) >> 24 & 0x1f);
    }
    u32 target_of(u32 id) const { return word(offsets_[id] + 8U); }
    std::size_t body(const Type& type) const { return offsets_[type.id] + 12U; }

    std::vector<std::byte> bytes_;
    std::string_view strings_;
    std::vector<u32> offsets_;  // of each type in bytes_; [0] is void and lies nowhere
    std::vector<u32> sizes_;    // of a value of each type; no_size where there is none
    static constexpr u32 no_size = ~0U;
};

}  // namespace anybpf::btf

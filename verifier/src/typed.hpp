// SPDX-License-Identifier: Apache-2.0
// What the verifier reads in the kernel's BTF: what a program is attached to, and what lies at an offset of a struct.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "anybpf/btf/btf.hpp"
#include "anybpf/program/program.hpp"
#include "anybpf/verifier/verifier.hpp"

namespace anybpf::verifier {

// A program that is attached by BTF: its context are the arguments of a function of the kernel's, 8 bytes each.
struct Attach {
    u32 prototype = 0;     // a FUNC_PROTO of the kernel's BTF; 0: the program is not of that kind
    u32 first = 0;         // of its parameters, the first that the program sees
    u32 named = 0;         // a FUNC_PROTO with the same parameters, whose names tell more; 0: there is none
    bool trusted = false;  // pointers to structs are
    bool result = false;   // what the function returned follows its arguments
    bool returns = true;   // whether the program has to return something
    u64 nulls = 0;         // arguments that may be null, as bits
};
// Types of programs whose contexts are arguments.
bool has_typed_context(abi::ProgType type);
std::optional<Diagnostic> find_attach(const program::Program& program, Attach& out);

// Whether a type of the kernel's BTF is a variable or a function, whose address a program may load.
bool is_symbol(const program::Program& program, u32 id);

// What programs that are attached by BTF must return; nothing where anything will do.
struct Returns {
    i64 least, most;
};
std::optional<Returns> typed_return_range(const program::Program& program, const Attach& attach);

// What lies at an offset of a struct.
struct Field {
    enum class Kind : u8 { none, number, object, memory };
    Kind kind = Kind::none;
    u32 type = 0;           // of an object that the member points to
    u16 flags = 0;          // of such a pointer
    std::string_view name;  // of the innermost member
};
// As btf_struct_walk() of Linux 6.18: `size` bytes at `off` must be within one member.
Field find_field(const btf::Btf& btf, u32 type, u64 off, u32 size);

// Whether the struct `inner` lies at that offset of `outer`: then a pointer to one is one to the other, too.
bool lies_within(const btf::Btf& btf, u32 outer, u64 off, u32 inner);

// A number, or a struct of nothing else, also in structs and arrays of numbers within it: memory that a program may
// hand over, and of which each CPU may have one (__btf_type_is_scalar_struct() of Linux 6.18).
bool is_of_numbers(const btf::Btf& btf, u32 type);

// Members of the kernel's structs that keep what they point to whole. The kernel's BTF lists them as members of structs
// with names like task_struct__safe_rcu.
class SafeMembers {
  public:
    enum class Promise : u8 { none, trusted, trusted_or_null, rcu, rcu_or_null };
    explicit SafeMembers(const btf::Btf& btf);
    Promise promise(u32 type, std::string_view member, u32 target) const;

  private:
    struct List {
        std::string_view owner;
        Promise promise;
        u32 type;
    };
    const btf::Btf& btf_;
    std::vector<List> lists_;
};

}  // namespace anybpf::verifier

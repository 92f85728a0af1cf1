// SPDX-License-Identifier: Apache-2.0
// What the kernel keeps in structs of a program's BTF, found by the names and tags of types: in map values and in
// objects that the program allocates (btf_parse_fields() of Linux 6.18).
#pragma once

#include <string_view>
#include <vector>

#include "anybpf/btf/btf.hpp"

namespace anybpf::verifier {

enum class FieldKind : u8 {
    spin_lock,
    resilient_lock,
    timer,
    work_queue,
    task_work,
    list_head,
    list_node,
    tree_root,
    tree_node,
    refcount,
    // Pointers to objects.
    kptr,            // owned: exchanged only
    kptr_untrusted,  // to whatever may be gone already
    kptr_percpu,     // owned, to memory of each CPU
    user_pointer,
};
std::string_view describe(FieldKind kind);  // "struct bpf_spin_lock"
constexpr bool is_pointer(FieldKind kind) { return kind >= FieldKind::kptr; }
constexpr bool is_graph_root(FieldKind kind) { return kind == FieldKind::list_head || kind == FieldKind::tree_root; }
constexpr bool is_graph_node(FieldKind kind) { return kind == FieldKind::list_node || kind == FieldKind::tree_node; }

struct ValueField {
    FieldKind kind{};
    u32 offset = 0, size = 0;
    u32 type = 0;  // of the BTF: what a pointer points to, what a list or tree consists of
    u32 node = 0;  // where the node lies in that
};
using Record = std::vector<ValueField>;  // by offset

// What is wrong with a record; the kernel takes no map or BTF that has one.
enum class Flaw : u8 {
    none,
    too_many,     // fields
    twice,        // one of those that there may be only one of
    no_lock,      // beside a list or a tree
    no_contents,  // of a list or a tree: no such declaration, or of a type or member that is not there
    no_refcount,  // beside nodes of both kinds
    no_struct,    // behind a pointer
    nested,       // lists in what is itself an element of something in a list
};
struct Fields {
    Record record;
    Flaw flaw = Flaw::none;
};
// Of a struct, or of a section of variables.
Fields find_fields(const btf::Btf& btf, u32 type);

const ValueField* find_field(const Record& record, FieldKind kind);
inline bool has_field(const Record& record, FieldKind kind) { return find_field(record, kind) != nullptr; }
// ... at that offset; null where there is none.
const ValueField* field_at(const Record& record, FieldKind kind, i64 offset);

}  // namespace anybpf::verifier

// SPDX-License-Identifier: Apache-2.0
#include "records.hpp"

#include <algorithm>
#include <array>
#include <string>

#include "anybpf/base/text.hpp"

namespace anybpf::verifier {

using btf::Kind;

namespace {

constexpr std::size_t max_fields = 11;  // BTF_FIELDS_MAX
constexpr u32 max_depth = 4;            // of structs in structs

struct Known {
    Text<23> name;
    FieldKind kind;
    u32 size;
    bool once;
};
constexpr auto known_structs = std::to_array<Known>({
    {"bpf_spin_lock", FieldKind::spin_lock, 4, true},
    {"bpf_res_spin_lock", FieldKind::resilient_lock, 4, true},
    {"bpf_timer", FieldKind::timer, 16, true},
    {"bpf_wq", FieldKind::work_queue, 16, true},
    {"bpf_task_work", FieldKind::task_work, 8, true},
    {"bpf_list_head", FieldKind::list_head, 16, false},
    {"bpf_list_node", FieldKind::list_node, 24, false},
    {"bpf_rb_root", FieldKind::tree_root, 16, false},
    {"bpf_rb_node", FieldKind::tree_node, 32, false},
    {"bpf_refcount", FieldKind::refcount, 4, true},
});

struct Tag {
    Text<23> name;
    FieldKind kind;
};
constexpr auto known_tags = std::to_array<Tag>({{"kptr", FieldKind::kptr},
                                                {"kptr_untrusted", FieldKind::kptr_untrusted},
                                                {"percpu_kptr", FieldKind::kptr_percpu},
                                                {"uptr", FieldKind::user_pointer}});

class Search {
  public:
    Search(const btf::Btf& btf, Fields& out) : btf_(btf), out_(out) {}

    void in(u32 id, u32 offset, u32 depth) {
        const btf::Type type = btf_.type(id);
        for (u32 i = 0; i < type.vlen; ++i) {
            if (type.kind == Kind::datasec) {
                const btf::SectionVariable variable = btf_.section_variable(type, i);
                if (btf_.type(variable.type).kind == Kind::var)
                    member(btf_.type(variable.type).target(), offset + variable.offset, variable.type, -1, depth);
                continue;
            }
            const btf::Member one = btf_.member(type, i);
            if (one.bits == 0) member(one.type, offset + one.bit_offset / 8, id, static_cast<i32>(i), depth);
        }
    }

  private:
    // `owner` and `index` are what a declaration's tag is attached to.
    void member(u32 id, u32 offset, u32 owner, i32 index, u32 depth) {
        u32 count = 1;
        u32 type_id = without_modifiers(id);
        for (u32 i = 0; i < btf::max_nesting && btf_.type(type_id).kind == Kind::array; ++i) {
            const btf::ArrayInfo array = btf_.array_info(btf_.type(type_id));
            count *= array.count;
            type_id = without_modifiers(array.element);
        }
        if (count == 0) return;
        const btf::Type type = btf_.type(type_id);
        if (type.kind == Kind::ptr) return pointer(type, offset, count);
        if (type.kind != Kind::struct_) return;
        const auto* row = std::ranges::find(known_structs, type.name, &Known::name);
        if (row == known_structs.end()) {
            if (depth >= max_depth) return;
            const std::size_t before = out_.record.size();
            in(type_id, offset, depth + 1);
            repeat(before, count, type.size_or_type);
            return;
        }
        if (type.size_or_type != row->size) return;
        const std::size_t before = out_.record.size();
        ValueField field{row->kind, offset, row->size};
        if (is_graph_root(row->kind) && !contents(owner, index, field)) return flaw(Flaw::no_contents);
        add(field, row->once);
        repeat(before, count, row->size);
    }

    u32 without_modifiers(u32 id) const {
        for (u32 i = 0; i < btf::max_nesting && btf_.type(id).is_modifier(); ++i) id = btf_.type(id).target();
        return id;
    }

    void pointer(const btf::Type& type, u32 offset, u32 count) {
        const btf::Type tag = btf_.type(type.target());
        const auto* row = std::ranges::find(known_tags, tag.name, &Tag::name);
        if (tag.kind != Kind::type_tag || tag.flag || row == known_tags.end()) return;
        const u32 target = btf_.skip_modifiers(tag.target());
        if (btf_.type(target).kind != Kind::struct_) return flaw(Flaw::no_struct);
        const std::size_t before = out_.record.size();
        add({row->kind, offset, 8, target}, false);
        repeat(before, count, 8);
    }

    // What stands in an array stands in it `count` times.
    void repeat(std::size_t first, u32 count, u32 size) {
        const std::size_t last = out_.record.size();
        for (u32 i = 1; i < count; ++i)
            for (std::size_t at = first; at < last && out_.flaw == Flaw::none; ++at) {
                ValueField field = out_.record[at];
                field.offset += i * size;
                const auto* row = std::ranges::find(known_structs, field.kind, &Known::kind);
                add(field, row != known_structs.end() && row->once);
            }
    }

    void add(const ValueField& field, bool once) {
        if (once && has_field(out_.record, field.kind)) return flaw(Flaw::twice);
        if (out_.record.size() >= max_fields) return flaw(Flaw::too_many);
        out_.record.push_back(field);
    }

    void flaw(Flaw what) {
        if (out_.flaw == Flaw::none) out_.flaw = what;
    }

    // "contains:TYPE:MEMBER" says what a list or a tree consists of.
    bool contents(u32 owner, i32 index, ValueField& root) const {
        constexpr std::string_view prefix = "contains:";
        std::string_view text;
        for (u32 id = 1; id < btf_.count(); ++id) {
            const btf::Type tag = btf_.type(id);
            if (tag.kind != Kind::decl_tag || tag.target() != owner || btf_.component(tag) != index ||
                !tag.name.starts_with(prefix))
                continue;
            if (!text.empty()) return false;
            text = tag.name.substr(prefix.size());
        }
        const std::size_t colon = text.find(':');
        if (colon == std::string_view::npos) return false;
        const auto type = btf_.find(text.substr(0, colon), Kind::struct_);
        if (!type) return false;
        const std::string_view wanted = root.kind == FieldKind::list_head ? "bpf_list_node" : "bpf_rb_node";
        const btf::Type element = btf_.type(*type);
        for (u32 i = 0; i < element.vlen; ++i) {
            const btf::Member one = btf_.member(element, i);
            if (one.name != text.substr(colon + 1)) continue;
            if (one.bits != 0 || btf_.type(one.type).name != wanted) return false;
            root.type = *type;
            root.node = one.bit_offset / 8;
            return true;
        }
        return false;
    }

    const btf::Btf& btf_;
    Fields& out_;
};

Flaw flaw_of(const btf::Btf& btf, const Record& record, bool nodes) {
    const auto has = [&](FieldKind kind) { return has_field(record, kind); };
    const bool roots = has(FieldKind::list_head) || has(FieldKind::tree_root);
    if (has(FieldKind::spin_lock) && has(FieldKind::resilient_lock)) return Flaw::twice;
    if (roots && !has(FieldKind::spin_lock) && !has(FieldKind::resilient_lock)) return Flaw::no_lock;
    if (has(FieldKind::list_node) && has(FieldKind::tree_node) && !has(FieldKind::refcount)) return Flaw::no_refcount;
    if (!nodes || !roots || (!has(FieldKind::list_node) && !has(FieldKind::tree_node))) return Flaw::none;
    // What an element's own lists hold must not have lists again: nothing may come to own itself.
    for (const ValueField& field : record) {
        if (!is_graph_root(field.kind)) continue;
        const Fields inner = [&] {
            Fields out;
            Search(btf, out).in(field.type, 0, 0);
            return out;
        }();
        for (const ValueField& one : inner.record)
            if (is_graph_root(one.kind)) return Flaw::nested;
    }
    return Flaw::none;
}

}  // namespace

std::string_view describe(FieldKind kind) {
    switch (kind) {
        case FieldKind::spin_lock:
            return "struct bpf_spin_lock";
        case FieldKind::resilient_lock:
            return "struct bpf_res_spin_lock";
        case FieldKind::timer:
            return "struct bpf_timer";
        case FieldKind::work_queue:
            return "struct bpf_wq";
        case FieldKind::task_work:
            return "struct bpf_task_work";
        case FieldKind::list_head:
            return "struct bpf_list_head";
        case FieldKind::list_node:
            return "struct bpf_list_node";
        case FieldKind::tree_root:
            return "struct bpf_rb_root";
        case FieldKind::tree_node:
            return "struct bpf_rb_node";
        case FieldKind::refcount:
            return "struct bpf_refcount";
        case FieldKind::kptr:
            return "pointer tagged kptr";
        case FieldKind::kptr_untrusted:
            return "pointer tagged kptr_untrusted";
        case FieldKind::kptr_percpu:
            return "pointer tagged percpu_kptr";
        case FieldKind::user_pointer:
            return "pointer tagged uptr";
    }
    return "field";
}

Fields find_fields(const btf::Btf& btf, u32 id) {
    Fields out;
    if (!btf.contains(id)) return out;
    const u32 type = btf.skip_modifiers(id);
    const Kind kind = btf.type(type).kind;
    if (kind != Kind::struct_ && kind != Kind::datasec) return out;
    Search(btf, out).in(type, 0, 0);
    std::ranges::sort(out.record, {}, &ValueField::offset);
    if (out.flaw == Flaw::none) out.flaw = flaw_of(btf, out.record, true);
    return out;
}

const ValueField* find_field(const Record& record, FieldKind kind) {
    const auto found = std::ranges::find(record, kind, &ValueField::kind);
    return found == record.end() ? nullptr : &*found;
}

const ValueField* field_at(const Record& record, FieldKind kind, i64 offset) {
    for (const ValueField& field : record)
        if (field.kind == kind && i64{field.offset} == offset) return &field;
    return nullptr;
}

}  // namespace anybpf::verifier

// SPDX-License-Identifier: Apache-2.0
// The table of kernel_types.def as BTF. Sizes and offsets are those of the C++ structs, so the two cannot disagree.
#include <string_view>
#include <unordered_map>

#include "anybpf/abi/helper.hpp"
#include "anybpf/base/assert.hpp"
#include "anybpf/btf/builder.hpp"
#include "anybpf/helpers/task.hpp"

namespace anybpf::helpers {
namespace {

enum class Form : u8 { field, pointer, array };

struct Row {
    Form form;
    std::string_view type, name;
    std::size_t offset;
    u32 count;
};

class TypeTable {
  public:
    void add(std::string_view cpp, u32 id) { ids_.emplace(cpp, id); }
    u32 at(std::string_view cpp) const {
        const auto found = ids_.find(cpp);
        ANYBPF_ASSERT(found != ids_.end());
        return found->second;
    }
    void wrapped(std::string_view name, std::string_view type, std::size_t size) {
        const u32 anonymous = builder.begin_composite(btf::Kind::struct_, {}, static_cast<u32>(size));
        builder.add_member("val", at(type), 0);
        add(name, builder.add_reference(btf::Kind::typedef_, name, anonymous));
    }
    void composite(std::string_view name, std::size_t size, const std::vector<Row>& rows);

    btf::Builder builder;

  private:
    std::unordered_map<std::string_view, u32> ids_;
};

// Pointers and arrays are types of their own and stand before the struct, which may be the target of its own pointers:
// its id is known by counting them.
void TypeTable::composite(std::string_view name, std::size_t size, const std::vector<Row>& rows) {
    u32 own_id = builder.next_id();
    for (const Row& row : rows) own_id += row.form != Form::field;
    add(name, own_id);
    std::vector<u32> types;
    for (const Row& row : rows) {
        if (row.form == Form::field) {
            types.push_back(at(row.type));
        } else if (row.form == Form::array) {
            types.push_back(builder.add_array(at(row.type), at("int"), row.count));
        } else {
            constexpr std::string_view prefix = "struct ";
            types.push_back(builder.add_pointer(row.type == "void" ? 0 : at(row.type.substr(prefix.size()))));
        }
    }
    builder.begin_composite(btf::Kind::struct_, name, static_cast<u32>(size));
    for (std::size_t i = 0; i < rows.size(); ++i)
        builder.add_member(rows[i].name, types[i], static_cast<u32>(rows[i].offset * 8));
}

// Programs ask whether a helper exists by its enumerator.
void add_helper_enum(btf::Builder& builder) {
    builder.begin_enum("bpf_func_id", 4, false);
    for (u32 id = 1; id < abi::helper_count; ++id)
        if (abi::provides_helper(id)) builder.add_enumerator(std::string("BPF_FUNC_").append(abi::helper_name(id)), id);
}

std::vector<std::byte> build() {
    using namespace kernel_types;
    TypeTable table;
    btf::Builder& b = table.builder;
#define ANYBPF_INT(cpp, name, encoding) table.add(#cpp, b.add_int(name, sizeof(cpp), btf::IntEncoding::encoding));
#define ANYBPF_TYPEDEF(name, target) table.add(#name, b.add_reference(btf::Kind::typedef_, #name, table.at(#target)));
#define ANYBPF_WRAPPED(name, type) table.wrapped(#name, #type, sizeof(name));
#define ANYBPF_STRUCT(name)      \
    {                            \
        using Own = struct name; \
        std::vector<Row> rows;
#define ANYBPF_FIELD(type, name) rows.push_back({Form::field, #type, #name, offsetof(Own, name), 0});
#define ANYBPF_POINTER(type, name) rows.push_back({Form::pointer, #type, #name, offsetof(Own, name), 0});
#define ANYBPF_ARRAY(type, name, count) rows.push_back({Form::array, #type, #name, offsetof(Own, name), count});
#define ANYBPF_END(name)                       \
    table.composite(#name, sizeof(Own), rows); \
    }
#include "anybpf/helpers/kernel_types.def"
    add_helper_enum(b);
    return b.finish();
}

}  // namespace

std::span<const std::byte> own_vmlinux_btf() {
    static const std::vector<std::byte> bytes = build();
    return bytes;
}

}  // namespace anybpf::helpers

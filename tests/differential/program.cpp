// SPDX-License-Identifier: Apache-2.0
#include "program.hpp"

#include <fmt/format.h>

#include "anybpf/base/assert.hpp"
#include "anybpf/btf/btf.hpp"
#include "anybpf/btf/builder.hpp"
#include "anybpf/isa/text.hpp"
#include "anybpf/program/flow.hpp"

namespace anybpf::differential {
namespace {

constexpr u32 first_function_id = 3;

// int main(void), global, and static functions after it: one BTF for all programs.
const std::shared_ptr<const btf::Btf>& functions_btf() {
    static const auto parsed = [] {
        btf::Builder builder;
        const u32 prototype = builder.begin_prototype(builder.add_int("int", 4, btf::IntEncoding::signed_));
        for (u32 i = 0; i < max_functions; ++i)
            builder.add_reference(btf::Kind::func, fmt::format("f{}", i), prototype, i == 0 ? 1 : 0);
        auto btf = btf::Btf::parse(builder.finish());
        ANYBPF_ASSERT(btf.has_value());
        return std::shared_ptr<const btf::Btf>(std::move(*btf));
    }();
    return parsed;
}

const std::vector<program::MapInfo>& map_infos() {
    using abi::MapType;
    const auto map = [](MapType type, u32 value, u32 entries, const char* name) {
        return program::MapInfo{1, type, 4, value, entries, 0, name, {}};
    };
    static const std::vector<program::MapInfo> maps = {
        map(MapType::array, data_bytes, 1, "data"),
        map(MapType::array, value_bytes, array_entries, "table"),
        map(MapType::array, value_bytes, array_entries, "cells"),
        map(MapType::hash, value_bytes, hash_entries, "hash"),
        map(MapType::percpu_array, value_bytes, percpu_entries, "percpu"),
        map(MapType::percpu_hash, value_bytes, percpu_hash_entries, "percpu_hash"),
        map(MapType::prog_array, 4, progs_entries, "progs"),
        program::MapInfo{1, MapType::ringbuf, 0, 0, ring_bytes, 0, "ring", {}},
    };
    return maps;
}

}  // namespace

program::Program make_program(std::vector<isa::Insn> insns, abi::ProgType type) {
    program::Program program;
    program.name = "differential";
    program.type = type;
    program.gpl_compatible = true;
    program.insns = std::move(insns);
    program.maps = map_infos();
    const auto starts = program::find_flow(program.insns).starts;
    for (u32 i = 0; i < starts.size(); ++i)
        program.funcs.push_back({starts[i], first_function_id + std::min(i, max_functions - 1)});
    program.btf = functions_btf();
    return program;
}

program::Program make_target(u32 index, abi::ProgType type) {
    static constexpr const char* texts[target_count] = {
        // Calls a function.
        "r1 = map[idx:0][0]+128 ll\nr2 = 77\ncall f\nr0 += 1\nexit\n"
        "f: r3 = *(u64 *)(r1 + 0)\nr3 += r2\n*(u64 *)(r1 + 0) = r3\nr0 = r3\nexit",
        // Calls itself, as often as may be.
        "r6 = r1\nr7 = map[idx:0][0]+136 ll\nr1 = *(u64 *)(r7 + 0)\nr1 += 1\n*(u64 *)(r7 + 0) = r1\n"
        "r1 = r6\nr2 = map[idx:6] ll\nr3 = 1\ncall 12\nr0 = *(u64 *)(r7 + 0)\nexit"};
    const auto insns = isa::assemble(texts[index]);
    ANYBPF_ASSERT(insns.has_value());
    return make_program(*insns, type);
}

}  // namespace anybpf::differential

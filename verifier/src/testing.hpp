// SPDX-License-Identifier: Apache-2.0
// What the verifier's tests share: programs from text, and maps for them.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "anybpf/abi/helper.hpp"
#include "anybpf/btf/btf.hpp"
#include "anybpf/btf/builder.hpp"
#include "anybpf/isa/text.hpp"
#include "anybpf/verifier/verifier.hpp"

namespace anybpf::verifier::testing {

// By index: 0 hash (4 -> 16), 1 data (array, 64), 2 ring, 3 events (perf), 4 progs, 5 rodata (frozen, 32), 6 secret
// (write-only array, 16), 7 table (array of 4, 8).
enum : u32 { hash, data, ring, events, progs, rodata, secret, table };

// rodata: a format at 0, the number 7 at 8, an invalid format at 12, and from 24 on no NUL.
inline constexpr char rodata_bytes[33] = "n=%d s\0\0\7\0\0\0%q\0\0%s\xa1\0%s\xe9\0abcdefgh";

inline std::vector<program::MapInfo> maps() {
    using abi::MapType;
    const auto map = [](MapType type, u32 key, u32 value, u32 entries, u32 flags, std::string name) {
        return program::MapInfo{1, type, key, value, entries, flags, std::move(name), {}};
    };
    std::vector<program::MapInfo> out = {
        map(MapType::hash, 4, 16, 10, 0, "hash"),
        map(MapType::array, 4, 64, 1, 0, "data"),
        map(MapType::ringbuf, 0, 0, 4096, 0, "ring"),
        map(MapType::perf_event_array, 4, 4, 2, 0, "events"),
        map(MapType::prog_array, 4, 4, 4, 0, "progs"),
        map(MapType::array, 4, 32, 1, abi::map_rdonly_prog, "rodata"),
        map(MapType::array, 4, 16, 1, abi::map_wronly_prog, "secret"),
        map(MapType::array, 4, 8, 4, 0, "table"),
    };
    out[rodata].frozen = std::as_bytes(std::span(rodata_bytes).first(32));
    return out;
}

inline program::Program program_of(std::string_view text, abi::ProgType type = abi::ProgType::kprobe) {
    program::Program program;
    program.name = "test";
    program.type = type;
    program.gpl_compatible = true;
    program.maps = maps();
    const auto insns = isa::assemble(text, [](std::string_view name) -> std::optional<u32> {
        const auto id = abi::helper_by_name(name);
        return id ? std::optional(static_cast<u32>(*id)) : std::nullopt;
    });
    EXPECT_TRUE(insns.has_value()) << (insns ? "" : insns.error().message) << '\n' << text;
    if (insns) program.insns = *insns;
    return program;
}

// Says of every subprogram that it is a function of C, static but for the first.
inline void add_btf(program::Program& program, bool all_global = false) {
    btf::Builder builder;
    const u32 number = builder.add_int("int", 4, btf::IntEncoding::signed_);
    const u32 proto = builder.begin_prototype(number);
    for (u32 pc = 0, count = 0; pc < program.insns.size(); pc += isa::slots(program.insns[pc])) {
        bool start = pc == 0;
        for (u32 at = 0; at < program.insns.size(); at += isa::slots(program.insns[at])) {
            const auto& insn = program.insns[at];
            const bool refers = (insn.code == 0x85 && insn.src == 1) || (insn.code == 0x18 && insn.src == 4);
            start |= refers && i64{at} + 1 + insn.imm == pc;
        }
        if (!start) continue;
        const u32 linkage = pc == 0 || all_global ? 1 : 0;
        const u32 func = builder.add_reference(btf::Kind::func, fmt::format("f{}", count++), proto, linkage);
        program.funcs.push_back({pc, func});
    }
    auto parsed = btf::Btf::parse(builder.finish());
    EXPECT_TRUE(parsed.has_value()) << (parsed ? "" : parsed.error().message);
    if (parsed) program.btf = *parsed;
}

}  // namespace anybpf::verifier::testing

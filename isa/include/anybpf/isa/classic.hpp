// SPDX-License-Identifier: Apache-2.0
// Classic BPF: code:16 jt:8 jf:8 k:32 (struct sock_filter). Text is that of `tcpdump -d`; the assembler also reads that
// of bpf_asm (`jeq #0x800, label`, `jne #6, drop`, `ld vlan_tci`) and of `tcpdump -dd` (`{ 0x28, 0, 0, 0xc },`).
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "anybpf/base/result.hpp"

namespace anybpf::isa {

struct ClassicInsn {
    u16 code = 0;
    u8 jt = 0, jf = 0;
    u32 k = 0;
    friend constexpr bool operator==(const ClassicInsn&, const ClassicInsn&) = default;
};
static_assert(sizeof(ClassicInsn) == 8);

enum class ClassicCode : u16 {
#define ANYBPF_CLASSIC(name, code, mnemonic, operand) name = code,
#include "anybpf/isa/classic.def"
};

constexpr u32 classic_max_insns = 4096, classic_scratch_words = 16;
constexpr u32 ancillary_base = 0xfffff000;  // SKF_AD_OFF
constexpr u32 network_base = 0xfff00000;    // SKF_NET_OFF: from the network header on
constexpr u32 link_base = 0xffe00000;       // SKF_LL_OFF: from the link header on

enum class ClassicDefectKind : u8 {
#define ANYBPF_CLASSIC_DEFECT(name, text) name,
#include "anybpf/isa/classic.def"
};
std::string_view to_string(ClassicDefectKind what);
struct ClassicDefect {
    ClassicDefectKind what{};
    Pc pc;
};
// The first reason why Linux would refuse the program, if any: jumps lead forward and inside, so that it ends.
std::optional<ClassicDefect> check(std::span<const ClassicInsn> insns);

// One instruction without its index; what is none, or has a field set that its text cannot carry, as `{ ... }`.
std::string print(const ClassicInsn& insn, Pc at);
// Lines such as "(001) jeq      #0x800           jt 2	jf 5".
std::string listing(std::span<const ClassicInsn> insns);
Result<std::vector<ClassicInsn>> assemble_classic(std::string_view text);

}  // namespace anybpf::isa

// SPDX-License-Identifier: Apache-2.0
// Instructions as text: the syntax of llvm-objdump (`r1 = *(u64 *)(r2 + 0x8)`, `if r1 > 0x5 goto +0x3`) or of the
// kernel's verifier log (`r1 = *(u64 *)(r2 +8)`, `if r1 > 0x5 goto pc+3`). The assembler reads both, and the mnemonics
// of the public conformance tests (`ldxdw r1, [r2+8]`, `jgt r1, 5, label`).
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "anybpf/base/result.hpp"
#include "anybpf/isa/decode.hpp"

namespace anybpf::isa {

enum class Style : u8 { objdump, kernel };

// Names of helpers, which this layer does not know; empty functions mean numbers only.
using HelperName = std::function<std::string_view(u32 id)>;
using HelperNumber = std::function<std::optional<u32>(std::string_view name)>;

// The instruction at the start of insns, without end of line. What is no instruction is printed as `.quad` with its
// eight bytes, so that every text reassembles to the same bytes.
std::string print(std::span<const Insn> insns, Style style = Style::objdump, const HelperName& helper = {});

struct Line {
    Pc pc;
    u32 slots = 1;
    std::string text;
};
std::vector<Line> disassemble(std::span<const Insn> insns, Style style = Style::objdump, const HelperName& helper = {});

// A listing for people: index, bytes, text, in the columns of llvm-objdump -d. before(pc), where given, yields lines to
// put above an instruction (a symbol, a line of source), each ended by a newline.
struct ListingOptions {
    bool bytes = true;
    Style style = Style::objdump;
    HelperName helper;
    std::function<std::string(Pc)> before;
};
std::string listing(std::span<const Insn> insns, const ListingOptions& options = {});

// One statement a line; `name:` is a label; comments start with `;`, `//`, or a `#` that follows no word. Columns that
// a listing puts before an instruction (its index, bytes or opcode) are skipped, so that listings assemble. The message
// of a failure starts with the line's number.
Result<std::vector<Insn>> assemble(std::string_view text, const HelperNumber& helper = {});

// The same as bytes, as they lie in an object's section.
std::vector<std::byte> to_bytes(std::span<const Insn> insns);
Result<std::vector<Insn>> from_bytes(std::span<const std::byte> bytes);

}  // namespace anybpf::isa

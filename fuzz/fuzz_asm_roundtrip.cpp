// SPDX-License-Identifier: Apache-2.0
// Any bytes have a text that assembles to the same bytes, and any text either assembles to instructions of which that
// is true or is refused; for both instruction sets.
#include <cstring>

#include "anybpf/base/assert.hpp"
#include "anybpf/isa/classic.hpp"
#include "anybpf/isa/text.hpp"

using namespace anybpf;

namespace {

void round_trip(std::span<const isa::Insn> insns) {
    const auto again = isa::assemble(isa::listing(insns));
    ANYBPF_ASSERT(again && std::equal(insns.begin(), insns.end(), again->begin(), again->end()));
    for (const isa::Line& line : isa::disassemble(insns, isa::Style::kernel)) ANYBPF_ASSERT(!line.text.empty());
}

void round_trip(std::span<const isa::ClassicInsn> insns) {
    const auto again = isa::assemble_classic(isa::listing(insns));
    ANYBPF_ASSERT(again && std::equal(insns.begin(), insns.end(), again->begin(), again->end()));
    (void)isa::check(insns);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
    if (size > 1024) return 0;  // more lines of the same kind only take time
    const std::size_t whole = size / sizeof(isa::Insn);
    std::vector<isa::Insn> insns(whole);
    std::vector<isa::ClassicInsn> classic(whole);
    if (whole != 0) {
        std::memcpy(static_cast<void*>(insns.data()), data, whole * sizeof(isa::Insn));
        std::memcpy(static_cast<void*>(classic.data()), data, whole * sizeof(isa::ClassicInsn));
    }
    round_trip(insns);
    round_trip(classic);

    const std::string_view text(static_cast<const char*>(static_cast<const void*>(data)), size);
    if (const auto assembled = isa::assemble(text)) round_trip(*assembled);
    if (const auto assembled = isa::assemble_classic(text)) round_trip(*assembled);
    return 0;
}

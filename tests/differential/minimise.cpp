// SPDX-License-Identifier: Apache-2.0
#include "minimise.hpp"

#include <algorithm>

#include "anybpf/isa/text.hpp"
#include "shrink.hpp"

namespace anybpf::differential {
program::Program minimise(const program::Program& program, const std::function<bool(const program::Program&)>& fails) {
    return make_program(
        shrink(program.insns, [&](const Insns& insns) { return fails(make_program(insns, program.type)); }),
        program.type);
}

corpus::Case to_case(const program::Program& program, u64 seed, std::string about) {
    std::string text;
    for (const isa::Line& line : isa::disassemble(program.insns)) text += "    " + line.text + "\n";
    corpus::Case out;
    std::ranges::replace(about, '\n', ' ');
    out.sections = {{"about", std::move(about)},
                    {"type", std::string(abi::to_string(program.type))},
                    {"seed", std::to_string(seed)},
                    {"asm", std::move(text), true}};
    return out;
}

Result<Kept> from_case(const corpus::Case& kept) {
    const std::string *const text = kept.find("asm"), *const type = kept.find("type"), *const seed = kept.find("seed");
    if (text == nullptr || type == nullptr || seed == nullptr)
        return fail(Errc::malformed, kept.path.string() + ": a case of the differential has asm, type and seed");
    Kept out;
    out.seed = ANYBPF_TRY(corpus::parse_number(*seed));
    for (const auto known : {abi::ProgType::socket_filter, abi::ProgType::raw_tracepoint})
        if (abi::to_string(known) == *type) {
            out.program = make_program(ANYBPF_TRY(isa::assemble(*text)), known);
            return out;
        }
    return fail(Errc::malformed, kept.path.string() + ": no such type: " + *type);
}

}  // namespace anybpf::differential

// SPDX-License-Identifier: Apache-2.0
// Good programs changed in a place, for comparing with the running kernel.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <random>
#include <span>

#include "anybpf/isa/decode.hpp"
#include "anybpf/verifier/verifier.hpp"
#include "live_kernel.hpp"

namespace anybpf::verifier::testing {

inline std::string end_of(const std::string& log) { return log.substr(log.size() > 1500 ? log.size() - 1500 : 0); }

// An instruction dropped, repeated or moved, or one of its registers, its offset or its constant changed.
inline void change(program::Program& program, std::mt19937_64& random) {
    auto& insns = program.insns;
    const auto below = [&](u64 bound) { return static_cast<u32>(random() % bound); };
    std::vector<u32> plain;
    for (u32 pc = 0; pc < insns.size(); pc += isa::slots(insns[pc]))
        if (isa::slots(insns[pc]) == 1 && (insns[pc].code & 7) != 5) plain.push_back(pc);
    std::vector<u32> calls;
    for (u32 pc = 0; pc < insns.size(); pc += isa::slots(insns[pc]))
        if (insns[pc].code == 0x85 && insns[pc].src == 2) calls.push_back(pc);
    std::vector<u32> values;
    for (u32 pc = 0; pc < insns.size(); pc += isa::slots(insns[pc]))
        if (insns[pc].code == 0x18 && insns[pc].src == 6) values.push_back(pc);
    constexpr isa::Insn nothing{.code = 0xb7, .dst = 9, .src = 0, .off = 0, .imm = 0};
    switch (below(9)) {
        case 0:
            if (!plain.empty()) insns[plain[below(plain.size())]] = nothing;
            break;
        case 1:
            if (plain.size() > 1) std::swap(insns[plain[below(plain.size())]], insns[plain[below(plain.size())]]);
            break;
        case 2:
            if (!plain.empty()) insns[plain[below(plain.size())]].dst = static_cast<u8>(below(10)) & 0xf;
            break;
        case 3:
            if (!plain.empty()) insns[plain[below(plain.size())]].imm += static_cast<i32>(below(9)) * 8 - 32;
            break;
        case 4:  // one kernel function instead of another
            if (calls.size() > 1) insns[calls[below(calls.size())]].imm = insns[calls[below(calls.size())]].imm;
            break;
        case 5:
            if (!calls.empty()) insns[calls[below(calls.size())]] = nothing;
            break;
        case 6:
            if (!values.empty()) insns[values[below(values.size())]].imm = static_cast<i32>(below(3));
            break;
        case 7:
            if (!values.empty()) insns[values[below(values.size())] + 1].imm = static_cast<i32>(below(9)) * 8;
            break;
        default:  // a null check dropped or turned round
            for (u32 pc = 0; pc < insns.size(); pc += isa::slots(insns[pc]))
                if ((insns[pc].code == 0x15 || insns[pc].code == 0x55) && below(2) == 0) insns[pc].code ^= 0x40;
    }
}

struct ChangedVerdicts {
    u32 count = 0, accepted = 0, refused = 0, stricter = 0;  // by both, by the kernel, by us alone
};

// `count` of the programs (variable: how many instead) changed in a place or two: what we accept, the kernel accepts,
// but for what `known` is true of, by its log.
template <class Known>
ChangedVerdicts judge_changed(const LiveKernel& kernel, std::span<const program::Program> programs,
                              const char* variable, Known&& known) {
    const char* given = std::getenv(variable);
    ChangedVerdicts out{.count = given != nullptr ? static_cast<u32>(std::strtoul(given, nullptr, 10)) : 2000};
    std::map<std::string, u32> why;
    for (u32 seed = 1; seed <= out.count; ++seed) {
        std::mt19937_64 random(seed);
        program::Program program = programs[random() % programs.size()];
        for (u64 i = 1 + random() % 2; i > 0; --i) change(program, random);
        const Report report = verify(program, {});
        const auto said = kernel.load(program);
        if (said.log.find("verifier bug") != std::string::npos) continue;  // the kernel's own
        if (!said.accepted && report.accepted && known(said.log)) continue;
        EXPECT_TRUE(said.accepted || !report.accepted) << "seed " << seed << '\n' << end_of(said.log);
        if (!said.accepted)
            ++out.refused;
        else if (report.accepted)
            ++out.accepted;
        else
            ++out.stricter, ++why[std::string(to_string(report.diagnostic.what))];
    }
    for (const auto& [finding, times] : why) std::printf("refused by us alone: %u x %s\n", times, finding.c_str());
    std::printf("%u accepted by both, %u refused by the kernel, %u refused by us alone\n", out.accepted, out.refused,
                out.stricter);
    return out;
}

}  // namespace anybpf::verifier::testing

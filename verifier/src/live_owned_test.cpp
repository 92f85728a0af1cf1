// SPDX-License-Identifier: Apache-2.0
// Programs that own objects, as they are and changed in a place or two: what we accept, the running kernel accepts.
#include <fstream>
#include <iterator>
#include <map>
#include <random>

#include "live_kernel.hpp"
#include "owned_cases.hpp"

namespace anybpf::verifier {
namespace {

using namespace testing;

std::shared_ptr<const btf::Btf> running_kernel() {
    std::ifstream file("/sys/kernel/btf/vmlinux", std::ios::binary);
    const std::vector<char> bytes(std::istreambuf_iterator<char>(file), {});
    auto parsed = btf::Btf::parse(std::as_bytes(std::span(bytes)));
    return parsed ? *parsed : nullptr;
}

std::string end_of(const std::string& log) { return log.substr(log.size() > 1500 ? log.size() - 1500 : 0); }

// An instruction dropped, repeated or moved, or one of its registers, its offset or its constant changed.
void change(program::Program& program, std::mt19937_64& random) {
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

TEST(Kernel, judges_owned_objects_alike) {
    const auto types = running_kernel();
    if (types == nullptr) GTEST_SKIP() << "the kernel has no BTF here";
    const auto kernel = LiveKernel::open(owned_maps(false));
    if (!kernel) GTEST_SKIP() << "the kernel cannot be asked: " << kernel.error().message;
    std::vector<program::Program> programs;
    for (const OwnedCase& one : owned_cases()) {
        using F = Finding;
        if (one.expected == F::bad_map_fields || one.expected == F::bad_type_fields ||
            one.expected == F::field_map_type || one.expected == F::foreign_types ||
            one.expected == F::kfunc_unsupported)
            continue;
        const program::Program program = program_of(one, types, false);
        const Report report = verify(program, {});
        const auto said = kernel->load(program);
        if (said.error == EPERM) GTEST_SKIP() << "the kernel loads no programs here";
        EXPECT_EQ(to_string(report.diagnostic.what), to_string(one.expected)) << one.name;
        EXPECT_EQ(said.accepted, one.expected == F::none) << one.name << end_of(said.log);
        programs.push_back(program);
    }
    ASSERT_FALSE(programs.empty());
    const char* given = std::getenv("ANYBPF_OWNED_PROGRAMS");
    const u32 count = given != nullptr ? static_cast<u32>(std::strtoul(given, nullptr, 10)) : 2000;
    u32 accepted = 0, refused = 0, stricter = 0;
    std::map<std::string, u32> why;
    for (u32 seed = 1; seed <= count; ++seed) {
        std::mt19937_64 random(seed);
        program::Program program = programs[random() % programs.size()];
        for (u64 i = 1 + random() % 2; i > 0; --i) change(program, random);
        const Report report = verify(program, {});
        const auto said = kernel->load(program);
        if (said.log.find("verifier bug") != std::string::npos) continue;  // the kernel's own
        EXPECT_TRUE(said.accepted || !report.accepted) << "seed " << seed << '\n' << end_of(said.log);
        if (!said.accepted)
            ++refused;
        else if (report.accepted)
            ++accepted;
        else
            ++stricter, ++why[std::string(to_string(report.diagnostic.what))];
    }
    for (const auto& [finding, times] : why) std::printf("refused by us alone: %u x %s\n", times, finding.c_str());
    std::printf("%u accepted by both, %u refused by the kernel, %u refused by us alone\n", accepted, refused, stricter);
    EXPECT_GT(accepted, count / 20);
}

}  // namespace
}  // namespace anybpf::verifier

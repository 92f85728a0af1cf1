// SPDX-License-Identifier: Apache-2.0
// What the LLVM engine has of its own; that it runs programs as the others do stands in engine_test and in the corpus.
#include "anybpf/engine/llvm.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <thread>

#include "anybpf/engine/lower.hpp"
#include "anybpf/isa/text.hpp"

namespace anybpf::engine {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class LlvmTest : public ::testing::Test {
  public:
    void SetUp() override {
        if (const auto available = Llvm::available(); !available) GTEST_SKIP() << available.error().message;
    }
};

program::Lowered lowered(std::string_view text, u32 maps = 0) { return *lower_unverified(*isa::assemble(text), maps); }

// The text with registers whose values a call leaves undefined given up, as of a verified program.
program::Lowered proved(std::string_view text, u32 maps = 0, u32 stack_bytes = 64) {
    program::Lowered program = lowered(text, maps);
    program.proved = true;
    for (auto& subprogram : program.subprograms) subprogram.stack_bytes = stack_bytes;
    return program;
}

std::string build(const program::Lowered& program, LlvmOutput output, std::vector<LlvmMap> maps = {}) {
    LlvmBuild request;
    request.maps = std::move(maps);
    request.prefix = "our_";
    LlvmProgram one{.name = "count", .lowered = &program, .maps = {}};
    for (u32 i = 0; i < request.maps.size(); ++i) one.maps.push_back(i);
    request.programs.push_back(std::move(one));
    auto text = Llvm::build(request, output);
    EXPECT_TRUE(text.has_value()) << text.error().message;
    return text.value_or("");
}

TEST_F(LlvmTest, CodeIsNeverWritableAndExecutable) {
    const auto program = Llvm::bind(lowered("r0 = 7\nexit"), {});
    ASSERT_TRUE(program.has_value()) << program.error().message;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) EXPECT_EQ(line.find(" rwx"), std::string::npos) << line;
    abi::Run run;
    EXPECT_EQ(Llvm::run(**program, run), 7U);
}

TEST_F(LlvmTest, SeveralProgramsAreBoundAtOnce) {
    // Each with a function and a map of its own, and all with the same names inside.
    std::array<u64, 2> values = {70, 80};
    const auto bytes = std::as_writable_bytes(std::span(values));
    const std::array<BoundMap, 2> maps = {{{.values = bytes.data()}, {.values = bytes.data() + sizeof(u64)}}};
    std::vector<program::Lowered> programs;
    for (u32 i = 0; i < 2; ++i)
        programs.push_back(lowered("r1 = map[idx:" + std::to_string(i) +
                                       "][0]+0 ll\nr1 = *(u64 *)(r1 + 0)\ncall f\nexit\n" +
                                       "f: r0 = r1\nr0 += " + std::to_string(i) + "\nexit",
                                   2));
    const std::array<const program::Lowered*, 2> both = {&programs[0], &programs[1]};
    auto bound = Llvm::bind_all(both, maps);
    ASSERT_TRUE(bound.has_value()) << bound.error().message;
    ASSERT_EQ(bound->size(), 2U);
    abi::Run run;
    EXPECT_EQ(Llvm::run(*(*bound)[0], run), 70U);
    const auto second = (*bound)[1];
    bound->clear();
    EXPECT_EQ(Llvm::run(*second, run), 81U);

    // One that cannot be bound: none is.
    programs[1].insns[0].op = 9999;
    EXPECT_FALSE(Llvm::bind_all(both, maps));
    EXPECT_TRUE(Llvm::bind_all({}, maps)->empty());
}

TEST_F(LlvmTest, ProgramsAreCompiledAndRunInSeveralThreads) {
    std::vector<std::thread> threads;
    std::array<u64, 4> results{};
    for (u32 i = 0; i < results.size(); ++i)
        threads.emplace_back([&, i] {
            const auto program = Llvm::bind(lowered("r0 = " + std::to_string(i) + "\nr0 *= 10\nr0 += r2\nexit"), {});
            abi::Run run;
            if (program) results[i] = Llvm::run(**program, run, i);
        });
    for (auto& thread : threads) thread.join();
    EXPECT_THAT(results, ::testing::ElementsAre(0, 11, 22, 33));
}

TEST_F(LlvmTest, AFrameThatNobodyElseSeesIsNoMemory) {
    const auto program = proved(
        "*(u64 *)(r10 - 8) = r1\nr2 = r10\nr2 += -16\n*(u32 *)(r2 + 0) = 5\n"
        "r0 = *(u32 *)(r10 - 16)\nr1 = *(u64 *)(r10 - 8)\nr0 += r1\nexit");
    EXPECT_THAT(build(program, LlvmOutput::lifted_raw), HasSubstr("%stack = alloca"));
    const std::string optimized = build(program, LlvmOutput::lifted);
    EXPECT_THAT(optimized, Not(HasSubstr("[64 x i8]")));
    EXPECT_THAT(optimized, HasSubstr("i64 @our_count("));
}

TEST_F(LlvmTest, BuildsWhatIsLinked) {
    const auto program = proved("r1 = map[idx:0] ll\nr2 = map[idx:1][0]+8 ll\nr0 = *(u32 *)(r2 + 0)\nexit", 2);
    const std::array<std::byte, 12> values = {std::byte{1}};
    const std::vector<LlvmMap> maps = {{}, {.values_name = "our_bss", .values = values}};
    EXPECT_THAT(build(program, LlvmOutput::lifted, maps), HasSubstr("global [12 x i8]"));
    EXPECT_THAT(build(program, LlvmOutput::assembly, maps), HasSubstr("our_count:"));
    EXPECT_EQ(build(program, LlvmOutput::object, maps).substr(0, 4),
              "\x7f"
              "ELF");
    // What never changes is known, and then nothing is left of the map.
    const std::vector<LlvmMap> frozen = {{}, {.values_name = "our_rodata", .values = values, .constant = true}};
    EXPECT_THAT(build(program, LlvmOutput::lifted, frozen), Not(HasSubstr("our_rodata")));
}

TEST_F(LlvmTest, RefusesWhatLeadsNowhere) {
    const std::array<std::byte, 12> values{};
    const auto refuses = [&](const program::Lowered& program, std::vector<LlvmMap> maps, u32 map) {
        LlvmBuild request;
        request.programs.push_back({.name = "p", .lowered = &program, .maps = {map}});
        request.maps = std::move(maps);
        return !Llvm::build(request, LlvmOutput::object).has_value();
    };
    const std::vector<LlvmMap> maps = {{.values_name = "v", .values = values}, {}};
    EXPECT_FALSE(refuses(lowered("r0 = map[idx:0][0]+8 ll\nexit", 1), maps, 0));
    EXPECT_TRUE(refuses(lowered("r0 = map[idx:0][0]+8 ll\nexit", 1), maps, 1));   // has no values
    EXPECT_TRUE(refuses(lowered("r0 = map[idx:0][0]+8 ll\nexit", 1), maps, 2));   // does not exist
    EXPECT_TRUE(refuses(lowered("r0 = map[idx:0][0]+13 ll\nexit", 1), maps, 0));  // behind the end
    // Two dozen subprograms that all go on in the same long code.
    program::Lowered shared = lowered("r0 = 0\nexit");
    for (u32 i = 1; i < 24; ++i) shared.insns.insert(shared.insns.begin(), shared.insns[0]);
    for (u32 i = 1; i < 24; ++i) shared.subprograms.push_back({i, 0});
    EXPECT_TRUE(refuses(shared, {}, 0));
}

}  // namespace
}  // namespace anybpf::engine

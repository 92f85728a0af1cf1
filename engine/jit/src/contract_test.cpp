// SPDX-License-Identifier: Apache-2.0
// What the compiling engine promises for programs that nobody verified, where it may differ from the interpreter.
#include <gtest/gtest.h>

#include "anybpf/engine/jit.hpp"
#include "anybpf/engine/lower.hpp"
#include "anybpf/isa/text.hpp"

namespace anybpf::engine {
namespace {

std::shared_ptr<const JitProgram> load(std::string_view text) {
    const auto insns = isa::assemble(text);
    EXPECT_TRUE(insns.has_value()) << insns.error().message;
    const auto lowered = lower_unverified(*insns);
    EXPECT_TRUE(lowered.has_value()) << lowered.error().message;
    const auto bound = Jit::bind(*lowered, {});
    EXPECT_TRUE(bound.has_value()) << bound.error().message;
    return bound ? *bound : nullptr;
}

u64 call_once(abi::Run& run, u64 function, u64 r2, u64, u64, u64) {
    return run.call_back(run, function, r2, 0, 0, 0, 0);
}
u64 run(const JitProgram& program, const JitProgram* target = nullptr) {
    abi::HelperBodies helpers{};
    helpers[5] = call_once;
    abi::Run run;
    run.helpers = &helpers;
    run.environment = const_cast<JitProgram*>(target);
    run.tail_target = [](abi::Run& self, u64, u32) -> const void* { return self.environment; };
    return Jit::run(program, run);
}

TEST(Contract, RegistersThatNobodySetAreZero) {
    EXPECT_EQ(run(*load("r0 += r3\nr0 += r4\nr0 += r5\nr0 += r6\nr0 += r7\nr0 += r8\nr0 += r9\nexit")), 0U);
    EXPECT_EQ(run(*load("if r1 == 0 goto +1\nr7 = 1\nr0 = r7\nr0 += r8\nexit")), 0U);
    EXPECT_EQ(run(*load("call f\nexit\nf: r0 += r6\nr0 += r7\nr0 += r8\nr0 += r9\nexit")), 0U);
    // In a callback, too, whatever the caller has in them.
    EXPECT_EQ(run(*load("r6 = 1\nr7 = 2\nr8 = 3\nr9 = 4\nr1 = f ll\nr2 = 5\ncall 5\nexit\n"
                        "f: r0 += r1\nr0 += r6\nr0 += r7\nr0 += r8\nr0 += r9\nexit")),
              5U);
}

TEST(Contract, AFunctionsValueIsOneThatTheCodeLoads) {
    const std::string forged = "r1 = 0xf27cb0df\nr1 <<= 32\nr1 += 1\nr2 = 5\ncall 5\nexit\n";
    const std::string function = "f: r0 = 77\nexit";
    EXPECT_EQ(run(*load(forged + function + "\ng: call f\nexit")), 0U);
    const auto loads = load("r6 = f ll\n" + forged + function);
    EXPECT_EQ(run(*loads), 77U);
    // Nor one of the program that a tail call has left.
    const auto left = load("r6 = f ll\nr1 = f ll\nr2 = 5\ncall 5\nr2 = 0\nr3 = 0\ncall 12\nexit\n" + function);
    EXPECT_EQ(run(*left), 77U);
    EXPECT_EQ(run(*left, load(forged).get()), 0U);
    EXPECT_EQ(run(*left, load(forged + function + "\ng: call f\nexit").get()), 0U);
}

}  // namespace
}  // namespace anybpf::engine

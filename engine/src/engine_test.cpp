// SPDX-License-Identifier: Apache-2.0
// What every engine must do, on every engine; and lowering and the checks that come before all of them.
#include "anybpf/engine/engine.hpp"

#include <gtest/gtest.h>

#include <chrono>

#include "anybpf/engine/check.hpp"
#include "anybpf/engine/jit.hpp"
#include "anybpf/engine/lower.hpp"
#include "anybpf/engine/op.hpp"
#include "anybpf/isa/text.hpp"

namespace anybpf::engine {
namespace {

template <class E>
using Bound = std::remove_reference_t<decltype(*E::bind({}, {}))>;

template <class E>
Bound<E> load(std::string_view text, std::span<const BoundMap> maps = {}) {
    const auto insns = isa::assemble(text);
    EXPECT_TRUE(insns.has_value()) << (insns ? "" : insns.error().message);
    if (!insns) return nullptr;
    const auto lowered = lower_unverified(*insns, static_cast<u32>(maps.size()));
    EXPECT_TRUE(lowered.has_value()) << (lowered ? "" : lowered.error().message);
    if (!lowered) return nullptr;
    auto bound = E::bind(*lowered, maps);
    EXPECT_TRUE(bound.has_value()) << (bound ? "" : bound.error().message);
    return bound ? *bound : nullptr;
}

u64 add5(abi::Run&, u64 r1, u64 r2, u64 r3, u64 r4, u64 r5) { return r1 + r2 + r3 + r4 + r5; }
u64 loop(abi::Run& run, u64 count, u64 callback, u64 context, u64, u64) {
    u64 i = 0;
    while (i < count)
        if (run.call_back(run, callback, i++, context, 0, 0, 0) != 0) break;
    return i;
}
abi::HelperBodies bodies() {
    abi::HelperBodies helpers{};
    helpers[5] = add5;
    helpers[181] = loop;
    return helpers;
}

template <class E>
u64 run(const Bound<E>& executable, void* context = nullptr) {
    const abi::HelperBodies helpers = bodies();
    abi::Run run;
    run.context = context;
    run.helpers = &helpers;
    return E::run(*executable, run);
}

template <class E>
class EngineTest : public ::testing::Test {
  public:
    static Bound<E> load(std::string_view text, std::span<const BoundMap> maps = {}) {
        return engine::load<E>(text, maps);
    }
    static u64 run(const Bound<E>& executable, void* context = nullptr) { return engine::run<E>(executable, context); }
    static u64 run(std::string_view text, void* context = nullptr) {
        const auto executable = load(text);
        return executable ? run(executable, context) : ~u64{0};
    }
};
using Engines = ::testing::Types<Interpreter, Jit>;
struct EngineNames {
    template <class E>
    static std::string GetName(int) {
        return std::string(E::name);
    }
};
TYPED_TEST_SUITE(EngineTest, Engines, EngineNames);

TYPED_TEST(EngineTest, CallsKeepRegistersAndFrames) {
    EXPECT_EQ(this->run(R"(
        r6 = 1
        r7 = 2
        *(u64 *)(r10 - 8) = 40
        call child
        r0 += r6
        r0 += r7
        r1 = *(u64 *)(r10 - 8)
        r0 += r1
        exit
    child:
        r6 = 100
        r7 = 200
        *(u64 *)(r10 - 8) = 1000    // the child's own frame
        r0 = 300
        exit)"),
              343U);
}

TYPED_TEST(EngineTest, EightFramesAndNoNinth) {
    // Each call adds one until the count in r1 is used up.
    const std::string_view nested =
        "call down\nexit\ndown: r0 = 1\nif r1 == 0 goto +4\nr1 += -1\n*(u64 *)(r10 - 512) = 7\n"
        "call down\nr0 += 1\nexit\n";
    EXPECT_EQ(this->run("r1 = 6\n" + std::string(nested)), 7U);
    EXPECT_EQ(this->run("r1 = 7\n" + std::string(nested)), 0U);  // the ninth frame ends the run
}

TYPED_TEST(EngineTest, HelperGetsFiveArguments) {
    EXPECT_EQ(this->run("r1 = 1\nr2 = 20\nr3 = 300\nr4 = 4000\nr5 = 50000\ncall 5\nexit"), 54321U);
    EXPECT_EQ(this->run("r1 = 1\nr2 = 2\nr3 = 3\nr4 = 4\nr5 = 5\nr6 = 5\ncallx r6\nexit"), 15U);
    EXPECT_EQ(this->run("r0 = 9\ncall 6\nr0 = 9\nexit"), 0U);  // no body
}

TYPED_TEST(EngineTest, CallbackSharesTheCallersStack) {
    EXPECT_EQ(this->run(R"(
        *(u64 *)(r10 - 8) = 0
        r6 = 7
        r1 = 100
        r2 = body ll
        r3 = r10
        r3 += -8
        r4 = 0
        call 181
        r1 = *(u64 *)(r10 - 8)
        r0 += r1
        r0 += r6
        exit
    body:
        r6 = 1
        r3 = *(u64 *)(r2 + 0)
        r3 += r1
        *(u64 *)(r2 + 0) = r3
        r0 = 0
        if r1 < 9 goto +1
        r0 = 1
        exit)"),
              10U + 45 + 7);
    EXPECT_EQ(this->run("r1 = 1\nr2 = 5\ncall 181\nr0 = 3\nexit"), 3U);  // a value that is no function is not called
}

TYPED_TEST(EngineTest, CallsThroughRegisters) {
    EXPECT_EQ(this->run("r6 = f ll\nr1 = 4\ncallx r6\nexit\nf: r0 = r1\nr0 *= 3\nexit"), 12U);
}

template <class E>
struct Chain {
    Bound<E> program;
    u32 asked = 0;
};
TYPED_TEST(EngineTest, TailCallsReplaceTheProgramUpTo33Times) {
    Chain<TypeParam> chain;
    chain.program = this->load(
        "r6 = r1\nr0 = *(u32 *)(r1 + 0)\nr0 += 1\n*(u32 *)(r1 + 0) = r0\nr2 = 5 ll\nr3 = 7\ncall 12\n"
        "r0 = *(u32 *)(r6 + 0)\nexit");
    u32 count = 0;
    abi::Run run;
    run.context = &count;
    run.environment = &chain;
    run.tail_target = [](abi::Run& self, u64 map, u32 index) -> const void* {
        auto& asked = *static_cast<Chain<TypeParam>*>(self.environment);
        ++asked.asked;
        return map == 5 && index == 7 ? asked.program.get() : nullptr;
    };
    EXPECT_EQ(TypeParam::run(*chain.program, run), 34U);
    EXPECT_EQ(chain.asked, 33U);
    // From a subprogram the target returns to the subprogram's caller, in the calling program.
    const auto outer = this->load("r7 = 1000\ncall f\nr0 += r7\nexit\nf: r2 = 5 ll\nr3 = 7\ncall 12\nr0 = 5\nexit");
    count = 0;
    EXPECT_EQ(TypeParam::run(*outer, run), 1033U);
    run.tail_target = [](abi::Run&, u64, u32) -> const void* { return nullptr; };
    EXPECT_EQ(TypeParam::run(*outer, run), 1005U);
}

TYPED_TEST(EngineTest, MapsAreBoundToAddresses) {
    std::array<u64, 4> values = {1, 2, 3, 4};
    int map = 0;
    const BoundMap bound[] = {{&map, nullptr}, {nullptr, static_cast<std::byte*>(static_cast<void*>(values.data()))}};
    EXPECT_EQ(this->run(this->load("r0 = map[idx:0] ll\nexit", bound)), reinterpret_cast<std::uintptr_t>(&map));
    EXPECT_EQ(this->run(this->load("r1 = map[idx:1][0]+16 ll\nr0 = *(u64 *)(r1 + 0)\nexit", bound)), 3U);
    EXPECT_FALSE(lower_unverified(*isa::assemble("r0 = map[idx:2] ll\nexit"), 2));
    const auto no_values = lower_unverified(*isa::assemble("r0 = map[idx:0][0]+0 ll\nexit"), 2);
    EXPECT_FALSE(TypeParam::bind(*no_values, bound));
}

TYPED_TEST(EngineTest, MayGotoEnds) {
    EXPECT_EQ(this->run("r0 = 0\nagain: r0 += 1\nmay_goto out\ngoto again\nout: exit"),
              abi::max_loop_iterations + u64{1});
}

TYPED_TEST(EngineTest, PassesContextAndSecond) {
    const auto executable = this->load("r0 = r1\nr0 -= r2\nexit");
    abi::Run run;
    run.context = &run;
    EXPECT_EQ(TypeParam::run(*executable, run, reinterpret_cast<std::uintptr_t>(&run)), 0U);
}

TEST(Lower, RefusesWhatLeavesTheProgram) {
    const auto refuses = [](std::string_view text) { return !lower_unverified(*isa::assemble(text)).has_value(); };
    EXPECT_TRUE(refuses("goto +5\nexit"));
    EXPECT_TRUE(refuses("if r1 == 0 goto -2\nexit"));
    EXPECT_TRUE(refuses("goto +1\nr1 = 5 ll\nexit"));  // into the middle
    EXPECT_TRUE(refuses("if r1 == 0 goto +1\nr1 = 5 ll\nexit"));
    EXPECT_TRUE(refuses("call pc+5\nexit"));
    EXPECT_TRUE(refuses("r0 = 0"));
    EXPECT_TRUE(refuses("if r0 == 0 goto -1"));
    EXPECT_TRUE(refuses("exit\ncall 5"));
    EXPECT_TRUE(refuses("call 0\nexit"));
    EXPECT_TRUE(refuses("call 212\nexit"));
    EXPECT_TRUE(refuses("r1 = map[fd:3] ll\nexit"));
    EXPECT_FALSE(refuses("r0 = 0\nexit"));
    EXPECT_TRUE(!lower_unverified({}).has_value());
}

TEST(Lower, DropsWhatNoPathReaches) {
    program::Program program;
    program.insns = *isa::assemble("r0 = 1\nif r0 == 1 goto +2\nr0 = 2 ll\nif r0 == 2 goto +1\nexit\nr0 = 3\nexit");
    program::Proof proof;
    for (const bool reached : {true, true, false, false, true, true, false, false})
        proof.insns.push_back({.reached = reached});
    proof.subprograms = {{.first = 0, .last = 8, .stack_bytes = 20}};
    const auto lowered = lower(program, proof);
    ASSERT_TRUE(lowered.has_value()) << lowered.error().message;
    ASSERT_EQ(lowered->insns.size(), 3U);  // r0 = 1; goto; exit: the second condition is never true
    EXPECT_EQ(Op{lowered->insns[1].op}, Op::jump);
    EXPECT_EQ(lowered->insns[1].off, 2);
    EXPECT_EQ(lowered->subprograms[0].stack_bytes, 24U);
    EXPECT_EQ(run<Interpreter>(*Interpreter::bind(*lowered, {})), 1U);
}

TEST(Bind, ChecksEveryIndex) {
    const auto good = *lower_unverified(*isa::assemble("r0 = 0\nif r0 == 1 goto +0\ncall f\ncall 5\nexit\nf: exit"));
    ASSERT_TRUE(Interpreter::bind(good, {}));
    const auto refuses = [&](auto&& change) {
        program::Lowered bad = good;
        change(bad);
        const bool refused = !check(bad, {}, nullptr).has_value();
        EXPECT_EQ(Interpreter::bind(bad, {}).has_value(), !refused);
        EXPECT_EQ(Jit::bind(bad, {}).has_value(), !refused);
        return refused;
    };
    EXPECT_TRUE(refuses([](auto& bad) { bad.insns[0].op = op_count; }));
    EXPECT_TRUE(refuses([](auto& bad) { bad.insns[0].dst = 11; }));
    EXPECT_TRUE(refuses([](auto& bad) { bad.insns[0].src = 11; }));
    EXPECT_TRUE(refuses([](auto& bad) { bad.insns[1].off = -1; }));
    EXPECT_TRUE(refuses([](auto& bad) { bad.insns[1].off = 6; }));
    EXPECT_TRUE(refuses([](auto& bad) { bad.insns[2].imm = 1; }));
    EXPECT_TRUE(refuses([](auto& bad) { bad.insns[3].imm = 0; }));
    EXPECT_TRUE(refuses([](auto& bad) { bad.insns[3].imm = abi::helper_count; }));
    EXPECT_TRUE(refuses([](auto& bad) { bad.subprograms.clear(); }));
    EXPECT_TRUE(refuses([](auto& bad) { bad.subprograms[1].first = 6; }));
    EXPECT_TRUE(refuses([](auto& bad) { bad.subprograms.push_back({0, 0}); }));
    EXPECT_TRUE(refuses([](auto& bad) { bad.subprograms[1].stack_bytes = 520; }));
    EXPECT_TRUE(refuses([](auto& bad) { bad.subprograms[1].stack_bytes = 12; }));
    EXPECT_TRUE(refuses([](auto& bad) { bad.map_uses.push_back({0, 0, 0, 0}); }));
    EXPECT_TRUE(refuses([](auto& bad) { bad.insns.clear(); }));
    const abi::HelperBodies none{};
    EXPECT_FALSE(Interpreter::bind(good, {}, &none));
    // Code that runs past its end ends the run.
    program::Lowered open = good;
    open.insns.resize(2);
    open.insns[1].off = 0;
    open.subprograms.resize(1);
    EXPECT_EQ(run<Interpreter>(*Interpreter::bind(open, {})), 0U);
    EXPECT_EQ(run<Jit>(*Jit::bind(open, {})), 0U);
}

}  // namespace
}  // namespace anybpf::engine

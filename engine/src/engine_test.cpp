// SPDX-License-Identifier: Apache-2.0
// What every engine must do, on every engine; and lowering and the checks that come before all of them.
#include "anybpf/engine/engine.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cerrno>

#include "anybpf/engine/check.hpp"
#include "anybpf/engine/jit.hpp"
#include "anybpf/engine/llvm.hpp"
#include "anybpf/engine/lower.hpp"
#include "anybpf/engine/op.hpp"
#include "anybpf/isa/text.hpp"

namespace anybpf::engine {
namespace {

using program::Lowered;

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

// Why the engine is not in this build or on this machine; nothing when it is.
template <class E>
std::string unavailable() {
    return {};
}
template <>
std::string unavailable<Llvm>() {
    const auto available = Llvm::available();
    return available ? "" : available.error().message;
}

template <class E>
class EngineTest : public ::testing::Test {
  public:
    void SetUp() override {
        if (const std::string reason = unavailable<E>(); !reason.empty()) GTEST_SKIP() << reason;
    }
    static Bound<E> load(std::string_view text, std::span<const BoundMap> maps = {}) {
        return engine::load<E>(text, maps);
    }
    static u64 run(const Bound<E>& executable, void* context = nullptr) { return engine::run<E>(executable, context); }
    static u64 run(std::string_view text, void* context = nullptr) {
        const auto executable = load(text);
        return executable ? run(executable, context) : ~u64{0};
    }
};
using Engines = ::testing::Types<Interpreter, Jit, Llvm>;
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

// Control that flows from one function into another without a call, only in code that nobody verified: in the same
// frame.
TYPED_TEST(EngineTest, FunctionsMayRunIntoEachOther) {
    EXPECT_EQ(this->run("r6 = 1\ncall f\nr0 += r6\nexit\nf: r0 = 10\nr6 = 5\nif r6 == 5 goto g\nexit\n"
                        "h: r7 = 3\ng: r0 += r6\nr9 = 7\n*(u64 *)(r10 - 512) = 1\nexit\nk: call h\ncall g\nexit"),
              16U);
    EXPECT_EQ(
        this->run("r6 = 1\ncall f\nr0 += r6\nexit\nf: r0 = 10\nr8 = 9\ng: r6 = 100\nr0 += r6\nexit\nk: call g\nexit"),
        111U);
}

// As lower() takes a program that the verifier has accepted, with every instruction reached.
Lowered lower_accepted(std::string_view text, std::initializer_list<abi::MapType> maps,
                       std::initializer_list<program::Subprogram> more = {}, Constants constants = Constants::folded) {
    program::Program program;
    program.insns = *isa::assemble(text);
    for (const abi::MapType type : maps) program.maps.emplace_back().type = type;
    program::Proof proof;
    proof.insns.assign(program.insns.size(), {.reached = true});
    for (u32 pc = 0; pc < program.insns.size(); ++pc)
        if (isa::slots(program.insns[pc]) == 2) proof.insns[pc + 1].reached = false;
    proof.subprograms = {{.first = 0, .last = static_cast<u32>(program.insns.size()), .stack_bytes = 16}};
    proof.subprograms.insert(proof.subprograms.end(), more);
    auto lowered = lower(program, proof, constants);
    EXPECT_TRUE(lowered.has_value()) << (lowered ? "" : lowered.error().message);
    return lowered ? *lowered : Lowered{};
}
bool has(const Lowered& lowered, Op op) {
    return std::ranges::any_of(lowered.insns, [op](const auto& insn) { return Op{insn.op} == op; });
}

constexpr std::string_view lookup = "*(u32 *)(r10 - 4) = r1\nr2 = r10\nr2 += -4\nr1 = map[idx:0] ll\ncall 1\n";

TYPED_TEST(EngineTest, FindsElementsOfArraysWithoutACall) {
    std::array<u64, 4 * 16> values{};
    auto* const bytes = static_cast<std::byte*>(static_cast<void*>(values.data()));
    const std::string_view uses[] = {"exit", "if r0 == 0 goto +0\nexit", "if r0 == 0 goto +1\nexit\nexit",
                                     "if r0 != 0 goto +1\nexit\nexit", "r6 = r0\nr0 = r6\nexit"};
    for (const u32 entries : {1U, 5U})
        for (const u64 stride : {8U, 16U, 24U})
            for (const u64 block : {0U, 128U})
                for (const std::string_view use : uses) {
                    const auto lowered =
                        lower_accepted(std::string(lookup) + std::string(use),
                                       {block == 0 ? abi::MapType::array : abi::MapType::percpu_array});
                    EXPECT_TRUE(has(lowered, Op::lookup_array));
                    EXPECT_FALSE(has(lowered, Op::mov64_imm));  // of the map, which nobody needs now
                    const abi::ArrayPlace place{bytes, stride, block, entries};
                    const BoundMap maps[] = {{nullptr, nullptr, place}};
                    const auto bound = TypeParam::bind(lowered, maps);
                    ASSERT_TRUE(bound.has_value()) << bound.error().message;
                    for (const u64 index : {u64{0}, u64{1}, u64{4}, u64{5}, u64{0xffffffff}})
                        for (const u32 vcpu : {0U, 3U}) {
                            abi::Run run;
                            run.vcpu = vcpu;
                            run.context = std::bit_cast<void*>(index);
                            const u64 expected =
                                index < entries ? std::bit_cast<u64>(place.at(static_cast<u32>(index), vcpu)) : 0;
                            EXPECT_EQ(TypeParam::run(**bound, run), expected)
                                << index << " of " << entries << ", vcpu " << vcpu << ", " << use;
                        }
                }
}

// A loop whose body is known is an operation; it does what the helper does, and keeps r6 to r9.
TYPED_TEST(EngineTest, LoopsWithoutACall) {
    const auto loops = [](i64 count, i64 stop, i64 flags) {
        // Every step adds its number to a cell of the caller's; the one that reaches `stop` is the last.
        const std::string text =
            "r6 = 60\nr7 = 70\nr8 = 80\nr9 = " + std::to_string(stop) +
            "\n*(u64 *)(r10 - 8) = 0\n*(u64 *)(r10 - 16) = r9\nr1 = " + std::to_string(count) +
            "\nr2 = step ll\nr3 = r10\nr4 = " + std::to_string(flags) +
            "\ncall 181\nr1 = *(u64 *)(r10 - 8)\nr1 <<= 32\nr0 += r1\nr0 += r6\nr0 -= r7\nr0 += r8\n"
            "r0 += r9\nr0 -= r9\nexit\n"
            "step: r6 = r1\nr7 = 1\nr8 = 2\nr3 = *(u64 *)(r2 - 8)\nr3 += r1\n*(u64 *)(r2 - 8) = r3\n"
            "r3 = *(u64 *)(r2 - 16)\nr0 = 0\nif r3 != r6 goto +1\nr0 = 1\nexit";
        const auto lowered = lower_accepted(text, {}, {{.first = 21, .last = 32, .stack_bytes = 0}});
        EXPECT_TRUE(has(lowered, Op::loop));
        EXPECT_FALSE(has(lowered, Op::call_helper));
        const auto bound = TypeParam::bind(lowered, {});
        EXPECT_TRUE(bound.has_value()) << bound.error().message;
        abi::Run run;
        return (bound ? TypeParam::run(**bound, run) : 0) - 70;
    };
    EXPECT_EQ(loops(0, 99, 0), 0U);
    EXPECT_EQ(loops(1, 99, 0), 1U);
    EXPECT_EQ(loops(10, 99, 0), 10 + (u64{45} << 32));
    EXPECT_EQ(loops(10, 3, 0), 4 + (u64{6} << 32));
    EXPECT_EQ(loops(10, 9, 0), 10 + (u64{45} << 32));
    EXPECT_EQ(loops(10, 99, 1), static_cast<u64>(-EINVAL));
    EXPECT_EQ(loops(abi::max_loop_iterations + 1, 99, 0), static_cast<u64>(-E2BIG));
}

// A balanced tree over the numbers from first on, as clang makes one of a switch: each number has a leaf of its own,
// the last ones share theirs with whatever is left.
struct Tree {
    std::string_view less;  // the comparison: "s<", "<"
    char prefix = 'w';      // of the register: w is its low half
    std::string text;
    u32 labels = 0;

    void node(i64 first, i64 end) {
        const std::string self = std::string(1, prefix) + "1";
        if (end - first == 1) {
            // By equality, now and then, and a jump to the leaf.
            const std::string leaf = "leaf" + std::to_string(labels++);
            if (first % 3 == 0)
                text += "if " + self + " == " + std::to_string(first) + " goto " + leaf + "\ngoto other\n";
            text += leaf + ": r0 = " + std::to_string(1000 + first) + "\nexit\n";
            return;
        }
        const i64 middle = first + (end - first) / 2;
        const std::string upper = "upper" + std::to_string(labels++);
        text += "if " + self + " " + std::string(less) + " " + std::to_string(middle) + " goto lower" + upper + "\n";
        node(middle, end);
        text += "lower" + upper + ": ";
        node(first, middle);
    }
    static std::string program(std::string_view less, char prefix, i64 first, i64 end) {
        Tree tree{less, prefix, "r1 = *(u64 *)(r1 + 0)\n", 0};
        tree.node(first, end);
        return tree.text + "other: r0 = 7\nexit";
    }
};
TYPED_TEST(EngineTest, TreesOfComparisonsLeadWhereTheyLead) {
    for (const std::string_view less : {"s<", "<"})
        for (const char prefix : {'w', 'r'})
            for (const auto& [first, end] : {std::pair<i64, i64>{0, 12}, {1, 17}, {-5, 9}, {100, 103}, {-30, -20}}) {
                const std::string text = Tree::program(less, prefix, first, end);
                const auto executable = this->load(text);
                const auto reference = engine::load<Interpreter>(text);
                ASSERT_TRUE(executable && reference) << text;
                std::vector<u64> numbers = {0,       u64{1} << 31, u64{1} << 32, u64{1} << 63,
                                            ~u64{0}, 0x7fffffff,   0xffffffff};
                for (i64 number = first - 3; number < end + 3; ++number)
                    for (const u64 more : {u64{0}, u64{1} << 32, u64{1} << 63})
                        numbers.push_back(static_cast<u64>(number) + more);
                for (u64 number : numbers)
                    EXPECT_EQ(this->run(executable, &number), engine::run<Interpreter>(reference, &number))
                        << static_cast<i64>(number) << "\n"
                        << text;
            }
    // One that goes round in circles for some number, and never for others.
    EXPECT_EQ(this->run("r1 = 40\na: if r1 == 1 goto a\nif r1 == 2 goto a\nif r1 == 3 goto a\nif r1 == 4 goto a\n"
                        "if r1 == 5 goto a\nif r1 == 6 goto a\nif r1 == 7 goto a\nr0 = 3\nexit"),
              3U);
}

// The program has a loop, and returns what is expected; 0: it gives up.
template <class E>
void expect_loop_ends(const Lowered& lowered, int count, u64 expected) {
    EXPECT_TRUE(has(lowered, Op::loop));
    const auto bound = E::bind(lowered, {});
    ASSERT_TRUE(bound.has_value()) << bound.error().message;
    abi::Run run;
    EXPECT_EQ(E::run(**bound, run), expected) << count;
    EXPECT_EQ(run.gave_up, expected == 0);
}

// A run that a loop's body gives up does not go on behind the loop.
TYPED_TEST(EngineTest, ALoopsNinthFrameEndsTheRun) {
    const std::string nested =
        "r1 = 2\nr2 = step ll\nr3 = r10\nr4 = 0\n*(u64 *)(r10 - 8) = r9\ncall 181\nr0 = 7\nexit\n"
        "step: r1 = *(u64 *)(r2 - 8)\ncall down\nr0 = 0\nexit\n"
        "down: r0 = 1\nif r1 == 0 goto +4\nr1 += -1\n*(u64 *)(r10 - 16) = 7\ncall down\nr0 += 1\nexit";
    for (const auto& [count, expected] : {std::pair{5, u64{7}}, {6, u64{0}}}) {
        const auto lowered =
            lower_accepted("r9 = " + std::to_string(count) + "\n" + nested, {},
                           {{.first = 10, .last = 14, .stack_bytes = 0}, {.first = 14, .last = 21, .stack_bytes = 16}});
        expect_loop_ends<TypeParam>(lowered, count, expected);
    }
}

// In the eighth frame a loop may stand that makes no rounds.
TYPED_TEST(EngineTest, ALoopOfNoRoundsNeedsNoFrame) {
    for (const auto& [count, expected] : {std::pair{0, u64{6}}, {1, u64{0}}}) {
        const auto lowered = lower_accepted(
            "r1 = 6\ncall down\nexit\n"
            "down: if r1 == 0 goto last\nr1 += -1\ncall down\nr0 += 1\nexit\n"
            "last: r1 = " +
                std::to_string(count) + "\nr2 = step ll\nr3 = 0\nr4 = 0\ncall 181\nexit\nstep: r0 = 0\nexit",
            {}, {{.first = 3, .last = 15, .stack_bytes = 0}, {.first = 15, .last = 17, .stack_bytes = 0}});
        expect_loop_ends<TypeParam>(lowered, count, expected);
    }
}

TYPED_TEST(EngineTest, KnowsItsThread) {
    const auto bound = TypeParam::bind(lower_accepted("call 14\nr6 = r0\ncall 14\nr0 -= r6\nr0 += r6\nexit", {}), {});
    ASSERT_TRUE(bound.has_value()) << bound.error().message;
    const abi::ThreadIds ids{.tid = 7, .pid = 0xabcdef01};
    const abi::ThreadIds* environment = &ids;
    abi::Run run;
    run.environment = static_cast<void*>(&environment);
    EXPECT_EQ(TypeParam::run(**bound, run), 0xabcdef0100000007);
}

TYPED_TEST(EngineTest, KnowsItsVirtualCpu) {
    const auto bound = TypeParam::bind(lower_accepted("r0 = -1\ncall 8\nexit", {}), {});
    ASSERT_TRUE(bound.has_value()) << bound.error().message;
    abi::Run run;
    run.vcpu = 77;
    EXPECT_EQ(TypeParam::run(**bound, run), 77U);
}

TEST(Lower, KnowsWhichArrayALookupAlwaysMeans) {
    using abi::MapType;
    const auto inlined = [](std::string_view text, std::initializer_list<MapType> maps) {
        return has(lower_accepted(text, maps), Op::lookup_array);
    };
    EXPECT_TRUE(inlined(std::string(lookup) + "exit", {MapType::array}));
    EXPECT_FALSE(inlined(std::string(lookup) + "exit", {MapType::hash}));
    // Another map on another path, a copy whose origin is not on the line, a second call.
    EXPECT_FALSE(inlined("r2 = r10\nr1 = map[idx:0] ll\nif r2 == 0 goto +2\nr1 = map[idx:1] ll\ncall 1\nexit",
                         {MapType::array, MapType::array}));
    EXPECT_FALSE(inlined("r2 = r10\nr6 = map[idx:0] ll\nr1 = r6\ncall 1\nexit", {MapType::array}));
    EXPECT_FALSE(inlined("r2 = r10\nr1 = map[idx:0] ll\ncall 5\ncall 1\nexit", {MapType::array}));
    // What is looked at elsewhere, too, stays.
    const auto stays = [](std::string_view text) {
        const auto lowered = lower_accepted(text, {MapType::array}, {}, Constants::as_written);
        return has(lowered, Op::lookup_array) && has(lowered, Op::mov64_imm) && lowered.map_uses.size() == 1;
    };
    EXPECT_TRUE(stays("r2 = r10\nr1 = map[idx:0] ll\nr6 = r1\ncall 1\nr0 = r6\nexit"));
    EXPECT_TRUE(stays("r2 = r10\nr1 = map[idx:0] ll\nif r2 == 0 goto +1\ncall 1\nexit"));
    EXPECT_FALSE(stays("r2 = r10\nr1 = map[idx:0] ll\nr3 = 0\ncall 1\nexit"));
    // A jump to the load that is gone leads to what comes after it.
    const auto lowered =
        lower_accepted("r2 = r10\nif r2 == 0 goto +1\nr3 = 0\nr1 = map[idx:0] ll\ncall 1\nexit", {MapType::array});
    EXPECT_EQ(Op{lowered.insns[static_cast<u32>(lowered.insns[1].off)].op}, Op::lookup_array);
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
    const auto lowered = lower(program, proof, Constants::as_written);
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
    EXPECT_TRUE(refuses([](auto& bad) { bad.subprograms[1].stack_bytes = abi::max_stack_size + 8; }));
    EXPECT_TRUE(refuses([](auto& bad) { bad.subprograms[1].stack_bytes = 12; }));
    EXPECT_TRUE(refuses([](auto& bad) { bad.map_uses.push_back({0, 0, 0, 0}); }));
    const auto looks_up = [](program::Lowered& bad, i64 map) {
        bad.insns[0] = {.op = static_cast<u16>(Op::lookup_array), .dst = 0, .src = 2, .off = 0, .imm = map};
    };
    EXPECT_TRUE(refuses([&](auto& bad) { looks_up(bad, 0); }));
    std::byte value{};
    const BoundMap bound[] = {{&value, &value}, {&value, &value, {&value, 8, 0, 1}}};
    for (const i64 map : {-1, 0, 1, 2}) {
        program::Lowered other = good;
        looks_up(other, map);
        EXPECT_EQ(check(other, bound, nullptr).has_value(), map == 1) << map;
    }
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

// SPDX-License-Identifier: Apache-2.0
// Random programs that call in every way: functions of their own, helpers, both through registers, callbacks from
// helpers, tail calls of other programs, too deep and to nowhere. Every engine calls the same helpers with the same
// arguments in the same order, and ends with the same result.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <random>

#include "anybpf/abi/helper.hpp"
#include "anybpf/engine/engine.hpp"
#include "anybpf/engine/jit.hpp"
#include "anybpf/engine/llvm.hpp"
#include "anybpf/engine/lower.hpp"
#include "anybpf/isa/text.hpp"

namespace anybpf::corpus {
namespace {

constexpr u32 programs = 3;  // of a case, which call each other
constexpr u32 trace_helper = 5, loop_helper = 181;

// Uses only what has a meaning on every engine: r1 to r5 get values after each call, the stack before it is read.
class Generator {
  public:
    explicit Generator(u64 seed) : random_(seed) {}
    std::string program();

  private:
    u32 below(u32 bound) { return static_cast<u32>(random_() % bound); }
    u32 kept() { return 6 + below(4); }
    u32 function() { return below(functions_); }
    void function_body(u32 index);
    void step();
    void arguments() {
        for (u32 reg = 1; reg <= 5; ++reg) add("r{} = {}", reg, below(1000));
    }
    template <class... Parts>
    void add(std::string_view format, const Parts&... parts) {
        text_ += fmt::format(fmt::runtime(format), parts...) + "\n";
    }

    std::mt19937_64 random_;
    std::string text_;
    u32 functions_ = 0, labels_ = 0;
};

std::string Generator::program() {
    text_.clear();
    functions_ = 1 + below(5);
    for (u32 i = 0; i < functions_; ++i) function_body(i);
    return text_;
}

void Generator::function_body(u32 index) {
    add("f{}:", index);
    // Where a tail call enters, what was in these is unspecified.
    if (index == 0)
        for (u32 reg = 6; reg < 10; ++reg) add("r{} = {}", reg, below(100));
    const bool has_stack = below(2) == 0;
    if (has_stack) add("*(u64 *)(r10 - {}) = r1", below(2) == 0 ? 8 : 512);
    if (below(2) == 0) add("r{} += r1", kept());
    for (u32 steps = 2 + below(6); steps > 0; --steps) step();
    if (has_stack) add("*(u64 *)(r10 - 16) = r0\nr1 = *(u64 *)(r10 - 16)\nr0 += r1");
    if (below(3) != 0) add("r0 += r{}", kept());
    add("exit");
}

void Generator::step() {
    switch (below(11)) {
        case 0:
            add("r{} += r0", kept());
            break;
        case 1:
            add("r{} *= {}", kept(), below(7));
            break;
        case 2:
            add("if r{} > {} goto L{}\nr0 ^= r{}\nL{}:", kept(), below(200), labels_, kept(), labels_);
            ++labels_;
            break;
        case 3:
            add("if r{} != {} goto L{}\nexit\nL{}:", kept(), below(8), labels_, labels_);
            ++labels_;
            break;
        case 4:
        case 5:
            arguments();
            add("call f{}", function());
            arguments();
            break;
        case 6:
            arguments();
            if (below(8) == 0)
                add("r5 = {} ll", below(2) == 0 ? u64{7777} : u64{0xf27cb0df00000063});  // nothing of that name
            else
                add("r5 = f{} ll", function());
            add("callx r5");
            arguments();
            break;
        case 7:
            arguments();
            if (below(2) == 0)
                add("r1 = r{}\ncall {}", kept(), trace_helper);
            else
                add("r{} = {}\ncallx r{}", 6, trace_helper, 6);
            arguments();
            break;
        case 8:
            arguments();
            add("r1 = {}\nr2 = f{} ll\ncall {}", below(3), function(), loop_helper);
            arguments();
            break;
        case 9:
            arguments();
            add("r2 = 77\nr3 = {}\ncall 12", below(programs + 1));
            arguments();
            break;
        default:
            add("may_goto L{}\nr0 += 1\nL{}:", labels_, labels_);
            ++labels_;
    }
}

// What a run of one engine sees and leaves.
struct Host {
    std::array<const void*, programs> targets{};
    u64 trace = 0;
    u32 calls = 0;
};

u64 trace(abi::Run& run, u64 r1, u64 r2, u64 r3, u64 r4, u64 r5) {
    Host& host = *static_cast<Host*>(run.environment);
    for (const u64 value : {r1, r2, r3, r4, r5}) host.trace = host.trace * 31 + value;
    ++host.calls;
    return host.trace % 1000;
}
u64 loop(abi::Run& run, u64 count, u64 callback, u64 context, u64, u64) {
    u64 i = 0, sum = 0;
    for (; i < count; ++i) sum += run.call_back(run, callback, i, context, 3, 4, 5);
    return sum;
}
const void* tail_target(abi::Run& run, u64 map, u32 index) {
    const Host& host = *static_cast<Host*>(run.environment);
    return map == 77 && index < programs ? host.targets[index] : nullptr;
}

struct Ending {
    u64 result = 0, trace = 0;
    u32 calls = 0;
    bool operator==(const Ending&) const = default;
};
void PrintTo(const Ending& ending, std::ostream* out) {
    *out << fmt::format("result {:#x}, {} calls, trace {:#x}", ending.result, ending.calls, ending.trace);
}

// Binds the helpers' addresses, or leaves them to the run.
template <class E>
Ending run_on(std::span<const program::Lowered> lowered, bool bound_helpers) {
    abi::HelperBodies helpers{};
    helpers[trace_helper] = trace;
    helpers[loop_helper] = loop;
    using Bound = typename decltype(E::bind({}, {}))::value_type;
    std::array<Bound, programs> bound;
    Host host;
    for (u32 i = 0; i < programs; ++i) {
        auto one = E::bind(lowered[i], {}, bound_helpers ? &helpers : nullptr);
        EXPECT_TRUE(one.has_value()) << one.error().message;
        if (!one) return {};
        bound[i] = *one;
        host.targets[i] = bound[i].get();
    }
    abi::Run run;
    run.environment = &host;
    run.helpers = &helpers;
    run.tail_target = tail_target;
    const u64 result = E::run(*bound[0], run, 9);
    return {result, host.trace, host.calls};
}

TEST(RandomCalls, EnginesCallTheSameInTheSameOrder) {
    u32 interesting = 0, given_up = 0;
    const auto llvm = engine::Llvm::available();
    if (!llvm) std::printf("not run by LLVM: %s\n", llvm.error().message.c_str());
    for (u64 seed = 0; seed < 3000; ++seed) {
        Generator generator(seed);
        std::array<program::Lowered, programs> lowered;
        std::string all;
        for (program::Lowered& one : lowered) {
            const std::string text = generator.program();
            all += text + "\n";
            const auto insns = isa::assemble(text);
            ASSERT_TRUE(insns.has_value()) << insns.error().message << "\n" << text;
            auto form = engine::lower_unverified(*insns);
            ASSERT_TRUE(form.has_value()) << form.error().message << "\n" << text;
            one = std::move(*form);
        }
        const Ending expected = run_on<engine::Interpreter>(lowered, false);
        ASSERT_EQ(run_on<engine::Jit>(lowered, false), expected) << "seed " << seed << "\n" << all;
        ASSERT_EQ(run_on<engine::Jit>(lowered, true), expected) << "seed " << seed << ", bound\n" << all;
        // Each is compiled for milliseconds.
        if (llvm && seed % 150 == 0) {
            ASSERT_EQ(run_on<engine::Llvm>(lowered, seed % 300 == 0), expected) << "seed " << seed << ", LLVM\n" << all;
        }
        interesting += expected.calls > 3 ? 1 : 0;
        given_up += expected.calls > 0 && expected.result == 0 ? 1 : 0;
    }
    EXPECT_GT(interesting, 300U);
    EXPECT_GT(given_up, 50U);
}

}  // namespace
}  // namespace anybpf::corpus

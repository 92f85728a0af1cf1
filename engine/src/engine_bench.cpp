// SPDX-License-Identifier: Apache-2.0
// What a run costs: entering and leaving, an instruction, a helper call, a call in the program, a lookup; and binding.
#include <benchmark/benchmark.h>

#include <array>
#include <string>

#include "anybpf/engine/engine.hpp"
#include "anybpf/engine/jit.hpp"
#include "anybpf/engine/lower.hpp"
#include "anybpf/isa/text.hpp"

namespace {

using namespace anybpf;

// Runs the program; executed is how many instructions that takes.
template <class E>
void run(benchmark::State& state, E, const char* text, double executed) {
    abi::HelperBodies helpers{};
    helpers[5] = [](abi::Run&, u64 r1, u64, u64, u64, u64) { return r1; };
    const auto lowered = engine::lower_unverified(*isa::assemble(text));
    const auto executable = *E::bind(*lowered, {}, &helpers);
    abi::Run run;
    run.helpers = &helpers;
    for (auto _ : state) benchmark::DoNotOptimize(E::run(*executable, run));
    state.counters["insn"] =
        benchmark::Counter(executed, benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert,
                           benchmark::Counter::kIs1000);
}

#define ANYBPF_ON_BOTH(name, ...)                                              \
    BENCHMARK_CAPTURE(run, name##_interp, engine::Interpreter{}, __VA_ARGS__); \
    BENCHMARK_CAPTURE(run, name##_jit, engine::Jit{}, __VA_ARGS__)
ANYBPF_ON_BOTH(empty, "r0 = 0\nexit", 2);
ANYBPF_ON_BOTH(sum_1000, "r0 = 0\nr1 = 1000\nL: r0 += r1\nr1 += -1\nif r1 != 0 goto L\nexit", 3003);
ANYBPF_ON_BOTH(stack_1000,
               "r0 = 0\nr1 = 1000\nL: *(u64 *)(r10 - 8) = r1\nr2 = *(u64 *)(r10 - 8)\nr2 ^= r1\nr2 >>= 3\nr0 += r2\n"
               "r1 += -1\nif r1 != 0 goto L\nexit",
               7003);
ANYBPF_ON_BOTH(helper_1000, "r6 = 1000\nL: r1 = r6\ncall 5\nr6 += -1\nif r6 != 0 goto L\nexit", 4002);
ANYBPF_ON_BOTH(call_1000, "r6 = 1000\nL: call f\nr6 += -1\nif r6 != 0 goto L\nexit\nf: r0 = 1\nexit", 5002);

// An element of an array, as a counter's program asks for it.
template <class E>
void lookup(benchmark::State& state, E) {
    program::Program program;
    program.insns = *isa::assemble(
        "*(u32 *)(r10 - 4) = 1\nr2 = r10\nr2 += -4\nr1 = map[idx:0] ll\ncall 1\nif r0 == 0 goto +2\n"
        "r1 = 1\nlock *(u64 *)(r0 + 0) += r1\nr0 = 0\nexit");
    program.maps.emplace_back().type = abi::MapType::percpu_array;
    program::Proof proof;
    proof.insns.assign(program.insns.size(), {.reached = true});
    proof.insns[4].reached = false;
    proof.subprograms = {{.first = 0, .last = static_cast<u32>(program.insns.size()), .stack_bytes = 8}};
    std::array<u64, 16> values{};
    auto* const bytes = static_cast<std::byte*>(static_cast<void*>(values.data()));
    const engine::BoundMap maps[] = {{nullptr, nullptr, {bytes, 8, 64, 4}}};
    const auto executable = *E::bind(*engine::lower(program, proof), maps);
    abi::Run run;
    for (auto _ : state) benchmark::DoNotOptimize(E::run(*executable, run));
}
BENCHMARK_CAPTURE(lookup, interp, engine::Interpreter{});
BENCHMARK_CAPTURE(lookup, jit, engine::Jit{});

// What it costs to bind, and let go, a program of so many instructions.
template <class E>
void bind(benchmark::State& state, E) {
    std::string text;
    for (i64 i = 0; i < state.range(0) / 8; ++i)
        text +=
            "r1 = *(u64 *)(r10 - 8)\nr1 += 7\nif r1 == 12 goto +1\nr2 = r1\nr2 <<= 3\n*(u32 *)(r10 - 16) = r2\n"
            "w3 = w2\ncall 5\n";
    const auto lowered = engine::lower_unverified(*isa::assemble(text + "exit"));
    abi::HelperBodies helpers{};
    helpers[5] = [](abi::Run&, u64 r1, u64, u64, u64, u64) { return r1; };
    for (auto _ : state) benchmark::DoNotOptimize(E::bind(*lowered, {}, &helpers));
}
BENCHMARK_CAPTURE(bind, interp, engine::Interpreter{})->Arg(8)->Arg(1000)->Arg(1000000)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(bind, jit, engine::Jit{})->Arg(8)->Arg(1000)->Arg(1000000)->Unit(benchmark::kMicrosecond);

}  // namespace

BENCHMARK_MAIN();

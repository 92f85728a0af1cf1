// SPDX-License-Identifier: Apache-2.0
// What a run costs: entering and leaving, an instruction, a helper call, a call in the program.
#include <benchmark/benchmark.h>

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

}  // namespace

BENCHMARK_MAIN();

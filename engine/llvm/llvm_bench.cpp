// SPDX-License-Identifier: Apache-2.0
// The LLVM engine beside the others: a run of a few programs, and what it costs to get there.
#include <benchmark/benchmark.h>

#include "anybpf/engine/engine.hpp"
#include "anybpf/engine/jit.hpp"
#include "anybpf/engine/llvm.hpp"
#include "anybpf/engine/lower.hpp"
#include "anybpf/isa/text.hpp"

namespace {

using namespace anybpf;

// FNV-1a over 1024 bytes of the context.
constexpr const char* hash_text =
    "r0 = 0x811c9dc5\nr2 = r1\nr2 += 1024\nL: r3 = *(u8 *)(r1 + 0)\nr0 ^= r3\nw0 *= 16777619\nr1 += 1\nif r1 != r2 "
    "goto L\nexit";
// The Internet checksum of 64 bytes, as packet programs have it: 32 halves, and the carries folded.
constexpr const char* checksum_text =
    "r0 = 0\nr2 = r1\nr2 += 64\nL: r3 = *(u16 *)(r1 + 0)\nr3 = be16 r3\nr0 += r3\nr1 += 2\nif r1 != r2 goto L\nr1 = "
    "r0\nr1 >>= 16\n"
    "w0 &= 65535\nr0 += r1\nr1 = r0\nr1 >>= 16\nr0 += r1\nr0 ^= 65535\nw0 &= 65535\nexit";
constexpr const char* stack_text =
    "r0 = 0\nr1 = 1000\nL: *(u64 *)(r10 - 8) = r1\nr2 = *(u64 *)(r10 - 8)\nr2 ^= r1\nr2 >>= 3\nr0 += r2\n"
    "r1 += -1\nif r1 != 0 goto L\nexit";
constexpr const char* helper_text = "r6 = 1000\nL: r1 = r6\ncall 5\nr6 += -1\nif r6 != 0 goto L\nexit";
constexpr const char* call_text =
    "r6 = 1000\nr7 = r1\nL: r1 = r7\nr2 = r6\ncall f\nr6 += -1\nif r6 != 0 goto L\nexit\n"
    "f: r0 = *(u64 *)(r1 + 8)\nr0 += r2\n*(u64 *)(r1 + 8) = r0\nexit";
// What a tracepoint program does: a key on the stack, a lookup, an atomic addition.
constexpr const char* count_text =
    "r6 = r1\nr1 = *(u64 *)(r6 + 8)\nr1 &= 15\n*(u32 *)(r10 - 4) = r1\nr2 = r10\nr2 += -4\nr1 = 0\ncall 1\nif r0 == 0 "
    "goto out\n"
    "r1 = 1\nlock *(u64 *)(r0 + 0) += r1\nout: r0 = 0\nexit";

program::Lowered lower(const char* text) {
    auto lowered = *engine::lower_unverified(*isa::assemble(text));
    lowered.proved = true;  // the verifier would accept them, but for their contexts' types
    return lowered;
}

u64 counter;
abi::HelperBodies bodies() {
    abi::HelperBodies helpers{};
    helpers[1] = [](abi::Run&, u64, u64, u64, u64, u64) { return reinterpret_cast<u64>(&counter); };
    helpers[5] = [](abi::Run&, u64 r1, u64, u64, u64, u64) { return r1; };
    return helpers;
}

template <class E>
void run(benchmark::State& state, const char* text) {
    const abi::HelperBodies helpers = bodies();
    std::vector<u64> context(128, 0x0102030405060708);
    const auto executable = E::bind(lower(text), {}, &helpers);
    if (!executable) return state.SkipWithError(executable.error().message.c_str());
    abi::Run run;
    run.context = context.data();
    run.helpers = &helpers;
    for (auto _ : state) benchmark::DoNotOptimize(E::run(**executable, run));
}
template <class E>
void bind(benchmark::State& state, const char* text) {
    const abi::HelperBodies helpers = bodies();
    const auto lowered = lower(text);
    for (auto _ : state) benchmark::DoNotOptimize(E::bind(lowered, {}, &helpers));
}

template <class E>
void add(const char* name, const char* text) {
    benchmark::RegisterBenchmark((std::string(name) + "/" + std::string(E::name)).c_str(), run<E>, text);
}
template <class E>
void add_bind(const char* name, const char* text) {
    benchmark::RegisterBenchmark(("bind_" + std::string(name) + "/" + std::string(E::name)).c_str(), bind<E>, text)
        ->Unit(benchmark::kMicrosecond);
}

}  // namespace

int main(int argc, char** argv) {
    const std::pair<const char*, const char*> programs[] = {{"empty", "r0 = 0\nexit"},  {"count", count_text},
                                                            {"hash_1024", hash_text},   {"checksum_64", checksum_text},
                                                            {"stack_1000", stack_text}, {"helper_1000", helper_text},
                                                            {"call_1000", call_text}};
    for (const auto& [name, text] : programs) {
        add<engine::Interpreter>(name, text);
        add<engine::Jit>(name, text);
        add<engine::Llvm>(name, text);
    }
    add_bind<engine::Interpreter>("count", count_text);
    add_bind<engine::Jit>("count", count_text);
    add_bind<engine::Llvm>("count", count_text);
    benchmark::Initialize(&argc, argv);
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}

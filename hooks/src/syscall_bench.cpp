// SPDX-License-Identifier: Apache-2.0
// What an event costs behind the agent: nothing attached, an empty program, a count.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "anybpf/hooks/syscall.hpp"
#include "testing.hpp"

namespace anybpf::hooks {
namespace {

constexpr u32 nr_getppid = 110;

class Bench : public RootTest {
  public:
    Bench() { SetUp(); }
    ~Bench() override { TearDown(); }
    void TestBody() override {}

    // text may name {0}, the descriptor of a per-CPU array.
    void run(benchmark::State& state, const char* text) {
        const Fd counts = map(abi::MapType::percpu_array, 4, 8, 1);
        Link link;
        if (text)
            link = attach_tracepoint(program(abi::ProgType::tracepoint, fmt::format(fmt::runtime(text), counts.get())),
                                     abi::raw_sys_enter);
        const auto hooks = *SyscallHooks::open(path_, 0);
        SyscallThread thread;
        hooks->attach_thread(thread);
        SyscallRegisters registers{};
        registers.orig_ax = nr_getppid;
        for (auto step : state) {
            if (hooks->wants(nr_getppid)) hooks->enter(thread, registers);
            benchmark::ClobberMemory();
        }
    }
};

constexpr const char* empty = "r0 = 0\nexit\n";
void event(benchmark::State& state, const char* text) { Bench().run(state, text); }
BENCHMARK_CAPTURE(event, nothing_attached, static_cast<const char*>(nullptr));
BENCHMARK_CAPTURE(event, empty_program, empty);
BENCHMARK_CAPTURE(event, percpu_count, adds_one);

}  // namespace
}  // namespace anybpf::hooks

BENCHMARK_MAIN();

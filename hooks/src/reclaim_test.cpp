// SPDX-License-Identifier: Apache-2.0
// What went out of use is freed, but never under a run that is in progress.
#include <fmt/format.h>
#include <sys/syscall.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <latch>
#include <numeric>
#include <thread>

#include "anybpf/engine/jit.hpp"
#include "anybpf/hooks/syscall.hpp"
#include "testing.hpp"

namespace anybpf::hooks {
namespace {

using abi::MapType;
using abi::ProgType;

constexpr u32 nr_getppid = 110, threads = 8;

SyscallRegisters registers_of(u32 number) {
    SyscallRegisters registers{};
    registers.orig_ax = number;
    return registers;
}

// A program that stops inside a system call of its own (the wake of a reader) until it may go on.
std::atomic<bool> stops{false};
std::latch* inside = nullptr;
std::latch* go_on = nullptr;
long stopping_system_call(long number, long a, long b, long c, long d, long e, long f) {
    if (number == SYS_openat && stops.exchange(false)) {
        inside->count_down();
        go_on->wait();
    }
    const long result = ::syscall(number, a, b, c, d, e, f);
    return result == -1 ? -errno : result;
}

class Reclaim : public RootTest {
  protected:
    void open(RawSyscall raw = nullptr) {
        auto opened = SyscallHooks::open(path_, 0, raw);
        ASSERT_TRUE(opened) << opened.error().message;
        hooks_ = std::move(*opened);
    }
    void TearDown() override {
        hooks_.reset();
        RootTest::TearDown();
    }

    // Mappings of files of this root, and machine code.
    static u32 mappings(const std::string& name) {
        std::ifstream maps("/proc/self/maps");
        u32 count = 0;
        for (std::string line; std::getline(maps, line);) count += line.find(name) != line.npos ? 1U : 0U;
        return count;
    }
    u32 mapped() const { return mappings(path_); }

    Fd ring_writer(const Fd& ring) {
        return program(ProgType::tracepoint, fmt::format(R"(
            *(u64 *)(r10 - 8) = 42
            r1 = map[fd:{}] ll
            r2 = r10
            r2 += -8
            r3 = 8
            r4 = 0
            call 130
            r0 = 0
            exit
        )",
                                                         ring.get()));
    }
    u64 sum_of(const Fd& map) {
        u64 sum = 0;
        for (const u64 count : element<std::array<u64, maps::VcpuTable::default_slots>>(map, 0)) sum += count;
        return sum;
    }

    std::unique_ptr<SyscallHooks> hooks_;
};

TEST_F(Reclaim, WhatNobodyUsesIsUnmapped) {
    kernel_->set_compiler(engine::Jit::compile_bytes);
    const Fd counts = map(MapType::percpu_array, 4, 8, 1), kept = map(MapType::percpu_array, 4, 8, 1);
    const Fd count = counter(counts);
    const auto stays = attach_tracepoint(counter(kept), abi::sys_enter_of(nr_getppid));
    open();
    SyscallThread thread;
    hooks_->attach_thread(thread);
    const u32 files = mapped();
    u32 code = mappings("anybpf-code");
    for (u32 round = 0; round < 5; ++round) {
        auto link = attach_tracepoint(count, abi::sys_enter_of(nr_getppid));
        hooks_->refresh();
        hooks_->reclaim(~u64{0});
        EXPECT_EQ(mapped(), files + 1);
        for (u32 n = 0; n < 1000; ++n) hooks_->enter(thread, registers_of(nr_getppid));
        hooks_->refresh();  // to machine code, in the first round
        hooks_->reclaim(~u64{0});
        if (round == 0) code = mappings("anybpf-code") - 1;
        EXPECT_EQ(mappings("anybpf-code"), code + 1);
        EXPECT_EQ(sum_of(counts), (round + 1) * 1000);
        detach(std::move(link));
        hooks_->refresh();
        EXPECT_EQ(mapped(), files + 1);
        hooks_->reclaim(~u64{0});
        EXPECT_EQ(mapped(), files);
        EXPECT_EQ(mappings("anybpf-code"), code);
    }
    EXPECT_EQ(sum_of(kept), 5000U);
    EXPECT_EQ(hooks_->missed(), 0U);
}

TEST_F(Reclaim, WhatATailCallNoLongerReachesIsUnmapped) {
    const Fd programs = map(MapType::prog_array, 4, 4, 2);
    const Fd jump = program(ProgType::tracepoint,
                            fmt::format("r2 = map[fd:{}] ll\nr3 = 1\ncall 12\nr0 = 0\nexit\n", programs.get()));
    const auto link = attach_tracepoint(jump, abi::sys_enter_of(nr_getppid));
    open();
    SyscallThread thread;
    hooks_->attach_thread(thread);
    for (u32 round = 0; round < 3; ++round) {
        Fd counts = map(MapType::percpu_array, 4, 8, 1), target = counter(counts);
        const u32 own = mapped();  // with what the kernel of this process maps of it
        EXPECT_EQ(set(programs, 1, target.get()), 0);
        hooks_->refresh();
        hooks_->reclaim(~u64{0});
        EXPECT_EQ(mapped(), own + (round == 0 ? 1 : 0));  // one more, or instead of the last round's
        hooks_->enter(thread, registers_of(nr_getppid));
        EXPECT_EQ(sum_of(counts), 1U);
        close(std::move(target));
        close(std::move(counts));
    }
}

// The run goes on in its ring buffer, and finds its reader's FIFO, after everything was detached and closed.
TEST_F(Reclaim, ARunInProgressKeepsWhatItUses) {
    std::latch is_inside(1), may_go_on(1);
    inside = &is_inside;
    go_on = &may_go_on;
    Fd ring = map(MapType::ringbuf, 0, 0, 4096);
    auto link = attach_tracepoint(ring_writer(ring), abi::sys_enter_of(nr_getppid));
    const u32 files = mapped();
    open(stopping_system_call);
    const u32 opened = mapped();
    EXPECT_GT(opened, files);
    ASSERT_GE(kernel_->wake_fd(ring.get()), 0);
    EXPECT_FALSE(kernel_->readable(ring.get()));  // from now on somebody sleeps
    stops = true;
    SyscallThread thread;
    std::thread runner([&] {
        hooks_->attach_thread(thread);
        hooks_->enter(thread, registers_of(nr_getppid));
    });
    is_inside.wait();
    EXPECT_NE(thread.running.load(), 0U);
    detach(std::move(link));
    for (u32 n = 0; n < 3; ++n) {  // other tables come and go, and take nothing along
        Fd counts = map(MapType::array, 4, 8, 1), count = counter(counts);
        auto other = attach_tracepoint(count, abi::sys_enter_of(nr_getppid));
        hooks_->refresh();
        hooks_->reclaim(thread.running);
        detach(std::move(other));
        close(std::move(count));
        close(std::move(counts));
    }
    hooks_->refresh();
    hooks_->reclaim(thread.running);
    may_go_on.count_down();
    runner.join();
    EXPECT_TRUE(kernel_->readable(ring.get()));
    EXPECT_EQ(thread.running.load(), 0U);
    EXPECT_FALSE(hooks_->wants(nr_getppid));
    EXPECT_EQ(mapped(), opened + 3);  // tables that were made since it began
    hooks_->reclaim(~u64{0});
    EXPECT_EQ(mapped(), files + 1);  // the page of the root
}

// As the agent does it, with threads that run all the while. Between two looks at the threads' own counters, while a
// link is attached, no call is missed, and none is counted that was not made.
TEST_F(Reclaim, TablesChangeUnderThreadsThatRun) {
    kernel_->set_compiler(engine::Jit::compile_bytes);
    open();
    struct alignas(64) Caller {
        SyscallThread thread;
        std::atomic<u64> made{0};
    };
    std::array<Caller, threads> callers;
    const auto made = [&] {
        return std::accumulate(callers.begin(), callers.end(), u64{0},
                               [](u64 sum, const Caller& caller) { return sum + caller.made.load(); });
    };
    const auto refresh = [&] {
        hooks_->refresh();
        u64 oldest = ~u64{0};
        for (const auto& caller : callers)
            if (const u64 running = caller.thread.running.load(std::memory_order_acquire); running != 0)
                oldest = std::min(oldest, running);
        hooks_->reclaim(oldest);
    };
    std::atomic<bool> over{false};
    std::vector<std::thread> running;
    for (auto& caller : callers)
        running.emplace_back([&] {
            hooks_->attach_thread(caller.thread);
            while (!over.load(std::memory_order_relaxed)) {
                if (hooks_->wants_entry(nr_getppid)) hooks_->enter(caller.thread, registers_of(nr_getppid));
                caller.made.fetch_add(1);
            }
        });
    const u32 files = mapped();
    for (u32 round = 0; round < 200; ++round) {
        Fd counts = map(MapType::percpu_array, 4, 8, 1), count = counter(counts);
        const u64 before = made();
        auto link = attach_tracepoint(count, abi::sys_enter_of(nr_getppid));
        refresh();
        const u64 attached = made();
        while (round % 4 == 0 && made() < attached + 500) std::this_thread::yield();
        const u64 last = made();
        detach(std::move(link));
        refresh();
        const u64 counted = sum_of(counts);
        const u64 after = made();
        EXPECT_GE(counted + threads, last - attached) << "round " << round;
        EXPECT_LE(counted, after - before + threads) << "round " << round;
        close(std::move(count));
        close(std::move(counts));
    }
    over = true;
    for (auto& thread : running) thread.join();
    refresh();
    EXPECT_EQ(hooks_->missed(), 0U);
    EXPECT_EQ(mapped(), files);
}

}  // namespace
}  // namespace anybpf::hooks

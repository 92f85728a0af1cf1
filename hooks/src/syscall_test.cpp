// SPDX-License-Identifier: Apache-2.0
#include "anybpf/hooks/syscall.hpp"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <latch>
#include <thread>

#include "anybpf/engine/jit.hpp"
#include "testing.hpp"

namespace anybpf::hooks {
namespace {

using abi::MapType;
using abi::ProgType;

constexpr u32 nr_openat = 257, nr_getppid = 110, nr_close = 3;

SyscallRegisters registers_of(u32 number, u64 result = static_cast<u64>(-38)) {
    return {.r15 = 15,
            .r14 = 14,
            .r13 = 13,
            .r12 = 12,
            .bp = 6,
            .bx = 3,
            .r11 = 0x246,
            .r10 = 0x1010,
            .r9 = 0x0909,
            .r8 = 0x0808,
            .ax = result,
            .cx = 0x7777,
            .dx = 0x0d0d,
            .si = 0x5151,
            .di = 0xd1d1,
            .orig_ax = number,
            .ip = 0x7777,
            .cs = 0x33,
            .flags = 0x246,
            .sp = 0x7ffe,
            .ss = 0x2b};
}

class SyscallHooksTest : public RootTest {
  protected:
    void open(u32 tree = 0) {
        auto opened = SyscallHooks::open(path_, tree);
        ASSERT_TRUE(opened) << opened.error().message;
        hooks_ = std::move(*opened);
        hooks_->attach_thread(thread_);
    }
    void enter(u32 number) { hooks_->enter(thread_, registers_of(number)); }
    void exit(u32 number, u64 result) { hooks_->exit(thread_, registers_of(number, result)); }
    void TearDown() override {
        hooks_.reset();
        RootTest::TearDown();
    }

    // A program that copies `size` bytes of its context, by a helper that knows no fields, into element 0.
    Fd copier(ProgType type, const Fd& map, u32 size) {
        return program(type, fmt::format(R"(
            r6 = r1
            *(u32 *)(r10 - 4) = 0
            r2 = r10
            r2 += -4
            r1 = map[fd:{}] ll
            call 1
            if r0 == 0 goto out
            r1 = r0
            r2 = {}
            r3 = r6
            call 113
          out:
            r0 = 0
            exit
        )",
                                         map.get(), size));
    }

    std::unique_ptr<SyscallHooks> hooks_;
    SyscallThread thread_;
};

using Bytes = std::array<u8, 168>;

// The value that a tracepoint's format says a field has in this record.
u64 field(const std::string& format, const Bytes& record, const std::string& name) {
    const auto at = std::min(format.find(" " + name + ";\t"), format.find(" " + name + "["));
    std::size_t offset = 0, size = 0;
    if (at == format.npos ||
        std::sscanf(format.c_str() + format.find('\t', at), " offset:%zu; size:%zu;", &offset, &size) != 2) {
        ADD_FAILURE() << "no field " << name;
        return 0;
    }
    u64 value = 0;
    std::memcpy(&value, record.data() + offset, std::min<std::size_t>(size, 8));
    return value;
}

TEST_F(SyscallHooksTest, TracepointRecordsAreTheFormats) {
    const u32 tid = static_cast<u32>(::syscall(SYS_gettid));
    for (const auto id :
         {abi::raw_sys_enter, abi::raw_sys_exit, abi::sys_enter_of(nr_openat), abi::sys_exit_of(nr_openat)}) {
        const auto format = abi::format_text(id);
        SCOPED_TRACE(format);
        const Fd copy = map(MapType::array, 4, sizeof(Bytes), 1);
        auto link = attach_tracepoint(copier(ProgType::tracepoint, copy, abi::record_size(id)), id);
        open();
        EXPECT_EQ(hooks_->problem(), "");
        ASSERT_TRUE(hooks_->wants(nr_openat));
        EXPECT_EQ(hooks_->wants(nr_close), abi::is_raw(id));
        abi::is_entry(id) ? enter(nr_openat) : exit(nr_openat, 7);
        const auto record = element<Bytes>(copy, 0);
        EXPECT_EQ(field(format, record, "common_type"), id.v);
        EXPECT_EQ(field(format, record, "common_flags"), 0U);
        EXPECT_EQ(field(format, record, "common_preempt_count"), 0U);
        EXPECT_EQ(field(format, record, "common_pid"), tid);
        EXPECT_EQ(field(format, record, abi::is_raw(id) ? "id" : "__syscall_nr"), nr_openat);
        const std::array<u64, 6> arguments = {0xd1d1, 0x5151, 0x0d0d, 0x1010, 0x0808, 0x0909};
        if (!abi::is_entry(id)) {
            EXPECT_EQ(field(format, record, "ret"), 7U);
        } else if (abi::is_raw(id)) {
            EXPECT_EQ(std::memcmp(record.data() + 16, arguments.data(), sizeof arguments), 0);
        } else {
            EXPECT_EQ(field(format, record, "dfd"), arguments[0]);
            EXPECT_EQ(field(format, record, "filename"), arguments[1]);
            EXPECT_EQ(field(format, record, "flags"), arguments[2]);
            EXPECT_EQ(field(format, record, "mode"), arguments[3]);
        }
        detach(std::move(link));
    }
}

TEST_F(SyscallHooksTest, RawTracepointArguments) {
    const Fd entry = map(MapType::array, 4, 16, 1), result = map(MapType::array, 4, 16, 1);
    const Fd at_entry = attach_raw(copier(ProgType::raw_tracepoint, entry, 16), "sys_enter");
    const Fd at_exit = attach_raw(copier(ProgType::raw_tracepoint, result, 16), "sys_exit");
    open();
    const auto user = registers_of(nr_close, 5);
    hooks_->enter(thread_, user);
    hooks_->exit(thread_, user);
    using Arguments = std::array<u64, 2>;
    EXPECT_EQ(element<Arguments>(entry, 0), (Arguments{address_of(&user), nr_close}));
    EXPECT_EQ(element<Arguments>(result, 0), (Arguments{address_of(&user), 5}));
}

TEST_F(SyscallHooksTest, FunctionRegisters) {
    using Registers = std::array<u64, 21>;
    const Fd entry = map(MapType::array, 4, sizeof(Registers), 1),
             result = map(MapType::array, 4, sizeof(Registers), 1);
    const auto at_entry =
        attach_function(copier(ProgType::kprobe, entry, sizeof(Registers)), "__x64_sys_openat", false);
    const auto at_return =
        attach_function(copier(ProgType::kprobe, result, sizeof(Registers)), "__x64_sys_openat", true);
    open();
    EXPECT_FALSE(hooks_->wants(nr_close));
    const auto user = registers_of(nr_openat, 11);
    hooks_->enter(thread_, user);
    hooks_->exit(thread_, user);
    const auto seen = std::bit_cast<SyscallRegisters>(element<Registers>(entry, 0));
    EXPECT_EQ(seen.di, address_of(&user));
    EXPECT_EQ(seen.ip, abi::kernel_address(nr_openat));
    EXPECT_EQ(std::bit_cast<SyscallRegisters>(element<Registers>(result, 0)).ax, 11U);
}

// What PT_REGS_PARM2_CORE_SYSCALL does: the inner registers by probe_read_kernel. Cookie and func_ip beside.
TEST_F(SyscallHooksTest, InnerRegistersCookieAndFunctionAddress) {
    using Seen = std::array<u64, 3>;
    const Fd seen = map(MapType::array, 4, sizeof(Seen), 1);
    const Fd reader = program(ProgType::kprobe, fmt::format(R"(
        r6 = r1
        r7 = *(u64 *)(r1 + 112)
        *(u32 *)(r10 - 4) = 0
        r2 = r10
        r2 += -4
        r1 = map[fd:{}] ll
        call 1
        if r0 == 0 goto out
        r8 = r0
        r1 = r0
        r2 = 8
        r3 = r7
        r3 += 104
        call 113
        r1 = r6
        call 173
        *(u64 *)(r8 + 8) = r0
        r1 = r6
        call 174
        *(u64 *)(r8 + 16) = r0
      out:
        r0 = 0
        exit
    )",
                                                            seen.get()));
    const auto link = attach_function(reader, "__x64_sys_openat", false, 0xc00c1e);
    open();
    enter(nr_openat);
    EXPECT_EQ(element<Seen>(seen, 0), (Seen{0x5151, abi::kernel_address(nr_openat), 0xc00c1e}));
}

TEST_F(SyscallHooksTest, CountsAreExactFromEightThreads) {
    constexpr u32 threads = 8, times = 50'000;
    const Fd counts = map(MapType::percpu_array, 4, 8, 1);
    const auto link = attach_tracepoint(counter(counts), abi::sys_enter_of(nr_getppid));
    open();
    std::vector<std::thread> running;
    for (u32 i = 0; i < threads; ++i)
        running.emplace_back([&] {
            SyscallThread thread;
            hooks_->attach_thread(thread);
            const auto user = registers_of(nr_getppid);
            for (u32 n = 0; n < times; ++n) hooks_->enter(thread, user);
        });
    for (auto& thread : running) thread.join();
    u64 sum = 0;
    for (const u64 count : element<std::array<u64, maps::VcpuTable::default_slots>>(counts, 0)) sum += count;
    EXPECT_EQ(hooks_->missed(), 0U);
    EXPECT_EQ(sum, u64{threads} * times);
}

TEST_F(SyscallHooksTest, AttachingAndDetachingMoveTheEpoch) {
    const Fd counts = map(MapType::array, 4, 8, 1);
    const Fd count = counter(counts);
    open();
    EXPECT_FALSE(hooks_->wants(nr_close));
    EXPECT_FALSE(hooks_->stale());
    auto link = attach_tracepoint(count, abi::raw_sys_exit);
    EXPECT_TRUE(hooks_->stale());
    EXPECT_FALSE(hooks_->wants(nr_close));
    hooks_->refresh();
    EXPECT_FALSE(hooks_->stale());
    EXPECT_TRUE(hooks_->wants(nr_close));
    EXPECT_TRUE(hooks_->wants(0xffffffff));  // a number that no kernel has is a system call, too
    enter(nr_close);
    exit(nr_close, 0);
    exit(400, 0);
    EXPECT_EQ(element<u64>(counts, 0), 2U);

    detach(std::move(link));
    EXPECT_TRUE(hooks_->stale());
    hooks_->refresh();
    EXPECT_FALSE(hooks_->wants(nr_close));
    exit(nr_close, 0);
    EXPECT_EQ(element<u64>(counts, 0), 2U);
}

TEST_F(SyscallHooksTest, NestedEventsAndThreadsWithoutVirtualCpuAreMissed) {
    const Fd counts = map(MapType::array, 4, 8, 1);
    const auto link = attach_tracepoint(counter(counts), abi::raw_sys_enter);
    open();
    thread_.running = true;
    enter(nr_close);
    EXPECT_EQ(hooks_->missed(), 1U);
    thread_.running = false;

    // Every slot has an owner that is in the middle of a run.
    auto vcpus = kernel_->root().vcpus();
    ASSERT_TRUE(vcpus);
    std::latch all_hold(vcpus->count()), over(1);
    std::vector<std::thread> holders;
    for (u32 i = 0; i < vcpus->count(); ++i)
        holders.emplace_back([&] {
            const auto thread = maps::VcpuThread::current();
            auto table = *vcpus;
            const auto claim = table.acquire(thread);
            EXPECT_TRUE(claim);
            all_hold.count_down();
            over.wait();
            if (claim) table.release(thread, claim->slot);
        });
    all_hold.wait();
    enter(nr_close);
    over.count_down();
    for (auto& holder : holders) holder.join();
    EXPECT_EQ(hooks_->missed(), 2U);
    EXPECT_FALSE(thread_.running);
    EXPECT_EQ(element<u64>(counts, 0), 0U);
    enter(nr_close);
    EXPECT_EQ(element<u64>(counts, 0), 1U);
    EXPECT_EQ(hooks_->missed(), 2U);
}

TEST_F(SyscallHooksTest, ProgramsRunInTheOrderOfAttachment) {
    // Each shifts the value and adds its own digit.
    const Fd log = map(MapType::array, 4, 8, 1);
    const auto digit = [&](ProgType type, u32 number) {
        return program(type, fmt::format(R"(
            *(u32 *)(r10 - 4) = 0
            r2 = r10
            r2 += -4
            r1 = map[fd:{}] ll
            call 1
            if r0 == 0 goto out
            r1 = *(u64 *)(r0 + 0)
            r1 *= 10
            r1 += {}
            *(u64 *)(r0 + 0) = r1
          out:
            r0 = 0
            exit
        )",
                                         log.get(), number));
    };
    const auto function = attach_function(digit(ProgType::kprobe, 4), "__x64_sys_close", false);
    const auto first = attach_tracepoint(digit(ProgType::tracepoint, 1), abi::sys_enter_of(nr_close));
    const Fd second = attach_raw(digit(ProgType::raw_tracepoint, 2), "sys_enter");
    const auto third = attach_tracepoint(digit(ProgType::tracepoint, 3), abi::raw_sys_enter);
    const auto back = attach_tracepoint(digit(ProgType::tracepoint, 6), abi::sys_exit_of(nr_close));
    const auto returned = attach_function(digit(ProgType::kprobe, 5), "__x64_sys_close", true);
    open();
    enter(nr_close);
    exit(nr_close, 0);
    EXPECT_EQ(element<u64>(log, 0), 123456U);
}

TEST_F(SyscallHooksTest, LinksOfATreeRunInItsProcesses) {
    const Fd counts = map(MapType::array, 4, 8, 1);
    const Fd count = counter(counts);
    const auto of_all = attach_tracepoint(count, abi::raw_sys_enter);
    const auto tree = kernel_->root().supervise();
    ASSERT_TRUE(tree) << tree.error().message;
    kernel_->set_tree(*tree);
    const auto of_tree = attach_tracepoint(count, abi::raw_sys_enter);
    open();
    enter(nr_close);
    EXPECT_EQ(element<u64>(counts, 0), 1U) << "a process that belongs to no tree";
    open(*tree);
    enter(nr_close);
    EXPECT_EQ(element<u64>(counts, 0), 3U);
    kernel_->root().abandon(*tree);
    EXPECT_TRUE(hooks_->stale());
    hooks_->refresh();
    EXPECT_TRUE(hooks_->orphaned());
    EXPECT_FALSE(hooks_->wants(nr_close));
}

TEST_F(SyscallHooksTest, AfterTheSupervisorsDeathNothingRuns) {
    Result<u32> tree = 0U;
    std::thread([&] { tree = kernel_->root().supervise(); }).join();  // the supervising thread ends
    ASSERT_TRUE(tree);
    const Fd counts = map(MapType::array, 4, 8, 1);
    const auto link = attach_tracepoint(counter(counts), abi::raw_sys_enter);
    open(*tree);
    EXPECT_TRUE(hooks_->orphaned());
    EXPECT_FALSE(hooks_->wants(nr_close));
    EXPECT_FALSE(hooks_->stale());
}

TEST_F(SyscallHooksTest, TailCallsFollowThePrograms) {
    const Fd counts = map(MapType::array, 4, 8, 1), programs = map(MapType::prog_array, 4, 4, 2);
    const Fd count = counter(counts);
    const Fd jump = program(ProgType::tracepoint,
                            fmt::format("r2 = map[fd:{}] ll\nr3 = 1\ncall 12\nr0 = 0\nexit\n", programs.get()));
    const auto link = attach_tracepoint(jump, abi::raw_sys_enter);
    open();
    enter(nr_close);
    EXPECT_EQ(element<u64>(counts, 0), 0U);
    EXPECT_EQ(set(programs, 1, count.get()), 0);
    EXPECT_TRUE(hooks_->stale());
    hooks_->refresh();
    enter(nr_close);
    EXPECT_EQ(element<u64>(counts, 0), 1U);
}

// The thousandth event asks for machine code; from then on it runs, and everything goes on as it was.
TEST_F(SyscallHooksTest, WhatRunsOftenBecomesMachineCode) {
    kernel_->set_compiler(engine::Jit::compile_bytes);
    const Fd shared = map(MapType::array, 4, 8, 1), percpu = map(MapType::percpu_array, 4, 8, 1),
             programs = map(MapType::prog_array, 4, 4, 2);
    const Fd jump = program(ProgType::tracepoint,
                            fmt::format("r2 = map[fd:{}] ll\nr3 = 1\ncall 12\nr0 = 0\nexit\n", programs.get()));
    EXPECT_EQ(set(programs, 1, counter(shared).get()), 0);
    const auto first = attach_tracepoint(jump, abi::raw_sys_enter);
    const auto second = attach_tracepoint(counter(percpu), abi::raw_sys_enter);
    open();
    const auto compiled = [] {
        std::ifstream maps("/proc/self/maps");
        u32 count = 0;
        for (std::string line; std::getline(maps, line);)
            count += line.find(" r-xp ") != line.npos && line.find("anybpf-code") != line.npos ? 1U : 0U;
        return count;
    };
    const u32 before = compiled();
    u64 events = 0;
    for (; !hooks_->stale() && events < 100'000; ++events) enter(nr_close);
    EXPECT_EQ(events, 1000U);
    EXPECT_EQ(compiled(), before);
    hooks_->refresh();
    EXPECT_FALSE(hooks_->stale());
    EXPECT_EQ(compiled(), before + 3);
    for (u32 n = 0; n < 500; ++n, ++events) enter(nr_close);
    EXPECT_FALSE(hooks_->stale());
    EXPECT_EQ(element<u64>(shared, 0), events);
    u64 sum = 0;
    for (const u64 count : element<std::array<u64, maps::VcpuTable::default_slots>>(percpu, 0)) sum += count;
    EXPECT_EQ(sum, events);

    // One that comes without: all are interpreted again, since tail calls lead from any to any.
    kernel_->set_compiler(nullptr);
    EXPECT_EQ(set(programs, 0, counter(shared).get()), 0);
    hooks_->refresh();
    enter(nr_close);
    EXPECT_EQ(element<u64>(shared, 0), events + 1);
    EXPECT_FALSE(hooks_->stale());
}

// Machine code that somebody changed is not run.
TEST_F(SyscallHooksTest, SpoiltMachineCodeIsNotRun) {
    kernel_->set_compiler(engine::Jit::compile_bytes);
    const Fd counts = map(MapType::array, 4, 8, 1);
    const Fd count = counter(counts);
    const auto link = attach_tracepoint(count, abi::raw_sys_enter);
    const auto object = kernel_->owns(count.get());
    ASSERT_TRUE(object);
    std::fstream file(kernel_->root().file_of(*object), std::ios::in | std::ios::out | std::ios::binary);
    kernel::ProgramFile header;
    file.read(std::bit_cast<char*>(&header), sizeof header);
    ASSERT_GT(header.code_bytes, 0U);
    EXPECT_TRUE(kernel_->root().program_code(object->id, header.hash));
    file.seekp(header.code_offset + header.code_bytes / 2);
    file.write("\xcc\xcc\xcc\xcc", 4);
    file.close();
    EXPECT_FALSE(kernel_->root().program_code(object->id, header.hash));
    open();
    for (u32 n = 0; n < 1000; ++n) enter(nr_close);
    EXPECT_TRUE(hooks_->stale());
    hooks_->refresh();
    enter(nr_close);
    EXPECT_EQ(element<u64>(counts, 0), 1001U);
}

TEST_F(SyscallHooksTest, ASleepingReaderOfARingBufferIsWoken) {
    const Fd ring = map(MapType::ringbuf, 0, 0, 4096);
    const Fd writer = program(ProgType::tracepoint, fmt::format(R"(
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
    const auto link = attach_tracepoint(writer, abi::raw_sys_enter);
    open();
    pollfd sleeper{.fd = kernel_->wake_fd(ring.get()), .events = POLLIN, .revents = 0};
    ASSERT_GE(sleeper.fd, 0);
    EXPECT_FALSE(kernel_->readable(ring.get()));
    EXPECT_EQ(::poll(&sleeper, 1, 0), 0);
    enter(nr_close);
    EXPECT_TRUE(kernel_->readable(ring.get()));
    EXPECT_EQ(::poll(&sleeper, 1, 0), 1);
    kernel_->drain(ring.get());
    EXPECT_EQ(::poll(&sleeper, 1, 0), 0);
}

// Where others could have written the program's file, its verdict is not believed and the program is verified here.
TEST_F(SyscallHooksTest, ADoubtfulVerdictIsFoundAgain) {
    const Fd counts = map(MapType::array, 4, 8, 1);
    const Fd count = counter(counts);
    const auto link = attach_tracepoint(count, abi::raw_sys_enter);
    const auto object = kernel_->owns(count.get());
    ASSERT_TRUE(object);
    const auto file = kernel_->root().file_of(*object);
    ASSERT_EQ(::chmod(file.c_str(), 0660), 0);
    open();
    EXPECT_EQ(hooks_->problem(), "");
    enter(nr_close);
    EXPECT_EQ(element<u64>(counts, 0), 1U);

    // A changed hash: the lowered code is not what was verified, but the instructions still prove themselves.
    ASSERT_EQ(::chmod(file.c_str(), 0600), 0);
    {
        std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
        bytes.seekp(offsetof(kernel::ProgramFile, hash));
        bytes.put('x').put('y');
    }
    open();
    EXPECT_EQ(hooks_->problem(), "");
    enter(nr_close);
    EXPECT_EQ(element<u64>(counts, 0), 2U);

    // Changed instructions as well: refused, with the verifier's reason, and not run.
    {
        std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
        kernel::ProgramFile header;
        bytes.read(std::bit_cast<char*>(&header), offsetof(kernel::ProgramFile, line_info_offset));
        const isa::Insn wild{.code = 0x79, .dst = 0, .src = 10, .off = 800, .imm = 0};  // r0 = *(u64 *)(r10 + 800)
        bytes.seekp(header.insn_offset);
        bytes.write(std::bit_cast<const char*>(&wild), sizeof wild);
    }
    open();
    EXPECT_THAT(hooks_->problem(), testing::HasSubstr("program "));
    EXPECT_FALSE(hooks_->wants(nr_close));
}

}  // namespace
}  // namespace anybpf::hooks

// SPDX-License-Identifier: Apache-2.0
// Each helper as a program calls it: through the table, with registers as arguments.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <fstream>
#include <thread>

#include "anybpf/abi/trace.hpp"
#include "anybpf/helpers/environment.hpp"
#include "anybpf/helpers/safe_memory.hpp"
#include "anybpf/maps/ring.hpp"
#include "testing.hpp"  // of the maps

namespace anybpf::helpers {
namespace {

using abi::HelperId;
using abi::MapType;
using maps::testing::make_map;
using maps::testing::spec_of;
using testing::ElementsAre;

template <class T>
u64 word(const T* pointer) {
    return reinterpret_cast<u64>(pointer);
}
constexpr u64 error(int number) { return static_cast<u64>(-i64{number}); }

class TestHost : public Host {
  public:
    maps::PerfBuffer* perf_buffer(maps::Map&, u32 index) override { return index == 1 ? perf.get() : nullptr; }
    void wake(maps::Map& ring) override { woken.push_back(ring.id()); }
    void wake(maps::PerfBuffer&) override { ++perf_woken; }
    i64 system_call(i64 number, u64 a, u64 b, u64 c, u64 d) override {
        ++system_calls;
        if (forbidden) return -ENOSYS;
        const i64 result = ::syscall(number, a, b, c, d);
        return result < 0 ? -errno : result;
    }

    std::unique_ptr<maps::PerfBuffer> perf;
    std::vector<u32> woken;
    u32 perf_woken = 0, system_calls = 0;
    bool forbidden = false;
};

class Bodies : public testing::Test {
  protected:
    void SetUp() override {
        ASSERT_TRUE(install_fault_handler().has_value());
        thread_.pid = static_cast<u32>(::getpid());
        thread_.tid = static_cast<u32>(::gettid());
        thread_.uid = 1000;
        thread_.gid = 100;
        thread_.comm = {"tester"};
        run_.environment = &environment_;
        run_.helpers = &bodies();
        run_.vcpu = 3;
        run_.cpu = 1;
        errno = 77;
    }
    void TearDown() override { EXPECT_EQ(errno, 77) << "a body changed errno"; }

    u64 call(HelperId id, u64 r1 = 0, u64 r2 = 0, u64 r3 = 0, u64 r4 = 0, u64 r5 = 0) {
        return bodies()[static_cast<u32>(id)](run_, r1, r2, r3, r4, r5);
    }
    std::unique_ptr<maps::Map> map_of(MapType type, u32 key, u32 value, u32 entries, u32 id = 7) {
        auto map = make_map(spec_of(type, key, value, entries), table_, id);
        errno = 77;
        return map;
    }
    // The records that a reader of the ring would see, from the first: their data, discarded ones left out.
    static std::vector<std::string> records(maps::Map& ring) {
        std::vector<std::string> found;
        const u64 end = maps::RingBuffer::of(ring)->query(3);
        void* probe = maps::RingBuffer::of(ring)->reserve(8, 3);  // behind everything: tells where the data lies
        const char* data = static_cast<const char*>(probe) - 8 - end;
        maps::RingBuffer::of(ring)->commit(probe, true, 0, 3);
        for (u64 at = 0; at < end;) {
            u32 header;
            std::memcpy(&header, data + at, sizeof header);
            const u32 size = header & 0x3fffffff;
            if (header >> 30 == 0) found.emplace_back(data + at + 8, size);
            at += (size + 8 + 7) & ~7U;
        }
        return found;
    }

    maps::VcpuTable table_ = maps::testing::make_table();
    Thread thread_;
    TestHost host_;
    Environment environment_{&thread_, &host_, nullptr};
    abi::Run run_;
};

TEST_F(Bodies, EveryRowHasABody) {
    for (u32 id = 0; id < abi::helper_count; ++id) {
        const bool expected = abi::provides_helper(id) && static_cast<HelperId>(id) != HelperId::tail_call;
        EXPECT_EQ(bodies()[id] != nullptr, expected) << abi::helper_name(id);
    }
}

TEST_F(Bodies, Maps) {
    const auto map = map_of(MapType::hash, 4, 8, 2);
    const u32 key = 5, other = 6, third = 7;
    const u64 value = 42;
    EXPECT_EQ(call(HelperId::map_lookup_elem, word(map.get()), word(&key)), 0U);
    EXPECT_EQ(call(HelperId::map_update_elem, word(map.get()), word(&key), word(&value), abi::update_exist),
              error(ENOENT));
    EXPECT_EQ(call(HelperId::map_update_elem, word(map.get()), word(&key), word(&value), 0), 0U);
    EXPECT_EQ(call(HelperId::map_update_elem, word(map.get()), word(&key), word(&value), abi::update_noexist),
              error(EEXIST));
    u64 found;
    std::memcpy(&found, reinterpret_cast<void*>(call(HelperId::map_lookup_elem, word(map.get()), word(&key))), 8);
    EXPECT_EQ(found, 42U);
    EXPECT_EQ(call(HelperId::map_update_elem, word(map.get()), word(&other), word(&value), 0), 0U);
    EXPECT_EQ(call(HelperId::map_update_elem, word(map.get()), word(&third), word(&value), 0), error(E2BIG));
    EXPECT_EQ(call(HelperId::map_delete_elem, word(map.get()), word(&key)), 0U);
    EXPECT_EQ(call(HelperId::map_delete_elem, word(map.get()), word(&key)), error(ENOENT));
}

// A per-CPU value is that of the run's virtual CPU, which is also what the program is told its CPU is.
TEST_F(Bodies, PerCpuValueOfTheRun) {
    const auto map = map_of(MapType::percpu_array, 4, 8, 1);
    const u32 key = 0;
    const u64 value = 9;
    EXPECT_EQ(call(HelperId::get_smp_processor_id), 3U);
    EXPECT_EQ(call(HelperId::map_update_elem, word(map.get()), word(&key), word(&value), 0), 0U);
    EXPECT_EQ(*static_cast<u64*>(map->lookup(&key, 3)), 9U);
    EXPECT_EQ(*static_cast<u64*>(map->lookup(&key, 2)), 0U);
}

TEST_F(Bodies, ReadsThatMayFault) {
    for (const auto id :
         {HelperId::probe_read, HelperId::probe_read_user, HelperId::probe_read_kernel, HelperId::copy_from_user}) {
        const char text[] = "some text";
        std::array<char, 10> to{};
        EXPECT_EQ(call(id, word(to.data()), to.size(), word(text)), 0U);
        EXPECT_STREQ(to.data(), "some text");
        for (const u64 bad : {u64{0}, u64{16}, u64{1} << 63, ~u64{0}}) {
            to.fill('x');
            EXPECT_EQ(call(id, word(to.data()), to.size(), bad), error(EFAULT));
            EXPECT_EQ(to, (std::array<char, 10>{}));
        }
        EXPECT_EQ(call(id, word(to.data()), 0, 0), 0U);  // nothing is asked for
    }
}

TEST_F(Bodies, TextThatMayFault) {
    for (const auto id : {HelperId::probe_read_str, HelperId::probe_read_user_str, HelperId::probe_read_kernel_str}) {
        std::array<char, 8> to;
        to.fill('x');
        EXPECT_EQ(call(id, word(to.data()), to.size(), word("abc")), 4U);
        EXPECT_THAT(to, ElementsAre('a', 'b', 'c', '\0', 'x', 'x', 'x', 'x'));
        EXPECT_EQ(call(id, word(to.data()), to.size(), word("longer than that")), 8U);
        EXPECT_STREQ(to.data(), "longer ");
        to.fill('x');
        EXPECT_EQ(call(id, word(to.data()), to.size(), 8), error(EFAULT));
        EXPECT_EQ(to, (std::array<char, 8>{}));
    }
}

// A page that cannot be read behind one that can: what was copied before the fault must not show.
TEST_F(Bodies, ReadAcrossAForbiddenPage) {
    void* at = ::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(at, MAP_FAILED);
    std::memset(at, 'z', 4096);
    ASSERT_EQ(::mprotect(static_cast<char*>(at) + 4096, 4096, PROT_NONE), 0);
    std::array<char, 16> to;
    to.fill('x');
    EXPECT_EQ(call(HelperId::probe_read_user, word(to.data()), to.size(), word(at) + 4088), error(EFAULT));
    EXPECT_EQ(to, (std::array<char, 16>{}));
    to.fill('x');
    EXPECT_EQ(call(HelperId::probe_read_user_str, word(to.data()), to.size(), word(at) + 4088), error(EFAULT));
    EXPECT_EQ(to, (std::array<char, 16>{}));
    ::munmap(at, 8192);
}

TEST_F(Bodies, Clocks) {
    const auto clock = [](clockid_t id) {
        timespec now{};
        ::clock_gettime(id, &now);
        return static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
    };
    const std::pair<HelperId, clockid_t> rows[] = {{HelperId::ktime_get_ns, CLOCK_MONOTONIC},
                                                   {HelperId::ktime_get_boot_ns, CLOCK_BOOTTIME},
                                                   {HelperId::ktime_get_coarse_ns, CLOCK_MONOTONIC_COARSE}};
    for (const auto& [id, clock_id] : rows) {
        const u64 before = clock(clock_id), told = call(id), after = clock(clock_id);
        EXPECT_LE(before, told);
        EXPECT_LE(told, after);
    }
}

// Whether something does its work in a process that may make no system call but to end.
template <class F>
bool works_without_system_calls(F&& work) {
    const pid_t child = ::fork();
    if (child == 0) {
        ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT);
        work();
        ::syscall(SYS_exit, 0);
    }
    int status = -1;
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
TEST_F(Bodies, ClocksMakeNoSystemCall) {
    timespec now{};
    if (!works_without_system_calls([&] { ::clock_gettime(CLOCK_MONOTONIC, &now); }))
        GTEST_SKIP() << "this machine's clock cannot be read in user space";
    EXPECT_FALSE(works_without_system_calls([] { ::syscall(SYS_getppid); }));
    for (const HelperId id : {HelperId::ktime_get_ns, HelperId::ktime_get_boot_ns, HelperId::ktime_get_coarse_ns,
                              HelperId::get_prandom_u32})
        EXPECT_TRUE(works_without_system_calls([&] { call(id); })) << static_cast<u32>(id);
}

TEST_F(Bodies, RandomNumbersDiffer) {
    std::set<u64> seen;
    for (int i = 0; i < 1000; ++i) seen.insert(call(HelperId::get_prandom_u32));
    EXPECT_GT(seen.size(), 995U);
    EXPECT_LE(*seen.rbegin(), 0xffffffffU);
}

TEST_F(Bodies, TheThread) {
    EXPECT_EQ(call(HelperId::get_current_pid_tgid), u64{thread_.pid} << 32 | thread_.tid);
    EXPECT_EQ(call(HelperId::get_current_uid_gid), u64{100} << 32 | 1000);
    std::array<char, 20> comm;
    comm.fill('x');
    EXPECT_EQ(call(HelperId::get_current_comm, word(comm.data()), comm.size()), 0U);
    EXPECT_EQ(std::string_view(comm.data(), comm.size()), std::string("tester") + std::string(14, '\0'));
    EXPECT_EQ(call(HelperId::get_current_comm, word(comm.data()), 4), 0U);
    EXPECT_STREQ(comm.data(), "tes");
    run_.attach_cookie = 0xc00c1e;
    run_.func_ip = 0x1234;
    EXPECT_EQ(call(HelperId::get_attach_cookie, word(&run_)), 0xc00c1eU);
    EXPECT_EQ(call(HelperId::get_func_ip, word(&run_)), 0x1234U);
}

TEST_F(Bodies, CurrentTask) {
    const auto* task = reinterpret_cast<const Task*>(call(HelperId::get_current_task));
    EXPECT_EQ(call(HelperId::get_current_task_btf), word(task));
    EXPECT_EQ(task->pid, ::gettid());
    EXPECT_EQ(task->tgid, ::getpid());
    EXPECT_EQ(task->group_leader->pid, ::getpid());
    EXPECT_EQ(task->real_parent->tgid, ::getppid());
    EXPECT_EQ(task->parent, task->real_parent);
    EXPECT_STREQ(task->comm, "tester");
    EXPECT_EQ(task->cred->uid.val, 1000U);
    EXPECT_EQ(task->cred->euid.val, ::geteuid());
    std::ifstream file("/proc/" + std::to_string(::getppid()) + "/comm");
    std::string parent;
    std::getline(file, parent);
    EXPECT_EQ(task->real_parent->comm, parent);
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const u64 now_ns = static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
    EXPECT_LE(task->start_time, now_ns);
    EXPECT_GT(task->start_time + 600'000'000'000, now_ns);  // this test is not that old
    EXPECT_GE(task->start_boottime, task->start_time);

    // However far a program walks, it stays in memory, and it ends where the kernel's chain ends.
    const Task* walk = task;
    for (int i = 0; i < 20; ++i) {
        walk = walk->real_parent;
        ASSERT_NE(walk, nullptr);
        ASSERT_NE(walk->group_leader, nullptr);
    }
    EXPECT_EQ(walk->pid, 0);
    EXPECT_EQ(walk->real_parent, walk);
    errno = 77;
}

TEST_F(Bodies, CurrentTaskOfAnotherThread) {
    std::thread([&] {
        Thread other = thread_;
        other.tid = static_cast<u32>(::gettid());
        other.comm = {"worker"};
        environment_.thread = &other;
        const auto* task = reinterpret_cast<const Task*>(call(HelperId::get_current_task));
        EXPECT_EQ(task->pid, ::gettid());
        EXPECT_EQ(task->tgid, ::getpid());
        EXPECT_STREQ(task->comm, "worker");
        EXPECT_NE(task->group_leader, task);
        EXPECT_EQ(task->group_leader->pid, ::getpid());
        EXPECT_EQ(task->real_parent->tgid, ::getppid());
    }).join();
    environment_.thread = &thread_;
    errno = 77;
}

// Asked for on every event, the task costs one system call a tick of the coarse clock.
TEST_F(Bodies, CurrentTaskIsCheap) {
    call(HelperId::get_current_task);
    const u32 first = host_.system_calls;
    const u64 start = call(HelperId::ktime_get_coarse_ns);
    for (int i = 0; i < 100'000; ++i) call(HelperId::get_current_task);
    const u64 ticks = (call(HelperId::ktime_get_coarse_ns) - start) / 1'000'000;  // HZ is 1000 at the most
    EXPECT_LE(host_.system_calls - first, ticks + 1);
    errno = 77;
}

// A child whose parent dies is told of the new one.
TEST_F(Bodies, CurrentTaskAfterTheParentDied) {
    int answer[2];
    ASSERT_EQ(::pipe(answer), 0);
    const pid_t middle = ::fork();
    if (middle == 0) {
        if (::fork() == 0) {
            thread_.forget();
            thread_.pid = thread_.tid = static_cast<u32>(::getpid());
            const auto* task = reinterpret_cast<const Task*>(call(HelperId::get_current_task));
            const int old = task->real_parent->tgid;
            while (::getppid() == old) ::usleep(1000);
            ::usleep(20'000);  // a tick
            call(HelperId::get_current_task);
            const int told[] = {old, task->real_parent->tgid, ::getppid()};
            ::_exit(::write(answer[1], told, sizeof told) == sizeof told ? 0 : 1);
        }
        ::usleep(50'000);
        ::_exit(0);
    }
    int told[3] = {};
    ::waitpid(middle, nullptr, 0);
    ASSERT_EQ(::read(answer[0], told, sizeof told), static_cast<ssize_t>(sizeof told));
    EXPECT_EQ(told[0], middle);
    EXPECT_EQ(told[1], told[2]);
    ::close(answer[0]);
    ::close(answer[1]);
    errno = 77;
}

// Where the host forbids system calls, the task still knows what the thread knows.
TEST_F(Bodies, CurrentTaskWithoutSystemCalls) {
    host_.forbidden = true;
    const auto* task = reinterpret_cast<const Task*>(call(HelperId::get_current_task));
    EXPECT_EQ(task->pid, ::gettid());
    EXPECT_STREQ(task->comm, "tester");
    EXPECT_EQ(task->cred->uid.val, 1000U);
    EXPECT_EQ(task->real_parent->pid, 0);
    EXPECT_EQ(task->real_parent->real_parent, task->real_parent);
}

TEST_F(Bodies, Strncmp) {
    const auto compare = [&](const char* a, u64 size, const char* b) {
        return static_cast<i64>(call(HelperId::strncmp, word(a), size, word(b)));
    };
    EXPECT_EQ(compare("abc", 4, "abc"), 0);
    EXPECT_EQ(compare("abc", 4, "abd"), -1);
    EXPECT_EQ(compare("b", 2, "abc"), 1);
    EXPECT_EQ(compare("abX", 2, "abc"), 0);
    EXPECT_EQ(compare("\xff", 2, "a"), 1);
}

TEST_F(Bodies, Snprintf) {
    char out[16];
    const u64 arguments[] = {42, word("text")};
    EXPECT_EQ(call(HelperId::snprintf, word(out), sizeof out, word("%d %s"), word(arguments), 16), 8U);
    EXPECT_STREQ(out, "42 text");
    EXPECT_EQ(call(HelperId::snprintf, 0, 0, word("%d %s"), word(arguments), 16), 8U);
    EXPECT_EQ(call(HelperId::snprintf, word(out), sizeof out, word("%d"), word(arguments), 7), error(EINVAL));
    EXPECT_EQ(call(HelperId::snprintf, word(out), sizeof out, word("%d"), 0, 8), error(EINVAL));
    EXPECT_EQ(call(HelperId::snprintf, word(out), sizeof out, word("%d"), word(arguments), 104), error(EINVAL));
    EXPECT_EQ(call(HelperId::snprintf, word(out), sizeof out, word("%q"), word(arguments), 8), error(EINVAL));
}

TEST_F(Bodies, TracePrintk) {
    EXPECT_EQ(call(HelperId::trace_printk, word("x %d"), 5, 7), 3U);  // nobody listens
    const auto trace = map_of(MapType::ringbuf, 0, 0, 4096);
    environment_.trace = trace.get();
    EXPECT_EQ(call(HelperId::trace_printk, word("got %d of %s"), 13, 7, word("it")), 11U);
    const u64 arguments[] = {1, 2, 3, 4};
    EXPECT_EQ(call(HelperId::trace_vprintk, word("%d%d%d%d"), 9, word(arguments), 32), 4U);
    EXPECT_EQ(call(HelperId::trace_printk, word("%d%d%d%d"), 9), error(EINVAL));  // three are all there are
    EXPECT_EQ(call(HelperId::trace_printk, word("unended"), 3), error(EINVAL));
    EXPECT_EQ(call(HelperId::trace_vprintk, word("%d"), 3, word(arguments), 9), error(EINVAL));
    const auto lines = records(*trace);
    ASSERT_EQ(lines.size(), 2U);
    abi::TraceRecord record;
    std::memcpy(&record, lines[0].data(), sizeof record);
    EXPECT_EQ(record.tid, thread_.tid);
    EXPECT_EQ(record.cpu, 1U);
    EXPECT_STREQ(record.comm.data(), "tester");
    EXPECT_EQ(record.length, 11U);
    EXPECT_EQ(lines[0].substr(sizeof record), "got 7 of it");
    EXPECT_EQ(lines[1].substr(sizeof record), "1234");
    EXPECT_THAT(host_.woken, ElementsAre(7U));  // the first line found an idle reader
}

TEST_F(Bodies, RingBuffer) {
    const auto ring = map_of(MapType::ringbuf, 0, 0, 4096);
    const u64 map = word(ring.get());
    EXPECT_EQ(call(HelperId::ringbuf_output, map, word("12345678"), 8, 4), error(EINVAL));
    EXPECT_EQ(call(HelperId::ringbuf_output, map, word("12345678"), 8, 0), 0U);
    EXPECT_EQ(call(HelperId::ringbuf_reserve, map, 8, 1), 0U);  // flags must be 0
    const u64 first = call(HelperId::ringbuf_reserve, map, 8, 0);
    const u64 second = call(HelperId::ringbuf_reserve, map, 4, 0);
    ASSERT_NE(first, 0U);
    ASSERT_NE(second, 0U);
    std::memcpy(reinterpret_cast<void*>(first), "reserved", 8);
    std::memcpy(reinterpret_cast<void*>(second), "gone", 4);
    EXPECT_EQ(run_.reservation_count, 2U);
    call(HelperId::ringbuf_discard, second, 0);
    call(HelperId::ringbuf_submit, first, 0);
    EXPECT_EQ(run_.reservation_count, 0U);
    EXPECT_THAT(records(*ring), ElementsAre("12345678", "reserved"));
    EXPECT_EQ(call(HelperId::ringbuf_query, map, 1), 4096U);
    EXPECT_EQ(call(HelperId::ringbuf_query, map, 2), 0U);
    EXPECT_EQ(call(HelperId::ringbuf_reserve, map, 8192, 0), 0U);
}

// Records of two rings at once find their own way; more than a run can remember are not given out.
TEST_F(Bodies, ReservationsKnowTheirRing) {
    const auto one = map_of(MapType::ringbuf, 0, 0, 4096, 11), two = map_of(MapType::ringbuf, 0, 0, 4096, 12);
    std::vector<u64> held;
    for (u32 i = 0; i < 8; ++i)
        held.push_back(call(HelperId::ringbuf_reserve, word(i % 2 ? two.get() : one.get()), 8, 0));
    EXPECT_EQ(call(HelperId::ringbuf_reserve, word(one.get()), 8, 0), 0U);
    for (const u64 record : held) {
        ASSERT_NE(record, 0U);
        std::memcpy(reinterpret_cast<void*>(record), "held....", 8);
        call(HelperId::ringbuf_submit, record, 0);
    }
    EXPECT_EQ(records(*one).size(), 4U);
    EXPECT_EQ(records(*two).size(), 4U);
    EXPECT_THAT(host_.woken, testing::IsSupersetOf({11U, 12U}));
}

TEST_F(Bodies, PerfEventOutput) {
    const auto array = map_of(MapType::perf_event_array, 4, 4, 2);
    const auto memory = maps::testing::shared_memory(maps::PerfBuffer::file_size(1));
    ASSERT_TRUE(maps::PerfBuffer::format(memory, 1).has_value());
    host_.perf = *maps::PerfBuffer::open(memory, table_);
    errno = 77;
    const u64 map = word(array.get());
    const auto output = [&](u64 flags) { return call(HelperId::perf_event_output, 0, map, flags, word("event"), 5); };
    EXPECT_EQ(output(abi::current_cpu), 0U);  // of the run's CPU, which is 1
    EXPECT_EQ(host_.perf_woken, 1U);
    EXPECT_EQ(output(1), 0U);
    EXPECT_EQ(output(0), error(ENOENT));
    EXPECT_EQ(output(2), error(E2BIG));
    EXPECT_EQ(output(1ULL << 32), error(EINVAL));
}

TEST_F(Bodies, Loop) {
    struct Calls {
        std::vector<u64> seen;
        u64 stop_at;
    } calls{{}, 100};
    run_.call_back = [](abi::Run&, u64 function, u64 index, u64 context, u64, u64, u64) -> u64 {
        auto& state = *reinterpret_cast<Calls*>(context);
        EXPECT_EQ(function, 0xf0U);
        state.seen.push_back(index);
        return index == state.stop_at;
    };
    EXPECT_EQ(call(HelperId::loop, 4, 0xf0, word(&calls), 0), 4U);
    EXPECT_THAT(calls.seen, ElementsAre(0U, 1U, 2U, 3U));
    calls.stop_at = 1;
    EXPECT_EQ(call(HelperId::loop, 4, 0xf0, word(&calls), 0), 2U);  // the one that said stop counts
    EXPECT_EQ(call(HelperId::loop, 0, 0xf0, word(&calls), 0), 0U);
    EXPECT_EQ(call(HelperId::loop, 4, 0xf0, word(&calls), 1), error(EINVAL));
    EXPECT_EQ(call(HelperId::loop, (1U << 23) + 1, 0xf0, word(&calls), 0), error(E2BIG));
}

}  // namespace
}  // namespace anybpf::helpers

// SPDX-License-Identifier: Apache-2.0
// libbpf itself, unmodified, against our kernel: it opens, loads and attaches an object of clang's, and reads what the
// programs sent. The host's bpf(2) and perf_event_open(2) end the process (seccomp), so nothing can come from there.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>
#include <cstdarg>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "anybpf/abi/syscalls.hpp"
#include "anybpf/hooks/syscall.hpp"
#include "anybpf/preload/preload.hpp"

namespace anybpf::preload {
namespace {

void forbid_host_bpf() {
    sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_bpf, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_perf_event_open, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog filter{static_cast<unsigned short>(std::size(code)), code};
    ASSERT_EQ(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ASSERT_EQ(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
}

std::string libbpf_log;
int keep_log(libbpf_print_level, const char* format, va_list arguments) {
    char line[4096];
    const int length = std::vsnprintf(line, sizeof line, format, arguments);
    libbpf_log += line;
    return length;
}

struct Event {  // of everything.bpf.c
    u32 what, pid;
    u64 value;
    std::array<char, 16> name;
};

hooks::SyscallRegisters registers_of(u32 number, u64 first = 0, u64 second = 0, u64 third = 0) {
    hooks::SyscallRegisters registers{};
    registers.orig_ax = number;
    registers.di = first;
    registers.si = second;
    registers.dx = third;
    return registers;
}

class LibbpfTest : public testing::Test {
  protected:
    static void SetUpTestSuite() {
        forbid_host_bpf();
        ::libbpf_set_print(keep_log);
    }
    void SetUp() override {
        char name[] = "/dev/shm/anybpf-test-XXXXXX";
        ASSERT_NE(::mkdtemp(name), nullptr);
        path_ = name;
        auto opened = kernel::Kernel::open(path_);
        ASSERT_TRUE(opened) << opened.error().message;
        kernel_ = std::move(*opened);
        interposition_ = install(*kernel_);
        libbpf_log.clear();
    }
    void TearDown() override {
        hooks_.reset();
        if (object_) ::bpf_object__close(object_);
        interposition_.reset();
        kernel_.reset();
        std::filesystem::remove_all(path_);
    }

    void load() {
        object_ = ::bpf_object__open_file(ANYBPF_TEST_OBJECT, nullptr);
        ASSERT_NE(object_, nullptr) << libbpf_log;
        bpf_map* rodata = ::bpf_object__find_map_by_name(object_, ".rodata.number");
        ASSERT_NE(rodata, nullptr);
        const u32 number = SYS_close;
        ASSERT_EQ(::bpf_map__set_initial_value(rodata, &number, sizeof number), 0);
        ASSERT_EQ(::bpf_object__load(object_), 0) << libbpf_log;
    }
    [[nodiscard]] bpf_link* attach(const char* name) {
        bpf_program* program = ::bpf_object__find_program_by_name(object_, name);
        bpf_link* link = program ? ::bpf_program__attach(program) : nullptr;
        EXPECT_NE(link, nullptr) << name << "\n" << libbpf_log;
        return link;
    }
    void open_hooks() {
        auto opened = hooks::SyscallHooks::open(path_, 0);
        ASSERT_TRUE(opened) << opened.error().message;
        hooks_ = std::move(*opened);
        ASSERT_EQ(hooks_->problem(), "");
        hooks_->attach_thread(thread_);
    }
    int map_fd(const char* name) const { return ::bpf_map__fd(::bpf_object__find_map_by_name(object_, name)); }

    std::string path_;
    std::unique_ptr<kernel::Kernel> kernel_;
    std::unique_ptr<Interposition> interposition_;
    bpf_object* object_ = nullptr;
    std::unique_ptr<hooks::SyscallHooks> hooks_;
    hooks::SyscallThread thread_;
    std::vector<Event> events_;

    static int take_ring(void* test, void* data, size_t size) {
        EXPECT_EQ(size, sizeof(Event));
        std::memcpy(&static_cast<LibbpfTest*>(test)->events_.emplace_back(), data, sizeof(Event));  // may be unaligned
        return 0;
    }
    static void take_perf(void* test, int, void* data, u32 size) {
        EXPECT_GE(size, sizeof(Event));
        take_ring(test, data, sizeof(Event));
    }
};

TEST_F(LibbpfTest, LoadsAttachesAndReadsARingBuffer) {
    ASSERT_NO_FATAL_FAILURE(load());
    bpf_link* links[] = {attach("at_openat"), attach("on_close"), attach("openat_returned")};
    open_hooks();
    ring_buffer* ring = ::ring_buffer__new(map_fd("ring"), take_ring, this, nullptr);
    ASSERT_NE(ring, nullptr) << libbpf_log;

    const char* name = "/etc/hostname";
    auto openat = registers_of(SYS_openat, static_cast<u64>(AT_FDCWD), std::bit_cast<u64>(name), O_CLOEXEC);
    hooks_->enter(thread_, openat);
    openat.ax = 17;
    hooks_->exit(thread_, openat);
    hooks_->enter(thread_, registers_of(SYS_close, 17));
    EXPECT_EQ(::ring_buffer__poll(ring, 1000), 3);
    ASSERT_EQ(events_.size(), 3U);
    const auto pid = static_cast<u32>(::getpid());
    EXPECT_EQ(events_[0].what, 1U);
    EXPECT_EQ(events_[0].pid, pid);
    EXPECT_EQ(events_[0].value, u64{O_CLOEXEC});
    EXPECT_STREQ(events_[0].name.data(), name);
    EXPECT_EQ(events_[1].what, 3U);
    EXPECT_EQ(events_[1].value, 17U);
    EXPECT_EQ(events_[2].what, 2U);
    EXPECT_EQ(events_[2].value, 17U);
    EXPECT_EQ(::ring_buffer__poll(ring, 0), 0);

    // One who sleeps is woken.
    std::thread later([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        hooks::SyscallThread thread;
        hooks_->attach_thread(thread);
        hooks_->enter(thread, registers_of(SYS_close, 1));
    });
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(::ring_buffer__poll(ring, 10'000), 1);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
    later.join();
    ::ring_buffer__free(ring);

    for (bpf_link* link : links) EXPECT_EQ(::bpf_link__destroy(link), 0);
    EXPECT_TRUE(hooks_->stale());
    hooks_->refresh();
    EXPECT_FALSE(hooks_->wants(SYS_openat));
    EXPECT_FALSE(hooks_->wants(SYS_close));
}

TEST_F(LibbpfTest, PerfBuffersOfEveryCpu) {
    ASSERT_NO_FATAL_FAILURE(load());
    bpf_link* link = attach("on_getppid");
    perf_buffer* buffer = ::perf_buffer__new(map_fd("buffers"), 8, take_perf, nullptr, this, nullptr);
    ASSERT_NE(buffer, nullptr) << libbpf_log;
    open_hooks();
    constexpr u32 times = 20;
    for (u32 i = 0; i < times; ++i) hooks_->enter(thread_, registers_of(SYS_getppid));
    while (events_.size() < times && ::perf_buffer__poll(buffer, 1000) > 0) {
    }
    ASSERT_EQ(events_.size(), times);
    EXPECT_EQ(events_[0].what, 4U);
    EXPECT_EQ(events_[0].value, abi::kernel_address(SYS_getppid));
    EXPECT_EQ(::perf_buffer__poll(buffer, 0), 0);

    std::thread later([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        hooks::SyscallThread thread;
        hooks_->attach_thread(thread);
        hooks_->enter(thread, registers_of(SYS_getppid));
    });
    EXPECT_GT(::perf_buffer__poll(buffer, 10'000), 0);
    EXPECT_EQ(events_.size(), times + 1);
    later.join();
    ::perf_buffer__free(buffer);
    ::bpf_link__destroy(link);
}

TEST_F(LibbpfTest, GlobalDataAndMaps) {
    ASSERT_NO_FATAL_FAILURE(load());
    bpf_link* links[] = {attach("at_exit"), attach("at_enter")};
    open_hooks();
    for (u32 i = 0; i < 3; ++i) {
        hooks_->enter(thread_, registers_of(SYS_close));
        hooks_->enter(thread_, registers_of(SYS_read));
        hooks_->exit(thread_, registers_of(SYS_read));
    }
    u32 key = SYS_close;
    u64 count = 0;
    EXPECT_EQ(::bpf_map_lookup_elem(map_fd("calls"), &key, &count), 0);
    EXPECT_EQ(count, 3U);
    key = SYS_read;
    EXPECT_NE(::bpf_map_lookup_elem(map_fd("calls"), &key, &count), 0);
    EXPECT_EQ(errno, ENOENT);

    // As a skeleton reads it: the memory that libbpf mapped.
    struct Data {
        u64 exits;
        u32 kernel_version;
    };
    std::size_t size = 0;
    const bpf_map* bss = ::bpf_object__find_map_by_name(object_, ".bss");
    ASSERT_NE(bss, nullptr);
    key = 0;
    std::array<std::byte, 64> value{};
    size = ::bpf_map__value_size(bss);
    ASSERT_LE(size, value.size());
    ASSERT_EQ(::bpf_map_lookup_elem(::bpf_map__fd(bss), &key, value.data()), 0);
    Data data;
    std::memcpy(&data, value.data(), sizeof data);
    EXPECT_EQ(data.exits, 15U);
    EXPECT_EQ(data.kernel_version, 6U << 16 | 18U << 8);

    void* mapped = ::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, ::bpf_map__fd(bss), 0);
    ASSERT_NE(mapped, MAP_FAILED);
    EXPECT_EQ(std::memcmp(mapped, value.data(), size), 0);
    ::munmap(mapped, 4096);

    const bpf_map* rodata = ::bpf_object__find_map_by_name(object_, ".rodata.number");
    key = 0;
    const u32 other = 9;
    EXPECT_NE(::bpf_map_update_elem(::bpf_map__fd(rodata), &key, &other, BPF_ANY), 0);
    EXPECT_EQ(errno, EPERM);
    for (bpf_link* link : links) ::bpf_link__destroy(link);
}

TEST_F(LibbpfTest, APinOutlivesItsObject) {
    ASSERT_NO_FATAL_FAILURE(load());
    bpf_map* calls = ::bpf_object__find_map_by_name(object_, "calls");
    ASSERT_EQ(::bpf_map__pin(calls, "/sys/fs/bpf/anybpf-test/calls"), 0) << libbpf_log;
    u32 key = 7;
    u64 value = 77;
    ASSERT_EQ(::bpf_map_update_elem(::bpf_map__fd(calls), &key, &value, BPF_ANY), 0);
    ::bpf_object__close(object_);
    object_ = nullptr;
    const int fd = ::bpf_obj_get("/sys/fs/bpf/anybpf-test/calls");
    ASSERT_GE(fd, 0);
    value = 0;
    EXPECT_EQ(::bpf_map_lookup_elem(fd, &key, &value), 0);
    EXPECT_EQ(value, 77U);
    EXPECT_EQ(::close(fd), 0);
    EXPECT_EQ(::unlink("/sys/fs/bpf/anybpf-test/calls"), 0);
    EXPECT_LT(::bpf_obj_get("/sys/fs/bpf/anybpf-test/calls"), 0);
    EXPECT_EQ(errno, ENOENT);
}

TEST_F(LibbpfTest, UnknownEventsAreNotThere) {
    ASSERT_NO_FATAL_FAILURE(load());
    bpf_program* program = ::bpf_object__find_program_by_name(object_, "at_openat");
    EXPECT_EQ(::bpf_program__attach_tracepoint(program, "sched", "sched_switch"), nullptr);
    EXPECT_EQ(errno, ENOENT);
    program = ::bpf_object__find_program_by_name(object_, "on_getppid");
    EXPECT_EQ(::bpf_program__attach_kprobe(program, false, "__x64_sys_stat"), nullptr);
    EXPECT_EQ(errno, ENOENT) << libbpf_log;
}

TEST_F(LibbpfTest, FilesThroughEveryDoor) {
    const std::string id = "/sys/kernel/tracing/events/raw_syscalls/sys_enter/id";
    const std::string expected = std::to_string(abi::raw_sys_enter.v);
    std::ifstream stream(id);
    std::string line;
    EXPECT_TRUE(std::getline(stream, line));
    EXPECT_EQ(line, expected);
    FILE* file = std::fopen(id.c_str(), "re");
    ASSERT_NE(file, nullptr);
    char text[64] = {};
    EXPECT_NE(std::fgets(text, sizeof text, file), nullptr);
    EXPECT_EQ(text, expected + "\n");
    std::fclose(file);
    const int fd = ::open(id.c_str(), O_RDONLY | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    EXPECT_EQ(::read(fd, text, sizeof text), static_cast<ssize_t>(expected.size() + 1));
    EXPECT_EQ(::fcntl(fd, F_GETFD), FD_CLOEXEC);
    ::close(fd);
    EXPECT_LT(::open(id.c_str(), O_WRONLY), 0);
    EXPECT_EQ(errno, EACCES);
    EXPECT_EQ(::access(id.c_str(), R_OK), 0);
    EXPECT_NE(::access("/sys/kernel/tracing/events/sched", F_OK), 0);
    EXPECT_EQ(errno, ENOENT);
    struct stat status{};
    EXPECT_EQ(::stat("/sys/kernel/debug/tracing", &status), 0);
    EXPECT_TRUE(S_ISDIR(status.st_mode));
    EXPECT_EQ(::libbpf_num_possible_cpus(), 64);

    interposition_.reset();  // and afterwards they are the host's again
    EXPECT_EQ(::open(id.c_str(), O_RDONLY) >= 0, ::syscall(SYS_access, id.c_str(), R_OK) == 0);
}

TEST_F(LibbpfTest, DescriptorsShowThemselvesInFdinfo) {
    const int fd = ::bpf_map_create(BPF_MAP_TYPE_ARRAY, "numbers", 4, 8, 3, nullptr);
    ASSERT_GE(fd, 0);
    std::ifstream info("/proc/self/fdinfo/" + std::to_string(fd));
    const std::string text{std::istreambuf_iterator<char>(info), {}};
    EXPECT_THAT(text, testing::HasSubstr("map_type:\t2\n"));
    EXPECT_THAT(text, testing::HasSubstr("max_entries:\t3\n"));
    EXPECT_THAT(text, testing::HasSubstr("flags:"));
    EXPECT_EQ(::close(fd), 0);
}

TEST_F(LibbpfTest, TracePipeStreamsWhatProgramsPrint) {
    ASSERT_NO_FATAL_FAILURE(load());
    bpf_link* link = attach("on_close");
    open_hooks();
    const int pipe = ::open("/sys/kernel/tracing/trace_pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ASSERT_GE(pipe, 0);
    char text[4096] = {};
    EXPECT_EQ(::read(pipe, text, sizeof text), -1);
    EXPECT_EQ(errno, EAGAIN);
    hooks_->enter(thread_, registers_of(SYS_close, 17));
    hooks_->enter(thread_, registers_of(SYS_close, 18));
    pollfd sleeper{.fd = pipe, .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&sleeper, 1, 1000), 1);
    const auto got = ::read(pipe, text, sizeof text);
    ASSERT_GT(got, 0);
    EXPECT_THAT(std::string(text, static_cast<std::size_t>(got)),
                testing::MatchesRegex(" *[^ ]+-" + std::to_string(thread_.task.tid) +
                                      " +\\[[0-9]+\\] \\.\\.\\.\\.\\. +[0-9]+\\.[0-9]+: bpf_trace_printk: close of 17\n"
                                      ".*: bpf_trace_printk: close of 18\n"));
    EXPECT_EQ(::read(pipe, text, sizeof text), -1);
    EXPECT_EQ(::poll(&sleeper, 1, 0), 0);
    EXPECT_EQ(::close(pipe), 0);
    ::bpf_link__destroy(link);

    const int blocking = ::open("/sys/kernel/debug/tracing/trace_pipe", O_RDONLY | O_CLOEXEC);
    ASSERT_GE(blocking, 0);
    link = attach("on_close");
    hooks_->refresh();
    std::thread later([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        hooks::SyscallThread thread;
        hooks_->attach_thread(thread);
        hooks_->enter(thread, registers_of(SYS_close, 19));
    });
    EXPECT_GT(::read(blocking, text, sizeof text), 0);
    later.join();
    ::close(blocking);
    ::bpf_link__destroy(link);
}

// A writer is killed in the middle of a record while the reader sleeps. Another one has finished behind it and woken
// nobody, since the reader was not there yet; and nobody comes after them.
TEST_F(LibbpfTest, ADeadWriterKeepsNoReaderAsleep) {
    ASSERT_NO_FATAL_FAILURE(load());
    ring_buffer* ring = ::ring_buffer__new(map_fd("ring"), take_ring, this, nullptr);
    ASSERT_NE(ring, nullptr) << libbpf_log;
    const u32 id = kernel_->owns(map_fd("ring"))->id;
    const auto root = kernel::Root::join(path_);
    const auto map = root->map_object(id);
    auto vcpus = root->vcpus().value();
    auto& records = *maps::RingBuffer::of(*map->map);
    int reserved[2];
    ASSERT_EQ(::pipe(reserved), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        const auto claim = vcpus.acquire(maps::VcpuThread::current());
        if (records.reserve(sizeof(Event), claim->slot) == nullptr) ::_exit(1);
        (void)!::write(reserved[1], "", 1);
        ::usleep(300'000);
        ::raise(SIGKILL);
    }
    char byte;
    ASSERT_EQ(::read(reserved[0], &byte, 1), 1);
    const auto me = maps::VcpuThread::current();
    const auto claim = vcpus.acquire(me);
    ASSERT_TRUE(claim);
    records.commit(records.reserve(sizeof(Event), claim->slot), false, 0, claim->slot);
    vcpus.release(me, claim->slot);
    EXPECT_EQ(::ring_buffer__poll(ring, 0), 0);
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(::ring_buffer__poll(ring, 10'000), 1);
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(::ring_buffer__poll(ring, 0), 0);
    ::close(reserved[0]);
    ::close(reserved[1]);
    ::ring_buffer__free(ring);
}

TEST_F(LibbpfTest, PollWaitsForARingBuffer) {
    ASSERT_NO_FATAL_FAILURE(load());
    bpf_link* link = attach("on_close");
    open_hooks();
    pollfd sleeper{.fd = map_fd("ring"), .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&sleeper, 1, 0), 0);
    hooks_->enter(thread_, registers_of(SYS_close));
    EXPECT_EQ(::poll(&sleeper, 1, 1000), 1);
    EXPECT_EQ(sleeper.revents, POLLIN);
    const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
    epoll_event wanted{.events = EPOLLIN, .data = {.u64 = 99}}, seen{};
    EXPECT_EQ(::epoll_ctl(epoll, EPOLL_CTL_ADD, sleeper.fd, &wanted), 0);
    EXPECT_NE(::epoll_ctl(epoll, EPOLL_CTL_ADD, sleeper.fd, &wanted), 0);
    EXPECT_EQ(errno, EEXIST);
    EXPECT_EQ(::epoll_wait(epoll, &seen, 1, 1000), 1);
    EXPECT_EQ(seen.data.u64, 99U);
    EXPECT_EQ(::epoll_ctl(epoll, EPOLL_CTL_DEL, sleeper.fd, nullptr), 0);
    EXPECT_EQ(::epoll_wait(epoll, &seen, 1, 0), 0);
    ::close(epoll);
    ::bpf_link__destroy(link);
}

}  // namespace
}  // namespace anybpf::preload

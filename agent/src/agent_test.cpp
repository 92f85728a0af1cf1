// SPDX-License-Identifier: Apache-2.0
// The agent with hooks that count, in programs that do what programs do: each runs untraced and traced, and must print
// and end the same; what is counted must be exact. The agent comes by the dynamic loader, or after inject() by the
// injector.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <thread>

#include "../guests/counting_hooks.hpp"
#include "anybpf/agent/environment.hpp"
#include "anybpf/agent/injector.hpp"

namespace anybpf::agent {
namespace {

using Words = std::vector<std::string>;

struct Outcome {
    int status = 0;
    std::string output;
    friend bool operator==(const Outcome&, const Outcome&) = default;
};

void PrintTo(const Outcome& outcome, std::ostream* to) { *to << "status " << outcome.status << "\n" << outcome.output; }

// For this process and its children: as a kernel without Syscall User Dispatch.
void refuse_dispatch() {
    constexpr u32 set_dispatch = 59;
    std::array<sock_filter, 6> code{{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, set_dispatch, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    }};
    const sock_fprog program{.len = code.size(), .filter = code.data()};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        ::_exit(124);
}

class Agent : public testing::Test {
  protected:
    void SetUp() override {
        root_ = testing::TempDir() + "agent-" + std::to_string(::getpid());
        std::filesystem::remove_all(root_);
        ASSERT_TRUE(std::filesystem::create_directory(root_));
        const int fd = ::open((root_ + "/counts").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        ASSERT_EQ(::ftruncate(fd, sizeof(Counts)), 0);
        counts_ = static_cast<Counts*>(::mmap(nullptr, sizeof(Counts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
        ASSERT_NE(counts_, MAP_FAILED);
        ::close(fd);
        std::ofstream(root_ + "/notices-1");
    }
    void TearDown() override {
        injector_.reset();
        ::munmap(counts_, sizeof(Counts));
        std::filesystem::remove_all(root_);
    }

    void inject() {
        auto injector = Injector::start(ANYBPF_COUNTING_AGENT, root_, 1, root_ + "/exec-1");
        ASSERT_TRUE(injector) << injector.error().message;
        injector_ = std::move(*injector);
    }
    static Words base_environment() {
        return {"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/tmp", "LANG=C", "TMPDIR=" + testing::TempDir()};
    }
    Words traced(Words environment) const {
        return traced_environment(std::move(environment), ANYBPF_COUNTING_AGENT, root_, 1);
    }
    Outcome run(const Words& command, const Words& environment, const std::string& directory = "/",
                const Injector* injector = nullptr) const {
        const std::string out = testing::TempDir() + "out-" + std::to_string(::getpid());
        const pid_t pid = ::fork();
        if (pid == 0) {
            const int fd = ::open(out.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600), null = ::open("/dev/null", O_RDONLY);
            ::dup2(null, 0);
            ::dup2(fd, 1);
            ::dup2(fd, 2);
            for (int each = 3; each < 64; ++each) ::close(each);
            if (::chdir(directory.c_str()) != 0) ::_exit(126);
            std::vector<char*> arguments, variables;
            for (const auto& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
            for (const auto& word : environment) variables.push_back(const_cast<char*>(word.c_str()));
            arguments.push_back(nullptr);
            variables.push_back(nullptr);
            ::alarm(60);
            if (without_dispatch_) refuse_dispatch();
            if (injector != nullptr && !injector->ask_here()) ::_exit(125);
            ::execvpe(arguments[0], arguments.data(), variables.data());
            ::_exit(127);
        }
        Outcome outcome;
        // Not before its end: what happens to a traced child is for the injector to see.
        pollfd ended{.fd = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)), .events = POLLIN, .revents = 0};
        while (::poll(&ended, 1, -1) < 0) {
        }
        ::close(ended.fd);
        while (::waitpid(pid, &outcome.status, 0) < 0) {
        }
        std::ifstream file(out);
        std::ostringstream text;
        text << file.rdbuf();
        outcome.output = text.str();
        ::unlink(out.c_str());
        return outcome;
    }
    Outcome run_traced(const Words& command, const std::string& directory = "/") const {
        return run_traced(command, base_environment(), directory);
    }
    Outcome run_traced(const Words& command, const Words& environment, const std::string& directory = "/") const {
        return injector_ ? run(command, environment, directory, injector_.get())
                         : run(command, traced(environment), directory);
    }
    // Runs it both ways; the traced run is what is returned.
    Outcome same(const Words& command, const std::string& directory = "/") const {
        const auto untraced = run(command, base_environment(), directory);
        auto outcome = run_traced(command, directory);
        EXPECT_EQ(outcome, untraced) << command[0];
        return outcome;
    }
    void clear() const {
        for (auto& each : counts_->enters) each = 0;
        for (auto& each : counts_->exits) each = 0;
        for (auto& each : counts_->restarts) each = 0;
    }
    u64 enters(int nr) const { return counts_->enters[static_cast<u32>(nr)]; }
    u64 exits(int nr) const { return counts_->exits[static_cast<u32>(nr)]; }
    u64 restarts(int nr) const { return counts_->restarts[static_cast<u32>(nr)]; }
    std::string notices() const {
        std::ifstream file(root_ + "/notices-1");
        std::ostringstream text;
        text << file.rdbuf();
        return text.str();
    }

    std::string root_;
    Counts* counts_ = nullptr;
    bool without_dispatch_ = false;
    std::unique_ptr<Injector> injector_;
    const std::string guest_ = ANYBPF_GUEST;
};

// --- what a guest sees -----------------------------------------------------------------------------------------

class Guest : public Agent, public testing::WithParamInterface<std::string> {};

Words words_of(const std::string& text) {
    std::istringstream in(text);
    Words words;
    for (std::string word; in >> word;) words.push_back(word);
    return words;
}

TEST_P(Guest, BehavesAsUntraced) {
    Words command = words_of(GetParam());
    command.insert(command.begin(), guest_);
    const auto outcome = same(command);
    if (!GetParam().starts_with("die") && GetParam() != "trapped_default" && GetParam() != "gate32") {
        EXPECT_EQ(outcome.status, 0) << outcome.output;
    }
    // Behind a filter, only what is patched may be seen.
    const int seen = GetParam().starts_with("sandbox") ? SYS_getppid : SYS_exit_group;
    EXPECT_GT(enters(seen) + enters(SYS_exit) + (outcome.status != 0), 0U);
}

TEST_P(Guest, BehavesAsUntracedWhenInjected) {
    inject();
    Words command = words_of(GetParam());
    command.insert(command.begin(), guest_);
    same(command);
    EXPECT_EQ(exits(SYS_execve) > 0 && enters(SYS_arch_prctl) > 0, true);  // the dynamic loader's
    EXPECT_EQ(notices(), "");
}

TEST_P(Guest, BehavesAsUntracedWhereNothingIsWatched) {
    counts_->wants_nothing = 1;
    Words command = words_of(GetParam());
    command.insert(command.begin(), guest_);
    same(command);
    for (int nr = 0; nr < 512; ++nr) EXPECT_EQ(enters(nr) + exits(nr), 0U) << nr;
}

TEST_P(Guest, BehavesAsUntracedWithoutDispatch) {
    if (GetParam() == "places") GTEST_SKIP() << "it reads its own system call instructions, where breakpoints stand";
    without_dispatch_ = true;
    Words command = words_of(GetParam());
    command.insert(command.begin(), guest_);
    const auto outcome = same(command);
    const bool sealed = GetParam().starts_with("sandbox") || GetParam() == "trapped";  // its end may be no jump
    const int seen = sealed ? SYS_prctl : SYS_exit_group;
    EXPECT_GT(enters(seen) + enters(SYS_exit) + (outcome.status != 0), 0U);
    inject();
    clear();
    same(command);
    EXPECT_EQ(exits(SYS_execve) > 0 && enters(SYS_arch_prctl) > 0, true);
    EXPECT_EQ(notices(), "");
}

INSTANTIATE_TEST_SUITE_P(, Guest,
                         testing::Values("calls 1000", "threads 8 10000", "forks", "thread_forks", "vforks", "spawns",
                                         "clones", "alien", "registers", "flags", "gate32", "restarts", "masks",
                                         "waits", "nested", "frame_mask", "altstack", "jumps", "faults", "die fault",
                                         "die sent", "die blocked", "die ignored", "die sys", "die bus", "die term",
                                         "die once", "actions", "places", "storm 20000", "cancel", "trapped",
                                         "trapped_default", "strict", "environment", "inherit", "exec_failures",
                                         "exec_killed 300", "exec_signalled 200", "exec_from_thread", "contexts",
                                         "tiny_stack", "many_threads 300", "refused", "puns 3000", "restartable 200000",
                                         "without_vdso", "sandbox followed", "sandbox handlers", "sandbox plain"),
                         [](const auto& test) {
                             std::string name = test.param;
                             for (char& c : name)
                                 if (c == ' ') c = '_';
                             return name;
                         });

TEST_F(Agent, FollowsBelowAnotherRootDirectory) {
    if (::geteuid() != 0) GTEST_SKIP() << "chroot is root's";
    inject();
    const std::filesystem::path folder = root_ + "/elsewhere";
    const auto put = [&](const std::filesystem::path& file, const std::string& name) {
        std::filesystem::create_directories((folder / name).parent_path());
        std::filesystem::copy_file(file, folder / name);
    };
    put(guest_, "guest");
    put(ANYBPF_GUEST_STATIC, "static");
    put("/lib64/ld-linux-x86-64.so.2", "lib64/ld-linux-x86-64.so.2");
    put("/lib/x86_64-linux-gnu/libc.so.6", "lib/x86_64-linux-gnu/libc.so.6");
    const auto outcome = same({guest_, "chrooted", folder});
    EXPECT_EQ(outcome.status, 0) << outcome.output;
    EXPECT_EQ(enters(SYS_getppid), 10U + 20 + 20);
    EXPECT_EQ(enters(SYS_write), 2U + 1);  // of the static images, and one of ours
    EXPECT_EQ(enters(SYS_execve), 5U);
    EXPECT_EQ(exits(SYS_execve), 1U + 5);
    EXPECT_EQ(notices(), "");
}

TEST_F(Agent, FollowsAnotherUser) {
    if (::geteuid() != 0) GTEST_SKIP() << "only root becomes another user";
    inject();
    const std::filesystem::path guest = "/tmp/anybpf-guest-" + std::to_string(::getpid());  // where he finds it
    std::filesystem::copy_file(guest_, guest);
    std::filesystem::permissions(guest, std::filesystem::perms(0755));
    const auto outcome = same({guest, "another_user"});
    std::filesystem::remove(guest);
    EXPECT_EQ(outcome.status, 0) << outcome.output;
    EXPECT_EQ(enters(SYS_getppid), 2U * 10 + 20 + 20);
    EXPECT_EQ(enters(SYS_set_tid_address), 3U);
    EXPECT_EQ(notices(), "");
}

// What is executed with a full table of descriptors runs, without the agent.
TEST_F(Agent, KeepsNoDescriptor) {
    const Words command{guest_, "descriptors", ANYBPF_GUEST_STATIC};
    EXPECT_EQ(same(command).status, 0);
    inject();
    clear();
    EXPECT_EQ(same(command).output, "static\n");
    EXPECT_EQ(enters(SYS_getppid), 30U);
}

TEST_F(Agent, FollowsThroughNamespaces) {
    if (::geteuid() != 0) GTEST_SKIP() << "unshare is root's";
    inject();
    EXPECT_EQ(same({guest_, "namespaces"}).status, 0);
    EXPECT_EQ(enters(SYS_getppid), 30U);
    EXPECT_EQ(notices(), "");
}

// Whoever traces a process of the tree himself is in nobody's way.
TEST_F(Agent, LeavesTracingToOthers) {
    inject();
    for (const std::string tracer : {"strace", "gdb"}) {
        if (::system(("command -v " + tracer + " >/dev/null").c_str()) != 0) {
            std::cout << "without " << tracer << ": it is not installed\n";
            continue;
        }
        const Words begin = tracer == "strace"
                                ? Words{"strace", "-f", "-o", "/dev/null"}
                                : Words{"gdb", "-q", "-batch", "-ex", "run", "-ex", "info threads", "--args"};
        Words command = begin;
        command.insert(command.end(), {guest_, "forks"});
        clear();
        const auto outcome = run_traced(command);
        EXPECT_EQ(outcome.status, 0) << outcome.output;
        EXPECT_EQ(outcome.output.find("failed"), std::string::npos) << outcome.output;
        EXPECT_GT(enters(SYS_getppid), 0U) << outcome.output;
    }
}

// Who asks for the agent calls himself 1 there.
TEST_F(Agent, FollowsIntoAPidNamespace) {
    if (::geteuid() != 0) GTEST_SKIP() << "the pid namespace is root's";
    inject();
    const auto outcome = run_traced({"unshare", "-fp", guest_, "calls", "30"});
    EXPECT_EQ(outcome.status, 0) << outcome.output;
    EXPECT_EQ(enters(SYS_getppid), 30U);
    EXPECT_EQ(enters(SYS_set_tid_address), 2U);  // the loader's, in both images
    EXPECT_EQ(notices(), "");
}

// A program that looks for us: descriptors, environment, threads, signals, masks, images, and what else it can ask.
TEST_F(Agent, IsNotToBeSeen) {
    inject();
    const auto outcome = same({guest_, "looks"});
    EXPECT_EQ(outcome.status, 0) << outcome.output;
    EXPECT_GT(enters(SYS_getdents64), 3U);
}

TEST_F(Agent, UnwindsThroughSystemCallsAndHandlers) {
    const auto outcome = same({ANYBPF_GUEST_CANCEL});
    EXPECT_EQ(outcome.output, "destroyed 40\ncaught 5\n");
}

// --- what is counted -------------------------------------------------------------------------------------------

TEST_F(Agent, CountsCalls) {
    ASSERT_EQ(run_traced({guest_, "calls", "100000"}).status, 0);
    EXPECT_EQ(enters(SYS_getppid), 100'000U);
    EXPECT_EQ(exits(SYS_getppid), 100'000U);
    EXPECT_EQ(enters(SYS_exit_group), 1U);
    EXPECT_EQ(exits(SYS_exit_group), 0U);
    EXPECT_EQ(enters(SYS_execve), 0U);
    EXPECT_EQ(exits(SYS_execve), 1U);  // of the one that brought it
}

// Nearly all sites of the C library are found, those made by `syscall` alone (read) by a breakpoint.
TEST_F(Agent, CountsWithoutDispatch) {
    without_dispatch_ = true;
    for (const bool injected : {false, true}) {
        if (injected) inject();
        clear();
        ASSERT_EQ(same({guest_, "calls", "1000"}).status, 0);
        EXPECT_EQ(enters(SYS_getppid), 1000U);
        EXPECT_EQ(exits(SYS_getppid), 1000U);
        EXPECT_EQ(enters(SYS_exit_group), 1U);
        EXPECT_EQ(exits(SYS_execve), 1U);
        clear();
        ASSERT_EQ(same({"/bin/echo", "hi"}).output, "hi\n");
        EXPECT_EQ(enters(SYS_write), 1U);
        EXPECT_EQ(exits(SYS_write), 1U);
        clear();
        ASSERT_EQ(same({"/bin/sh", "-c", "for n in 1 2 3; do /bin/echo $n; done | cat"}).output, "1\n2\n3\n");
        EXPECT_GE(enters(SYS_write), 4U);  // cat's may come together
        EXPECT_EQ(enters(SYS_write), exits(SYS_write));
        EXPECT_GE(enters(SYS_read), 2U);  // and what it reads, before the end
        EXPECT_EQ(enters(SYS_read), exits(SYS_read));
    }
    clear();
    ASSERT_EQ(same({ANYBPF_GUEST_STATIC}).output, "static\n");
    EXPECT_EQ(enters(SYS_write), 1U);
    EXPECT_EQ(notices(), "");
    clear();
    ASSERT_EQ(same({guest_, "threads", "8", "10000"}).status, 0);
    EXPECT_EQ(enters(SYS_getppid), 80'000U);
    EXPECT_EQ(exits(SYS_clone3) + exits(SYS_clone), 16U);
    EXPECT_EQ(enters(SYS_exit), 8U);
}

TEST_F(Agent, PatchesWhatTheCLibraryUsesOften) {
    EXPECT_EQ(run_traced({guest_, "patched"}).output, "1 1 3\n");
    EXPECT_EQ(run({guest_, "patched"}, base_environment()).output, "0 0 0\n");
}

TEST_F(Agent, CountsThreadsExactly) {
    ASSERT_EQ(run_traced({guest_, "threads", "8", "100000"}).status, 0);
    EXPECT_EQ(enters(SYS_getppid), 800'000U);
    EXPECT_EQ(exits(SYS_getppid), 800'000U);
    EXPECT_EQ(enters(SYS_clone3), 8U);
    EXPECT_EQ(exits(SYS_clone3), 16U);  // in the parent and in the child, as the kernel reports it
    EXPECT_EQ(enters(SYS_exit), 8U);
    EXPECT_EQ(exits(SYS_exit), 0U);
}

// A filter that kills for whatever the guest does not need: the agent asks for nothing behind it.
TEST_F(Agent, CountsExactlyInASandbox) {
    for (const bool injected : {false, true}) {
        if (injected) inject();
        clear();
        ASSERT_EQ(same({guest_, "sandbox", "followed"}).output, "sandboxed\n");
        EXPECT_EQ(enters(SYS_getppid), 3 * 50 * 100 + 5 * (10 + 10) + 1000U);
        EXPECT_EQ(exits(SYS_getppid), enters(SYS_getppid));
        EXPECT_EQ(enters(SYS_clone3), 3 * 50 + 5 + 1U);
        EXPECT_EQ(exits(SYS_clone3), 2 * (3 * 50 + 5 + 1U));
        EXPECT_EQ(exits(SYS_clone), 2 * 5U);
    }
}

// A filter that lets the agent's own calls through changes nothing.
TEST_F(Agent, CountsBehindAFilterThatLetsItBe) {
    for (const bool injected : {false, true}) {
        if (injected) inject();
        clear();
        ASSERT_EQ(same({guest_, "refused"}).status, 0);
        EXPECT_EQ(enters(SYS_getpgid), 1U);
        EXPECT_EQ(enters(SYS_getppid), 4 * 100 + 50 + 30U);
        EXPECT_EQ(enters(SYS_exit), 4U);
        EXPECT_EQ(exits(SYS_execve), 2U);
    }
}

TEST_F(Agent, CountsForksAndExecs) {
    ASSERT_EQ(run_traced({guest_, "forks"}).status, 0);
    EXPECT_EQ(enters(SYS_clone), 5U);
    EXPECT_EQ(exits(SYS_clone), 10U);
    EXPECT_EQ(enters(SYS_getppid), 50U);
    EXPECT_EQ(enters(SYS_exit_group), 6U);
    clear();
    ASSERT_EQ(run_traced({guest_, "vforks"}).status, 0);
    EXPECT_EQ(enters(SYS_vfork), 5U);
    EXPECT_EQ(exits(SYS_vfork), 10U);
    EXPECT_EQ(enters(SYS_getppid), 20U);
    EXPECT_EQ(enters(SYS_execve), 3U);
    EXPECT_EQ(exits(SYS_execve), 4U);  // two of true, one failed, and the guest's own
    clear();
    ASSERT_EQ(run_traced({guest_, "clones"}).status, 0);
    EXPECT_EQ(enters(SYS_getppid), 20U);
    EXPECT_EQ(enters(SYS_clone3), 2U);
    EXPECT_EQ(exits(SYS_clone3), 3U);
    EXPECT_EQ(enters(SYS_clone), 2U);
    EXPECT_EQ(exits(SYS_clone), 4U);
}

TEST_F(Agent, CountsExactlyUnderSignals) {
    for (int round = 0; round < 3; ++round) {
        clear();
        ASSERT_EQ(run_traced({guest_, "storm", "50000"}).status, 0);
        // A signal between a call's report and the call makes it start over, with a pair of reports that says so.
        EXPECT_EQ(enters(SYS_getppid) - restarts(SYS_getppid), 200'000U);
        EXPECT_EQ(exits(SYS_getppid) - restarts(SYS_getppid), 200'000U);
        EXPECT_EQ(enters(SYS_rt_sigreturn), exits(SYS_rt_sigreturn));
        EXPECT_GT(enters(SYS_rt_sigreturn), 50U);
    }
}

// A traced process under a debugger's hand: each iteration of "stepped" begins at a breakpoint.
class Stepper {
  public:
    Stepper(const Words& command, const Words& environment, const std::string& out) {
        pid_ = ::fork();
        if (pid_ == 0) {
            ::dup2(::open(out.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600), 1);
            std::vector<char*> arguments, variables;
            for (const auto& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
            for (const auto& word : environment) variables.push_back(const_cast<char*>(word.c_str()));
            arguments.push_back(nullptr);
            variables.push_back(nullptr);
            ::ptrace(PTRACE_TRACEME, 0, 0, 0);
            ::execve(arguments[0], arguments.data(), variables.data());
            ::_exit(127);
        }
        ::waitpid(pid_, &status_, 0);  // at its execve
    }
    // Runs to the next breakpoint, with the signal; false when the process ends.
    bool to_breakpoint(int signal = 0) {
        for (;;) {
            if (!resume(PTRACE_CONT, signal)) return false;
            if (WSTOPSIG(status_) == SIGTRAP) return true;
            signal = WSTOPSIG(status_);
        }
    }
    bool step() {
        const bool alive = resume(PTRACE_SINGLESTEP, signal_);
        signal_ = alive && WSTOPSIG(status_) != SIGTRAP ? WSTOPSIG(status_) : 0;
        return alive;
    }
    u64 address() const {
        user_regs_struct registers{};
        ::ptrace(PTRACE_GETREGS, pid_, nullptr, &registers);
        return registers.rip;
    }
    // The process has returned to the code that it was in at the breakpoint.
    bool near(u64 place) const { return address() - place < 64; }
    int status() const { return status_; }

  private:
    bool resume(decltype(PTRACE_CONT) how, int signal) {
        ::ptrace(how, pid_, nullptr, signal);
        ::waitpid(pid_, &status_, 0);
        return WIFSTOPPED(status_);
    }
    pid_t pid_ = 0;
    int status_ = 0, signal_ = 0;
};

// A signal at the instructions that a traced call takes: the stub, the ways in and out, and of the hooks some.
TEST_F(Agent, TakesASignalAtEveryInstruction) {
    for (const u32 nothing : {0U, 1U}) {
        counts_->wants_nothing = nothing;
        Stepper guest({guest_, "stepped", "400"}, traced(base_environment()), root_ + "/out");
        ASSERT_TRUE(guest.to_breakpoint());
        const u64 place = guest.address();
        u32 length = 0;  // of one call, in instructions
        do ++length;
        while (guest.step() && (length < 8 || !guest.near(place)));
        ASSERT_LT(length, 5000U);
        u32 sent = 0;
        for (u32 at = 1; at < length; at += at < 64 || at + 64 > length ? 1 : 3) {
            ASSERT_TRUE(guest.to_breakpoint()) << "after " << sent;
            for (u32 n = 0; n < at; ++n) guest.step();
            ++sent;
            if (!guest.to_breakpoint(SIGUSR1)) break;
        }
        while (guest.to_breakpoint()) {
        }
        EXPECT_EQ(guest.status(), 0);
        u32 handled = 0, stray = 0;
        std::ifstream(root_ + "/out") >> handled >> stray;
        EXPECT_EQ(handled, sent) << "of " << length << " instructions";
        EXPECT_EQ(stray, 0U) << "handlers that saw code of the agent";
    }
}

// What is watched changes while the guest sleeps in a call: the exit of that very call is already another's.
TEST_F(Agent, SeesAtOnceThatSomethingIsWatched) {
    counts_->wants_nothing = 1;
    const std::string in = root_ + "/in", out = root_ + "/out";
    ASSERT_EQ(::mkfifo(in.c_str(), 0600), 0);
    ASSERT_EQ(::mkfifo(out.c_str(), 0600), 0);
    Outcome outcome;
    std::thread guest([&] { outcome = run_traced({guest_, "phases", in, out}); });
    const int to = ::open(in.c_str(), O_WRONLY | O_CLOEXEC), from = ::open(out.c_str(), O_RDONLY | O_CLOEXEC);
    const auto phase = [&] {
        char byte = 'x';
        ASSERT_EQ(::write(to, &byte, 1), 1);
        ASSERT_EQ(::read(from, &byte, 1), 1);
        std::this_thread::sleep_for(std::chrono::milliseconds(100));  // it goes to sleep in its next read
    };
    phase();
    EXPECT_EQ(enters(SYS_getppid) + exits(SYS_read), 0U);
    counts_->wants_nothing = 0;
    counts_->epoch += 1;
    phase();
    EXPECT_EQ(enters(SYS_getppid), 1000U);
    EXPECT_EQ(exits(SYS_getppid), 1000U);
    EXPECT_EQ(exits(SYS_read), 1U);
    counts_->wants_nothing = 1;
    counts_->epoch += 1;
    phase();
    EXPECT_EQ(enters(SYS_getppid), 1000U);
    EXPECT_EQ(exits(SYS_read), 1U);
    ::close(to);
    guest.join();
    ::close(from);
    EXPECT_EQ(outcome.status, 0);
}

TEST_F(Agent, KnowsEveryThreadsIds) {
    counts_->logging = 1;
    for (const char* what : {"forks", "vforks", "spawns", "thread_forks"}) {
        ASSERT_EQ(run_traced({guest_, what}).status, 0);
        EXPECT_EQ(counts_->bad_thread, 0U) << what;
    }
    ASSERT_EQ(run_traced({guest_, "threads", "4", "100"}).status, 0);
    EXPECT_EQ(counts_->bad_thread, 0U);
}

TEST_F(Agent, ReportsEntryAndExitInPairs) {
    counts_->logging = 1;
    ASSERT_EQ(run_traced({"/bin/sh", "-c", "ls / | cat | wc -l; (exit 3); echo $?"}).status, 0);
    const u64 count = counts_->logged;
    ASSERT_LT(count, Counts::log_size);
    std::map<u32, u32> open;  // by thread: the call that is under way
    for (u64 i = 0; i < count; ++i) {
        const auto& event = counts_->log[i];
        if (event.is_exit == 0) {
            EXPECT_EQ(open.count(event.tid), 0U) << event.nr << " inside " << open[event.tid];
            open[event.tid] = event.nr;
            continue;
        }
        const auto at = open.find(event.tid);
        if (at != open.end()) {
            EXPECT_EQ(at->second, event.nr);
            open.erase(at);
        } else {
            EXPECT_EQ(event.value, 0);  // a thread's first event: it was born, or is the image of an execve
        }
    }
    for (const auto& [tid, nr] : open) EXPECT_TRUE(nr == SYS_exit_group || nr == SYS_exit || nr == SYS_execve) << nr;
}

// --- how far it reaches ----------------------------------------------------------------------------------------

TEST_F(Agent, FollowsAnEmptyEnvironment) {
    ASSERT_EQ(same({"/usr/bin/env", "-i", "/usr/bin/env", "-i", guest_, "calls", "50"}).status, 0);
    EXPECT_EQ(enters(SYS_getppid), 50U);
    EXPECT_EQ(exits(SYS_execve), 3U);
    EXPECT_EQ(same({"/usr/bin/env", "-i", "/usr/bin/env"}).output, "");
}

TEST_F(Agent, KeepsThePreloadOfTheGuest) {
    auto environment = base_environment();
    environment.insert(environment.begin() + 1, "LD_PRELOAD=libm.so.6");
    const Words command{"/bin/sh", "-c", "env; grep -c libm.so /proc/self/maps; tr '\\0' '\\n' < /proc/self/environ"};
    auto untraced = run(command, environment);
    auto traced_run = run_traced(command, environment);
    const auto without_blank = [](const std::string& text) {
        std::istringstream in(text);
        std::string all;
        for (std::string line; std::getline(in, line);)
            if (!line.empty()) all += line + "\n";
        return all;
    };
    EXPECT_EQ(without_blank(traced_run.output), without_blank(untraced.output));
    EXPECT_EQ(traced_run.output.find("anybpf"), std::string::npos);
}

TEST_F(Agent, FollowsScripts) {
    const std::string script = root_ + "/script";
    std::ofstream(script) << "#!/usr/bin/env -S sh\n" << guest_ << " calls 30\n";
    ASSERT_EQ(::chmod(script.c_str(), 0755), 0);
    ASSERT_EQ(same({script}).status, 0);
    EXPECT_GE(enters(SYS_getppid), 30U);  // the shell asks for its parent too
}

TEST_F(Agent, NamesWhatItCannotTrace) {
    const Words shell{"/bin/sh", "-c", std::string(ANYBPF_GUEST_STATIC) + "; " + guest_ + " calls 5"};
    ASSERT_EQ(same(shell).output, "static\n");
    EXPECT_GE(enters(SYS_getppid), 5U);
    EXPECT_THAT(notices(), testing::HasSubstr("\ta static program\t" ANYBPF_GUEST_STATIC "\n"));
}

// From the first instruction on: what the dynamic loader asks for, a static program's start.
TEST_F(Agent, CountsFromTheFirstInstruction) {
    inject();
    ASSERT_EQ(same({"/bin/true"}).status, 0);
    EXPECT_EQ(exits(SYS_execve), 1U);
    EXPECT_GE(enters(SYS_mmap), 8U);
    EXPECT_EQ(enters(SYS_set_tid_address), 1U);
    EXPECT_EQ(enters(SYS_exit_group), 1U);
    clear();
    ASSERT_EQ(same({ANYBPF_GUEST_STATIC}).output, "static\n");
    EXPECT_EQ(exits(SYS_execve), 1U);
    EXPECT_EQ(enters(SYS_set_tid_address), 1U);
    EXPECT_EQ(enters(SYS_write), 1U);
    EXPECT_EQ(notices(), "");
}

TEST_F(Agent, LeavesAChangedRootAlone) {
    if (::geteuid() != 0) GTEST_SKIP() << "chroot needs root";
    const std::string cage = root_ + "/cage";
    for (const char* directory : {"", "/lib64", "/lib", "/lib/x86_64-linux-gnu", "/bin"})
        std::filesystem::create_directory(cage + directory);
    std::filesystem::copy("/lib64/ld-linux-x86-64.so.2", cage + "/lib64/ld-linux-x86-64.so.2");
    std::filesystem::copy("/lib/x86_64-linux-gnu/libc.so.6", cage + "/lib/x86_64-linux-gnu/libc.so.6");
    std::filesystem::copy("/bin/echo", cage + "/bin/echo");
    EXPECT_EQ(same({"/usr/sbin/chroot", cage, "/bin/echo", "caged"}).output, "caged\n");
}

TEST_F(Agent, StandsAsideWithoutARoot) {
    const auto environment = traced_environment(base_environment(), ANYBPF_COUNTING_AGENT, "/nonexistent", 1);
    EXPECT_EQ(run({guest_, "environment"}, environment), run({guest_, "environment"}, base_environment()));
}

TEST_F(Agent, StopsFollowingWhenItsSupervisorIsGone) {
    counts_->orphaned = 1;
    ASSERT_EQ(run_traced({"/bin/sh", "-c", guest_ + " calls 40; true"}).status, 0);
    EXPECT_EQ(enters(SYS_getppid), enters(SYS_getppid) < 40 ? enters(SYS_getppid) : 0);
}

// --- programs of the real world --------------------------------------------------------------------------------

class Programs : public Agent {
  protected:
    void SetUp() override {
        Agent::SetUp();
        work_ = root_ + "/work";
        std::filesystem::create_directory(work_);
        inject();
    }
    void compare(const std::string& script, int times = 3) {
        for (int i = 0; i < times; ++i) {
            std::array<Outcome, 2> outcomes;
            for (const bool with : {false, true}) {
                std::filesystem::remove_all(work_);
                std::filesystem::create_directory(work_);
                const Words command{"/bin/bash", "-c", script};
                outcomes[with] =
                    with ? run_traced(command, base_environment(), work_) : run(command, base_environment(), work_);
            }
            ASSERT_EQ(outcomes[0].status, 0) << outcomes[0].output;
            ASSERT_EQ(outcomes[1], outcomes[0]) << script;
        }
        EXPECT_GT(enters(SYS_write), 0U);
    }
    std::string work_;
};

bool has(const char* program) {
    return std::system((std::string("command -v ") + program + " >/dev/null").c_str()) == 0;
}

TEST_F(Programs, BashWithPipesAndTraps) {
    compare(R"(trap 'echo usr1' USR1; trap 'echo bye' EXIT
seq 1000 | sort -r | head -5 | tee >(cat > copy) | cat; kill -USR1 $$; sleep 0.1; cat copy
(sleep 0.1; kill -USR1 $$; sleep 0.2) & wait; wait; echo waited
x=$(echo sub | tr a-z A-Z); echo $x; false || echo "failed $?"; coproc cat; echo co >&${COPROC[1]}; read -u ${COPROC[0]} y; echo $y
(ulimit -n 20; ls /proc/self/fd | wc -l); { sh -c 'kill -9 $$'; } 2>/dev/null; echo $?; timeout 0.05 sleep 5; echo $?)");
}

TEST_F(Programs, Git) {
    if (!has("git")) GTEST_SKIP() << "git is not installed";
    compare(R"(export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
export GIT_AUTHOR_DATE="2000-01-01T00:00:00Z" GIT_COMMITTER_DATE="2000-01-01T00:00:00Z"
git init -q -b main one && cd one && for i in 1 2 3 4 5; do echo $i > f$i; git add . ; git commit -qm "c $i"; done
git gc -q; git log --oneline; cd .. && git clone -q one two && cd two && git log --oneline | wc -l && git fsck && git status --short)");
}

TEST_F(Programs, Python) {
    if (!has("/usr/bin/python3")) GTEST_SKIP() << "python3 is not installed";
    compare(R"PY(/usr/bin/python3 - <<'E'
import threading, subprocess, asyncio, os, signal, multiprocessing, time
lines = []
def work(n): lines.append(sum(range(n)) + os.getppid() * 0)
threads = [threading.Thread(target=work, args=(i,)) for i in range(20)]
[t.start() for t in threads]; [t.join() for t in threads]
print(sorted(lines))
print(subprocess.run(["sh", "-c", "cat; exit 3"], input=b"in", capture_output=True))
print(subprocess.check_output(["echo", "x"], preexec_fn=lambda: os.setsid()))
async def one(i):
    p = await asyncio.create_subprocess_exec("echo", str(i), stdout=asyncio.subprocess.PIPE)
    out, _ = await p.communicate()
    await asyncio.sleep(0.01)
    return out
async def main(): print(await asyncio.gather(*[one(i) for i in range(8)]))
asyncio.run(main())
def square(x): return x * x
with multiprocessing.get_context("fork").Pool(2) as pool: print(pool.map(square, range(10)))
got = []
signal.signal(signal.SIGALRM, lambda *a: got.append(1))
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
end = time.time() + 0.1
while time.time() < end: os.getppid(); time.sleep(0.0005)
signal.setitimer(signal.ITIMER_REAL, 0)
print(len(got) > 10)
import faulthandler; faulthandler.enable()
import ctypes
pid = os.fork()
if pid == 0:
    os.close(2); ctypes.string_at(0)
print(os.waitpid(pid, 0)[1])
E)PY");
}

TEST_F(Programs, GccAndMake) {
    if (!has("gcc") || !has("make")) GTEST_SKIP() << "gcc or make is not installed";
    compare(R"(for i in 1 2 3 4 5 6; do echo "int f$i(void) { return $i; }" > f$i.c; done
echo 'int f1(void); int f6(void); int printf(const char*, ...); int main(void) { return printf("%d\n", f1() + f6()) != 2; }' > main.c
printf 'prog: main.o f1.o f2.o f3.o f4.o f5.o f6.o\n\tgcc -o $@ $^\n%%.o: %%.c\n\tgcc -O1 -c $<\n' > Makefile
make -s -j2 && ./prog && make -s -j2 -n; cat /nonexistent 2>&1; g++ -x c++ - -o /dev/null <<< 'int main() { return x; }' 2>&1 | head -3)",
            2);
}

TEST_F(Programs, PerlAndTar) {
    if (!has("perl") || !has("tar")) GTEST_SKIP() << "perl or tar is not installed";
    compare(
        R"(perl -e '$SIG{ALRM} = sub { print "alarm\n"; die }; eval { alarm 1; select(undef, undef, undef, 3) }; print `echo back`; system("exit 3"); print $? >> 8, "\n"; my $p = fork; if (!$p) { exit 4 } waitpid $p, 0; print $? >> 8, "\n";'
mkdir d; for i in 1 2 3; do seq $((i * 1000)) > d/$i; done; tar czf d.tgz d; tar tzf d.tgz | sort; mkdir e; tar xzf d.tgz -C e; diff -r d e/d && echo same)",
        2);
}

TEST_F(Programs, Node) {
    if (!has("node")) GTEST_SKIP() << "node is not installed";
    compare(R"JS(node -e '
const { execSync, spawn } = require("child_process"); const fs = require("fs");
console.log(execSync("echo sync").toString());
const { Worker } = require("worker_threads");
new Worker("require(\"worker_threads\").parentPort.postMessage(42)", { eval: true }).on("message", m => { console.log(m);
  const p = spawn("sh", ["-c", "cat; exit 5"]); p.stdin.end("in"); p.stdout.on("data", d => console.log(String(d))); p.on("close", c => console.log(c)); });')JS",
            2);
}

}  // namespace
}  // namespace anybpf::agent

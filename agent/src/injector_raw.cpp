// SPDX-License-Identifier: Apache-2.0
// Raw: ptrace, and the registers and memory of another process. Safe for that process because it stands still between
// its execve and its first instruction, where nothing of its own exists yet but what the kernel laid out, and because
// what is overwritten is kept in the Arrival; safe for us because nothing that is read from it is used as an address
// here.
#include <elf.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "anybpf/agent/arrival.hpp"
#include "anybpf/agent/injector.hpp"
#include "anybpf/agent/lender.hpp"
#include "anybpf/base/bytes.hpp"
#include "anybpf/base/fd.hpp"
#include "anybpf/base/mapping.hpp"
#include "image_file.hpp"

extern "C" {
extern const unsigned char anybpf_bootstrap[], anybpf_bootstrap_failed[], anybpf_bootstrap_end[];
}

namespace anybpf::agent {
namespace {

namespace fs = std::filesystem;

constexpr u64 page = 4096;

long system_call(long number, u64 a, u64 b, u64 c, u64 d) {
    const long result = ::syscall(number, a, b, c, d);
    return result == -1 ? -errno : result;
}

bool has_mark(pid_t tid, const ExecRequest& request) {
    u64 mark = 0;
    const iovec here{&mark, sizeof mark}, there{reinterpret_cast<void*>(request.mark_at), sizeof mark};
    if (::process_vm_readv(tid, &here, 1, &there, 1, 0) != sizeof mark) {
        const Fd memory(::open(("/proc/" + std::to_string(tid) + "/mem").c_str(), O_RDONLY | O_CLOEXEC));
        if (::pread(memory.get(), &mark, sizeof mark, static_cast<off_t>(request.mark_at)) != sizeof mark) return false;
    }
    return mark == request.mark;
}

std::vector<pid_t> numbers_in(const std::string& folder) {
    std::vector<pid_t> found;
    std::error_code error;
    for (fs::directory_iterator each(folder, error), end; !error && each != end; each.increment(error))
        if (const int number = std::atoi(each->path().filename().c_str()); number > 0) found.push_back(number);
    return found;
}

// What a thread calls itself in its own pid namespace, the innermost.
pid_t innermost_id(const std::string& status) {
    std::ifstream in(status);
    for (std::string line; std::getline(in, line);)
        if (line.starts_with("NSpid:")) return std::atoi(line.c_str() + line.rfind('\t') + 1);
    return 0;
}

// The thread that asks, as it is called here; 0: it cannot be found.
pid_t asker_of(const ExecRequest& request) {
    const auto said = static_cast<pid_t>(request.tid);
    if (has_mark(said, request)) return said;
    for (const pid_t pid : numbers_in("/proc")) {
        if (!has_mark(pid, request)) continue;
        const std::string tasks = "/proc/" + std::to_string(pid) + "/task/";
        for (const pid_t tid : numbers_in(tasks))
            if (innermost_id(tasks + std::to_string(tid) + "/status") == said) return tid;
    }
    return 0;
}

// As the thread, or its image, would see it: in its mount namespace, below its root directory.
bool agent_is_there(pid_t tid, const Arrival& arrival) {
    if (arrival.agent_fd == unreachable) return false;
    const std::string there = "/proc/" + std::to_string(tid);
    if (arrival.agent_fd >= 0) {  // then it borrows what it wants of the root
        const auto agent = identity(there + "/fd/" + std::to_string(arrival.agent_fd));
        return agent && *agent == arrival.inheritance.agent;
    }
    const auto agent = identity(there + "/root" + arrival.agent_path.data()),
               root = identity(there + "/root" + arrival.root_path.data());
    const bool borrows = arrival.key.name != 0;
    return agent && *agent == arrival.inheritance.agent && (borrows || (root && *root == arrival.inheritance.root));
}

// One process between its request and the first instruction of its new image.
class Image {
  public:
    Image(pid_t pid, const Arrival& arrival) : pid_(pid), arrival_(arrival) {}

    // What it is to be let go with: a signal that came, or 0.
    int signal() const { return signal_; }

    // True: the image begins with the agent. False: it is as it was.
    bool inject() {
        user_regs_struct registers{};
        if (::ptrace(PTRACE_GETREGS, pid_, 0, &registers) != 0 || registers.cs != 0x33) return false;
        memory_ = Fd(::open(("/proc/" + std::to_string(pid_) + "/mem").c_str(), O_RDWR | O_CLOEXEC));
        const u64 size = static_cast<u64>(anybpf_bootstrap_end - anybpf_bootstrap);
        // Not over the end of the first instruction's page, behind which there may be nothing.
        const u64 text_page = registers.rip & ~(page - 1);
        const u64 at = std::max(text_page, std::min<u64>(registers.rip, text_page + page - size));
        arrival_.ip = registers.rip;
        arrival_.sp = registers.rsp;
        arrival_.text_at = at;
        arrival_.text_size = size;
        if (!read(at, arrival_.text.data(), size)) return false;
        place(registers);
        if (!write(registers.rsp - arrival_below, &arrival_, sizeof arrival_)) return false;
        const bool may_fail = limits_are_narrow();
        if (!write(at, anybpf_bootstrap, size)) return false;
        if (at != registers.rip) {
            registers.rip = at;
            ::ptrace(PTRACE_SETREGS, pid_, 0, &registers);
        }
        return !may_fail || came_through(registers);
    }

  private:
    // Near the image's own system calls: jumps reach 2 GiB. Its libraries lie where the kernel puts the agent, too.
    void place(const user_regs_struct& registers) {
        arrival_.image.address = registers.rip < low_text_end ? low_image : 0;
    }

    // Where a file may not be opened, or no memory had.
    bool limits_are_narrow() const {
        rlimit files{}, memory{};
        if (::prlimit(pid_, RLIMIT_NOFILE, nullptr, &files) != 0 || ::prlimit(pid_, RLIMIT_AS, nullptr, &memory) != 0)
            return true;
        if (files.rlim_cur == 0 || memory.rlim_cur != RLIM_INFINITY) return true;
        // Where the last descriptor is open, none may be free.
        const std::string last = "/proc/" + std::to_string(pid_) + "/fd/" + std::to_string(files.rlim_cur - 1);
        struct stat unused{};
        return ::lstat(last.c_str(), &unused) == 0;
    }

    // Of a stop, what was sent to the process, which is not to lose it.
    static int signal_of(pid_t pid, int status) {
        siginfo_t info{};
        if (status >> 16 != 0 || ::ptrace(PTRACE_GETSIGINFO, pid, 0, &info) != 0) return 0;
        const int signal = WSTOPSIG(status);
        return signal == SIGTRAP && info.si_code > 0 ? 0 : signal;  // a breakpoint, or a system call
    }

    // Waits for the end of the bootstrap: its breakpoint, or a system call of the agent's.
    bool came_through(user_regs_struct before) {
        const u64 failed = arrival_.text_at + static_cast<u64>(anybpf_bootstrap_failed - anybpf_bootstrap) + 1;
        for (;;) {
            int status = 0;
            siginfo_t what{};
            const int kinds = WEXITED | WSTOPPED | __WALL | __WNOTHREAD;
            if (::ptrace(PTRACE_SYSCALL, pid_, 0, signal_) != 0 ||
                ::waitid(P_PID, static_cast<id_t>(pid_), &what, kinds | WNOWAIT) != 0 ||
                (what.si_code != CLD_TRAPPED && what.si_code != CLD_STOPPED) ||
                ::waitpid(pid_, &status, __WALL | __WNOTHREAD) != pid_ || !WIFSTOPPED(status))
                return true;  // it is gone, or about to: for who follows it to see
            signal_ = signal_of(pid_, status);
            user_regs_struct now{};
            if (::ptrace(PTRACE_GETREGS, pid_, 0, &now) != 0) return true;
            if (now.rip == failed) {
                before.rip = arrival_.ip;
                before.orig_rax = ~0ULL;
                write(arrival_.text_at, arrival_.text.data(), arrival_.text_size);
                ::ptrace(PTRACE_SETREGS, pid_, 0, &before);
                return false;
            }
            if (now.rip < arrival_.text_at || now.rip >= arrival_.text_at + arrival_.text_size) return true;
        }
    }

    bool read(u64 at, void* to, u64 size) const {
        if (::pread(memory_.get(), to, size, static_cast<off_t>(at)) == static_cast<ssize_t>(size)) return true;
        const iovec here{to, size}, there{reinterpret_cast<void*>(at), size};
        return ::process_vm_readv(pid_, &here, 1, &there, 1, 0) == static_cast<ssize_t>(size);
    }
    // Also where it may not write itself.
    bool write(u64 at, const void* from, u64 size) const {
        if (::pwrite(memory_.get(), from, size, static_cast<off_t>(at)) == static_cast<ssize_t>(size)) return true;
        const auto* bytes = static_cast<const char*>(from);
        for (u64 done = 0; done < size; done += 8) {
            u64 word = 0;
            const u64 part = std::min<u64>(8, size - done);
            if (part < 8) {
                errno = 0;
                word = static_cast<u64>(::ptrace(PTRACE_PEEKDATA, pid_, at + done, 0));
                if (errno != 0) return false;
            }
            std::memcpy(&word, bytes + done, part);
            if (::ptrace(PTRACE_POKEDATA, pid_, at + done, word) != 0) return false;
        }
        return true;
    }

    pid_t pid_;
    int signal_ = 0;  // that it was about to get where it stopped last
    Arrival arrival_;
    Fd memory_;
};

}  // namespace

struct Injector::Parts : std::enable_shared_from_this<Parts> {
    std::unique_ptr<Lender> lender;  // null: there is none
    std::string path, notices;
    Mapping mapping;
    Arrival arrival;
    const u32 lanes = std::clamp(std::thread::hardware_concurrency(), 1U, most_lanes);  // the channel's is anybody's
    std::atomic<bool> ending{false};
    std::atomic<u32> threads{0};
    std::array<std::atomic<u32>, most_lanes> idle{};

    ExecChannel& channel() const { return *reinterpret_cast<ExecChannel*>(mapping.data()); }
    void add_thread(u32 lane) {
        constexpr u32 most = 64;
        if (threads.fetch_add(1) >= most) {
            threads.fetch_sub(1);
            return;
        }
        idle[lane].fetch_add(1);
        std::thread([self = shared_from_this(), lane] { self->serve(lane); }).detach();
    }
    void serve(u32 lane);
    void notice(pid_t pid, const char* reason) const;
    bool serve_one(ExecRequest& request, u32 lane);
    void follow(ExecRequest& request, pid_t tid);
};

namespace {

// Where a lane has no CPU that is allowed, on any.
void stay_on(u32 lane, u32 lanes) {
    cpu_set_t allowed, of_lane;
    if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    CPU_ZERO(&of_lane);
    for (u32 cpu = lane; cpu < CPU_SETSIZE; cpu += lanes)
        if (CPU_ISSET(cpu, &allowed)) CPU_SET(cpu, &of_lane);
    if (CPU_COUNT(&of_lane) != 0) ::sched_setaffinity(0, sizeof of_lane, &of_lane);
}

}  // namespace

// Signals are others': every thread of this process blocks them but the one that waits for them.
void Injector::Parts::serve(u32 lane) {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
    stay_on(lane, lanes);
    auto& asked = channel().asked[lane];
    while (!ending) {
        const u32 seen = asked.load();
        bool served = false;
        for (ExecRequest& request : channel().requests) served = serve_one(request, lane) || served;
        if (!served && !ending) sleep_on(asked, seen, 1'000'000'000, system_call);
    }
    idle[lane].fetch_sub(1);
    threads.fetch_sub(1);
}

bool Injector::Parts::serve_one(ExecRequest& request, u32 lane) {
    auto expected = ExecState::asked;
    if (request.state.load(std::memory_order_relaxed) != expected ||
        !request.state.compare_exchange_strong(expected, ExecState::taken))
        return false;
    if (idle[lane].fetch_sub(1) == 1) add_thread(lane);
    const pid_t tid = asker_of(request);
    const bool seized = tid != 0 && ::ptrace(PTRACE_SEIZE, tid, 0, PTRACE_O_TRACEEXEC) == 0;
    expected = ExecState::taken;
    const bool answered =
        request.state.compare_exchange_strong(expected, seized ? ExecState::attached : ExecState::refused);
    wake(word_of(request.state), 1, system_call);
    if (seized) follow(request, tid);
    if (seized && answered) request.state.store(ExecState::free);
    idle[lane].fetch_add(1);
    return true;
}

// As the agent writes them (exec_raw.cpp), of an image that has none.
void Injector::Parts::notice(pid_t pid, const char* reason) const {
    std::error_code error;
    const auto image = fs::read_symlink("/proc/" + std::to_string(pid) + "/exe", error).string();
    if (error) return;  // it was killed meanwhile
    const std::string line = std::to_string(pid) + "\t" + reason + "\t" + image + "\n";
    const Fd file(::open(notices.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
    if (::write(file.get(), line.data(), line.size()) < 0) return;  // as little can be done as there
}

// Not killed meanwhile.
bool still_stands(pid_t pid) {
    user_regs_struct registers{};
    return ::ptrace(PTRACE_GETREGS, pid, 0, &registers) == 0;
}

// False: it was killed where it stood, and its end comes yet. Until that is seen here its parent does not see it.
bool let_go(pid_t pid, int signal = 0) { return ::ptrace(PTRACE_DETACH, pid, 0, signal) == 0; }

// Until its execve, successful or not; or its end. A thread that runs execve takes over its process's id.
void Injector::Parts::follow(ExecRequest& request, pid_t tid) {
    const bool own = request.own != 0;
    Arrival now = arrival;
    now.inheritance.nr = request.nr;
    now.inheritance.blocked = request.blocked;
    now.inheritance.ignored = request.ignored;
    now.agent_fd = request.agent_fd;
    if (request.state.load() != ExecState::attached) {  // it went on without us
        ::ptrace(PTRACE_INTERRUPT, tid, 0, 0);
    }
    for (;;) {
        siginfo_t what{};
        const int kinds = WEXITED | WSTOPPED | __WALL | __WNOTHREAD;
        if (::waitid(P_ALL, 0, &what, kinds | WNOWAIT) != 0) {
            if (errno == EINTR) continue;
            return;
        }
        if (own && what.si_code != CLD_TRAPPED && what.si_code != CLD_STOPPED) return;  // for who started it to see
        int status = 0;
        const pid_t pid = ::waitpid(what.si_pid, &status, __WALL | __WNOTHREAD);
        if (pid < 0 || !WIFSTOPPED(status)) return;
        const int event = status >> 16, signal = WSTOPSIG(status);
        if (event == PTRACE_EVENT_EXEC) {
            Image image(pid, now);
            if (request.seen.load() == 0 && !agent_is_there(pid, now))
                notice(pid, "the agent cannot be reached from its root directory");
            else if (!image.inject() && still_stands(pid))
                notice(pid, "no descriptor or no memory is left for the agent");
            if (let_go(pid, image.signal())) return;
            continue;
        }
        if (event == PTRACE_EVENT_STOP) {
            if (request.state.load() != ExecState::attached) {
                if (let_go(pid)) return;
                continue;
            }
            const bool group_stop = signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
            ::ptrace(group_stop ? PTRACE_LISTEN : PTRACE_CONT, pid, 0, 0);
            continue;
        }
        siginfo_t info{};
        const bool asks_to_go = signal == SIGTRAP && ::ptrace(PTRACE_GETSIGINFO, pid, 0, &info) == 0 &&
                                info.si_code == SI_KERNEL;  // its breakpoint behind an execve that failed
        if (asks_to_go) {
            if (let_go(pid)) return;
            continue;
        }
        ::ptrace(PTRACE_CONT, pid, 0, signal);
    }
}

namespace {

// A seccomp filter may kill who only asks, so a child asks.
Result<> may_trace() {
    const pid_t child = ::fork();
    if (child == 0) {
        ::ptrace(PTRACE_SEIZE, ::getpid(), 0, 0);
        ::_exit(errno == ENOSYS ? 1 : 0);
    }
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child) return fail_errno("forking");
    if (status != 0) return fail(Errc::permission_denied, "ptrace is refused here", EPERM);
    return {};
}

}  // namespace

Injector::Injector(std::shared_ptr<Parts> parts) : parts_(std::move(parts)) {}

Result<std::unique_ptr<Injector>> Injector::start(const std::string& agent, const std::string& root, u32 tree,
                                                  const std::string& channel) {
    ANYBPF_TRY(identity("/proc/self/root"));  // without /proc nobody can tell what an image will see
    ANYBPF_TRY(may_trace());
    // Else each stop would wake a thread that waits for something else.
    struct sigaction of_children{};
    ::sigaction(SIGCHLD, nullptr, &of_children);
    of_children.sa_flags |= SA_NOCLDSTOP;
    ::sigaction(SIGCHLD, &of_children, nullptr);
    auto parts = std::make_shared<Parts>();
    parts->arrival = ANYBPF_TRY(arrival_of(agent, root, tree));
    parts->path = channel;
    parts->notices = root + "/notices-" + std::to_string(tree);
    const Fd file(::open(parts->path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file.valid()) return fail_errno("making", parts->path);
    if (::fallocate(file.get(), 0, 0, sizeof(ExecChannel)) != 0) {
        ::unlink(parts->path.c_str());
        return fail_errno("making", parts->path);
    }
    parts->mapping = ANYBPF_TRY(Mapping::shared(file.get(), sizeof(ExecChannel), Access::read_write));
    if (auto lender = Lender::start(agent, root)) {
        parts->lender = std::move(*lender);
        parts->arrival.key = parts->channel().key = parts->lender->key();
    }
    parts->channel().magic = exec_channel_magic;
    parts->channel().lanes = parts->lanes;
    for (u32 lane = 0; lane < parts->lanes; ++lane) parts->add_thread(lane);
    return std::unique_ptr<Injector>(new Injector(std::move(parts)));
}

Injector::~Injector() {
    parts_->ending = true;
    parts_->lender.reset();
    ::unlink(parts_->path.c_str());
    for (auto& asked : parts_->channel().asked) {
        asked.fetch_add(1);
        wake(asked, 1 << 30, system_call);
    }
    for (int i = 0; i < 500 && parts_->threads.load() != 0; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

bool Injector::ask_here() const {
    const ExecQuestion question{.tid = static_cast<u32>(::syscall(SYS_gettid)), .nr = SYS_execve, .own = 1};
    ExecRequest* const request = pose(parts_->channel(), question, system_call);
    return request != nullptr && answer(*request, system_call, [] { return false; });
}

}  // namespace anybpf::agent

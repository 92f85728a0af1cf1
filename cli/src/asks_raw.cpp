// SPDX-License-Identifier: Apache-2.0
// What anybpf doctor asks, tried in earnest. Raw system calls and mappings, because libc has no names for most of them,
// and because what a sandbox does with them is the question; safe because each happens in a child that ends at once,
// which also survives a sandbox that kills for asking.
#include <bpf/bpf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <linux/membarrier.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/user.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>

#include "anybpf/base/fd.hpp"
#include "anybpf/engine/llvm.hpp"
#include "anybpf/kernel/root.hpp"
#include "asks.hpp"
#include "compile.hpp"
#include "machine.hpp"
#include "paths.hpp"

extern const unsigned int __rseq_size __attribute__((weak));

namespace anybpf::cli {

namespace {

std::string first_line(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

constexpr int killed = -1;
constexpr unsigned patience = 10;

// In a child of its own: the errno that the attempt ended with, 0 for success; `killed` when the child died of it, or
// had to be ended because it hung.
int in_child(const std::function<int()>& attempt) {
    const pid_t child = ::fork();
    if (child < 0) return errno;
    if (child == 0) {
        ::alarm(patience);
        ::_exit(attempt());
    }
    int status = 0;
    while (::waitpid(child, &status, 0) != child)
        if (errno != EINTR) return errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : killed;
}

int error_of(long result) { return result < 0 ? errno : 0; }

std::string reason(int error) { return error == killed ? "the process was killed" : std::strerror(error); }

Answer answer(int error, std::string works) {
    if (error != 0) return {State::no, reason(error), error};
    return {State::yes, std::move(works)};
}

// A child that waits to be killed. It dies with its parent, whom a sandbox may kill.
class Sleeper {
  public:
    Sleeper() {
        const pid_t parent = ::getpid();
        pid_ = ::fork();
        if (pid_ != 0) return;
        ::alarm(patience);
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (::getppid() == parent) ::pause();
        ::_exit(0);
    }
    ~Sleeper() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            ::waitpid(pid_, nullptr, 0);
        }
    }
    Sleeper(const Sleeper&) = delete;
    Sleeper& operator=(const Sleeper&) = delete;
    pid_t pid() const { return pid_; }

  private:
    pid_t pid_ = -1;
};

// What an injector does first: take hold, stop, read the registers, let go.
int trace(pid_t victim) {
    if (victim < 0) return EAGAIN;
    if (::ptrace(PTRACE_SEIZE, victim, 0, 0) != 0) return errno;
    int status = 0;
    user_regs_struct registers{};
    if (::ptrace(PTRACE_INTERRUPT, victim, 0, 0) != 0 || ::waitpid(victim, &status, __WALL) != victim ||
        ::ptrace(PTRACE_GETREGS, victim, 0, &registers) != 0)
        return errno;
    return error_of(::ptrace(PTRACE_DETACH, victim, 0, 0));
}

Answer traced(int error, const std::string& works, const char* wanted_scope) {
    const std::string scope = first_line("/proc/sys/kernel/yama/ptrace_scope");
    const std::string setting = scope.empty() ? "" : ", kernel.yama.ptrace_scope is " + scope;
    Answer given = answer(error, works + setting);
    if (error == 0) return given;
    given.detail += setting;
    if (!scope.empty() && scope > wanted_scope)
        given.mend = fmt::format("sysctl kernel.yama.ptrace_scope={}, or CAP_SYS_PTRACE", wanted_scope);
    return given;
}

void write_code(void* at) {
    std::memcpy(at, "\xb8\x2a\x00\x00\x00\xc3", 6);  // mov $42, %eax; ret
}

int run_code(void* code) {
    if (code == MAP_FAILED) return errno;
    return reinterpret_cast<int (*)()>(code)() == 42 ? 0 : EFAULT;
}

constexpr std::size_t page = 4096;

// As engines place code.
int code_in_memfd() {
    const Fd file(static_cast<int>(::syscall(SYS_memfd_create, "anybpf-doctor", MFD_CLOEXEC)));
    std::array<std::byte, page> code{};
    write_code(code.data());
    if (!file.valid() || ::write(file.get(), code.data(), code.size()) != std::ssize(code)) return errno;
    return run_code(::mmap(nullptr, page, PROT_READ | PROT_EXEC, MAP_PRIVATE, file.get(), 0));
}

int code_by_protection() {
    void* const code = ::mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (code == MAP_FAILED) return errno;
    write_code(code);
    if (::mprotect(code, page, PROT_READ | PROT_EXEC) != 0) return errno;
    return run_code(code);
}

std::string root_place() {
    const auto path = kernel::Root::default_path();
    return path ? *path : std::string();
}

// The folder itself, or the one that it would be made in.
u64 free_bytes(std::string path) {
    struct statfs room{};
    while (::statfs(path.c_str(), &room) != 0 && path.find_last_of('/') != path.npos && path.size() > 1)
        path.resize(std::max<std::size_t>(path.find_last_of('/'), 1));
    return room.f_blocks == 0 ? ~0ULL : room.f_bavail * static_cast<u64>(room.f_bsize);  // 0: without a limit
}

constexpr u64 megabyte = 1 << 20;

}  // namespace

int code_mapping_error(const std::string& path) {
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid()) return errno;
    void* const code = ::mmap(nullptr, page, PROT_READ | PROT_EXEC, MAP_PRIVATE, file.get(), 0);
    if (code == MAP_FAILED) return errno;
    ::munmap(code, page);
    return 0;
}

namespace asks {

Answer kernel() {
    utsname name{};
    ::uname(&name);
    return {std::string_view(name.machine) == "x86_64" ? State::yes : State::no,
            fmt::format("{} {} {}", name.sysname, name.release, name.machine), ENOSYS};
}

Answer dispatch() {
    static char selector = 0;  // SYSCALL_DISPATCH_FILTER_ALLOW: the child's own calls go through
    return answer(in_child([] { return error_of(::prctl(59, 1, 0, 0, &selector)); }),
                  "prctl(PR_SET_SYSCALL_USER_DISPATCH) works");
}

Answer ptrace_child() {
    const int error = in_child([] { return trace(Sleeper().pid()); });
    return traced(error,
                  "a program is seen from its first instruction, static, musl and Go programs included: injection at "
                  "exec",
                  "1");
}

// The sleeper is no descendant of the one that takes hold of it.
Answer ptrace_other() {
    const Sleeper victim;
    return traced(in_child([&] { return trace(victim.pid()); }), "attach PID works for processes of this user", "0");
}

Answer process_memory() {
    const int error = in_child([] {
        u64 from = 1, to = 0;
        const iovec here{&from, sizeof(from)}, there{&to, sizeof(to)};
        if (::process_vm_writev(::getpid(), &here, 1, &there, 1, 0) < 0) return errno;
        return error_of(::process_vm_readv(::getpid(), &here, 1, &there, 1, 0));
    });
    return answer(error, "process_vm_readv and process_vm_writev work");
}

Answer text_memory() {
    const int error = in_child([] {
        void* const text = ::mmap(nullptr, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        const Fd memory(::open("/proc/self/mem", O_RDWR | O_CLOEXEC));
        if (text == MAP_FAILED || !memory.valid()) return errno;
        return error_of(::pwrite(memory.get(), "x", 1, static_cast<off_t>(reinterpret_cast<u64>(text))));
    });
    return answer(error, "a page that is not writable can be written");
}

Answer code_memory() {
    const int in_file = in_child(code_in_memfd), by_protection = in_child(code_by_protection);
    if (in_file != 0 && by_protection != 0)
        return {State::no,
                fmt::format("of a nameless file: {}; by a change of protection: {}", reason(in_file),
                            reason(by_protection)),
                EPERM};
    return {State::yes, in_file == 0 && by_protection == 0 ? "code can be placed and run"
                        : in_file == 0                     ? "code of a nameless file can be run"
                                                           : "code can be run after a change of protection"};
}

Answer memfd() {
    const int error = in_child([] { return error_of(::syscall(SYS_memfd_create, "anybpf-doctor", MFD_CLOEXEC)); });
    return answer(error, "works");
}

Answer rseq() {
    if (&__rseq_size != nullptr && __rseq_size != 0) return {State::yes, "the C library has registered it"};
    const int error = in_child([] { return error_of(::syscall(SYS_rseq, 0, 0, 0, 0)); });
    if (error == ENOSYS || error == EPERM || error == killed) return answer(error, "");
    return {State::no, "the C library has not registered it", ENOSYS};
}

Answer membarrier() {
    const int error = in_child([] {
        if (::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0) != 0) return errno;
        return error_of(::syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0));
    });
    return answer(error, "MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE works");
}

Answer robust_futexes() {
    const int error = in_child(robust_futex_error);
    return answer(error, "the locks of a killed process are noticed");
}

Answer fsgsbase() {
    constexpr unsigned long available = 2;  // HWCAP2_FSGSBASE
    if ((::getauxval(AT_HWCAP2) & available) != 0) return {State::yes, "rdgsbase works"};
    return {State::no, "the kernel has not enabled it", ENOSYS};
}

Answer sockets() {
    const int error = in_child([] {
        const Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
        const sockaddr_un unnamed{.sun_family = AF_UNIX, .sun_path = {}};  // the kernel draws an abstract name
        if (!socket.valid()) return errno;
        return error_of(
            ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&unnamed), sizeof unnamed.sun_family));
    });
    return answer(error, "with abstract names");
}

Answer pidfd() {
    return answer(in_child([] { return error_of(::syscall(SYS_pidfd_open, ::getpid(), 0)); }), "works");
}

Answer inotify() {
    const int error = in_child([] {
        const Fd queue(::inotify_init1(IN_CLOEXEC));
        if (!queue.valid()) return errno;
        return error_of(::inotify_add_watch(queue.get(), "/", IN_CLOSE_WRITE));
    });
    return answer(error, "works");
}

Answer root() {
    const auto machine = Machine::open(Where::user);
    if (!machine) return {State::no, machine.error().message};
    return {State::yes, root_place() + ", on a tmpfs"};
}

// What a program with a few hash maps takes: each has room for 64 virtual CPUs.
Answer room() {
    constexpr u64 wanted = 16 * megabyte;
    const std::string place = root_place();
    if (place.empty()) return {State::no, "there is no root directory", ENOENT};
    const u64 free = free_bytes(place);
    if (free == ~0ULL) return {State::yes, "without a limit"};
    return {free >= wanted ? State::yes
            : free == 0    ? State::no
                           : State::partly,
            fmt::format("{:.1f} MB are free", static_cast<double>(free) / megabyte), ENOENT};
}

Answer descriptors() {
    constexpr int wanted = 64;
    int opened = 0;
    std::array<Fd, wanted> held;
    for (Fd& each : held)
        if (each = Fd(::open("/", O_PATH | O_CLOEXEC)); each.valid()) ++opened;
    if (opened == wanted) return {State::yes, fmt::format("at least {} can be opened", wanted)};
    return {State::partly, fmt::format("only {} can be opened", opened), ENOENT};
}

Answer proc() {
    std::array<char, 16> name;
    const bool there = ::readlink("/proc/self", name.data(), name.size()) > 0;
    return answer(there ? 0 : errno, "mounted");
}

Answer seccomp() {
    const int mode = ::prctl(PR_GET_SECCOMP);
    if (mode == 0) return {State::yes, "no filter on this process"};
    return {State::partly, "a filter is on this process (a container)", ENOENT};
}

Answer user_namespaces() {
    return answer(in_child([] { return error_of(::unshare(CLONE_NEWUSER)); }), "can be made");
}

Answer agent() {
    const std::string path = agent_path();
    if (path.empty()) return {State::no, "libanybpf-agent.so is not beside the command", ENOENT};
    const int error = in_child([&] { return code_mapping_error(path); });
    if (error != 0) return {State::no, fmt::format("{} cannot be mapped as code: {}", path, reason(error)), error};
    return {State::yes, path};
}

Answer compiler() {
    const std::string path = find_clang();
    if (path.empty()) return {State::no, "none of clang-19, clang-14, clang", ENOENT};
    return {State::yes, path};
}

Answer llvm() {
    const auto available = engine::Llvm::available();
    if (!available) return {State::no, available.error().message, ENOENT};
    return {State::yes, "the optimizing engine can be loaded"};
}

Answer kernel_bpf() {
    const int error = in_child(kernel_bpf_error);
    const std::string setting = first_line("/proc/sys/kernel/unprivileged_bpf_disabled");
    Answer given = answer(error, "works");
    if (error != 0 && !setting.empty()) given.detail += ", kernel.unprivileged_bpf_disabled is " + setting;
    return given;
}

Answer perf_events() {
    const int error = in_child([] {
        perf_event_attr wanted{};
        wanted.type = PERF_TYPE_SOFTWARE;
        wanted.size = sizeof(wanted);
        wanted.config = PERF_COUNT_SW_DUMMY;
        return error_of(::syscall(SYS_perf_event_open, &wanted, -1, 0, -1, PERF_FLAG_FD_CLOEXEC));
    });
    const std::string setting = first_line("/proc/sys/kernel/perf_event_paranoid");
    Answer given = answer(error, "works for every process");
    if (error != 0 && !setting.empty()) given.detail += ", kernel.perf_event_paranoid is " + setting;
    return given;
}

Answer kernel_types() {
    if (::access("/sys/kernel/btf/vmlinux", R_OK) != 0) return {State::no, "the kernel publishes none", ENOENT};
    return {State::yes, "/sys/kernel/btf/vmlinux"};
}

Answer tracefs() {
    struct statfs info{};
    for (const char* folder : {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}) {
        if (::statfs(folder, &info) != 0 || info.f_type != TRACEFS_MAGIC) continue;
        if (::access(fmt::format("{}/events", folder).c_str(), X_OK) == 0) return {State::yes, folder};
        return {State::no, fmt::format("{}: {}", folder, std::strerror(errno)), errno};
    }
    return {State::no, "not mounted", ENOENT};
}

}  // namespace asks

}  // namespace anybpf::cli

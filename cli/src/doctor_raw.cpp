// SPDX-License-Identifier: Apache-2.0
// anybpf doctor: what this machine allows, asked by trying it. Raw system calls, because libc has no names for most of
// them; safe because each is asked in a form that changes nothing here, or in a child that ends at once.
#include <bpf/bpf.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>

#include "anybpf/engine/llvm.hpp"
#include "commands.hpp"
#include "compile.hpp"
#include "machine.hpp"
#include "paths.hpp"
#include "value.hpp"

namespace anybpf::cli {

namespace {

enum class State : u8 { yes, no, partly };

struct Check {
    std::string name, detail;  // detail: what is there, or why not
    State state = State::no;
    std::string without;  // what does not work then
    bool needed = false;  // for run in user space
};

std::string first_line(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

// In a child of its own: the errno that the attempt ended with, 0 for success; -1 when the child died of it.
int in_child(const std::function<int()>& attempt) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(attempt());
    int status = 0;
    if (child < 0 || ::waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
    return WEXITSTATUS(status);
}

std::string reason(int error) { return error < 0 ? "the process was killed" : std::strerror(error); }

Check dispatch() {
    static char selector = 0;  // SYSCALL_DISPATCH_FILTER_ALLOW: the child's own calls go through
    const int error = in_child([] { return ::prctl(59, 1, 0, 0, &selector) == 0 ? 0 : errno; });
    return {"Syscall User Dispatch", error ? reason(error) : "prctl(PR_SET_SYSCALL_USER_DISPATCH) works",
            error ? State::no : State::yes,
            "system calls are seen only where they can be patched at load (Linux 5.11 has it)", true};
}

Check root() {
    const auto machine = Machine::open(Where::user);
    if (!machine)
        return {"root directory", machine.error().message, State::no,
                "nothing can be loaded: set ANYBPF_ROOT to a folder on a tmpfs", true};
    return {"root directory", "a tmpfs folder of this user's can be opened", State::yes, "", true};
}

Check robust_futexes() {
    void* head = nullptr;
    std::size_t size = 0;
    const bool good = ::syscall(SYS_get_robust_list, 0, &head, &size) == 0;
    return {"robust futexes", good ? "get_robust_list works" : reason(errno), good ? State::yes : State::no,
            "locks of killed processes are not recovered", true};
}

Check agent() {
    const std::string path = agent_path();
    return {"agent", path.empty() ? "libanybpf-agent.so is not beside the command (ANYBPF_AGENT_PATH)" : path,
            path.empty() ? State::no : State::yes, "run cannot trace a command", true};
}

Check compiler() {
    const std::string path = find_clang();
    return {"clang", path.empty() ? "none of clang-19, clang-14, clang" : path, path.empty() ? State::no : State::yes,
            "only compiled objects can be run", false};
}

Check llvm() {
    const auto available = engine::Llvm::available();
    return {"LLVM", available ? "the optimizing engine can be loaded" : available.error().message,
            available ? State::yes : State::no, "build, exec --engine llvm and compile --emit lifted", false};
}

Check kernel_bpf() {
    LIBBPF_OPTS(bpf_map_create_opts, options);
    const int fd = bpf_map_create(BPF_MAP_TYPE_ARRAY, "anybpf_doctor", 4, 4, 1, &options);
    const int error = errno;
    if (fd >= 0) ::close(fd);
    const std::string setting = first_line("/proc/sys/kernel/unprivileged_bpf_disabled");
    return {"bpf(2) of the kernel",
            fd >= 0 ? "works"
                    : fmt::format("{}{}", reason(error),
                                  setting.empty() ? "" : ", kernel.unprivileged_bpf_disabled is " + setting),
            fd >= 0 ? State::yes : State::no, "--on kernel and --engine kernel", false};
}

Check kernel_types() {
    const bool good = ::access("/sys/kernel/btf/vmlinux", R_OK) == 0;
    return {"BTF of the kernel", good ? "/sys/kernel/btf/vmlinux" : "the kernel publishes none",
            good ? State::yes : State::no, "\"vmlinux.h\" has only anybpf's own types", false};
}

Check tracefs() {
    struct statfs info{};
    for (const char* folder : {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"})
        if (::statfs(folder, &info) == 0 && info.f_type == TRACEFS_MAGIC)
            return {"tracefs",
                    ::access(fmt::format("{}/events", folder).c_str(), X_OK) == 0
                        ? folder
                        : fmt::format("{}: {}", folder, std::strerror(errno)),
                    ::access(fmt::format("{}/events", folder).c_str(), X_OK) == 0 ? State::yes : State::no,
                    "tracepoints with --on kernel", false};
    return {"tracefs", "not mounted", State::no, "tracepoints with --on kernel", false};
}

Check seccomp() {
    const int mode = ::prctl(PR_GET_SECCOMP);
    return {"seccomp",
            mode == 0
                ? "no filter on this process"
                : "a filter is on this process (a container): system calls that it refuses are refused to programs too",
            mode == 0 ? State::yes : State::partly, "what the filter refuses", false};
}

Check tracing() {
    const int error = in_child([] {
        const pid_t child = ::fork();
        if (child == 0)
            for (;;) ::pause();
        const int result = ::ptrace(PTRACE_SEIZE, child, 0, 0) == 0 ? 0 : errno;
        ::kill(child, SIGKILL);
        return result;
    });
    const std::string scope = first_line("/proc/sys/kernel/yama/ptrace_scope");
    return {"ptrace",
            error ? reason(error)
                  : fmt::format("own children can be traced{}", scope.empty() ? "" : ", yama scope " + scope),
            error ? State::no : State::yes, "attach PID", false};
}

Check kernel_version() {
    utsname name{};
    ::uname(&name);
    return {"kernel", fmt::format("{} {} {}", name.sysname, name.release, name.machine),
            std::string_view(name.machine) == "x86_64" ? State::yes : State::no, "only x86-64 is supported", true};
}

}  // namespace

Outcome<int> doctor(bool json) {
    // kernel_bpf asks the machine's own before root() puts ours in its place.
    const Check checks[] = {kernel_version(), dispatch(), robust_futexes(), kernel_bpf(), root(),    agent(),
                            compiler(),       llvm(),     kernel_types(),   tracefs(),    seccomp(), tracing()};
    bool good = true;
    Json list = Json::array();
    for (const Check& check : checks) {
        const char* word = check.state == State::yes ? "yes" : check.state == State::no ? "no" : "partly";
        good = good && (!check.needed || check.state == State::yes);
        if (json)
            list.push_back(Json{{"check", check.name},
                                {"result", word},
                                {"detail", check.detail},
                                {"without", check.state == State::yes ? "" : check.without},
                                {"needed", check.needed}});
        else
            fmt::print("{:<7} {:<24} {}{}\n", word, check.name, check.detail,
                       check.state == State::yes ? "" : fmt::format("\n{:33}lost: {}", "", check.without));
    }
    if (json)
        fmt::print("{}\n", dump(list));
    else
        fmt::print("\n{}\n",
                   good ? "anybpf run works here, without privileges." : "anybpf run does not work here; see above.");
    return static_cast<int>(good ? Exit::ok : Exit::failed);
}

}  // namespace anybpf::cli

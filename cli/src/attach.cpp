// SPDX-License-Identifier: Apache-2.0
// anybpf attach and detach: a running process comes into the root, and leaves it.
#include "anybpf/agent/attach.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <utility>

#include "anybpf/kernel/kernel.hpp"
#include "attached.hpp"
#include "commands.hpp"
#include "paths.hpp"
#include "value.hpp"

namespace anybpf::cli {
namespace {

Exit exit_of(const Error& error) { return error.code == Errc::permission_denied ? Exit::not_permitted : Exit::failed; }

// What mends it, where somebody can.
std::string advice(const Error& error) {
    if (error.code != Errc::permission_denied) return "";
    return "; it takes the rights to trace it (ptrace): its user or root, kernel.yama.ptrace_scope 0, and no debugger "
           "on it";
}

void say(const std::string& what, pid_t pid, bool json) {
    if (json)
        fmt::print("{}\n", dump(Json{{"pid", pid}, {"result", what}}));
    else
        fmt::print("{} {}\n", what, pid);
}

Outcome<std::string> agent_there() {
    std::string path = agent_path();
    if (path.empty()) return stop(Exit::failed, "the agent (libanybpf-agent.so) is not there; set ANYBPF_AGENT_PATH");
    return path;
}

template <class Each>
Outcome<int> for_each(const AttachOptions& options, const char* what, const Each& each) {
    auto kernel = kernel::Kernel::open();
    if (!kernel) return stop(Exit::not_permitted, kernel.error().message);
    for (const pid_t pid : options.pids) {
        CLI_TRY(each((*kernel)->root(), pid));
        say(what, pid, options.json);
    }
    return static_cast<int>(Exit::ok);
}

}  // namespace

Outcome<> attach(const kernel::Root& root, pid_t pid, u32 tree) {
    const std::string path = CLI_TRY(agent_there());
    // First the mark: the root must stay from the moment on in which the process looks into it.
    const std::string mark = root.attached_path(pid);
    const Fd file(::open(mark.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600));
    const auto attached = agent::attach(pid, path, root.path(), tree);
    if (attached) return {};
    if (attached.error().code != Errc::already_exists) ::unlink(mark.c_str());
    return stop(exit_of(attached.error()), attached.error().message + advice(attached.error()));
}

Outcome<> detach(const kernel::Root& root, pid_t pid) {
    const auto detached = agent::detach(pid, CLI_TRY(agent_there()));
    if (!detached) return stop(exit_of(detached.error()), detached.error().message + advice(detached.error()));
    ::unlink(root.attached_path(pid).c_str());
    return {};
}

Outcome<Attached> Attached::start(const kernel::Root& root, pid_t pid, u32 tree) {
    Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));  // before Linux 5.3 there is none
    CLI_TRY(attach(root, pid, tree));
    return Attached(root, pid, std::move(pidfd));
}

Attached::Attached(Attached&& other) noexcept
    : root_(other.root_), pid_(std::exchange(other.pid_, 0)), pidfd_(std::move(other.pidfd_)) {}

Attached::~Attached() {
    if (pid_ == 0) return;
    if (ended()) {
        ::unlink(root_->attached_path(pid_).c_str());
    } else if (const auto detached = detach(*root_, pid_); !detached) {
        fmt::print(stderr, "anybpf: warning: {}; try anybpf detach {}\n", detached.error().message, pid_);
    }
}

bool Attached::ended() const {
    if (!pidfd_.valid()) return ::kill(pid_, 0) != 0 && errno == ESRCH;
    pollfd end{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
    return ::poll(&end, 1, 0) > 0;
}

Outcome<int> attach(const AttachOptions& options) {
    return for_each(options, "attached", [](const kernel::Root& root, pid_t pid) { return attach(root, pid, 0); });
}

Outcome<int> detach(const AttachOptions& options) {
    return for_each(options, "detached", [](const kernel::Root& root, pid_t pid) { return detach(root, pid); });
}

}  // namespace anybpf::cli

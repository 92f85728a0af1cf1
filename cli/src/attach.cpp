// SPDX-License-Identifier: Apache-2.0
// anybpf attach and detach: a running process comes into the root, and leaves it.
#include "anybpf/agent/attach.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "anybpf/base/fd.hpp"
#include "anybpf/kernel/kernel.hpp"
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

}  // namespace

Outcome<int> attach(const AttachOptions& options) {
    auto kernel = kernel::Kernel::open();
    if (!kernel) return stop(Exit::not_permitted, kernel.error().message);
    const std::string path = agent_path();
    if (path.empty()) return stop(Exit::failed, "the agent (libanybpf-agent.so) is not there; set ANYBPF_AGENT_PATH");
    const kernel::Root& root = (*kernel)->root();
    for (const pid_t pid : options.pids) {
        // First the mark: the root must stay from the moment on in which the process looks into it.
        const std::string mark = root.attached_path(pid);
        const Fd file(::open(mark.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0600));
        const auto attached = agent::attach(pid, path, root.path(), 0);
        if (!attached) {
            if (attached.error().code != Errc::already_exists) ::unlink(mark.c_str());
            return stop(exit_of(attached.error()), attached.error().message + advice(attached.error()));
        }
        say("attached", pid, options.json);
    }
    return static_cast<int>(Exit::ok);
}

Outcome<int> detach(const AttachOptions& options) {
    auto kernel = kernel::Kernel::open();
    if (!kernel) return stop(Exit::not_permitted, kernel.error().message);
    const std::string path = agent_path();
    if (path.empty()) return stop(Exit::failed, "the agent (libanybpf-agent.so) is not there; set ANYBPF_AGENT_PATH");
    for (const pid_t pid : options.pids) {
        const auto detached = agent::detach(pid, path);
        if (!detached) return stop(exit_of(detached.error()), detached.error().message + advice(detached.error()));
        ::unlink((*kernel)->root().attached_path(pid).c_str());
        say("detached", pid, options.json);
    }
    return static_cast<int>(Exit::ok);
}

}  // namespace anybpf::cli

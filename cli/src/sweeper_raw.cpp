// SPDX-License-Identifier: Apache-2.0
// Raw fork. Safe because it happens while the process has one thread and holds nothing of a root; the child closes
// every descriptor but its pipe, leaves the terminal's process group, and only then waits.
#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "anybpf/kernel/root.hpp"
#include "sweeper.hpp"

namespace anybpf::cli {
namespace {

void wait_and_sweep(int pipe, int supervisor) {
    ::setsid();  // neither Ctrl-C nor a signal to the process group is for us
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) ::signal(number, SIG_IGN);
    ::prctl(PR_SET_NAME, "anybpf-sweeper");
    [[maybe_unused]] const int unused = ::chdir("/");
    constexpr int in = 10, process = 11;
    const int nothing = ::open("/dev/null", O_RDWR);
    if (nothing >= 0)
        for (const int standard : {0, 1, 2}) ::dup2(nothing, standard);
    // Through numbers that neither can have, so that the one does not overwrite the other.
    const int from = ::fcntl(pipe, F_DUPFD, process + 1), whom = ::fcntl(supervisor, F_DUPFD, process + 1);
    ::dup2(from, in);
    ::dup2(whom, process);
    ::syscall(SYS_close_range, 3, in - 1, 0);
    ::syscall(SYS_close_range, process + 1, ~0U, 0);
    char byte;
    if (::read(in, &byte, 1) > 0) return;  // it has left the root itself
    // A dying process closes its descriptors one after the other, the pipe among the first: only when it is dead as a
    // whole has it let go of everything.
    pollfd dead{.fd = process, .events = POLLIN, .revents = 0};
    while (::poll(&dead, 1, -1) < 0 && errno == EINTR) {
    }
    // A holder that leaves sweeps; one that finds no root has nothing to do.
    [[maybe_unused]] const auto root = kernel::Root::open({}, false);
}

}  // namespace

Sweeper Sweeper::start() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return {-1, Fd()};
    const Fd theirs(ends[0]);
    Fd ours(ends[1]);
    const Fd supervisor(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
    if (!supervisor.valid()) return {-1, Fd()};
    const int child = ::fork();
    if (child != 0) return {child, std::move(ours)};
    wait_and_sweep(theirs.get(), supervisor.get());
    ::_exit(0);
}

Sweeper::~Sweeper() {
    if (!alive_.valid()) return;
    [[maybe_unused]] const auto written = ::write(alive_.get(), "", 1);
    alive_ = Fd();
    if (child_ > 0) ::waitpid(child_, nullptr, 0);
}

}  // namespace anybpf::cli

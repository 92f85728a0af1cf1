// SPDX-License-Identifier: Apache-2.0
// Raw fork. Safe because it happens while the process has one thread and holds nothing of a root; the child closes
// every descriptor but its pipe, leaves the terminal's process group, and only then waits.
#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>

#include "anybpf/kernel/root.hpp"
#include "sweeper.hpp"

namespace anybpf::cli {
namespace {

void wait_and_sweep(int pipe) {
    ::setsid();  // neither Ctrl-C nor a signal to the process group is for us
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) ::signal(number, SIG_IGN);
    ::prctl(PR_SET_NAME, "anybpf-sweeper");
    [[maybe_unused]] const int unused = ::chdir("/");
    const int in = 3, nothing = ::open("/dev/null", O_RDWR);
    for (const int standard : {0, 1, 2}) ::dup2(nothing, standard);
    if (pipe != in) ::dup2(pipe, in);
    ::syscall(SYS_close_range, in + 1, ~0U, 0);
    char byte;
    while (::read(in, &byte, 1) > 0) {
    }
    // A holder that leaves sweeps; one that finds no root has nothing to do.
    [[maybe_unused]] const auto root = kernel::Root::open({}, false);
}

}  // namespace

Sweeper Sweeper::start() {
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return {-1, Fd()};
    Fd theirs(ends[0]), ours(ends[1]);
    const int child = ::fork();
    if (child != 0) return {child, std::move(ours)};
    wait_and_sweep(theirs.get());
    ::_exit(0);
}

Sweeper::~Sweeper() {
    if (!alive_.valid()) return;
    alive_ = Fd();
    if (child_ > 0) ::waitpid(child_, nullptr, 0);
}

}  // namespace anybpf::cli

// SPDX-License-Identifier: Apache-2.0
// What answers libbpf's system calls: our kernel over a root, inside this process, or the machine's own.
#pragma once

#include <memory>
#include <string>

#include "anybpf/base/fd.hpp"
#include "anybpf/kernel/kernel.hpp"
#include "attached.hpp"
#include "failure.hpp"
#include "sections.hpp"

namespace anybpf::cli {

// What of the machine has to be there: errno of trying it, 0 where it works.
int kernel_bpf_error();    // the kernel's own bpf(2); before a Machine stands in its place
int robust_futex_error();  // the death of a thread is noticed by a list that it registers

class Machine {
  public:
    static Outcome<Machine> open(Where where, const kernel::Limits& limits = {});
    // The same for programs that are judged and not run, for the kernel with these types (VerifyOptions::btf).
    static Outcome<Machine> open_to_judge(Where where, const std::string& btf, bool unprivileged,
                                          const kernel::Limits& limits = {});
    Machine(Machine&& other) noexcept;
    ~Machine();

    Where where() const { return where_; }
    kernel::Kernel* kernel() const;  // null where it is the machine's own
    // Refused where no run of a program could be counted.
    static Outcome<> check_runs(Where where);
    // From now on what is attached runs only in the tree that this process starts with command_environment().
    Outcome<> supervise();
    // A running process comes into that tree.
    Outcome<Attached> attach(pid_t pid) const;
    // Our environment with what makes a command's process tree a traced one where no injector answers.
    Outcome<std::vector<std::string>> command_environment() const;
    // In the child that is about to become the traced command: true when its execve brings the agent, and the
    // environment may be our own.
    bool injects() const;

    // A ring buffer map of abi::TraceRecord with what bpf_printk wrote; not valid in the kernel, which has trace_pipe.
    Fd trace() const;
    // What the tree's agents say of images that they cannot follow, a line each; no descriptor where nobody says it.
    Fd notices() const;
    // In the child that is about to become the traced command: the entry of its execve is an event like any other, but
    // no agent stands there yet to report it. The new image reports the exit.
    void report_exec(const char* path, char* const* arguments, char* const* environment) const;

  private:
    struct User;
    explicit Machine(Where where);
    Where where_;
    std::unique_ptr<User> user_;
};

}  // namespace anybpf::cli

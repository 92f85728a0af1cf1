// SPDX-License-Identifier: Apache-2.0
// The command under trace.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "anybpf/base/fd.hpp"
#include "failure.hpp"

namespace anybpf::cli {

// Where execvp would find it; Exit::not_found, Exit::not_executable.
Outcome<std::string> find_command(const std::string& name);

// Why the agent will not be loaded into it: static, setuid, 32 bits. Empty when it will.
std::string why_not_traced(const std::string& path);

class Child {
  public:
    // Runs it with the signal mask and dispositions that we were started with. before_exec is called in the child with
    // what execve would get; true: it gets the environment that we have instead of the given one.
    using BeforeExec = std::function<bool(const char* path, char* const* arguments, char* const* environment)>;
    static Outcome<Child> start(const std::string& path, const std::vector<std::string>& words,
                                const std::vector<std::string>& environment, const BeforeExec& before_exec);
    int pidfd() const { return pidfd_.get(); }
    void signal(int number) const;
    // The status as a shell gives it, once the child has ended.
    bool ended();
    int status() const { return status_; }

  private:
    pid_t pid_ = 0;
    Fd pidfd_;
    int status_ = -1;
};

}  // namespace anybpf::cli

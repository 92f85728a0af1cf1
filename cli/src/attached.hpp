// SPDX-License-Identifier: Apache-2.0
// Processes that run already: each is in the root as long as this is.
#pragma once

#include <sys/types.h>

#include "anybpf/base/fd.hpp"
#include "anybpf/base/types.hpp"
#include "anybpf/kernel/root.hpp"
#include "failure.hpp"

namespace anybpf::cli {

// tree: whose supervisor brings the agent to what it executes; 0: none.
Outcome<> attach(const kernel::Root& root, pid_t pid, u32 tree);
Outcome<> detach(const kernel::Root& root, pid_t pid);

class Attached {
  public:
    static Outcome<Attached> start(const kernel::Root& root, pid_t pid, u32 tree);
    Attached(Attached&& other) noexcept;
    Attached& operator=(Attached&&) = delete;
    ~Attached();  // says so where it cannot be let go

    int pidfd() const { return pidfd_.get(); }
    bool ended() const;

  private:
    Attached(const kernel::Root& root, pid_t pid, Fd pidfd) : root_(&root), pid_(pid), pidfd_(std::move(pidfd)) {}
    const kernel::Root* root_;
    pid_t pid_;  // 0: it is another's
    Fd pidfd_;
};

}  // namespace anybpf::cli

// SPDX-License-Identifier: Apache-2.0
// Sweeper: when the command is killed, nobody is left to take down what it had. A child that holds nothing of it waits
// for its end, however it comes, and then collects what nobody holds any more.
#pragma once

#include "anybpf/base/fd.hpp"

namespace anybpf::cli {

class Sweeper {
  public:
    // Before anything of the root is opened: the child must share no lock. Where no child can be had there is none; the
    // next user of the root sweeps.
    static Sweeper start();
    Sweeper(Sweeper&&) noexcept = default;
    Sweeper& operator=(Sweeper&&) = delete;
    ~Sweeper();  // after the root has been left: the child finds nothing to do, and is waited for

  private:
    Sweeper(int child, Fd alive) : child_(child), alive_(std::move(alive)) {}
    int child_ = -1;
    Fd alive_;  // our end of a pipe; its end is ours
};

}  // namespace anybpf::cli

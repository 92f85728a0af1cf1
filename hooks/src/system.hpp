// SPDX-License-Identifier: Apache-2.0
// System: the few system calls that hooks make in a traced process, through the function that the agent gave. None
// touches errno or keeps a descriptor.
#pragma once

#include "anybpf/hooks/syscall.hpp"

namespace anybpf::hooks {

class System {
  public:
    explicit System(RawSyscall raw);

    void read_pid(helpers::Thread& thread) const;
    void read_ids(helpers::Thread& thread) const;  // uid and gid
    void read_comm(helpers::Thread& thread) const;
    // Writes a byte to the FIFO, if anything can be written; a reader that sleeps there wakes.
    void wake(const std::string& fifo) const;
    i64 call(i64 number, u64 a, u64 b, u64 c, u64 d) const;

  private:
    RawSyscall raw_;
};

}  // namespace anybpf::hooks

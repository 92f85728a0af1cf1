// SPDX-License-Identifier: Apache-2.0
// The libc calls by which libbpf and its tools talk to the kernel's BPF (syscall, open, fopen, mmap, ioctl, epoll ...)
// answered inside the process. Linking this library defines those symbols; until a kernel is installed they are libc's.
#pragma once

#include "anybpf/kernel/kernel.hpp"

namespace anybpf::preload {

// While it lives, calls of every thread reach the kernel it was made with: bpf(2), perf_event_open(2), descriptors of
// the kernel's objects, and the files of tracefs, sysfs and /proc that describe the kernel's BPF, which come from our
// tables and never from the host. At most one at a time.
class Interposition {
  public:
    Interposition(const Interposition&) = delete;
    Interposition& operator=(const Interposition&) = delete;
    ~Interposition();

  private:
    friend std::unique_ptr<Interposition> install(kernel::Kernel& kernel);
    Interposition() = default;
};

// The kernel must outlive the result.
std::unique_ptr<Interposition> install(kernel::Kernel& kernel);

}  // namespace anybpf::preload

// SPDX-License-Identifier: Apache-2.0
// Fd owns a file descriptor. It is closed by the system call itself: where libc's close is interposed (preload/), that
// answers for others and not for our own descriptors.
#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <utility>

namespace anybpf {

class Fd {
  public:
    Fd() = default;
    explicit Fd(int fd) : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd& operator=(Fd&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~Fd() {
        if (fd_ >= 0) ::syscall(SYS_close, fd_);
    }
    int get() const { return fd_; }
    bool valid() const { return fd_ >= 0; }
    int release() { return std::exchange(fd_, -1); }

  private:
    int fd_ = -1;
};

}  // namespace anybpf

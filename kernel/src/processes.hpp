// SPDX-License-Identifier: Apache-2.0
// For tests: children, and memory that they share.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <utility>

#include "anybpf/kernel/root.hpp"

namespace anybpf::kernel {

// Memory that parent and children share.
template <class T>
class Shared {
  public:
    Shared()
        : at_(static_cast<T*>(::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0))) {
        new (at_) T{};
    }
    Shared(const Shared&) = delete;
    ~Shared() { ::munmap(at_, sizeof(T)); }
    T* operator->() const { return at_; }

  private:
    T* at_;
};

class Child {
  public:
    template <class F>
    explicit Child(F&& body) : pid_(::fork()) {
        if (pid_ != 0) return;
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        body();
        ::_exit(0);
    }
    Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}
    ~Child() { kill(); }
    Child& operator=(Child&& other) noexcept {
        std::swap(pid_, other.pid_);
        return *this;
    }
    void kill() {
        signal(SIGKILL);
        wait();
    }
    void signal(int number) const {
        if (pid_ > 0) ::kill(pid_, number);
    }
    int wait() {
        int status = 0;
        if (pid_ > 0) ::waitpid(pid_, &status, 0);
        pid_ = -1;
        return status;
    }

  private:
    pid_t pid_;
};

template <class F>
bool soon(F&& condition) {
    for (int i = 0; i < 20000 && !condition(); ++i) ::usleep(1000);
    return condition();
}

inline void sweep_by_anybody(const std::string& path) {
    const auto root = Root::open(path, false);
    ASSERT_TRUE(root) << root.error().message;
}  // the last holder leaves

}  // namespace anybpf::kernel

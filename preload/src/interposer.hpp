// SPDX-License-Identifier: Apache-2.0
// Interposer: what the interposed calls do while a kernel is installed. Each member behaves as the libc call of that
// name; nothing, where the call is not ours and libc shall have it.
#pragma once

#include <poll.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include <atomic>
#include <cstdio>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "anybpf/base/guarded.hpp"
#include "anybpf/kernel/kernel.hpp"
#include "trace_pipe.hpp"
#include "virtual_files.hpp"

namespace anybpf::preload {

class Interposer {
  public:
    explicit Interposer(kernel::Kernel& kernel);

    std::optional<long> bpf(int command, void* attr, unsigned size);
    std::optional<long> perf_event_open(const void* attr, pid_t pid, int cpu, int group, unsigned long flags);

    // --- files
    std::optional<int> open(const char* path, int flags);
    std::optional<FILE*> fopen(const char* path, const char* mode);
    std::optional<int> access(const char* path, int mode);
    std::optional<int> stat(const char* path, struct stat* status);
    std::optional<int> statfs(const char* path, struct statfs* status);
    // The path to use instead: of a pin below /sys/fs/bpf.
    std::optional<std::string> translate(const char* path) const;

    // --- descriptors of our objects
    std::optional<int> ioctl(int fd, unsigned long request, unsigned long argument);
    std::optional<void*> mmap(void* address, std::size_t length, int protection, int flags, int fd, off_t offset);
    std::optional<int> close(int fd);
    std::optional<ssize_t> read(int fd, void* buffer, std::size_t size);  // of trace_pipe

    // --- sleeping: a ring or perf buffer is waited for at the kernel's wake descriptor
    std::optional<int> epoll_ctl(int epoll, int operation, int fd, epoll_event* event);
    std::optional<int> epoll_wait(int epoll, epoll_event* events, int capacity, int timeout, const sigset_t* mask);
    std::optional<int> poll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask);

  private:
    struct Watch {
        int fd;
        epoll_event event;
    };
    using Watches = std::map<int, std::vector<Watch>>;  // by epoll descriptor

    // The descriptor is the trace's wake FIFO, which can be waited for; reading it gives lines instead.
    struct OpenTrace {
        TracePipe pipe;
        bool blocks;
    };

    std::optional<int> open_trace(int flags);
    std::optional<int> open_text(const VirtualFile& file, int flags) const;
    std::optional<std::string> fdinfo(std::string_view path) const;
    void forget(int fd);

    kernel::Kernel& kernel_;
    VirtualFacts facts_;
    Guarded<Watches> watches_;
    Guarded<std::map<int, OpenTrace>> traces_;  // by descriptor
    std::atomic<u32> trace_count_{0};
};

// The installed one, or null; and null inside a call that an Interposer is answering, so that the kernel's own calls
// are libc's.
Interposer* current();

void link_interposed_calls();

class Answering {  // marks this thread
  public:
    Answering();
    ~Answering();
    Answering(const Answering&) = delete;
    Answering& operator=(const Answering&) = delete;
};

}  // namespace anybpf::preload

// SPDX-License-Identifier: Apache-2.0
// The interposed symbols. Each asks the installed Interposer and else calls libc's own function of that name, the next
// definition behind this one.
//
// Raw here: functions that replace libc's, and a pointer of dlsym called as a function. Each has exactly the C
// prototype of the symbol that its assembler name stands for (the headers' declarations are avoided, because of their
// fortified inline twins), so a caller cannot tell the difference; pointers are passed on as they came.
#undef _FORTIFY_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>

#include "interposer.hpp"

namespace anybpf::preload {

// Referenced by install(), so that whoever installs has the symbols linked in.
void link_interposed_calls() {}

namespace {

template <class F>
class Next {
  public:
    constexpr explicit Next(const char* name) : name_(name) {}
    template <class... Arguments>
    auto operator()(Arguments... arguments) {
        void* found = function_.load(std::memory_order_relaxed);
        if (!found) {
            found = ::dlsym(RTLD_NEXT, name_);
            function_.store(found, std::memory_order_relaxed);
        }
        return reinterpret_cast<F*>(found)(arguments...);
    }

  private:
    const char* name_;
    std::atomic<void*> function_{nullptr};
};

// What the installed interposer answers; else nothing.
template <class Ask>
auto ask(const Ask& question) -> decltype(question(std::declval<Interposer&>())) {
    Interposer* const interposer = current();
    if (!interposer) return std::nullopt;
    const Answering mark;
    return question(*interposer);
}

std::optional<std::string> translate(const char* path) {
    return ask([&](Interposer& interposer) { return interposer.translate(path); });
}

int open_or(const char* path, int flags, mode_t mode, int directory, Next<int(int, const char*, int, ...)>& next) {
    if (const auto fd = ask([&](Interposer& interposer) { return interposer.open(path, flags); })) return *fd;
    return next(directory, path, flags, mode);
}

#define ANYBPF_INTERPOSED(name) __asm__(#name) __attribute__((visibility("default"), used))

constinit Next<long(long, long, long, long, long, long, long)> next_syscall("syscall");
constinit Next<int(int, const char*, int, ...)> next_openat("openat");
constinit Next<FILE*(const char*, const char*)> next_fopen("fopen");
constinit Next<int(const char*, int)> next_access("access");
constinit Next<int(int, const char*, int, int)> next_faccessat("faccessat");
constinit Next<int(const char*, struct stat*)> next_stat("stat"), next_lstat("lstat");
constinit Next<int(int, const char*, struct stat*, int)> next_fstatat("fstatat");
constinit Next<int(const char*, struct statfs*)> next_statfs("statfs");
constinit Next<int(const char*, mode_t)> next_mkdir("mkdir");
constinit Next<int(const char*)> next_rmdir("rmdir"), next_unlink("unlink");
constinit Next<DIR*(const char*)> next_opendir("opendir");
constinit Next<int(int, unsigned long, ...)> next_ioctl("ioctl");
constinit Next<void*(void*, std::size_t, int, int, int, off_t)> next_mmap("mmap");
constinit Next<int(int)> next_close("close");
constinit Next<ssize_t(int, void*, std::size_t)> next_read("read");
constinit Next<int(int, int, int, epoll_event*)> next_epoll_ctl("epoll_ctl");
constinit Next<int(int, epoll_event*, int, int)> next_epoll_wait("epoll_wait");
constinit Next<int(int, epoll_event*, int, int, const sigset_t*)> next_epoll_pwait("epoll_pwait");
constinit Next<int(pollfd*, nfds_t, int)> next_poll("poll");
constinit Next<int(pollfd*, nfds_t, const timespec*, const sigset_t*)> next_ppoll("ppoll");

mode_t mode_argument(int flags, va_list arguments) {
    return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(arguments, mode_t) : 0;
}

}  // namespace

extern "C" {

// --- bpf(2) and perf_event_open(2)

long interposed_syscall(long number, ...) ANYBPF_INTERPOSED(syscall);
long interposed_syscall(long number, ...) {
    va_list list;
    va_start(list, number);
    long a[6];
    for (long& argument : a) argument = va_arg(list, long);
    va_end(list);
    if (number == SYS_bpf || number == SYS_perf_event_open)
        if (const auto result = ask([&](Interposer& interposer) {
                return number == SYS_bpf
                           ? interposer.bpf(static_cast<int>(a[0]), reinterpret_cast<void*>(a[1]),
                                            static_cast<unsigned>(a[2]))
                           : interposer.perf_event_open(reinterpret_cast<const void*>(a[0]), static_cast<pid_t>(a[1]),
                                                        static_cast<int>(a[2]), static_cast<int>(a[3]),
                                                        static_cast<unsigned long>(a[4]));
            }))
            return *result;
    return next_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

// --- files

int interposed_open(const char* path, int flags, ...) ANYBPF_INTERPOSED(open);
int interposed_open(const char* path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    const mode_t mode = mode_argument(flags, list);
    va_end(list);
    return open_or(path, flags, mode, AT_FDCWD, next_openat);
}
int interposed_open64(const char* path, int flags, ...) ANYBPF_INTERPOSED(open64);
int interposed_open64(const char* path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    const mode_t mode = mode_argument(flags, list);
    va_end(list);
    return open_or(path, flags, mode, AT_FDCWD, next_openat);
}
int interposed_openat(int directory, const char* path, int flags, ...) ANYBPF_INTERPOSED(openat);
int interposed_openat(int directory, const char* path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    const mode_t mode = mode_argument(flags, list);
    va_end(list);
    return open_or(path, flags, mode, directory, next_openat);
}
int interposed_openat64(int directory, const char* path, int flags, ...) ANYBPF_INTERPOSED(openat64);
int interposed_openat64(int directory, const char* path, int flags, ...) {
    va_list list;
    va_start(list, flags);
    const mode_t mode = mode_argument(flags, list);
    va_end(list);
    return open_or(path, flags, mode, directory, next_openat);
}
int interposed_open_2(const char* path, int flags) ANYBPF_INTERPOSED(__open_2);
int interposed_open_2(const char* path, int flags) { return open_or(path, flags, 0, AT_FDCWD, next_openat); }
int interposed_open64_2(const char* path, int flags) ANYBPF_INTERPOSED(__open64_2);
int interposed_open64_2(const char* path, int flags) { return open_or(path, flags, 0, AT_FDCWD, next_openat); }

FILE* interposed_fopen(const char* path, const char* mode) ANYBPF_INTERPOSED(fopen);
FILE* interposed_fopen(const char* path, const char* mode) {
    if (const auto file = ask([&](Interposer& interposer) { return interposer.fopen(path, mode); })) return *file;
    return next_fopen(path, mode);
}
FILE* interposed_fopen64(const char* path, const char* mode) ANYBPF_INTERPOSED(fopen64);
FILE* interposed_fopen64(const char* path, const char* mode) { return interposed_fopen(path, mode); }

int interposed_access(const char* path, int mode) ANYBPF_INTERPOSED(access);
int interposed_access(const char* path, int mode) {
    if (const auto result = ask([&](Interposer& interposer) { return interposer.access(path, mode); })) return *result;
    const auto pin = translate(path);
    return next_access(pin ? pin->c_str() : path, mode);
}
int interposed_faccessat(int directory, const char* path, int mode, int flags) ANYBPF_INTERPOSED(faccessat);
int interposed_faccessat(int directory, const char* path, int mode, int flags) {
    if (const auto result = ask([&](Interposer& interposer) { return interposer.access(path, mode); })) return *result;
    const auto pin = translate(path);
    return next_faccessat(directory, pin ? pin->c_str() : path, mode, flags);
}

int interposed_stat(const char* path, struct stat* status) ANYBPF_INTERPOSED(stat);
int interposed_stat(const char* path, struct stat* status) {
    if (const auto result = ask([&](Interposer& interposer) { return interposer.stat(path, status); })) return *result;
    const auto pin = translate(path);
    return next_stat(pin ? pin->c_str() : path, status);
}
int interposed_stat64(const char* path, struct stat* status) ANYBPF_INTERPOSED(stat64);
int interposed_stat64(const char* path, struct stat* status) { return interposed_stat(path, status); }
int interposed_lstat(const char* path, struct stat* status) ANYBPF_INTERPOSED(lstat);
int interposed_lstat(const char* path, struct stat* status) {
    if (const auto result = ask([&](Interposer& interposer) { return interposer.stat(path, status); })) return *result;
    const auto pin = translate(path);
    return next_lstat(pin ? pin->c_str() : path, status);
}
int interposed_lstat64(const char* path, struct stat* status) ANYBPF_INTERPOSED(lstat64);
int interposed_lstat64(const char* path, struct stat* status) { return interposed_lstat(path, status); }
int interposed_fstatat(int directory, const char* path, struct stat* status, int flags) ANYBPF_INTERPOSED(fstatat);
int interposed_fstatat(int directory, const char* path, struct stat* status, int flags) {
    if (const auto result = ask([&](Interposer& interposer) { return interposer.stat(path, status); })) return *result;
    const auto pin = translate(path);
    return next_fstatat(directory, pin ? pin->c_str() : path, status, flags);
}
int interposed_fstatat64(int directory, const char* path, struct stat* status, int flags) ANYBPF_INTERPOSED(fstatat64);
int interposed_fstatat64(int directory, const char* path, struct stat* status, int flags) {
    return interposed_fstatat(directory, path, status, flags);
}
int interposed_statfs(const char* path, struct statfs* status) ANYBPF_INTERPOSED(statfs);
int interposed_statfs(const char* path, struct statfs* status) {
    if (const auto result = ask([&](Interposer& interposer) { return interposer.statfs(path, status); }))
        return *result;
    return next_statfs(path, status);
}
int interposed_statfs64(const char* path, struct statfs* status) ANYBPF_INTERPOSED(statfs64);
int interposed_statfs64(const char* path, struct statfs* status) { return interposed_statfs(path, status); }

// --- pins: the virtual bpffs lies in the root

int interposed_mkdir(const char* path, mode_t mode) ANYBPF_INTERPOSED(mkdir);
int interposed_mkdir(const char* path, mode_t mode) {
    const auto pin = translate(path);
    return next_mkdir(pin ? pin->c_str() : path, mode);
}
int interposed_rmdir(const char* path) ANYBPF_INTERPOSED(rmdir);
int interposed_rmdir(const char* path) {
    const auto pin = translate(path);
    return next_rmdir(pin ? pin->c_str() : path);
}
int interposed_unlink(const char* path) ANYBPF_INTERPOSED(unlink);
int interposed_unlink(const char* path) {
    const auto pin = translate(path);
    return next_unlink(pin ? pin->c_str() : path);
}
DIR* interposed_opendir(const char* path) ANYBPF_INTERPOSED(opendir);
DIR* interposed_opendir(const char* path) {
    const auto pin = translate(path);
    return next_opendir(pin ? pin->c_str() : path);
}

// --- descriptors

int interposed_ioctl(int fd, unsigned long request, ...) ANYBPF_INTERPOSED(ioctl);
int interposed_ioctl(int fd, unsigned long request, ...) {
    va_list list;
    va_start(list, request);
    const auto argument = va_arg(list, unsigned long);
    va_end(list);
    if (const auto result = ask([&](Interposer& interposer) { return interposer.ioctl(fd, request, argument); }))
        return *result;
    return next_ioctl(fd, request, argument);
}
void* interposed_mmap(void* address, std::size_t length, int protection, int flags, int fd, off_t offset)
    ANYBPF_INTERPOSED(mmap);
void* interposed_mmap(void* address, std::size_t length, int protection, int flags, int fd, off_t offset) {
    if (fd >= 0)
        if (const auto result = ask([&](Interposer& interposer) {
                return interposer.mmap(address, length, protection, flags, fd, offset);
            }))
            return *result;
    return next_mmap(address, length, protection, flags, fd, offset);
}
void* interposed_mmap64(void* address, std::size_t length, int protection, int flags, int fd, off_t offset)
    ANYBPF_INTERPOSED(mmap64);
void* interposed_mmap64(void* address, std::size_t length, int protection, int flags, int fd, off_t offset) {
    return interposed_mmap(address, length, protection, flags, fd, offset);
}
int interposed_close(int fd) ANYBPF_INTERPOSED(close);
int interposed_close(int fd) {
    if (const auto result = ask([&](Interposer& interposer) { return interposer.close(fd); })) return *result;
    return next_close(fd);
}

ssize_t interposed_read(int fd, void* buffer, std::size_t size) ANYBPF_INTERPOSED(read);
ssize_t interposed_read(int fd, void* buffer, std::size_t size) {
    if (const auto result = ask([&](Interposer& interposer) { return interposer.read(fd, buffer, size); }))
        return *result;
    return next_read(fd, buffer, size);
}

// --- sleeping

int interposed_epoll_ctl(int epoll, int operation, int fd, epoll_event* event) ANYBPF_INTERPOSED(epoll_ctl);
int interposed_epoll_ctl(int epoll, int operation, int fd, epoll_event* event) {
    if (const auto result =
            ask([&](Interposer& interposer) { return interposer.epoll_ctl(epoll, operation, fd, event); }))
        return *result;
    return next_epoll_ctl(epoll, operation, fd, event);
}
int interposed_epoll_wait(int epoll, epoll_event* events, int capacity, int timeout) ANYBPF_INTERPOSED(epoll_wait);
int interposed_epoll_wait(int epoll, epoll_event* events, int capacity, int timeout) {
    if (const auto result = ask(
            [&](Interposer& interposer) { return interposer.epoll_wait(epoll, events, capacity, timeout, nullptr); }))
        return *result;
    return next_epoll_wait(epoll, events, capacity, timeout);
}
int interposed_epoll_pwait(int epoll, epoll_event* events, int capacity, int timeout, const sigset_t* mask)
    ANYBPF_INTERPOSED(epoll_pwait);
int interposed_epoll_pwait(int epoll, epoll_event* events, int capacity, int timeout, const sigset_t* mask) {
    if (const auto result =
            ask([&](Interposer& interposer) { return interposer.epoll_wait(epoll, events, capacity, timeout, mask); }))
        return *result;
    return next_epoll_pwait(epoll, events, capacity, timeout, mask);
}
int interposed_poll(pollfd* fds, nfds_t count, int timeout) ANYBPF_INTERPOSED(poll);
int interposed_poll(pollfd* fds, nfds_t count, int timeout) {
    const timespec limit{timeout / 1000, timeout % 1000 * 1'000'000L};
    if (const auto result = ask([&](Interposer& interposer) {
            return interposer.poll(fds, count, timeout < 0 ? nullptr : &limit, nullptr);
        }))
        return *result;
    return next_poll(fds, count, timeout);
}
int interposed_ppoll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask) ANYBPF_INTERPOSED(ppoll);
int interposed_ppoll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask) {
    if (const auto result = ask([&](Interposer& interposer) { return interposer.poll(fds, count, timeout, mask); }))
        return *result;
    return next_ppoll(fds, count, timeout, mask);
}

}  // extern "C"

}  // namespace anybpf::preload

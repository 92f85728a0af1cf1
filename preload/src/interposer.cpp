// SPDX-License-Identifier: Apache-2.0
#include "interposer.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>

#include "anybpf/base/assert.hpp"
#include "anybpf/btf/btf.hpp"
#include "anybpf/helpers/task.hpp"
#include "anybpf/preload/preload.hpp"

namespace anybpf::preload {
namespace {

std::atomic<Interposer*> installed{nullptr};
thread_local constinit bool answering = false;

// The kernel's result as libc's: -1 and errno.
template <class T = int>
T answer(long result) {
    if (result < 0 && result >= -4095) {
        errno = static_cast<int>(-result);
        return static_cast<T>(-1);
    }
    return static_cast<T>(result);
}

// A wait in pieces, between which one looks again (Kernel::readable). The first piece is there even if it is empty.
class Sleep {
  public:
    explicit Sleep(int milliseconds)
        : Sleep(milliseconds < 0 ? Clock::time_point::max() : Clock::now() + std::chrono::milliseconds(milliseconds)) {}
    explicit Sleep(const timespec* time)
        : Sleep(time == nullptr || time->tv_sec > 1'000'000'000
                    ? Clock::time_point::max()
                    : Clock::now() + std::chrono::seconds(time->tv_sec) + std::chrono::nanoseconds(time->tv_nsec)) {}

    bool goes_on() const { return first_ || Clock::now() < end_; }
    int next() {  // milliseconds
        first_ = false;
        const auto now = Clock::now();
        if (now >= end_) return 0;
        constexpr auto longest = std::chrono::milliseconds(kernel::Kernel::look_again_ms);
        if (end_ - now >= longest) return kernel::Kernel::look_again_ms;
        return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(end_ - now).count());
    }

  private:
    using Clock = std::chrono::steady_clock;
    explicit Sleep(Clock::time_point end) : end_(end) {}
    Clock::time_point end_;
    bool first_ = true;
};

// A file without a name; in the root, where a sandbox refuses memory of that kind.
int text_descriptor(std::string_view text, bool close_on_exec, const std::string& root) {
    Fd fd(::memfd_create("anybpf", close_on_exec ? MFD_CLOEXEC : 0));
    if (!fd.valid()) fd = Fd(::open(root.c_str(), O_TMPFILE | O_RDWR | (close_on_exec ? O_CLOEXEC : 0), 0600));
    if (!fd.valid()) return -1;
    while (!text.empty()) {
        const auto written = ::write(fd.get(), text.data(), text.size());
        if (written < 0) return -1;
        text.remove_prefix(static_cast<std::size_t>(written));
    }
    if (::lseek(fd.get(), 0, SEEK_SET) != 0) return -1;
    return fd.release();
}

// Empty also for a null pointer, which libc then refuses.
std::string plain(const char* path) { return path ? plain_path(path) : std::string(); }

constexpr std::string_view bpffs = "/sys/fs/bpf";

bool is_bpffs(std::string_view name) {
    return name.starts_with(bpffs) && (name.size() == bpffs.size() || name[bpffs.size()] == '/');
}

}  // namespace

Interposer* current() { return answering ? nullptr : installed.load(std::memory_order_acquire); }

Answering::Answering() { answering = true; }
Answering::~Answering() { answering = false; }

Interposer::Interposer(kernel::Kernel& kernel) : kernel_(kernel) {
    const auto vcpus = kernel_.root().vcpus();
    facts_.possible_cpus = vcpus ? vcpus->count() : maps::VcpuTable::default_slots;
    facts_.vmlinux_btf = [this] {
        const auto types = kernel_.kernel_btf();
        const auto bytes = types ? types->bytes() : helpers::own_vmlinux_btf();
        return std::string(std::bit_cast<const char*>(bytes.data()), bytes.size());
    };
}

std::optional<long> Interposer::bpf(int command, void* attr, unsigned size) {
    return answer<long>(kernel_.bpf(command, attr, size));
}

std::optional<long> Interposer::perf_event_open(const void* attr, pid_t pid, int cpu, int group, unsigned long flags) {
    return answer<long>(kernel_.perf_event_open(attr, pid, cpu, group, flags));
}

// --- files

std::optional<int> Interposer::open_text(const VirtualFile& file, int flags) const {
    const bool writes = (flags & O_ACCMODE) != O_RDONLY;
    if (file.directory) return answer(writes ? -EISDIR : -EACCES);  // nobody who asks by name lists
    if (writes && !file.writable) return answer(-EACCES);
    return text_descriptor(file.text, (flags & O_CLOEXEC) != 0, kernel_.root().path());
}

std::optional<int> Interposer::open_trace(int flags) {
    if ((flags & O_ACCMODE) != O_RDONLY) return answer(-EACCES);
    auto pipe = TracePipe::open(kernel_.root());
    if (!pipe) return answer(-ENOENT);
    // For writing too: with no writer, a FIFO would look like one at its end.
    const int fd =
        ::open(kernel_.root().wake_path(kernel::trace_object).c_str(), O_RDWR | O_NONBLOCK | (flags & O_CLOEXEC));
    if (fd < 0) return fd;
    traces_.with([&](auto& traces) {
        traces.insert_or_assign(fd, OpenTrace{std::move(*pipe), (flags & O_NONBLOCK) == 0});
        trace_count_ = static_cast<u32>(traces.size());
    });
    return fd;
}

std::optional<ssize_t> Interposer::read(int fd, void* buffer, std::size_t size) {
    if (trace_count_.load(std::memory_order_relaxed) == 0) return std::nullopt;
    while (true) {
        bool blocks = false;
        std::string text;
        const bool ours = traces_.with([&](auto& traces) {
            const auto found = traces.find(fd);
            if (found == traces.end()) return false;
            auto& trace = found->second;
            blocks = trace.blocks;
            text = trace.pipe.take(size);
            if (!text.empty()) return true;
            // Nothing: the FIFO is emptied, and what came meanwhile is taken.
            char wakes[256];
            while (::read(fd, wakes, sizeof wakes) > 0) {
            }
            text = trace.pipe.take(size);
            return true;
        });
        if (!ours) return std::nullopt;
        if (!text.empty() || size == 0) {
            std::memcpy(buffer, text.data(), text.size());
            return static_cast<ssize_t>(text.size());
        }
        if (!blocks) return answer<ssize_t>(-EAGAIN);
        pollfd sleeper{.fd = fd, .events = POLLIN, .revents = 0};
        if (::poll(&sleeper, 1, kernel::Kernel::look_again_ms) < 0) return -1;
    }
}

// The host's lines of /proc/PID/fdinfo/FD and the kernel's after them; nothing where FD is not ours.
std::optional<std::string> Interposer::fdinfo(std::string_view path) const {
    const auto own = fmt::format("/proc/{}/fdinfo/", ::getpid());
    std::string_view number;
    for (const std::string_view directory : {std::string_view("/proc/self/fdinfo/"), std::string_view(own)})
        if (path.starts_with(directory)) number = path.substr(directory.size());
    int fd = -1;
    const auto parsed = std::from_chars(number.data(), number.data() + number.size(), fd);
    if (number.empty() || parsed.ec != std::errc{} || parsed.ptr != number.data() + number.size()) return std::nullopt;
    if (!kernel_.owns(fd)) return std::nullopt;
    std::string text;
    const Fd host(::open(std::string(path).c_str(), O_RDONLY | O_CLOEXEC));
    char part[512];
    for (ssize_t got; host.valid() && (got = ::read(host.get(), part, sizeof part)) > 0;)
        text.append(part, static_cast<std::size_t>(got));
    return text + kernel_.fdinfo(fd);
}

std::optional<int> Interposer::open(const char* path, int flags) {
    const std::string name = plain(path);
    if (is_trace_pipe(name)) return open_trace(flags);
    VirtualFile file;
    switch (find_virtual(name, facts_, &file)) {
        case Where::found:
            return open_text(file, flags);
        case Where::missing:
            return answer(-ENOENT);
        case Where::elsewhere:
            break;
    }
    if (auto text = fdinfo(name)) return text_descriptor(*text, (flags & O_CLOEXEC) != 0, kernel_.root().path());
    return std::nullopt;
}

// The modes of fopen(3) as far as text can be opened so.
std::optional<FILE*> Interposer::fopen(const char* path, const char* mode) {
    const std::string_view letters(mode);
    const bool writes = letters.find_first_of("wa+") != std::string_view::npos;
    const bool close_on_exec = letters.find('e') != std::string_view::npos;
    const auto fd = open(path, (writes ? O_RDWR : O_RDONLY) | (close_on_exec ? O_CLOEXEC : 0));
    if (!fd) return std::nullopt;
    return *fd < 0 ? nullptr : ::fdopen(*fd, mode);
}

std::optional<int> Interposer::access(const char* path, int mode) {
    VirtualFile file;
    switch (find_virtual(plain(path), facts_, &file)) {
        case Where::found:
            return (mode & W_OK) != 0 && !file.writable ? answer(-EACCES) : 0;
        case Where::missing:
            return answer(-ENOENT);
        case Where::elsewhere:
            break;
    }
    return std::nullopt;
}

std::optional<int> Interposer::stat(const char* path, struct stat* status) {
    VirtualFile file;
    switch (find_virtual(plain(path), facts_, &file)) {
        case Where::found:
            *status = {};
            status->st_mode = file.directory ? S_IFDIR | 0555 : S_IFREG | (file.writable ? 0644U : 0444U);
            status->st_nlink = 1;
            status->st_size = static_cast<off_t>(file.text.size());
            return 0;
        case Where::missing:
            return answer(-ENOENT);
        case Where::elsewhere:
            break;
    }
    return std::nullopt;
}

std::optional<int> Interposer::statfs(const char* path, struct statfs* status) {
    const std::string name = plain(path);
    const auto fill = [&](long type) {
        *status = {};
        status->f_type = type;
        status->f_bsize = 4096;
        status->f_namelen = 255;
        return 0;
    };
    if (is_bpffs(name)) {
        const auto real = kernel_.root().pin_path(name);
        if (!real) return std::nullopt;
        return ::access(real->c_str(), F_OK) == 0 ? fill(BPF_FS_MAGIC) : -1;
    }
    switch (find_virtual(name, facts_, nullptr)) {
        case Where::found:
            return fill(name.find("tracing") != std::string::npos ? TRACEFS_MAGIC : SYSFS_MAGIC);
        case Where::missing:
            return answer(-ENOENT);
        case Where::elsewhere:
            break;
    }
    return std::nullopt;
}

std::optional<std::string> Interposer::translate(const char* path) const {
    const std::string name = plain(path);
    if (!is_bpffs(name)) return std::nullopt;
    ::mkdir((kernel_.root().path() + "/pins").c_str(), 0700);  // bpffs is always mounted; Root removes it when empty
    return kernel_.root().pin_path(name);
}

// --- descriptors

std::optional<int> Interposer::ioctl(int fd, unsigned long request, unsigned long argument) {
    if (!kernel_.owns(fd)) return std::nullopt;
    return answer(kernel_.ioctl(fd, request, argument));
}

std::optional<void*> Interposer::mmap(void* address, std::size_t length, int protection, int flags, int fd,
                                      off_t offset) {
    if (fd < 0 || (flags & MAP_ANONYMOUS) != 0 || !kernel_.owns(fd)) return std::nullopt;
    // MAP_FAILED is (void*)-1
    return std::bit_cast<void*>(answer<long>(kernel_.mmap(address, length, protection, flags, fd, offset)));
}

void Interposer::forget(int fd) {
    if (trace_count_.load(std::memory_order_relaxed) != 0)
        traces_.with([&](auto& traces) {
            traces.erase(fd);
            trace_count_ = static_cast<u32>(traces.size());
        });
    watches_.with([&](Watches& watches) {
        watches.erase(fd);
        for (auto& [epoll, list] : watches) std::erase_if(list, [&](const Watch& watch) { return watch.fd == fd; });
    });
}

std::optional<int> Interposer::close(int fd) {
    const auto object = kernel_.owns(fd);
    if (object)  // the wake descriptor outlives it
        watches_.with([&](Watches& watches) {
            for (auto& [epoll, list] : watches)
                for (const auto& watch : list)
                    if (watch.fd == fd) ::epoll_ctl(epoll, EPOLL_CTL_DEL, kernel_.wake_fd(fd), nullptr);
        });
    forget(fd);
    if (!object) return std::nullopt;
    const int closed = ::close(fd);
    kernel_.closed(*object);
    return closed;
}

// --- sleeping

std::optional<int> Interposer::epoll_ctl(int epoll, int operation, int fd, epoll_event* event) {
    if (!kernel_.owns(fd)) return std::nullopt;
    const int wake = kernel_.wake_fd(fd);
    if (wake < 0) return answer(-EPERM);  // as for every file that cannot be waited for
    const int result = ::epoll_ctl(epoll, operation, wake, event);
    if (result != 0) return result;
    watches_.with([&](Watches& watches) {
        auto& list = watches[epoll];
        std::erase_if(list, [&](const Watch& watch) { return watch.fd == fd; });
        if (operation != EPOLL_CTL_DEL) list.push_back({fd, *event});
    });
    return 0;
}

std::optional<int> Interposer::epoll_wait(int epoll, epoll_event* events, int capacity, int timeout,
                                          const sigset_t* mask) {
    const auto list = watches_.with([&](Watches& watches) {
        const auto found = watches.find(epoll);
        return found == watches.end() ? std::vector<Watch>{} : found->second;
    });
    if (list.empty() || capacity <= 0) return std::nullopt;

    std::vector<epoll_event> ready;
    int woken = 0;
    for (Sleep sleep(timeout); sleep.goes_on();) {
        for (const auto& watch : list)
            if ((watch.event.events & EPOLLIN) != 0 && kernel_.readable(watch.fd))
                ready.push_back({EPOLLIN, watch.event.data});
        woken = ::epoll_pwait(epoll, events, capacity, ready.empty() ? sleep.next() : 0, mask);
        if (woken != 0 || !ready.empty()) break;
    }
    if (woken < 0) return woken;
    for (int i = 0; i < woken; ++i) {
        for (const auto& watch : list)
            if (watch.event.data.u64 == events[i].data.u64) kernel_.drain(watch.fd);
        std::erase_if(ready, [&](const epoll_event& event) { return event.data.u64 == events[i].data.u64; });
    }
    const auto room = static_cast<std::size_t>(capacity - woken);
    const auto added = std::min(room, ready.size());
    std::copy_n(ready.begin(), added, events + woken);
    return woken + static_cast<int>(added);
}

std::optional<int> Interposer::poll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask) {
    std::vector<pollfd> real(fds, fds + count);
    bool ours = false;
    for (auto& entry : real) {
        if (entry.fd < 0 || !kernel_.owns(entry.fd)) continue;
        const int wake = kernel_.wake_fd(entry.fd);
        if (wake < 0) continue;
        ours = true;
        entry.fd = wake;
    }
    if (!ours) return std::nullopt;

    const auto readable = [&] {
        for (nfds_t i = 0; i < count; ++i)
            if (real[i].fd != fds[i].fd && (fds[i].events & POLLIN) != 0 && kernel_.readable(fds[i].fd)) return true;
        return false;
    };
    int result = 0;
    for (Sleep sleep(timeout); sleep.goes_on();) {
        const bool ready = readable();
        const int slice = ready ? 0 : sleep.next();
        const timespec time{.tv_sec = 0, .tv_nsec = slice * 1'000'000L};
        result = ::ppoll(real.data(), count, &time, mask);
        if (result != 0 || ready) break;
    }
    if (result < 0) return result;
    result = 0;
    for (nfds_t i = 0; i < count; ++i) {
        fds[i].revents = real[i].revents;
        if (fds[i].fd != real[i].fd) {
            if ((real[i].revents & POLLIN) != 0) kernel_.drain(fds[i].fd);
            if ((fds[i].events & POLLIN) != 0 && kernel_.readable(fds[i].fd)) fds[i].revents |= POLLIN;
        }
        if (fds[i].revents != 0) ++result;
    }
    return result;
}

// --- installing

std::unique_ptr<Interposition> install(kernel::Kernel& kernel) {
    auto* const interposer = new Interposer(kernel);
    Interposer* nobody = nullptr;
    ANYBPF_ASSERT(installed.compare_exchange_strong(nobody, interposer));
    link_interposed_calls();
    return std::unique_ptr<Interposition>(new Interposition);
}

Interposition::~Interposition() { delete installed.exchange(nullptr); }

}  // namespace anybpf::preload

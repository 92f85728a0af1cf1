// SPDX-License-Identifier: Apache-2.0
// The root's files, for a process that may have come to where it cannot open them: each is then opened by the
// supervisor (lender.hpp).
// Safe because the socket's name was drawn by the supervisor, so that nobody could wait for us in its place, and what
// comes is taken only if it lies on the root's own file system, or is the agent's file.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "state.hpp"

namespace anybpf::agent {
namespace {

// What follows the root's path in a path below it; null: it is another.
const char* rest_below_root(const char* path) {
    const std::string_view root(process.root.data());
    if (root.empty() || std::strncmp(path, root.data(), root.size()) != 0) return nullptr;
    const char* rest = path + root.size();
    if (*rest == '\0') return ".";
    if (*rest != '/') return nullptr;
    while (*rest == '/') ++rest;
    return rest;
}

const LoanKey& key() {
    if (process.key.name == 0 && process.channel != nullptr) process.key = process.channel->key;
    return process.key;
}

bool is_lent_by_us(int fd, bool agent) {
    struct stat file{};
    if (raw(SYS_fstat, fd, &file) != 0) return false;
    return agent ? FileId{file.st_dev, file.st_ino} == process.agent_file : file.st_dev == process.root_file.device;
}

// The lender's answer: a descriptor, or -errno.
long receive(int socket) {
    i32 error = EIO;
    LoanMessage message(&error, sizeof error);
    long size = 0;
    do {
        size = raw(SYS_recvmsg, socket, &message.header, MSG_CMSG_CLOEXEC);
    } while (size == -EINTR);
    const cmsghdr* const control = CMSG_FIRSTHDR(&message.header);
    if (size != sizeof error || control == nullptr || control->cmsg_type != SCM_RIGHTS)
        return error > 0 ? -error : -EIO;
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(control), sizeof fd);
    return fd;
}

long ask_lender(int socket, const LoanRequest& request) {
    const LoanAddress address(key());
    constexpr timeval patience{.tv_sec = 1, .tv_usec = 0};
    raw(SYS_setsockopt, socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    raw(SYS_setsockopt, socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (const long result = raw(SYS_connect, socket, &address.name, address.size); result != 0) return result;
    const long sent = raw(SYS_sendto, socket, &request, sizeof request, MSG_NOSIGNAL, 0, 0);
    return sent == sizeof request ? receive(socket) : -EIO;
}

// path: below the root; empty: the agent's file.
long borrow(const char* path, int flags) {
    LoanRequest request{.secret = key().secret, .flags = static_cast<u32>(flags)};
    if (process.sealed || key().name == 0 || std::strlen(path) >= request.path.size()) return -EACCES;
    std::memcpy(request.path.data(), path, std::strlen(path));
    const long socket = raw(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (socket < 0) return socket;
    const long fd = ask_lender(static_cast<int>(socket), request);
    raw(SYS_close, socket);
    if (fd < 0 || is_lent_by_us(static_cast<int>(fd), path[0] == '\0')) return fd;
    raw(SYS_close, fd);
    return -EACCES;
}

// Whether a call on a path below the root failed with this because the process is where it is.
bool is_out_of_reach(long result) {
    if (result == -EACCES || result == -EPERM) return true;
    if (result != -ENOENT && result != -ENOTDIR) return false;
    look_for_root();
    return process.away;
}

}  // namespace

bool identify(const char* path, FileId& id) {
    struct stat file{};
    if (raw(SYS_newfstatat, AT_FDCWD, path, &file, 0) != 0) return false;
    id = {file.st_dev, file.st_ino};
    return true;
}

bool is_file(const char* path, const FileId& id) {
    FileId now;
    return identify(path, now) && now == id;
}

void look_for_root() { process.away = !is_file(process.root.data(), process.root_file); }

long borrow_agent() { return borrow("", O_RDONLY); }

long open_path(const char* path, int flags, u32 mode) {
    const char* const rest = rest_below_root(path);
    if (rest == nullptr || !process.away) {
        const long result = raw(SYS_open, path, flags, mode);
        if (rest == nullptr || result >= 0 || !is_out_of_reach(result)) return result;
    }
    return borrow(rest, flags);
}

long at_path(const char* path, int flags, long (*call)(int from, const char* path, int flags, const void* arguments),
             const void* arguments) {
    const char* const rest = rest_below_root(path);
    if (rest == nullptr || !process.away) {
        const long result = call(AT_FDCWD, path, flags, arguments);
        if (rest == nullptr || result >= 0 || !is_out_of_reach(result)) return result;
    }
    const long fd = borrow(rest, O_PATH | ((flags & AT_SYMLINK_NOFOLLOW) != 0 ? O_NOFOLLOW : 0));
    if (fd < 0) return fd;
    const long result = call(static_cast<int>(fd), "", AT_EMPTY_PATH, arguments);
    raw(SYS_close, fd);
    return result;
}

}  // namespace anybpf::agent

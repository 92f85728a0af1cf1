// SPDX-License-Identifier: Apache-2.0
// The root's files, for a process that may have left where the root is to be seen: what lies below the root's path is
// then reached from a descriptor that the supervisor lends (lender.hpp), for the moment of one system call.
// Safe because a loan is taken only when its files are those that the process knows, whoever gave it.
#include <fcntl.h>
#include <sys/stat.h>
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

bool is(int fd, const FileId& id) {
    struct stat file{};
    return raw(SYS_fstat, fd, &file) == 0 && FileId{file.st_dev, file.st_ino} == id;
}

// One message from who listens; false: nothing that can be taken.
bool receive(int socket, Loan& loan) {
    LoanMessage message;
    long size = 0;
    do {
        size = raw(SYS_recvmsg, socket, &message.header, MSG_CMSG_CLOEXEC);
    } while (size == -EINTR);
    if (size <= 0) return false;
    const cmsghdr* const control = CMSG_FIRSTHDR(&message.header);
    if (control == nullptr || control->cmsg_type != SCM_RIGHTS) return false;
    const u64 count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    std::array<int, 2> given{-1, -1};
    std::memcpy(given.data(), CMSG_DATA(control), std::min<u64>(count, given.size()) * sizeof(int));
    loan = {.root = given[0], .agent = given[1]};
    return true;
}

// Where to begin with a path below the root.
class Beginning {
  public:
    Beginning() : loan_(process.carries_root ? Loan{.root = process.carried_root} : borrow()) {}
    ~Beginning() {
        if (!process.carries_root) give_back(loan_);
    }
    Beginning(const Beginning&) = delete;
    Beginning& operator=(const Beginning&) = delete;
    int directory() const { return loan_.root; }

  private:
    Loan loan_;
};

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

Loan borrow() {
    Loan loan;
    if (process.sealed) return loan;
    const LoanAddress address(process.root_file, process.tree);
    const auto socket = static_cast<int>(raw(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (socket < 0) return loan;
    const timeval patience{.tv_sec = 1, .tv_usec = 0};
    raw(SYS_setsockopt, socket, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    raw(SYS_setsockopt, socket, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    const bool received = raw(SYS_connect, socket, &address.name, address.size) == 0 && receive(socket, loan);
    raw(SYS_close, socket);
    if (received && is(loan.root, process.root_file) && is(loan.agent, process.agent_file)) return loan;
    give_back(loan);
    return {};
}

void give_back(const Loan& loan) {
    for (const int fd : {loan.root, loan.agent})
        if (fd >= 0) raw(SYS_close, fd);
}

long at_path(const char* path, long (*call)(int directory, const char* path, const void* arguments),
             const void* arguments) {
    const char* const rest = rest_below_root(path);
    if (rest == nullptr) return call(AT_FDCWD, path, arguments);
    if (!process.away) {
        const long result = call(AT_FDCWD, path, arguments);
        const bool may_be_away = result == -ENOENT || result == -ENOTDIR || result == -EACCES;
        if (!may_be_away || process.root_file == FileId{}) return result;
        look_for_root();
        if (!process.away) return result;
    }
    const Beginning beginning;
    return beginning.directory() >= 0 ? call(beginning.directory(), rest, arguments) : -ENOENT;
}

}  // namespace anybpf::agent

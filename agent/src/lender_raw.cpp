// SPDX-License-Identifier: Apache-2.0
// Raw: a descriptor in a control message. Safe because only who knows the secret is served, what he names is opened
// below the root and nowhere else (the root holds no symbolic links), and nothing is made or removed for him.
#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <string_view>
#include <thread>

#include "anybpf/agent/lender.hpp"
#include "anybpf/base/fd.hpp"

namespace anybpf::agent {

struct Lender::Parts {
    LoanKey key;
    Fd socket, root;
    std::string agent;
    std::thread thread;

    void serve() const;
    void answer(const Fd& borrower) const;
    Fd open(const LoanRequest& request) const;
};

// Signals are others': this thread blocks them all.
void Lender::Parts::serve() const {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
    for (;;) {
        const Fd borrower(::accept4(socket.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (borrower.valid())
            answer(borrower);
        else if (errno == EINVAL)  // it is over: nobody listens any more
            return;
        else if (errno != EINTR && errno != ECONNABORTED)  // no descriptor is left
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
}

Fd Lender::Parts::open(const LoanRequest& request) const {
    constexpr int allowed = O_ACCMODE | O_APPEND | O_DIRECTORY | O_PATH;
    const int flags = (static_cast<int>(request.flags) & allowed) | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
    const std::string_view path(request.path.data());
    if (path.empty()) return Fd(::open(agent.c_str(), O_RDONLY | O_CLOEXEC));
    const bool leaves = path.front() == '/' || path == ".." || path.starts_with("../") || path.ends_with("/..") ||
                        path.find("/../") != std::string_view::npos;
    if (!leaves) return Fd(::openat(root.get(), request.path.data(), flags));
    errno = EACCES;
    return {};
}

void Lender::Parts::answer(const Fd& borrower) const {
    constexpr timeval patience{.tv_sec = 1, .tv_usec = 0};
    ::setsockopt(borrower.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    LoanRequest request;
    const bool whole = ::recv(borrower.get(), &request, sizeof request, 0) == sizeof request;
    if (!whole || request.secret != key.secret || request.path.back() != '\0') return;
    const Fd file = open(request);
    i32 error = file.valid() ? 0 : errno;
    LoanMessage message(&error, sizeof error);
    if (file.valid()) {
        cmsghdr* const control = CMSG_FIRSTHDR(&message.header);
        control->cmsg_level = SOL_SOCKET;
        control->cmsg_type = SCM_RIGHTS;
        control->cmsg_len = CMSG_LEN(sizeof(int));
        const int fd = file.get();
        std::memcpy(CMSG_DATA(control), &fd, sizeof fd);
    } else {
        message.header.msg_controllen = 0;
    }
    ::sendmsg(borrower.get(), &message.header, MSG_NOSIGNAL | MSG_DONTWAIT);
}

Lender::Lender(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

const LoanKey& Lender::key() const { return parts_->key; }

Result<std::unique_ptr<Lender>> Lender::start(const std::string& agent, const std::string& root) {
    auto parts = std::make_unique<Parts>();
    if (::getrandom(&parts->key, sizeof parts->key, 0) != sizeof parts->key) return fail_errno("getrandom");
    parts->key.name |= 1;
    parts->agent = agent;
    parts->root = Fd(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!parts->root.valid()) return fail_errno("opening", root);
    parts->socket = Fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (!parts->socket.valid()) return fail_errno("making a socket");
    const LoanAddress address(parts->key);
    if (::bind(parts->socket.get(), reinterpret_cast<const sockaddr*>(&address.name), address.size) != 0 ||
        ::listen(parts->socket.get(), 64) != 0)
        return fail_errno("listening for borrowers");
    parts->thread = std::thread([here = parts.get()] { here->serve(); });
    return std::unique_ptr<Lender>(new Lender(std::move(parts)));
}

Lender::~Lender() {
    ::shutdown(parts_->socket.get(), SHUT_RDWR);
    parts_->thread.join();
}

}  // namespace anybpf::agent

// SPDX-License-Identifier: Apache-2.0
// Raw: descriptors in a control message. Safe because whoever asks is of the user to whom the root belongs, or root,
// and gets no more than he could open where its path is to be seen.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <thread>

#include "anybpf/agent/lender.hpp"
#include "anybpf/base/fd.hpp"
#include "image_file.hpp"

namespace anybpf::agent {

struct Lender::Parts {
    Fd socket, root, agent;
    std::thread thread;

    void serve() const;
    void lend(const Fd& to) const;
};

// Signals are others': this thread blocks them all.
void Lender::Parts::serve() const {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_BLOCK, &all, nullptr);
    for (;;) {
        const Fd borrower(::accept4(socket.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (borrower.valid())
            lend(borrower);
        else if (errno == EINVAL || errno == EBADF)  // it is over: nobody listens any more
            return;
        else if (errno != EINTR && errno != ECONNABORTED)  // no descriptor is left
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
}

void Lender::Parts::lend(const Fd& to) const {
    ucred who{};
    socklen_t size = sizeof who;
    if (::getsockopt(to.get(), SOL_SOCKET, SO_PEERCRED, &who, &size) != 0) return;
    if (who.uid != ::geteuid() && who.uid != 0) return;
    const Loan loan{root.get(), agent.get()};
    LoanMessage message;
    cmsghdr* const control = CMSG_FIRSTHDR(&message.header);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof loan);
    std::memcpy(CMSG_DATA(control), &loan, sizeof loan);
    ::sendmsg(to.get(), &message.header, MSG_NOSIGNAL | MSG_DONTWAIT);
}

Lender::Lender(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Result<std::unique_ptr<Lender>> Lender::start(const std::string& agent, const std::string& root, u32 tree) {
    const LoanAddress address(ANYBPF_TRY(identity(root)), tree);
    auto parts = std::make_unique<Parts>();
    parts->root = Fd(::open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!parts->root.valid()) return fail_errno("opening", root);
    parts->agent = Fd(::open(agent.c_str(), O_RDONLY | O_CLOEXEC));
    if (!parts->agent.valid()) return fail_errno("opening", agent);
    parts->socket = Fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (!parts->socket.valid()) return fail_errno("making a socket");
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

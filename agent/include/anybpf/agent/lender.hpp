// SPDX-License-Identifier: Apache-2.0
// A traced process may come to where it cannot open the root's files any more: below another root directory, in another
// mount namespace, or as another user. It goes on to run programs with what it has mapped; for what comes later it asks
// the supervisor of its tree to open it, over a socket whose name belongs to no file system but to the network
// namespace. Who knows the secret of the tree's channel could once open the root itself; nobody else is answered.
//
//     borrower ── LoanRequest ──▶ lender        borrower ◀── i32: 0 or an errno, and the descriptor ── lender
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstddef>
#include <memory>
#include <string>

#include "anybpf/base/result.hpp"
#include "anybpf/base/types.hpp"

namespace anybpf::agent {

struct LoanKey {
    u64 name = 0;  // of the socket; 0: there is none
    std::array<u64, 2> secret{};
};

struct LoanRequest {
    std::array<u64, 2> secret{};
    u32 flags = 0;                 // of open(2); nothing is created
    std::array<char, 260> path{};  // below the root, relative to it; empty: the agent's file
};
static_assert(sizeof(LoanRequest) == 280);

// A message of one part, with room for one descriptor.
struct LoanMessage {
    iovec part;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr header{};

    LoanMessage(void* bytes, std::size_t size) : part{bytes, size} {
        header.msg_iov = &part;
        header.msg_iovlen = 1;
        header.msg_control = control.data();
        header.msg_controllen = control.size();
    }
    LoanMessage(const LoanMessage&) = delete;
    LoanMessage& operator=(const LoanMessage&) = delete;
};

struct LoanAddress {
    sockaddr_un name{};
    socklen_t size = 0;

    explicit LoanAddress(const LoanKey& key) {
        name.sun_family = AF_UNIX;
        std::size_t at = 1;  // of an abstract name the first byte is zero
        for (const char c : {'a', 'n', 'y', 'b', 'p', 'f', '-'}) name.sun_path[at++] = c;
        for (int shift = 60; shift >= 0; shift -= 4) name.sun_path[at++] = "0123456789abcdef"[key.name >> shift & 15];
        size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + at);
    }
};

class Lender {
  public:
    // Paths are absolute. Has a thread of its own until it ends.
    static Result<std::unique_ptr<Lender>> start(const std::string& agent, const std::string& root);
    ~Lender();
    Lender(const Lender&) = delete;
    Lender& operator=(const Lender&) = delete;

    const LoanKey& key() const;

  private:
    struct Parts;
    explicit Lender(std::unique_ptr<Parts> parts);
    std::unique_ptr<Parts> parts_;
};

}  // namespace anybpf::agent

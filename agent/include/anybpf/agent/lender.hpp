// SPDX-License-Identifier: Apache-2.0
// A traced process that cannot reach the root by its path any more, because it lives below another root directory or in
// another mount namespace, borrows it: the supervisor of its tree hands descriptors of the root and of the agent's file
// to processes of its own user, over a socket whose name belongs to no file system but to the network namespace. The
// borrower looks whether they are the files that it knows, and closes them when it has opened what it wants.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstddef>
#include <memory>
#include <string>

#include "anybpf/agent/arrival.hpp"
#include "anybpf/base/result.hpp"

namespace anybpf::agent {

struct Loan {
    int root = -1, agent = -1;
};

// The one message of a loan: a byte, and both descriptors in the order of Loan.
struct LoanMessage {
    char byte = 0;
    iovec part{&byte, 1};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(Loan))> control{};
    msghdr header{};

    LoanMessage() {
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

    LoanAddress(const FileId& root, u32 tree) {
        name.sun_family = AF_UNIX;
        std::size_t at = 1;  // of an abstract name the first byte is zero
        for (const char c : {'a', 'n', 'y', 'b', 'p', 'f'}) name.sun_path[at++] = c;
        for (const u64 number : {root.device, root.inode, u64{tree}}) {
            name.sun_path[at++] = '-';
            for (int shift = 60; shift >= 0; shift -= 4) name.sun_path[at++] = "0123456789abcdef"[number >> shift & 15];
        }
        size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + at);
    }
};

class Lender {
  public:
    // Paths are absolute. Has a thread of its own until it ends.
    static Result<std::unique_ptr<Lender>> start(const std::string& agent, const std::string& root, u32 tree);
    ~Lender();
    Lender(const Lender&) = delete;
    Lender& operator=(const Lender&) = delete;

  private:
    struct Parts;
    explicit Lender(std::unique_ptr<Parts> parts);
    std::unique_ptr<Parts> parts_;
};

}  // namespace anybpf::agent

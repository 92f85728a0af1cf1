// SPDX-License-Identifier: Apache-2.0
// A program that nobody verified may touch anything; what it touches in vain is reported like any other error.
//
// Raw because of the signal handler. It is safe because the handler runs on a stack of its own, makes nothing but two
// system calls, and does not return.
#include <unistd.h>

#include <array>
#include <csignal>
#include <string_view>

#include "fault.hpp"

namespace anybpf::conformance {
namespace {

void end(int) {
    constexpr std::string_view text = "anybpf-conformance: the program accessed memory that is not there\n";
    (void)!::write(STDERR_FILENO, text.data(), text.size());
    ::_exit(1);
}

}  // namespace

void report_faults() {
    static std::array<char, 65536> stack;
    stack_t own{};
    own.ss_sp = stack.data();
    own.ss_size = stack.size();
    struct sigaction action{};
    action.sa_handler = end;
    action.sa_flags = SA_ONSTACK;
    if (::sigaltstack(&own, nullptr) != 0) return;
    for (const int signal : {SIGSEGV, SIGBUS}) ::sigaction(signal, &action, nullptr);
}

}  // namespace anybpf::conformance

// SPDX-License-Identifier: Apache-2.0
// A signal handler and code that may fault. Safe because a fault is recovered only when the instruction lies within the
// two routines of safe_memory.S, which return to their caller from anywhere; every other fault goes where it would have
// gone without us.
#include <ucontext.h>

#include <cerrno>
#include <csignal>

#include "anybpf/helpers/safe_memory.hpp"

extern "C" {
std::uint64_t anybpf_safe_copy(void* to, std::uint64_t from, std::size_t size) noexcept;
std::uint64_t anybpf_safe_text(char* to, std::uint64_t from, std::size_t size) noexcept;
extern const char anybpf_safe_begin[], anybpf_safe_end[], anybpf_safe_faulted[];
}

namespace anybpf::helpers {

namespace {

// Null pointers and what lies beyond the reach of user space. The copy would find out by a fault, which costs ten
// microseconds and a signal; null is the bad address that programs really meet. (A process that maps page zero, as old
// emulators do, could have been read there.)
bool never_mapped(u64 from) {
    constexpr u64 first = 4096, end = u64{1} << 63;
    return from - first >= end - first;
}

}  // namespace

bool read_memory(void* to, u64 from, std::size_t size) noexcept {
    if (never_mapped(from)) return size == 0;
    return anybpf_safe_copy(to, from, size) == 0;
}

i64 read_text(char* to, u64 from, std::size_t size) noexcept {
    if (size == 0) return 0;
    if (never_mapped(from)) return -EFAULT;
    const auto length = static_cast<i64>(anybpf_safe_text(to, from, size));
    if (length < 0) return -EFAULT;
    to[length - 1] = '\0';
    return length;
}

bool recover_fault(void* context) noexcept {
    auto& rip = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP];
    if (rip < reinterpret_cast<greg_t>(anybpf_safe_begin) || rip >= reinterpret_cast<greg_t>(anybpf_safe_end))
        return false;
    rip = reinterpret_cast<greg_t>(anybpf_safe_faulted);
    return true;
}

namespace {

// What was installed before us. Global because a signal handler has no parameter to carry it; written before the
// handler that reads it is installed.
struct sigaction previous_segv, previous_bus;

void on_fault(int signal, siginfo_t* info, void* context) {
    if (recover_fault(context)) return;
    const struct sigaction& previous = signal == SIGBUS ? previous_bus : previous_segv;
    if ((previous.sa_flags & SA_SIGINFO) != 0) {
        previous.sa_sigaction(signal, info, context);
    } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
        previous.sa_handler(signal);
    } else {
        ::sigaction(signal, &previous, nullptr);  // the fault happens again, and ends the process as it should
    }
}

Result<> install(int signal, struct sigaction& previous) {
    struct sigaction current = {};
    if (::sigaction(signal, nullptr, &current) != 0) return fail_errno("reading the signal handler");
    if ((current.sa_flags & SA_SIGINFO) != 0 && current.sa_sigaction == on_fault) return {};
    previous = current;
    struct sigaction ours = {};
    ours.sa_sigaction = on_fault;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    if (::sigaction(signal, &ours, nullptr) != 0) return fail_errno("installing the fault handler");
    return {};
}

}  // namespace

Result<> install_fault_handler() {
    ANYBPF_TRY(install(SIGSEGV, previous_segv));
    return install(SIGBUS, previous_bus);
}

}  // namespace anybpf::helpers

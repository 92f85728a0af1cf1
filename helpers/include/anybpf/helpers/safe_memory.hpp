// SPDX-License-Identifier: Apache-2.0
// Reading memory that may not be there, without a system call: a copy loop at known instructions. When one of them
// faults (SIGSEGV, SIGBUS; for a non-canonical address the kernel gives no address at all), the host's signal handler
// hands the context to recover_fault, which lets the copy return "failed" instead.
#pragma once

#include <cstddef>

#include "anybpf/base/result.hpp"

namespace anybpf::helpers {

// Copies size bytes. False when any of them cannot be read: how much of `to` was written is then not said.
// Async-signal-safe; leaves errno alone.
[[nodiscard]] bool read_memory(void* to, u64 from, std::size_t size) noexcept;

// Copies text up to and including its NUL, size bytes at the most; the last byte written is always NUL. Returns how
// many bytes, NUL included; 0 for size 0; -EFAULT when the text runs into memory that cannot be read.
[[nodiscard]] i64 read_text(char* to, u64 from, std::size_t size) noexcept;

// For the host's handler of SIGSEGV and SIGBUS: true when the fault was one of the reads above; the context then goes
// on behind it, and the handler returns. Async-signal-safe. context is the handler's third argument.
bool recover_fault(void* context) noexcept;

// For hosts without a handler of their own (the command, tests): installs one for SIGSEGV and SIGBUS that passes every
// other fault on to what was installed before. May be called more than once.
Result<> install_fault_handler();

}  // namespace anybpf::helpers

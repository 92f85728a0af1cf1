// SPDX-License-Identifier: Apache-2.0
// The running kernel's own BPF as an oracle, where this process may use it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "anybpf/isa/classic.hpp"
#include "anybpf/isa/insn.hpp"

namespace anybpf::corpus {

// Why the kernel cannot be asked; nothing when it can.
std::optional<std::string> kernel_unavailable();

struct KernelAnswer {
    u64 result = 0;   // all of r0
    std::string log;  // the verifier's, of the program with what wraps it
};
// Instructions that the wrapper takes before the program's own first one.
constexpr u32 kernel_wrapper_insns = 8;

// Runs the program with r1 = a copy of memory and r2 = its length, or 0 and 0 without memory. It becomes a function of
// a program of type syscall, which may read and write its context, and which stores the function's r0 there.
Result<KernelAnswer> run_in_kernel(std::span<const isa::Insn> insns, std::span<const std::byte> memory);

// Whether a socket takes the filter: 0, or the errno.
int attach_classic(std::span<const isa::ClassicInsn> insns);

}  // namespace anybpf::corpus

// SPDX-License-Identifier: Apache-2.0
// The running kernel's verifier as an oracle for tests, where this process may load programs.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "anybpf/base/fd.hpp"
#include "anybpf/base/result.hpp"
#include "anybpf/btf/btf.hpp"
#include "anybpf/program/program.hpp"

namespace anybpf::verifier::testing {

// That kernel's types; null where it publishes none.
std::shared_ptr<const btf::Btf> running_kernel();

class LiveKernel {
  public:
    // Creates the program's maps; the reason where the kernel cannot be asked.
    static Result<LiveKernel> open(const std::vector<program::MapInfo>& maps);

    struct Verdict {
        bool accepted = false;
        std::string log;  // ends in what errno says, of a refused program
        int error = 0;
    };
    // The log's level as in bpf(2): 4 gives the message without the walk. flags: of BPF_PROG_LOAD.
    Verdict load(const program::Program& program, u32 log_level = 1, u32 flags = 0) const;

  private:
    std::vector<Fd> maps_;
    // Types of maps and of programs are the same only where the kernel has got them once.
    std::vector<std::pair<const btf::Btf*, Fd>> types_;
    // One buffer for all logs.
    mutable std::string log_;
};

}  // namespace anybpf::verifier::testing

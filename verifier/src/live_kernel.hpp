// SPDX-License-Identifier: Apache-2.0
// The running kernel's verifier as an oracle for tests, where this process may load programs.
#pragma once

#include <optional>
#include <string>

#include "anybpf/base/fd.hpp"
#include "anybpf/base/result.hpp"
#include "anybpf/program/program.hpp"

namespace anybpf::verifier::testing {

class LiveKernel {
  public:
    // Creates the program's maps; the reason where the kernel cannot be asked.
    static Result<LiveKernel> open(const std::vector<program::MapInfo>& maps);

    struct Verdict {
        bool accepted = false;
        std::string log;
    };
    Verdict load(const program::Program& program) const;

  private:
    std::vector<Fd> maps_;
};

}  // namespace anybpf::verifier::testing

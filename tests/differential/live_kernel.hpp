// SPDX-License-Identifier: Apache-2.0
// The running kernel as one more engine: it verifies the program itself, and runs it by BPF_PROG_TEST_RUN.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "anybpf/base/fd.hpp"
#include "world.hpp"

namespace anybpf::differential {

class LiveKernel {
  public:
    // With maps of its own; why the kernel cannot be asked, otherwise.
    static Result<std::unique_ptr<LiveKernel>> make();
    ~LiveKernel();

    // The descriptor, or Errc::rejected with the log's reason; Errc::unsupported for programs that the kernel is not
    // shown, because its verifier would crash.
    Result<Fd> load(const program::Program& program) const;
    Result<Outcome> run(const Fd& program, const Input& input, abi::ProgType type);

  private:
    struct Parts;
    explicit LiveKernel(std::unique_ptr<Parts> parts);
    std::unique_ptr<Parts> parts_;
};

}  // namespace anybpf::differential

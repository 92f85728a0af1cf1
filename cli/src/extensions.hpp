// SPDX-License-Identifier: Apache-2.0
// What the extensions (SEC("freplace/FUNCTION")) that are judged extend: programs of another object, which are judged
// first.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "anybpf/program/program.hpp"
#include "commands.hpp"
#include "failure.hpp"
#include "loader.hpp"
#include "machine.hpp"

namespace anybpf::cli {

class Extensions {
  public:
    // The machine's watcher is another one afterwards. Fails where the object cannot be read or has no such program, or
    // where the verifier refuses all of them.
    static Outcome<Extensions> open(const VerifyOptions& options, const Machine& machine, const LibbpfLog& said);

    // The program in that section is loaded next.
    void prepare(std::string_view section, const Machine& machine) const;

  private:
    std::vector<std::shared_ptr<const program::Program>> targets_;
};

}  // namespace anybpf::cli

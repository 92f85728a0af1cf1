// SPDX-License-Identifier: Apache-2.0
// TracePipe: the reader's side of the trace ring buffer, as the lines that tracefs's trace_pipe has:
//              cat-1234    [001] ..... 12345.678901: bpf_trace_printk: text
#pragma once

#include <string>

#include "anybpf/kernel/root.hpp"

namespace anybpf::preload {

class TracePipe {
  public:
    static Result<TracePipe> open(const kernel::Root& root);
    // The next lines, at most `room` bytes of them; what is left of a longer line comes next time. Empty: nothing yet.
    // Lines are consumed: two readers share them.
    std::string take(std::size_t room);

  private:
    explicit TracePipe(kernel::MappedMap ring) : ring_(std::move(ring)) {}
    bool next_line();

    kernel::MappedMap ring_;
    std::string rest_;
};

}  // namespace anybpf::preload

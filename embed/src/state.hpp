// SPDX-License-Identifier: Apache-2.0
// State: the kernel and the runner of an application, shared by all handles.
#pragma once

#include "anybpf/abi/uapi.hpp"
#include "anybpf/embed.hpp"
#include "anybpf/kernel/runner.hpp"

namespace anybpf::embed {

struct State : std::enable_shared_from_this<State> {
    std::unique_ptr<kernel::Kernel> kernel;
    std::unique_ptr<kernel::Runner> runner;  // goes before the kernel

    // bpf(2). Failures carry its errno and the kernel's sentence, with `what` in front. size: of the attributes that
    // the command takes; 0: all that are used.
    template <class Attributes>
    Result<long> call(abi::uapi::Command command, Attributes& attributes, std::string_view what, u32 size = 0) const;

    Result<Map> map(Fd fd);
    Result<Program> program(Fd fd);
};

}  // namespace anybpf::embed

// SPDX-License-Identifier: Apache-2.0
// State: the kernel and the runner of an application, shared by all handles.
#pragma once

#include <atomic>
#include <list>
#include <map>

#include "anybpf/abi/uapi.hpp"
#include "anybpf/base/guarded.hpp"
#include "anybpf/embed.hpp"
#include "anybpf/kernel/runner.hpp"

namespace anybpf::embed {

struct State : std::enable_shared_from_this<State> {
    std::unique_ptr<kernel::Kernel> kernel;
    const engine::AnyEngine* first_engine = nullptr;  // of programs when they are loaded
    // By engine, made when it is first asked for; they go before the kernel.
    Guarded<std::map<const engine::AnyEngine*, std::unique_ptr<kernel::Runner>>> runners;

    Result<kernel::Runner*> runner(const engine::AnyEngine& row);

    // bpf(2). Failures carry its errno and the kernel's sentence, with `what` in front. size: of the attributes that
    // the command takes; 0: all that are used.
    template <class Attributes>
    Result<long> call(abi::uapi::Command command, Attributes& attributes, std::string_view what, u32 size = 0) const;

    Result<Map> map(Fd fd);
    Result<Program> program(Fd fd);
};

// A program's code. What another engine made before stays, for runs may be in it.
struct Code {
    struct Version {
        const engine::AnyEngine* engine;
        kernel::Runner* runner;
        std::shared_ptr<const kernel::BoundProgram> bound;
    };
    std::atomic<const Version*> current = nullptr;
    Guarded<std::list<Version>> versions;

    // Runs use this engine's code from now on.
    Result<> use(State& state, const kernel::ProgramObject& program, const engine::AnyEngine& row);
};

}  // namespace anybpf::embed

// SPDX-License-Identifier: Apache-2.0
// Injector: puts the agent into new images of a traced tree, before their first instruction. A process asks over the
// tree's channel (exec_channel.hpp), is traced (ptrace) for the moment of its execve, and let go before the new image
// runs. Whoever is not asked, or cannot trace (Yama, a tracer that is there already, seccomp), says so, and the image
// is left to the dynamic loader (environment.hpp).
#pragma once

#include <memory>
#include <string>

#include "anybpf/agent/exec_channel.hpp"
#include "anybpf/base/result.hpp"

namespace anybpf::agent {

class Injector {
  public:
    // Makes the channel's file, which all agents of the tree know, and the first of the threads that wait for requests.
    // Paths are absolute.
    static Result<std::unique_ptr<Injector>> start(const std::string& agent, const std::string& root, u32 tree,
                                                   const std::string& channel);
    // What the threads have begun they finish; a process that stands still in the middle is left as it is.
    ~Injector();
    Injector(const Injector&) = delete;
    Injector& operator=(const Injector&) = delete;

    // In a child that is about to become the first traced image: true when its next execve brings the agent.
    bool ask_here() const;

  private:
    struct Parts;
    explicit Injector(std::shared_ptr<Parts> parts);
    std::shared_ptr<Parts> parts_;  // the threads', too: one may outlive the injector
};

}  // namespace anybpf::agent

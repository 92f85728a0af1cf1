// SPDX-License-Identifier: Apache-2.0
// The law itself: what the verifier accepts ends the same on every engine, for every input.
#pragma once

#include <functional>
#include <optional>

#include "anybpf/verifier/verifier.hpp"
#include "live_kernel.hpp"
#include "world.hpp"

namespace anybpf::differential {

struct Settings {
    // All run what lowering made of the program with its constants folded. What they are compared with is the first
    // one, of the program as it is written.
    std::vector<const engine::AnyEngine*> engines;
    bool kernel = false;
    bool chaos = true;
};

enum class What : u8 {
    agreed,
    refused,         // by our verifier, and by the kernel's, if it was asked
    disagreed,       //
    kernel_refuses,  // what we accept
    kernel_accepts,  // what we refuse
    kernel_errs,     // a known bug of Linux: it is not asked, or not believed
};
struct Verdict {
    What what = What::agreed;
    std::string text;                                     // how they differ; why it is refused
    verifier::Finding finding = verifier::Finding::none;  // of ours
};

struct Candidate {
    u64 seed = 0;  // of its inputs
    program::Program program;
};

class Differential {
  public:
    // In the process that uses it.
    static Result<std::unique_ptr<Differential>> make(const Settings& settings);

    // Several at once, for what binding them costs. begin says which one is looked at, and end what came of it, in
    // their order.
    void check(std::span<const Candidate> candidates, const std::function<void(const Candidate&)>& begin,
               const std::function<void(const Candidate&, const Verdict&)>& end);
    Verdict check(const program::Program& program, u64 seed);

  private:
    // A candidate on its way: the verdict, once there is one.
    struct Prepared {
        const Candidate* candidate;
        std::optional<Verdict> verdict;
        program::Lowered lowered, as_written;                         // with its constants folded, and without
        Bound reference;                                              // as written, for the first engine
        std::vector<Bound> bound;                                     // by engine
        bool in_front() const { return (candidate->seed & 1) != 0; }  // of what the guard page is
    };
    Differential(Settings settings, std::unique_ptr<World> world, std::unique_ptr<LiveKernel> kernel)
        : settings_(std::move(settings)), world_(std::move(world)), kernel_(std::move(kernel)) {}
    Prepared prepare(const Candidate& candidate) const;
    void bind(std::span<Prepared> prepared, bool in_front);
    Verdict compare(const Prepared& prepared);

    Settings settings_;
    std::unique_ptr<World> world_;
    std::unique_ptr<LiveKernel> kernel_;
};

}  // namespace anybpf::differential

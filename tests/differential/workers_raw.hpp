// SPDX-License-Identifier: Apache-2.0
// Runs a range of seeds in processes of its own, so that an engine's crash or endless loop is a finding and not the
// end.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "differential.hpp"

namespace anybpf::differential {

struct Failure {
    u64 seed = 0;
    std::string text;
};
struct Totals {
    u64 programs = 0, agreed = 0, refused = 0, disagreed = 0, kernel_refuses = 0, kernel_accepts = 0, kernel_errs = 0;
    u64 insns = 0;
    std::array<u32, 256> findings{};  // by verifier::Finding, of what we refuse
    std::vector<Failure> failures;    // the first ones
    std::vector<Failure> verdicts_differ;
};

struct Range {
    u64 first = 0, count = 0;
    u32 jobs = 1;
};
// progress is called every now and then, and at the end.
Result<Totals> run_workers(const Settings& settings, const Range& range,
                           const std::function<void(const Totals&)>& progress);

// The verdict on one program, from a process of its own: What::disagreed also where that dies or hangs.
Verdict check_apart(const Settings& settings, const program::Program& program, u64 seed);

}  // namespace anybpf::differential

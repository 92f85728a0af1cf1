// SPDX-License-Identifier: Apache-2.0
// What came of many programs.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "anybpf/base/types.hpp"

namespace anybpf::verdicts {

using Counts = std::map<std::string, u64>;

struct Tally {
    u64 programs = 0, insns = 0, both_accept = 0, both_reject = 0, kernel_accepts = 0, we_accept = 0;
    Counts not_verified;                                     // why
    Counts messages;                                         // of the kernel, with numbers made alike
    Counts types;                                            // accepted programs by type
    Counts we_refuse;                                        // the kernel accepts: by our finding
    Counts classes;                                          // the kernel refuses: by class, "" where there is none
    std::vector<u64> kernel_accepts_seeds, we_accept_seeds;  // the first ones, of the latter without a class
    NLOHMANN_DEFINE_TYPE_INTRUSIVE(Tally, programs, insns, both_accept, both_reject, kernel_accepts, we_accept,
                                   not_verified, messages, types, we_refuse, classes, kernel_accepts_seeds,
                                   we_accept_seeds)

    u64 counted() const { return both_accept + both_reject + kernel_accepts + we_accept; }
    double share(u64 of) const { return counted() == 0 ? 0 : static_cast<double>(of) / static_cast<double>(counted()); }
    double equal() const { return share(both_accept + both_reject); }
    void add(const Tally& other);
};

}  // namespace anybpf::verdicts

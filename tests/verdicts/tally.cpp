// SPDX-License-Identifier: Apache-2.0
#include "tally.hpp"

namespace anybpf::verdicts {

void Tally::add(const Tally& other) {
    programs += other.programs, insns += other.insns;
    both_accept += other.both_accept, both_reject += other.both_reject;
    kernel_accepts += other.kernel_accepts, we_accept += other.we_accept;
    const auto merge = [](Counts& into, const Counts& from) {
        for (const auto& [what, count] : from) into[what] += count;
    };
    merge(not_verified, other.not_verified);
    merge(messages, other.messages);
    merge(types, other.types);
    merge(we_refuse, other.we_refuse);
    merge(classes, other.classes);
    const auto append = [](std::vector<u64>& into, const std::vector<u64>& from) {
        into.insert(into.end(), from.begin(), from.end());
    };
    append(kernel_accepts_seeds, other.kernel_accepts_seeds);
    append(we_accept_seeds, other.we_accept_seeds);
}

}  // namespace anybpf::verdicts

// SPDX-License-Identifier: Apache-2.0
// How much stack a program may use: what an access may touch, and what chains of calls need together.
#include <algorithm>

#include "walker.hpp"

namespace anybpf::verifier {

u32 Walker::stack_limit() const { return std::min(options_.stack_bytes, abi::max_stack_size); }

// As check_max_stack_depth() of Linux 6.18 with its JIT: tracing programs without tail calls have a stack for each
// frame, all others one for the chain, in which a frame takes a multiple of 16 bytes. Calls that no path reaches count,
// too. A host that raises the limit gives all frames one stack: never less than the kernel's frames have together.
bool Walker::finish_stacks() {
    const auto& starts = structure_.flow.starts;
    for (u32 sub = 0; sub < starts.size(); ++sub) {
        const u32 end = sub + 1 < starts.size() ? starts[sub + 1] : static_cast<u32>(program_.insns.size());
        report_.proof.subprograms.push_back({starts[sub], end, (stack_use_[sub] + 7) & ~7U, called_back_[sub] != 0});
    }
    const bool own_stacks =
        abi::is_tracing(program_.type) && std::ranges::find(structure_.tail_calls, true) == structure_.tail_calls.end();
    const u32 most = own_stacks ? std::max(stack_limit(), abi::max_frames * abi::stack_size) : stack_limit();
    struct Chain {
        u32 frames = 0, bytes = 0;  // of the longest and of the deepest chain to the end of a subprogram
    };
    const auto size = [&](u32 sub) { return (stack_use_[sub] + 15) & ~15U; };
    std::vector<Chain> chains(starts.size());
    chains[0] = {1, size(0)};
    for (u32 sub = 0; sub < async_.size(); ++sub)
        if (async_[sub] != 0) chains[sub] = {1, size(sub)};
    // No chain is longer than max_frames, so that many rounds find the deepest one to each subprogram.
    for (u32 round = 0; round < abi::max_frames; ++round)
        for (const program::Call& call : structure_.flow.calls) {
            const u32 to = *structure_.flow.starting_at(call.target);
            const Chain& from = chains[structure_.flow.subprogram_of(call.insn)];
            if (from.frames == 0 || (call.callback && to < async_.size() && async_[to] != 0)) continue;
            pc_ = call.insn;
            if (from.frames == abi::max_frames) return fail(Finding::too_many_frames, abi::max_frames);
            if (!own_stacks && from.bytes >= abi::tail_call_stack_size && structure_.tail_calls[to])
                return fail(Finding::tail_call_stack, from.bytes, abi::tail_call_stack_size);
            const u32 needed = from.bytes + size(to);
            if (needed > most) return fail(Finding::stack_too_deep, needed, most);
            chains[to] = {std::max(chains[to].frames, from.frames + 1), std::max(chains[to].bytes, needed)};
        }
    return true;
}

}  // namespace anybpf::verifier

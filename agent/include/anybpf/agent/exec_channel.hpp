// SPDX-License-Identifier: Apache-2.0
// How a traced process that is about to replace its image asks the supervisor of its tree to put the agent into the new
// one: a page that both map, <root>/exec-<tree> (docs/formats/root.md). A request goes
//
//     free ─agent─▶ claimed ─agent─▶ asked ─injector─▶ taken ─injector─▶ attached ─injector, after the exec─▶ free
//                                      │                 └──injector──▶ refused ─agent─▶ free
//                                      └──agent, when nobody comes──▶ free
//
// A process that is killed while it waits leaves its request behind; the injector, which is its tracer, sees its end.
#pragma once

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <ctime>

#include "anybpf/agent/lender.hpp"
#include "anybpf/base/types.hpp"

namespace anybpf::agent {

enum class ExecState : u32 { free, claimed, asked, taken, attached, refused };

struct ExecRequest {
    std::atomic<ExecState> state;
    u32 tid, nr, own;  // own: a child of the supervisor itself, whose end is waited for there
    u64 blocked, ignored;
    i32 agent_fd;  // the asker's, of the agent's file, where its image will not see that; or -1, or unreachable
    std::atomic<u32> seen;  // the asker sees root and agent by their paths, and so will its image
    u64 mark_at, mark;      // in the asker's memory: its tid may be of another pid namespace
    u64 unused;
};
static_assert(sizeof(ExecRequest) == 64 && std::atomic<ExecState>::is_always_lock_free);

// For an image that could not open the root: it is only named.
constexpr i32 unreachable = -2;

// Injectors stand ready on every CPU: to wake one on another CPU takes longer than what it does. A lane is every so
// many CPUs'.
constexpr u32 exec_channel_magic = 0x79726261;  // "abry"
constexpr u32 most_lanes = 8;
struct ExecChannel {
    u32 magic;
    u32 lanes;
    LoanKey key;                                     // of the tree's lender
    std::array<std::atomic<u32>, most_lanes> asked;  // how often; the injectors of a lane sleep on it
    std::atomic<u32>& asked_on(u32 cpu) { return asked[cpu % std::clamp(lanes, 1U, most_lanes)]; }
    std::array<ExecRequest, 63> requests;
};
static_assert(sizeof(ExecChannel) == 4096);

// call(number, a, b, c, d): a system call, -errno for failure.
template <class Call>
void wake(std::atomic<u32>& word, int many, const Call& call) {
    call(SYS_futex, reinterpret_cast<u64>(&word), FUTEX_WAKE, static_cast<u64>(many), 0);
}
template <class Call>
void sleep_on(const std::atomic<u32>& word, u32 value, long nanoseconds, const Call& call) {
    const timespec most{nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
    call(SYS_futex, reinterpret_cast<u64>(&word), FUTEX_WAIT, value, reinterpret_cast<u64>(&most));
}
inline std::atomic<u32>& word_of(std::atomic<ExecState>& state) { return reinterpret_cast<std::atomic<u32>&>(state); }

struct ExecQuestion {
    u32 tid = 0, nr = 0, own = 0;
    u64 blocked = 0, ignored = 0;
    i32 agent_fd = -1;
    u64 mark = __builtin_ia32_rdtsc();
};

// Null: there is no room. The question stays where it is until its answer.
template <class Call>
ExecRequest* pose(ExecChannel& channel, const ExecQuestion& question, const Call& call) {
    for (ExecRequest& request : channel.requests) {
        auto expected = ExecState::free;
        if (!request.state.compare_exchange_strong(expected, ExecState::claimed)) continue;
        request.tid = question.tid, request.nr = question.nr, request.own = question.own;
        request.seen.store(0, std::memory_order_relaxed);
        request.blocked = question.blocked, request.ignored = question.ignored, request.agent_fd = question.agent_fd;
        request.mark_at = reinterpret_cast<u64>(&question.mark), request.mark = question.mark;
        request.state.store(ExecState::asked, std::memory_order_release);
        auto& asked = channel.asked_on(static_cast<u32>(std::max(::sched_getcpu(), 0)));
        asked.fetch_add(1);
        wake(asked, 1, call);
        return &request;
    }
    return nullptr;
}

// True: the injector traces this thread now, and waits for its execve. gone(): nobody will answer.
template <class Call, class Gone>
bool answer(ExecRequest& request, const Call& call, const Gone& gone) {
    constexpr long patience = 100'000'000, all_patience = 20;
    for (long waited = 0;;) {
        auto state = request.state.load(std::memory_order_acquire);
        if (state == ExecState::attached) return true;
        if (state == ExecState::refused) {
            request.state.store(ExecState::free);
            return false;
        }
        sleep_on(word_of(request.state), static_cast<u32>(state), patience, call);
        if (request.state.load() != state) continue;
        ++waited;
        if (!gone() && (state == ExecState::taken || waited < all_patience)) continue;
        if (request.state.compare_exchange_strong(state, ExecState::free)) return false;
    }
}

}  // namespace anybpf::agent

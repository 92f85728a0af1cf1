// SPDX-License-Identifier: Apache-2.0
// The agent's side of a visit (visit.hpp): a running program's threads come to it, and leave it. Each function runs on
// the thread that it is about, on the visit's stack, while every other thread stands still; it ends at a breakpoint,
// where the visitor waits.
// Safe because nothing runs beside it, no signal arrives (the visitor blocks them all), and what it changes of the
// thread is what the visitor gives back to it.
#include <sys/syscall.h>

#include <cerrno>

#include "anybpf/agent/visit.hpp"
#include "state.hpp"

namespace anybpf::agent {
namespace {

// The thread's own signal stack before ours takes its place.
AltStack guest_stack() {
    AltStack stack;
    raw(SYS_sigaltstack, 0, &stack);
    stack.flags &= ~1;  // SS_ONSTACK is of the moment
    return stack;
}

UserContext context_of(const VisitRegisters& r) {
    UserContext c{};
    c.r8 = r.r8, c.r9 = r.r9, c.r10 = r.r10, c.r11 = r.r11, c.r12 = r.r12, c.r13 = r.r13, c.r14 = r.r14, c.r15 = r.r15;
    c.di = r.di, c.si = r.si, c.bp = r.bp, c.bx = r.bx, c.dx = r.dx, c.ax = r.ax, c.cx = r.cx, c.sp = r.sp, c.ip = r.ip;
    c.eflags = r.eflags, c.cs = 0x33, c.ss = 0x2b;
    return c;
}

VisitRegisters registers_of(const UserContext& c) {
    return {c.r8, c.r9, c.r10, c.r11, c.r12, c.r13, c.r14, c.r15, c.di,
            c.si, c.bp, c.bx,  c.dx,  c.ax,  c.cx,  c.sp,  c.ip,  c.eflags};
}

void belongs_to(ThreadState* state, const AltStack& stack, const Visit& visit) {
    state->altstack = stack;
    state->shadow = visit.mask & our_signals;
    if (visit.rseq != 0) state->thread().vcpu.cpu_word = reinterpret_cast<const u32*>(visit.rseq + 4);
    own().active = state;
}

void join(Visit& visit) {
    const AltStack stack = guest_stack();
    ThreadState* const state = make_state();
    if (state == nullptr) {
        visit.problem = ENOMEM;
        return;
    }
    state->own = Own{.self = &state->own, .state = state};
    take_own(&state->own);
    birth(state);
    belongs_to(state, stack, visit);
}

void leave(Visit& visit) {
    ThreadState* state = own().active;
    own().active = nullptr;
    UserContext c = context_of(visit.registers);
    state = settle(state, c);
    visit.registers = registers_of(c);
    visit.mask |= state->shadow;
    give_back_frames(state);
    raw(SYS_prctl, set_dispatch, 0, 0, 0, 0);
    raw(SYS_sigaltstack, &state->altstack, 0);
    if (state->thread().vcpu.robust == reinterpret_cast<robust_list_head*>(&state->robust_list))
        raw(SYS_set_robust_list, 0, sizeof(state->robust_list));
    for (u32 i = 0; i < state->held_count; ++i)
        raw(SYS_rt_tgsigqueueinfo, raw(SYS_getpid), raw(SYS_gettid), state->held[i].si_signo, &state->held[i]);
}

// What the agent has mapped, for the visitor to take away.
void list_ranges(Visit& visit) {
    for (const MemoryRange& range : listed_mappings())
        if (range.size != 0 && visit.range_count < visit.ranges.size()) visit.ranges[visit.range_count++] = range;
}

void finish(Visit& visit) {
    give_back_text();
    give_back_actions();
    list_ranges(visit);
}

}  // namespace

void arrived_late(Visit& visit) {
    const AltStack stack = guest_stack();
    process.threaded = true;
    read_auxiliary(visit.auxiliary.data());
    if (!start(0, visit.arrival.inheritance)) {
        visit.problem = ENOMEM;  // for the root was there
        list_ranges(visit);
        return;
    }
    list_mapping(reinterpret_cast<u64>(&visit) - visit_stack, visit_size);
    take_actions();
    belongs_to(own().state, stack, visit);
}

}  // namespace anybpf::agent

using anybpf::agent::Visit;
extern "C" {
void anybpf_on_join(Visit* visit) { anybpf::agent::join(*visit); }
void anybpf_on_leave(Visit* visit) { anybpf::agent::leave(*visit); }
void anybpf_on_finish(Visit* visit) { anybpf::agent::finish(*visit); }
}

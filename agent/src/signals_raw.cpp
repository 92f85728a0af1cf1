// SPDX-License-Identifier: Apache-2.0
// Signals. The kernel knows one handler, ours; it runs on the agent's stack with everything blocked, looks where the
// guest was interrupted, puts the guest at an address of its own (the site instead of the stub), and then builds on the
// guest's stack the frame that the kernel would have built, and returns into the guest's handler. Handlers return
// through anybpf_guest_restorer, which the kernel hands to us (or anybpf_fault_restorer, which faults), so that what
// the guest wrote into its frame cannot block SIGSYS or take our signal stack away.
//
//     kernel ──frame on the agent's stack──▶ anybpf_on_signal ──frame on the guest's stack──▶ guest's handler
//                                                                                                │ ret
//     interrupted code ◀──rt_sigreturn── return_from_handler ◀──SIGSYS── anybpf_guest_restorer ◀────┘
//
// A signal that finds the agent at work waits (defer) until the agent leaves, which it then does by a trap, because
// only a return from a signal can restore registers, mask and stack in one step.
//
// Safe because guest memory is only touched through copy(), which survives a fault, and because the frames that are
// handed to rt_sigreturn are the kernel's own with fields changed that the guest could have changed itself.
#include <sys/syscall.h>

#include <cerrno>
#include <cstring>

#include "anybpf/helpers/safe_memory.hpp"
#include "state.hpp"

namespace anybpf::agent {
namespace {

constexpr u64 sa_siginfo = 4, sa_restorer = 0x04000000, sa_onstack = 0x08000000, sa_restart = 0x10000000,
              sa_nodefer = 0x40000000, sa_resethand = 0x80000000;
constexpr u64 known_flags =
    0x1 | 0x2 | 0x800 | sa_siginfo | sa_restorer | sa_onstack | sa_restart | sa_nodefer | sa_resethand;
constexpr u64 handler_default = 0, handler_ignore = 1;
constexpr i32 alt_onstack = 1, alt_disable = 2;
constexpr i32 alt_autodisarm = static_cast<i32>(0x80000000U);
constexpr u64 alt_minimum = 2048;
constexpr int dispatch_code = 2;  // SYS_USER_DISPATCH
// A supervisor's nudge to a process that makes no system calls: SIGSYS queued with this value.
constexpr u64 nudge_value = 0x616e796270660001;

u64 address(const void* at) { return reinterpret_cast<u64>(at); }
bool inside(u64 at, const void* begin, const void* end) { return at >= address(begin) && at < address(end); }

KernelAction ours(u64 flags) {
    return {address(reinterpret_cast<const void*>(&anybpf_signal)), flags | sa_siginfo | sa_onstack | sa_restorer,
            address(anybpf_agent_restorer), all_but_ours};
}

bool on_altstack(const AltStack& stack, u64 sp) {
    return stack.size != 0 && (stack.flags & alt_autodisarm) == 0 && sp > stack.base && sp - stack.base <= stack.size;
}

SyscallRegisters registers_of(const UserContext& c) {
    return {c.r15, c.r14, c.r13, c.r12, c.bp, c.bx, c.r11, c.r10,    c.r9, c.r8, c.ax,
            c.cx,  c.dx,  c.si,  c.di,  c.ax, c.ip, c.cs,  c.eflags, c.sp, c.ss};
}

// What finishing a call may have changed: its arguments and its result.
void apply(UserContext& c, const SyscallRegisters& r) {
    c.di = r.di, c.si = r.si, c.dx = r.dx, c.r10 = r.r10, c.r8 = r.r8, c.r9 = r.r9, c.ax = r.ax;
}

bool agent_code(u64 ip) {
    if (ip < process.text_begin || ip >= process.text_end) return false;
    return !inside(ip, anybpf_stubs, anybpf_stubs_end) && !inside(ip, anybpf_stub_r9, anybpf_stub_r9 + 16) &&
           !inside(ip, anybpf_enter, anybpf_enter_passed) && !inside(ip, anybpf_exit, anybpf_exit_passed) &&
           !inside(ip, anybpf_puns, anybpf_puns_end) && !inside(ip, anybpf_int80, anybpf_int80_end) &&
           !inside(ip, anybpf_bare_syscall, anybpf_bare_syscall + 4) &&
           !inside(ip, anybpf_guest_restorer, anybpf_guest_restorer + 9);
}

// The kernel's own action for a signal that came to us first.
void default_action(const siginfo_t& info, bool faults_again) {
    const KernelAction action{};
    raw(SYS_rt_sigaction, info.si_signo, &action, nullptr, 8);
    if (faults_again) return;
    raw(SYS_rt_tgsigqueueinfo, raw(SYS_getpid), raw(SYS_gettid), info.si_signo, &info);
}

bool is_fault(const siginfo_t& info) {
    return (info.si_signo == SIGSEGV || info.si_signo == SIGBUS) && info.si_code > 0;
}

// How much floating point state a frame carries (struct _fpx_sw_bytes); 0 when it cannot be read.
u64 extended_size(u64 fpstate) {
    constexpr u64 plain = 512, most = 1 << 16, magic_offset = 464, magic = 0x46505853;
    std::array<u32, 2> words{};
    if (!fetch(words, fpstate + magic_offset)) return 0;
    return words[0] == magic && words[1] <= most ? words[1] : plain;
}

// Makes the frame return into the guest's handler, as the kernel would have entered it.
void deliver(ThreadState* state, SignalFrame& frame, const siginfo_t& info) {
    const int signal = info.si_signo;
    const KernelAction action = (*state->actions)[static_cast<u32>(signal)];
    const bool forced = is_fault(info) || ((signal == SIGSYS || signal == SIGTRAP) && info.si_code > 0);
    if ((state->shadow & bit_of(signal)) != 0) {
        if (forced) return default_action(info, is_fault(info));
        if (state->held_count < state->held.size()) state->held[state->held_count++] = info;
        return;
    }
    if (action.handler == handler_ignore && !forced) return;
    if (action.handler <= handler_ignore) return default_action(info, is_fault(info));
    if ((action.flags & sa_resethand) != 0) (*state->actions)[static_cast<u32>(signal)].handler = handler_default;

    auto& c = frame.context;
    u64 sp = c.sp - 128;
    if ((action.flags & sa_onstack) != 0 && state->altstack.size != 0 && !on_altstack(state->altstack, sp))
        sp = state->altstack.base + state->altstack.size;
    SignalFrame guest = frame;
    bool written = true;
    if (c.fpstate != 0) {
        const u64 size = extended_size(c.fpstate);
        sp = (sp - size) & ~63ULL;
        guest.context.fpstate = sp;
        written = copy(reinterpret_cast<void*>(sp), reinterpret_cast<const void*>(c.fpstate), size);
    }
    sp = ((sp - sizeof(SignalFrame)) & ~15ULL) - 8;
    guest.restorer = address(state->armed ? anybpf_guest_restorer : anybpf_fault_restorer);
    guest.context.stack = state->altstack;
    guest.context.mask |= state->shadow;
    guest.info = info;
    if (state->frame_count < state->frames.size()) state->frames[state->frame_count++] = {sp, action.restorer};
    if (!written || !put(sp, guest)) {  // no room: as the kernel, SIGSEGV, and no mercy when that was it
        siginfo_t overflow{};
        overflow.si_signo = SIGSEGV;
        overflow.si_code = SI_KERNEL;
        if (signal != SIGSEGV) return deliver(state, frame, overflow);
        return default_action(overflow, false);
    }
    const SignalSet blocked = action.mask | ((action.flags & sa_nodefer) != 0 ? 0 : bit_of(signal));
    state->shadow |= blocked & our_signals;
    c.mask = (c.mask | blocked) & all_but_ours;
    c.ip = action.handler;
    c.sp = sp;
    c.di = static_cast<u64>(signal);
    c.si = sp + offsetof(SignalFrame, info);
    c.dx = sp + offsetof(SignalFrame, context);
    c.ax = 0;
    c.eflags &= ~0x10500ULL;  // RF, DF, TF
    c.fpstate = 0;            // a handler starts with clean floating point state
}

// Signals that waited for the agent to leave, or for the guest to unblock them.
void deliver_waiting(ThreadState* state, SignalFrame& frame) {
    const auto waiting = state->deferred;
    const u32 count = state->deferred_count;
    state->deferred_count = 0;
    for (u32 i = 0; i < count; ++i) deliver(state, frame, waiting[i]);
}

void let_through_held(ThreadState* state) {
    u32 kept = 0;
    for (u32 i = 0; i < state->held_count; ++i) {
        const bool blocked = (state->shadow & bit_of(state->held[i].si_signo)) != 0;
        if (!blocked && state->deferred_count < state->deferred.size())
            state->deferred[state->deferred_count++] = state->held[i];
        else
            state->held[kept++] = state->held[i];
    }
    state->held_count = kept;
}

void defer(ThreadState* state, SignalFrame& frame) {
    auto& c = frame.context;
    if (state->deferred_count < state->deferred.size()) state->deferred[state->deferred_count++] = frame.info;
    if (is_ours(frame.info.si_signo)) return;
    if (!state->masked) {
        state->masked = true;
        state->deferred_mask = c.mask;
    }
    c.mask = all_but_ours;
}

void take_deferred(ThreadState* owner, SignalFrame& frame) {
    ThreadState* state = owner->publish;
    auto& c = frame.context;
    owner->leaving_by_trap = 0;
    c.ip = owner->trap_ip;
    if (owner->masked) c.mask = owner->deferred_mask;
    owner->masked = false;
    state = settle(state, c);
    if (state != owner) {
        state->deferred = owner->deferred;
        state->deferred_count = owner->deferred_count;
        owner->deferred_count = 0;
    }
    deliver_waiting(state, frame);
    c.ip = way_on(c.ip, c.ax);
    own().active = state;
}

// The guest returns from a handler: takes mask and signal stack as the guest sees them out of its frame, and returns
// by our own frame. The exit is reported with the value that rax gets back, as the kernel does.
void return_from_handler(ThreadState* state, SignalFrame& frame) {
    auto& c = frame.context;
    own().active = nullptr;
    auto r = registers_of(c);
    r.ax = static_cast<u64>(-ENOSYS);
    report_enter(state, r, SYS_rt_sigreturn);
    SignalFrame seen;
    if (!fetch(seen, c.sp - 8)) {
        c.ip = address(anybpf_bare_syscall);  // the kernel says what it thinks of it
        own().active = state;
        return;
    }
    for (u32 i = state->frame_count; i-- != 0;)
        if (state->frames[i][0] == c.sp - 8) state->frame_count = i;
    state->shadow = seen.context.mask & our_signals;
    if (!on_altstack(state->altstack, c.sp) && (seen.context.stack.flags & ~alt_autodisarm) <= alt_disable)
        state->altstack = seen.context.stack;
    UserContext next = seen.context;
    next.mask &= all_but_ours;
    next.stack = c.stack;
    if (next.fpstate != 0 && c.fpstate != 0) {
        const u64 size = extended_size(next.fpstate);
        if (size != 0 && size <= extended_size(c.fpstate) &&
            copy(reinterpret_cast<void*>(c.fpstate), reinterpret_cast<const void*>(next.fpstate), size))
            next.fpstate = c.fpstate;  // the guest's copy may be overwritten by the next signal's frame
    }
    c = next;
    r.ax = c.ax;
    report_exit(state, r, SYS_rt_sigreturn);
    let_through_held(state);
    deliver_waiting(state, frame);
    c.ip = way_on(c.ip, c.ax);
    own().active = state;
}

// The kernel handed a system call of the guest to us: into its stub.
void dispatch(ThreadState* state, SignalFrame& frame) {
    auto& c = frame.context;
    const u64 after = c.ip;
    const bool guest_runs = own().active != nullptr;
    u16 instruction = 0;
    fetch(instruction, after - 2);
    if (instruction == 0x80cd) {
        for (u32 i = slot_count - 8; i < slot_count; ++i) {
            if (anybpf_slots[i].after != 0 && anybpf_slots[i].after != after) continue;
            anybpf_slots[i].after = after;
            c.ip = address(anybpf_int80) + u64{16} * (i - (slot_count - 8));
            return;
        }
    }
    if (guest_runs && static_cast<u32>(c.ax) == SYS_rt_sigreturn) return return_from_handler(state, frame);
    warm(after);
    if (const Slot* slot = slot_for(after, any_number)) {
        c.ip = slot->go - stub_syscall + stub_call;
        return;
    }
    // No stub is left: this thread goes on without the dispatcher, at the very instruction.
    raw(SYS_prctl, set_dispatch, 0, 0, 0, 0);
    state->armed = false;
    c.ip = after - 2;
}

// Where the guest is that was interrupted in a pun.
u64 out_of_pun(u64 ip) {
    const Pun& pun = anybpf_puns[(ip - address(anybpf_puns)) / sizeof(Pun)];
    const u64 after = anybpf_slots[pun.slot].after;
    const u64 offset = ip - address(&pun);
    return offset < Pun::copied_at ? after - call_size : after + (offset - Pun::copied_at);
}

}  // namespace

// Puts a guest that was interrupted in a stub back to its site. The thread that goes on may be another state: the
// parent of a vfork.
ThreadState* settle(ThreadState* state, UserContext& c) {
    if (inside(c.ip, anybpf_stubs, anybpf_stubs_end)) {
        const u64 offset = c.ip - address(anybpf_stubs);
        const Slot& slot = anybpf_slots[offset / stub_size];
        const u64 at = offset % stub_size;
        if (at == 0) {
            c.ip = slot.after - slot.patched;
            return state;
        }
        if (at < stub_syscall) {
            c.ip = slot.after - 2;
            c.cx = slot.after;
            return state;
        }
        auto r = registers_of(c);
        r.ip = r.cx = c.cx = slot.after;
        if (at == stub_syscall) {
            if (state->parent != nullptr && !state->born) state = state->parent;
            interrupted_before(state, r);
            c.ip = slot.after - 2;
        } else {
            r.orig_ax = slot.nr != any_number ? slot.nr : state->nr;
            state = settle_exit(state, r);
            c.ip = slot.after;
        }
        apply(c, r);
    } else if (inside(c.ip, anybpf_enter, anybpf_enter_passed)) {
        c.ip = reinterpret_cast<const Slot*>(c.r11)->after - 2;
        c.cx = c.ip + 2;
    } else if (inside(c.ip, anybpf_exit, anybpf_exit_passed)) {
        auto r = registers_of(c);
        const Slot& slot = *reinterpret_cast<const Slot*>(c.r11);
        r.ip = r.cx = c.cx = c.ip = slot.after;
        r.orig_ax = slot.nr != any_number ? slot.nr : state->nr;
        state = settle_exit(state, r);
        apply(c, r);
    } else if (inside(c.ip, anybpf_stub_r9, anybpf_stub_r9 + 16)) {
        c.ip = c.ip == address(anybpf_stub_r9) ? anybpf_slots[0].after - anybpf_slots[0].patched
                                               : anybpf_slots[0].after - 2;
    } else if (inside(c.ip, anybpf_int80, anybpf_int80_end)) {
        const u64 offset = c.ip - address(anybpf_int80);
        const Slot& slot = anybpf_slots[slot_count - 8 + offset / 16];
        c.ip = offset % 16 == 0 ? slot.after - 2 : slot.after;
    } else if (inside(c.ip, anybpf_puns, anybpf_puns_end)) {
        c.ip = out_of_pun(c.ip);
    }
    return state;
}

void start_signals(SignalSet blocked, SignalSet ignored) {
    for (const int signal : our_signal_numbers) {
        const KernelAction action = ours(sa_nodefer | sa_restart);
        KernelAction& old = process.actions[static_cast<u32>(signal)];
        raw(SYS_rt_sigaction, signal, &action, &old, 8);
        if ((ignored & bit_of(signal)) != 0) old.handler = handler_ignore;
    }
    SignalSet set = our_signals, old = 0;
    raw(SYS_rt_sigprocmask, SIG_UNBLOCK, &set, &old, 8);
    own().state->shadow = (blocked | old) & our_signals;
}

// Handlers that the program has set, all of which are ours to call from now on.
void take_actions() {
    for (int signal = 1; signal <= 64; ++signal) {
        KernelAction& old = process.actions[static_cast<u32>(signal)];
        if (is_ours(signal) || raw(SYS_rt_sigaction, signal, 0, &old, 8) != 0 || old.handler <= handler_ignore)
            continue;
        const KernelAction action = ours(old.flags & ~(sa_nodefer | sa_onstack));
        raw(SYS_rt_sigaction, signal, &action, 0, 8);
    }
}

void give_back_actions() {
    for (int signal = 1; signal <= 64; ++signal) {
        KernelAction now;
        if (raw(SYS_rt_sigaction, signal, 0, &now, 8) != 0 ||
            now.handler != address(reinterpret_cast<const void*>(&anybpf_signal)))
            continue;
        raw(SYS_rt_sigaction, signal, &process.actions[static_cast<u32>(signal)], 0, 8);
    }
}

void give_back_frames(ThreadState* state) {
    for (u32 i = 0; i < state->frame_count; ++i) {
        u64 restorer = 0;
        const auto& [at, own_restorer] = state->frames[i];
        if (fetch(restorer, at) && restorer == address(anybpf_guest_restorer)) put(at, own_restorer);
    }
}

SignalSet ignored_signals(const ThreadState* state) {
    SignalSet set = 0;
    for (const int signal : our_signal_numbers)
        if ((*state->actions)[static_cast<u32>(signal)].handler == handler_ignore) set |= bit_of(signal);
    return set;
}

bool before_action(ThreadState* state) {
    auto& r = state->registers;
    const auto signal = static_cast<int>(r.di);
    if (signal < 1 || signal > 64 || signal == SIGKILL || signal == SIGSTOP || r.r10 != 8) return false;
    KernelAction& action = (*state->actions)[static_cast<u32>(signal)];
    if (r.si != 0) {
        if (!fetch(state->new_action, r.si)) return false;
        state->new_action.flags &= known_flags;
        state->new_action.mask &= ~(bit_of(SIGKILL) | bit_of(SIGSTOP));
    }
    state->old_action = action;
    if (is_ours(signal)) {  // the kernel keeps ours
        if (r.si != 0) action = state->new_action;
        r.ax = r.dx == 0 || put(r.dx, state->old_action) ? 0 : static_cast<u64>(-EFAULT);
        return true;
    }
    state->pending = Pending::action;
    if (r.si != 0 && state->new_action.handler > handler_ignore) {
        action = state->new_action;  // before the kernel can call it
        state->kernel_action = ours(state->new_action.flags & ~(sa_nodefer | sa_onstack));
        r.si = address(&state->kernel_action);
    }
    return false;
}

void after_action(ThreadState* state, i64 result) {
    const auto& [signal, act, old, size, unused8, unused9] = state->arguments;
    KernelAction& action = (*state->actions)[signal];
    const bool handler = act != 0 && state->new_action.handler > handler_ignore;
    if (result < 0) {
        if (handler) action = state->old_action;
        return;
    }
    if (act != 0 && !handler) action = state->new_action;
    KernelAction seen;
    if (old != 0 && fetch(seen, old) && seen.handler == address(reinterpret_cast<const void*>(&anybpf_signal)))
        put(old, state->old_action);
}

bool before_mask(ThreadState* state) {
    auto& r = state->registers;
    SignalSet set = 0;
    if (r.r10 != 8) return false;
    state->new_shadow = state->shadow;
    if (r.si != 0) {
        if (!fetch(set, r.si)) return false;
        const SignalSet part = set & our_signals;
        if (r.di == SIG_BLOCK) state->new_shadow |= part;
        if (r.di == SIG_UNBLOCK) state->new_shadow &= ~part;
        if (r.di == SIG_SETMASK) state->new_shadow = part;
        if (part != 0 && r.di != SIG_UNBLOCK) {
            state->set = set & all_but_ours;
            r.si = address(&state->set);
        }
    }
    if (state->new_shadow != state->shadow || (state->shadow != 0 && r.dx != 0)) state->pending = Pending::mask;
    return false;
}

void after_mask(ThreadState* state, i64 result) {
    if (result < 0) return;
    SignalSet old = 0;
    if (state->shadow != 0 && state->arguments[2] != 0 && fetch(old, state->arguments[2]))
        put(state->arguments[2], old | state->shadow);
    state->shadow = state->new_shadow;
    let_through_held(state);  // delivered on the way out
}

void before_temporary_mask(ThreadState* state, u64 SyscallRegisters::* argument) {
    u64& pointer = state->registers.*argument;
    SignalSet set = 0;
    if (pointer == 0 || !fetch(set, pointer) || (set & our_signals) == 0) return;
    state->set = set & all_but_ours;
    pointer = address(&state->set);
}

void before_pselect(ThreadState* state) {
    auto& r = state->registers;
    SignalSet set = 0;
    if (r.r9 == 0 || !fetch(state->set_argument, r.r9) || state->set_argument[0] == 0 ||
        !fetch(set, state->set_argument[0]) || (set & our_signals) == 0)
        return;
    state->set = set & all_but_ours;
    state->set_argument[0] = address(&state->set);
    r.r9 = address(&state->set_argument);
}

void after_pending(ThreadState* state, i64 result) {
    SignalSet set = 0;
    if (result < 0 || state->held_count == 0 || !fetch(set, state->registers.di)) return;
    for (u32 i = 0; i < state->held_count; ++i) set |= bit_of(state->held[i].si_signo);
    put(state->registers.di, set);
}

i64 set_altstack(ThreadState* state) {
    const auto& r = state->registers;
    AltStack& current = state->altstack;
    AltStack old = current;
    if (on_altstack(current, r.sp))
        old.flags |= alt_onstack;
    else if (current.size == 0)
        old.flags = alt_disable;
    AltStack wanted;
    if (r.di != 0) {
        if (!fetch(wanted, r.di)) return -EFAULT;
        if (on_altstack(current, r.sp)) return -EPERM;
        const i32 mode = wanted.flags & ~alt_autodisarm;
        if (mode != 0 && mode != alt_onstack && mode != alt_disable) return -EINVAL;
        if (mode == alt_disable)
            wanted = AltStack{.base = 0, .flags = wanted.flags, .size = 0};
        else if (wanted.size < alt_minimum)
            return -ENOMEM;
        wanted.reserved = 0;
        current = wanted;
    }
    if (r.si != 0 && !put(r.si, old)) return -EFAULT;
    return 0;
}

bool copy(void* to, const void* from, std::size_t size) { return anybpf_copy(to, from, size) == 0; }

}  // namespace anybpf::agent

using namespace anybpf;
using namespace anybpf::agent;

// A thread without state runs the guest's handler on the kernel's frame, and makes its calls at once.
extern "C" u64 anybpf_handler_of(int signal, SignalFrame* frame) {
    if (signal == SIGTRAP && frame->info.si_code == SI_KERNEL) {
        auto& c = frame->context;
        if (const u64 at = resumed(c.ip - 1); at != c.ip - 1) {
            c.ip = at;
            return 0;
        }
        const Slot* slot = slot_patched_in_place(c.ip - 1);
        if (slot == nullptr) slot = slot_patched_at(c.ip - 1);
        if (slot != nullptr && slot != anybpf_slots) {
            if (slot->nr != any_number) c.ax = slot->nr;
            c.ip = slot->go;
            return 0;
        }
    }
    const u64 handler = process.actions[static_cast<u32>(signal)].handler;
    if (handler > handler_ignore) return handler;
    if (is_fault(frame->info)) default_action(frame->info, true);
    return 0;
}

extern "C" void anybpf_on_signal(SignalFrame* frame) {
    auto& c = frame->context;
    auto& here = own();
    const siginfo_t& info = frame->info;
    if (is_fault(info)) {
        if (c.ip == address(anybpf_trap)) return take_deferred(here.state, *frame);
        if (inside(c.ip, anybpf_copy_begin, anybpf_copy_end)) {
            c.ip = address(anybpf_copy_failed);
            return;
        }
        if (helpers::recover_fault(&c)) return;
        if (c.ip == address(anybpf_fault_restorer) && here.active != nullptr) {
            c.ax = SYS_rt_sigreturn;
            return return_from_handler(here.active, *frame);
        }
    }
    if (info.si_signo == SIGTRAP && info.si_code == SI_KERNEL) {
        if (agent_code(c.ip)) return;  // meant for an injector that is gone
        if (const u64 at = resumed(c.ip - 1); at != c.ip - 1) {
            c.ip = at;
            return;
        }
        if (const Slot* slot = slot_patched_in_place(c.ip - 1)) {
            c.ip = slot->go - stub_syscall + stub_call;
            return;
        }
        // The breakpoint of a site that is being patched.
        if (const Slot* slot = slot_patched_at(c.ip - 1)) {
            c.ip = slot == anybpf_slots ? address(anybpf_stub_r9) : slot->go - stub_syscall;
            return;
        }
    }
    ThreadState* state = here.active != nullptr ? here.active : here.state;
    if (info.si_signo == SIGSYS && info.si_code == dispatch_code) return dispatch(state, *frame);
    if (info.si_signo == SIGSYS && info.si_code == SI_QUEUE &&
        reinterpret_cast<u64>(info.si_value.sival_ptr) == nudge_value) {
        if (here.active != nullptr && !agent_code(c.ip)) {
            here.active = nullptr;
            refresh_if_stale(state);
            here.active = state;
        }
        return;
    }
    if (here.active == nullptr || agent_code(c.ip)) {
        if (is_fault(info)) return default_action(info, true);  // a fault of ours: it happens again, for the core
        if (inside(c.ip, anybpf_leave_check, anybpf_leave_end)) {
            state = here.state;
            here.active = nullptr;
            c.ip = address(anybpf_leave_check);
            c.sp = address(state);
        }
        return defer(state, *frame);
    }
    here.state = state;
    here.active = nullptr;
    siginfo_t shown = info;
    state = settle(state, c);
    if (shown.si_signo == SIGSYS && shown.si_code > 0) shown.si_call_addr = reinterpret_cast<void*>(c.ip);  // seccomp's
    deliver_waiting(state, *frame);
    deliver(state, *frame, shown);
    c.ip = way_on(c.ip, c.ax);
    here.active = state;
}

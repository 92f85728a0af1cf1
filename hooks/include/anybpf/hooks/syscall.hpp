// SPDX-License-Identifier: Apache-2.0
// System calls as events: which programs run at which call, and with which context. The agent brings the event
// (agent/), this layer turns it into program runs. Nothing here allocates or makes a system call in enter() and exit();
// refresh() may do both.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <tuple>

#include "anybpf/abi/syscalls.hpp"
#include "anybpf/base/result.hpp"
#include "anybpf/helpers/environment.hpp"
#include "anybpf/kernel/files.hpp"
#include "anybpf/maps/vcpu.hpp"

namespace anybpf::hooks {

// The registers of the traced thread at its system call, in the order of struct pt_regs of x86-64. As the kernel has
// them: cx = ip behind the instruction, r11 = flags; at entry ax = -ENOSYS and orig_ax = the number, at exit ax = the
// result.
struct SyscallRegisters {
    u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};

// One traced thread; kept by the agent in thread-local memory at a fixed address, zeroed at birth, filled by
// attach_thread.
struct SyscallThread {
    // 0: no program runs on this thread. Else one does (a nested event is counted as missed), from the table of the
    // refresh of this number or of a later one; reclaim() leaves those alone.
    std::atomic<u64> running{0};
    maps::VcpuThread vcpu;
    helpers::Thread task;  // ids, comm, and the task_struct that programs see
};

// Returns what the kernel returned: a result, or -errno. Six arguments.
using RawSyscall = long (*)(long number, long, long, long, long, long, long);

// At which system calls programs run; the last is for numbers that no kernel has. Constant once it is published.
struct Watched {
    // 0: none. What else it says is the implementation's.
    using Side = std::array<u16, abi::syscall_numbers + 1>;
    Side enter{}, exit{};
    static u32 index_of(u64 number) {
        return number < abi::syscall_numbers ? static_cast<u32>(number) : abi::syscall_numbers;
    }
    friend bool operator==(const Watched&, const Watched&) = default;
};

// What every event asks first is answered here, from a few words that an implementation keeps; the rest is its own.
class SyscallHooks {
  public:
    // Opens the root and loads what is attached. tree is the process tree this process belongs to. raw makes the system
    // calls of enter() and exit() (waking a reader), so that the agent does not intercept its own; null: libc's.
    static Result<std::unique_ptr<SyscallHooks>> open(const std::string& root, u32 tree, RawSyscall raw = nullptr);
    virtual ~SyscallHooks() = default;

    // True when the root's epoch moved on since the last refresh, or the supervisor died.
    bool stale() const {
        return epoch_.load(std::memory_order_acquire) != seen() || (supervisor_.dead() && !orphaned());
    }
    // The epoch itself, and what it was at the last refresh, for who compares them without a call.
    const std::atomic<u64>& epoch() const { return epoch_; }
    u64 seen() const { return seen_.load(std::memory_order_acquire); }
    // Reads the links again, maps what is new, publishes the new table; runs under the agent's own lock. What went out
    // of use stays until reclaim(): another thread may still be inside.
    virtual void refresh() = 0;
    // Frees what refresh() took out of use, and no run can still use. oldest: the least `running` that is not 0 among
    // all threads of this process, read after refresh() returned; ~0 where none runs. Under the same lock. Whoever does
    // not know all threads never calls it.
    virtual void reclaim(u64 oldest) { (void)oldest; }
    // The supervisor of this tree died: nothing will be attached again, and refresh() has dropped all links.
    bool orphaned() const { return orphaned_.load(std::memory_order_relaxed); }

    bool supervisor_dead() const { return supervisor_.dead(); }

    // At birth, after fork in the child, and after exec; on the thread itself. own: as for VcpuThread::current.
    virtual void attach_thread(SyscallThread& thread, robust_list_head* own = nullptr) = 0;
    // After prctl(PR_SET_NAME), and where another thread wrote it.
    virtual void comm_changed(SyscallThread& thread) = 0;
    // After calls that set user or group ids.
    virtual void ids_changed(SyscallThread& thread) = 0;

    // Whether a program is attached to the entry, or the exit, of the number: where none is, the agent makes no report.
    bool wants_entry(u32 nr) const { return has(enters_, nr); }
    bool wants_exit(u32 nr) const { return has(exits_, nr); }
    bool wants(u32 nr) const { return wants_entry(nr) || wants_exit(nr); }
    void enter(SyscallThread& thread, const SyscallRegisters& registers) { enter_(*this, thread, registers); }
    void exit(SyscallThread& thread, const SyscallRegisters& registers) { exit_(*this, thread, registers); }
    virtual u64 missed() const = 0;  // program runs that did not happen: nested, or no virtual CPU was free
    virtual const std::string& problem() const = 0;  // why an attached program is not run here; empty when all are

  protected:
    // enter() and exit(), called directly: a table of virtual functions is a page more on their way.
    using Event = void (*)(SyscallHooks& hooks, SyscallThread& thread, const SyscallRegisters& registers);
    // epoch must live as long as the hooks, and so the page that the supervisor is in.
    SyscallHooks(const std::atomic<u64>& epoch, kernel::Supervisor supervisor, Event at_entry, Event at_exit)
        : enter_(at_entry), exit_(at_exit), epoch_(epoch), supervisor_(supervisor) {}
    // The end of a refresh that began when the epoch was `epoch`.
    void publish(const Watched& watched, u64 epoch, bool orphaned) {
        note(enters_, watched.enter);
        note(exits_, watched.exit);
        orphaned_.store(orphaned, std::memory_order_relaxed);
        seen_.store(epoch, std::memory_order_release);
    }
    // The next event finds the hooks stale.
    void ask_for_refresh() { seen_.store(epoch_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed); }
    const kernel::Supervisor& supervisor() const { return supervisor_; }

  private:
    // Where something is wanted, a bit for each: changed in place, so that it can be asked for at any moment.
    using Bits = std::array<std::atomic<u64>, std::tuple_size_v<Watched::Side> / 64 + 1>;
    static bool has(const Bits& bits, u32 nr) {
        const u32 at = Watched::index_of(nr);
        return (bits[at / 64].load(std::memory_order_acquire) >> at % 64 & 1) != 0;
    }
    static void note(Bits& bits, const Watched::Side& side) {
        for (u32 at = 0; at < side.size(); at += 64) {
            u64 word = 0;
            for (u32 i = at; i < side.size() && i < at + 64; ++i) word |= u64{side[i] != 0} << i % 64;
            bits[at / 64].store(word, std::memory_order_release);
        }
    }

    const Event enter_, exit_;
    const std::atomic<u64>& epoch_;
    const kernel::Supervisor supervisor_;
    std::atomic<u64> seen_{0};
    std::atomic<bool> orphaned_{false};
    Bits enters_{}, exits_{};
};

}  // namespace anybpf::hooks

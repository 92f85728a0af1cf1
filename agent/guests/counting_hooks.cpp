// SPDX-License-Identifier: Apache-2.0
// Hooks that count, in place of the hooks layer: the agent's mechanism is tested without a program behind it.
#include "counting_hooks.hpp"

#include <fcntl.h>
#include <sys/syscall.h>

#include <ctime>

#include "anybpf/base/fd.hpp"
#include "anybpf/base/mapping.hpp"
#include "anybpf/hooks/syscall.hpp"

namespace anybpf::hooks {
namespace {

class Counting : public SyscallHooks {
  public:
    Counting(agent::Counts* counts, RawSyscall raw)
        : SyscallHooks(counts->epoch, {}, enter, exit), counts_(counts), raw_(raw) {
        all_.enter.fill(1);
        all_.exit.fill(1);
        refresh();
    }
    void refresh() override {
        const u64 epoch = counts_->epoch.load();
        publish(counts_->wants_nothing.load() != 0 ? none_ : all_, epoch, counts_->orphaned.load() != 0);
    }
    void attach_thread(SyscallThread& thread, robust_list_head* own) override {
        thread.vcpu = maps::VcpuThread::current(own);
    }
    void comm_changed(SyscallThread&) override {}
    void ids_changed(SyscallThread&) override {}
    static void enter(SyscallHooks& hooks, SyscallThread& thread, const SyscallRegisters& registers) {
        auto& self = static_cast<Counting&>(hooks);
        if (registers.orig_ax >= 512) return;
        self.counts_->enters[registers.orig_ax].fetch_add(1, std::memory_order_relaxed);
        timespec now{};
        if (registers.orig_ax == SYS_getppid) ::clock_gettime(CLOCK_MONOTONIC, &now);  // as programs do
        if (self.counts_->logging.load(std::memory_order_relaxed) != 0) self.log(thread, registers, 0, registers.di);
    }
    static void exit(SyscallHooks& hooks, SyscallThread& thread, const SyscallRegisters& registers) {
        auto& self = static_cast<Counting&>(hooks);
        if (registers.orig_ax >= 512) return;
        self.counts_->exits[registers.orig_ax].fetch_add(1, std::memory_order_relaxed);
        if (registers.ax == static_cast<u64>(-512))
            self.counts_->restarts[registers.orig_ax].fetch_add(1, std::memory_order_relaxed);
        if (self.counts_->logging.load(std::memory_order_relaxed) != 0) self.log(thread, registers, 1, registers.ax);
        // Spoils what the guest must not see spoilt.
        asm volatile("pcmpeqd %%xmm3, %%xmm3\n pcmpeqd %%xmm15, %%xmm15" ::: "xmm3", "xmm15");
    }
    u64 missed() const override { return 0; }
    const std::string& problem() const override { return problem_; }

  private:
    void log(const SyscallThread& thread, const SyscallRegisters& registers, u32 is_exit, u64 value) {
        const auto pid = static_cast<u32>(raw_(SYS_getpid, 0, 0, 0, 0, 0, 0));
        const auto tid = static_cast<u32>(raw_(SYS_gettid, 0, 0, 0, 0, 0, 0));
        if (thread.vcpu.tid != tid) counts_->bad_thread.fetch_add(1);
        const auto at = counts_->logged.fetch_add(1);
        if (at < agent::Counts::log_size)
            counts_->log[at] = {pid, tid, static_cast<u32>(registers.orig_ax), is_exit, static_cast<i64>(value)};
    }
    agent::Counts* counts_;
    RawSyscall raw_;
    Watched all_, none_;
    std::string problem_;
};

}  // namespace

Result<std::unique_ptr<SyscallHooks>> SyscallHooks::open(const std::string& root, u32, RawSyscall raw) {
    const Fd file(::open((root + "/counts").c_str(), O_RDWR | O_CLOEXEC));
    if (!file.valid()) return fail_errno("opening counts");
    auto mapping = ANYBPF_TRY(Mapping::shared(file.get(), sizeof(agent::Counts), Access::read_write));
    auto* counts = reinterpret_cast<agent::Counts*>(mapping.release().data());
    return std::unique_ptr<SyscallHooks>(new Counting(counts, raw));
}

}  // namespace anybpf::hooks

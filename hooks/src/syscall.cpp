// SPDX-License-Identifier: Apache-2.0
// An event passes: guard, virtual CPU, table lookup, then for each program its view of the event and the run.
//
// A table that went out of use, and what only it names, is freed when no run can be using it. Each refresh has a
// number, and a thread tells the number of the last one before it takes hold of the table in use:
//
//     run()                                          refresh(), then reclaim()
//       running = number of the last refresh           table in use = the new one
//       claim a virtual CPU: a locked instruction      number of the last refresh = its number; fence
//       take the table in use                          the least `running` of all threads
//
// Either the thread takes the new table, or its `running` is seen. The number is stored after its table and loaded
// before one is taken, so that the table is of this refresh or of a later one. So a run costs no fence of its own.
#include "anybpf/hooks/syscall.hpp"

#include <sys/auxv.h>
#include <sys/prctl.h>

#include <algorithm>
#include <bit>
#include <utility>

#include "system.hpp"
#include "table.hpp"

namespace anybpf::hooks {
namespace {

using helpers::kernel_types::pt_regs;
static_assert(sizeof(SyscallRegisters) == sizeof(pt_regs));

// A tracepoint's record. The number is an int in syscalls:* and a long in raw_syscalls:*, which is the same in memory
// for numbers that exist; what follows the fields is never read (fits() in table.cpp).
struct Record {
    u64 common = 0;
    u64 number = 0;
    std::array<u64, 6> values{};  // arguments at entry; the result at exit
};
static_assert(sizeof(Record) == 64);

// common_type, common_flags, common_preempt_count, common_pid: in the low 16, 8 and 8 bits, and the high 32.
constexpr u64 common_of(u32 tid, u32 type) { return u64{tid} << 32 | type; }

constexpr u64 kernel_code_segment = 0x10;

// What the engine hands back to tail_target.
struct HookRun : abi::Run {
    const Table* table = nullptr;
    const Attached* attached = nullptr;
};

class Hooks final : public SyscallHooks {
  public:
    Hooks(kernel::Root root, maps::VcpuTable vcpus, u32 tree, RawSyscall raw, bool believe)
        : SyscallHooks(root.epoch_word(), root.supervisor(tree), run_all<true>, run_all<false>),
          root_(std::move(root)),
          vcpus_(vcpus),
          tree_(tree),
          system_(raw),
          loader_(root_, believe) {}

    void refresh() override;
    void reclaim(u64 oldest) override;

    void attach_thread(SyscallThread& thread, robust_list_head* own) override;
    void comm_changed(SyscallThread& thread) override { system_.read_comm(thread.task); }
    void ids_changed(SyscallThread& thread) override { system_.read_ids(thread.task); }

    u64 missed() const override { return missed_.load(std::memory_order_relaxed); }
    const std::string& problem() const override { return loader_.problem(); }

  private:
    // The event as programs see it; each part is filled in when the first program wants it.
    struct Views {
        Record record;
        std::array<u64, 2> arguments;
        SyscallRegisters function;  // of the kernel's function
    };
    // What helpers ask for in one run.
    class RunHost final : public helpers::Host {
      public:
        RunHost(const Hooks& hooks, const Table& table) : hooks_(hooks), table_(table) {}
        maps::PerfBuffer* perf_buffer(maps::Map& array, u32 index) override;
        void wake(maps::Map& ring) override;
        void wake(maps::PerfBuffer& buffer) override;
        i64 system_call(i64 number, u64 a, u64 b, u64 c, u64 d) override {
            return hooks_.system_.call(number, a, b, c, d);
        }

      private:
        const Hooks& hooks_;
        const Table& table_;
    };
    struct Kept {
        u64 refresh = 0;  // the last one whose table it was
        std::unique_ptr<const Table> table;
    };
    // Behind what orders it after the store of `running`.
    const Table& table() const { return *table_.load(std::memory_order_acquire); }
    [[gnu::cold, gnu::noinline]] void miss(bool entry, u64 number);
    void count_event() {
        const u32 left = until_linked_.load(std::memory_order_relaxed);
        if (left == 0) return;
        until_linked_.store(left - 1, std::memory_order_relaxed);
        if (left == 1) ask_for_refresh();
    }
    template <bool entry>
    [[gnu::hot]] void run(SyscallThread& thread, const SyscallRegisters& user);
    template <bool entry>
    [[gnu::hot]] void run_claimed(SyscallThread& thread, const SyscallRegisters& user, u32 cpu,
                                  maps::VcpuTable::Claim claim);
    template <bool entry>
    [[gnu::hot]] static void run_all(SyscallHooks& hooks, SyscallThread& thread, const SyscallRegisters& user) {
        static_cast<Hooks&>(hooks).run<entry>(thread, user);
    }
    template <bool entry>
    static void* view_of(const Attached& attached, const SyscallRegisters& user, u32 tid, Views& views);
    static const void* tail_target(abi::Run& run, u64 map, u32 index);

    kernel::Root root_;
    maps::VcpuTable vcpus_;
    const u32 tree_;
    const System system_;
    const abi::HelperBodies& bodies_ = helpers::bodies();
    Loader loader_;
    // Mapped with the first program that prints: an exec should not pay for what it does not use.
    kernel::MappedMap trace_;
    std::string trace_wake_;
    std::atomic<maps::Map*> trace_map_{nullptr};

    // Events until machine code is worth its pages; threads may lose one another's counts.
    static constexpr u32 worth_linking = 1000;
    std::atomic<u32> until_linked_{worth_linking};
    std::atomic<u64> missed_{0};
    std::vector<Kept> tables_;  // the last is in use, the others may still be
    std::atomic<const Table*> table_{nullptr};
    std::atomic<u64> last_refresh_{0};
};

void Hooks::refresh() {
    const u64 epoch = root_.epoch();  // first, so that what changes meanwhile is seen as a change
    const bool dead = supervisor().dead();
    const bool links = until_linked_.load(std::memory_order_relaxed) == 0;
    const u64 number = last_refresh_.load(std::memory_order_relaxed) + 1;
    loader_.begin(number);
    if (links && !dead) loader_.link_code();
    Table built = dead ? Table{} : build_table(root_, loader_, tree_);
    if (!trace_.map && loader_.prints()) {
        if (auto trace = root_.trace()) {  // without it bpf_printk writes nowhere
            trace_ = std::move(*trace);
            trace_wake_ = root_.wake_path(kernel::trace_object);
            trace_map_.store(trace_.map.get(), std::memory_order_release);
        }
    }
    if (tables_.empty() || !(*tables_.back().table == built))
        tables_.push_back({number, std::make_unique<const Table>(std::move(built))});
    tables_.back().refresh = number;
    table_.store(tables_.back().table.get(), std::memory_order_release);
    last_refresh_.store(number, std::memory_order_release);
    publish(tables_.back().table->watched, epoch, dead);
    std::atomic_thread_fence(std::memory_order_seq_cst);  // before anybody looks at `running`
    if (!links && until_linked_.load(std::memory_order_relaxed) == 0) ask_for_refresh();  // meanwhile it was due
}

void Hooks::reclaim(u64 oldest) {
    const u64 used = std::min(oldest, tables_.back().refresh);
    std::erase_if(tables_, [used](const Kept& kept) { return kept.refresh < used; });
    loader_.release(tables_.front().refresh);
}

void Hooks::attach_thread(SyscallThread& thread, robust_list_head* own) {
    thread.running.store(0, std::memory_order_relaxed);
    thread.vcpu = maps::VcpuThread::current(own);
    thread.task.forget();
    thread.task.tid = thread.vcpu.tid;
    system_.read_pid(thread.task);
    system_.read_comm(thread.task);
    system_.read_ids(thread.task);
}

template <bool entry>
void* Hooks::view_of(const Attached& attached, const SyscallRegisters& user, u32 tid, Views& views) {
    switch (attached.view) {
        case View::record:
            views.record.common = common_of(tid, attached.common_type);
            views.record.number = user.orig_ax;
            if constexpr (entry)
                views.record.values = {user.di, user.si, user.dx, user.r10, user.r8, user.r9};
            else
                views.record.values[0] = user.ax;
            return &views.record;
        case View::arguments:
            views.arguments = {std::bit_cast<u64>(&user), entry ? user.orig_ax : user.ax};
            return views.arguments.data();
        case View::registers:
            // struct pt_regs of the kernel's own function: at its entry di holds the user's registers, behind its
            // return ax the result.
            views.function = {};
            views.function.cs = kernel_code_segment;
            views.function.orig_ax = ~u64{0};
            views.function.ip = abi::kernel_address(static_cast<u32>(user.orig_ax));
            if constexpr (entry) {
                views.function.di = std::bit_cast<u64>(&user);
                views.function.si = user.orig_ax;
            } else {
                views.function.ax = user.ax;
            }
            return &views.function;
    }
    __builtin_unreachable();
}

// With `running` set, by the caller or by the run that it interrupted.
void Hooks::miss(bool entry, u64 number) {
    std::atomic_thread_fence(std::memory_order_seq_cst);  // no virtual CPU was claimed
    const auto* attached = table().first(entry, number);
    if (attached == nullptr) return;
    u64 count = 1;
    for (; !attached->last; ++attached) ++count;
    missed_.fetch_add(count, std::memory_order_relaxed);
}

template <bool entry>
void Hooks::run(SyscallThread& thread, const SyscallRegisters& user) {
    if (thread.running.load(std::memory_order_relaxed) != 0) [[unlikely]]
        return miss(entry, user.orig_ax);
    thread.running.store(last_refresh_.load(std::memory_order_acquire), std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);  // a signal handler's system calls see it
    const u32 cpu = thread.vcpu.cpu();
    if (const auto claim = vcpus_.acquire(thread.vcpu, cpu)) [[likely]] {
        run_claimed<entry>(thread, user, cpu, *claim);
        vcpus_.release(thread.vcpu, claim->slot);
    } else {
        miss(entry, user.orig_ax);
    }
    std::atomic_signal_fence(std::memory_order_seq_cst);
    thread.running.store(0, std::memory_order_release);
}

template <bool entry>
[[gnu::always_inline]] inline void Hooks::run_claimed(SyscallThread& thread, const SyscallRegisters& user, u32 cpu,
                                                      maps::VcpuTable::Claim claim) {
    const Table& table = this->table();
    const Attached* attached = table.first(entry, user.orig_ax);
    maps::Map* const trace = trace_map_.load(std::memory_order_acquire);
    if (claim.owner_died) [[unlikely]] {
        for (const auto* loaded : table.maps) loaded->map().recover(claim.slot);
        if (trace) trace->recover(claim.slot);
    }
    if (attached == nullptr) return;  // since it was asked whether it is wanted
    Views views;
    RunHost host(*this, table);
    helpers::Environment environment{&thread.task, &host, trace};
    HookRun run;
    run.vcpu = claim.slot;
    run.cpu = cpu;
    run.environment = &environment;
    run.helpers = &bodies_;
    run.tail_target = tail_target;
    run.table = &table;
    for (;; ++attached) {
        if (attached->pid == -1 || attached->pid == static_cast<i32>(thread.task.pid)) {
            run.context = view_of<entry>(*attached, user, thread.task.tid, views);
            run.attach_cookie = attached->cookie;
            run.func_ip = attached->view == View::registers ? abi::kernel_address(static_cast<u32>(user.orig_ax)) : 0;
            run.attached = attached;
            if (table.linked)
                engine::run_code(*static_cast<const engine::JitProgram*>(attached->executable), run);
            else
                engine::Interpreter::run(*static_cast<const engine::Executable*>(attached->executable), run);
        }
        if (attached->last) break;
    }
    if (!table.linked) count_event();
}

// Only a program that reads the same context may take over.
const void* Hooks::tail_target(abi::Run& run, u64 map, u32 index) {
    const auto& hook = static_cast<HookRun&>(run);
    const auto* array = hook.table->array(*std::bit_cast<const maps::Map*>(map));
    if (!array || index >= array->programs.size()) return nullptr;
    const auto* target = array->programs[index];
    if (!target || target->type != hook.attached->program->type ||
        target->attach_type != hook.attached->program->attach_type ||
        target->context_bytes > hook.attached->context_bytes)
        return nullptr;
    return hook.table->executable(*target);
}

maps::PerfBuffer* Hooks::RunHost::perf_buffer(maps::Map& map, u32 index) {
    const auto* array = table_.array(map);
    if (!array || index >= array->buffers.size() || !array->buffers[index]) return nullptr;
    return array->buffers[index]->mapped.buffer.get();
}

void Hooks::RunHost::wake(maps::Map& ring) {
    if (&ring == hooks_.trace_map_.load(std::memory_order_acquire)) return hooks_.system_.wake(hooks_.trace_wake_);
    for (const auto* loaded : table_.maps)
        if (&loaded->map() == &ring) return hooks_.system_.wake(loaded->wake_path);
}

void Hooks::RunHost::wake(maps::PerfBuffer& buffer) {
    for (const auto& array : table_.arrays)
        for (const auto* loaded : array.buffers)
            if (loaded && loaded->mapped.buffer.get() == &buffer) return hooks_.system_.wake(loaded->wake_path);
}

// Whether a verdict in the root may be believed: nobody but this user could have written it (a root of another, or one
// that is open to others, cannot be joined), and this process has no more rights than its user.
bool believes() { return ::getauxval(AT_SECURE) == 0 && ::prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 1; }

}  // namespace

Result<std::unique_ptr<SyscallHooks>> SyscallHooks::open(const std::string& path, u32 tree, RawSyscall raw) {
    auto root = ANYBPF_TRY(kernel::Root::join(path));
    const auto vcpus = ANYBPF_TRY(root.vcpus());
    auto hooks = std::make_unique<Hooks>(std::move(root), vcpus, tree, raw, believes());
    hooks->refresh();
    return std::unique_ptr<SyscallHooks>(std::move(hooks));
}

}  // namespace anybpf::hooks

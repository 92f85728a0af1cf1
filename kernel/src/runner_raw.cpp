// SPDX-License-Identifier: Apache-2.0
// What a program's helpers and tail calls find in a process that runs it for its own ends.
//
// Raw here: the maps' addresses that the engine hands back to tail_target. Safe because it got them from bind() here.
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include <bit>

#include "anybpf/helpers/environment.hpp"
#include "anybpf/helpers/safe_memory.hpp"
#include "anybpf/kernel/runner.hpp"
#include "state.hpp"

namespace anybpf::kernel {

namespace {

// Counts forks, in the children: what a thread knows of itself is wrong there.
std::atomic<u32> forks{0};

// The thread as helpers see it.
struct Self {
    helpers::Thread thread;
    maps::VcpuThread vcpu;
    u32 forks = ~0U;

    void refresh() {
        const u32 now = kernel::forks.load(std::memory_order_relaxed);
        if (forks == now) return;
        forks = now;
        thread.forget();
        thread.pid = static_cast<u32>(::getpid());
        thread.tid = static_cast<u32>(::syscall(SYS_gettid));
        thread.uid = ::getuid();
        thread.gid = ::getgid();
        vcpu = maps::VcpuThread::current();
        const Fd comm(::open("/proc/thread-self/comm", O_RDONLY | O_CLOEXEC));
        if (!comm.valid()) return;
        if (::read(comm.get(), thread.comm.data(), thread.comm.size() - 1) < 0) thread.comm = {};
        for (char& c : thread.comm)
            if (c == '\n') c = '\0';
    }
};
Self& self() {
    thread_local Self self;
    self.refresh();
    return self;
}

}  // namespace

struct Runner::Host final : helpers::Host {
    Host(Kernel::State& of, const engine::AnyEngine& by, maps::VcpuTable cpus) : state(of), engine(by), vcpus(cpus) {}

    Result<std::shared_ptr<const BoundProgram>> bind(const ProgramObject& program) {
        auto bound = std::make_shared<BoundProgram>();
        bound->type = program.type;
        bound->context_bytes = program.context_bytes;
        std::vector<engine::BoundMap> addresses;
        for (const u32 id : program.map_ids) {
            auto mapped = ANYBPF_TRY(state.map_by_id(id));
            addresses.push_back({mapped->map.get(), mapped->map->values(), mapped->map->array()});
            bound->maps.push_back(std::move(mapped));
        }
        bound->executable = ANYBPF_TRY(engine.bind(program.lowered, addresses, &helpers::bodies()));
        return bound;
    }

    maps::PerfBuffer* perf_buffer(maps::Map& array, u32 index) override {
        u32 id = 0;
        if (index >= array.spec().max_entries) return nullptr;
        if (const void* cell = array.lookup(&index, 0)) std::memcpy(&id, cell, sizeof(id));
        if (id == 0) return nullptr;
        return buffers.with([&](auto& known) -> maps::PerfBuffer* {
            auto found = known.find(id);
            if (found == known.end()) {
                auto opened = state.root.perf_buffer(id);
                if (!opened) return nullptr;
                found = known.emplace(id, std::move(*opened)).first;
            }
            return found->second.buffer.get();
        });
    }
    void wake(maps::Map& ring) override { wake_reader({ObjectKind::map, ring.id()}); }
    void wake(maps::PerfBuffer& buffer) override {
        const u32 id = buffers.with([&](auto& known) {
            for (const auto& [number, mapped] : known)
                if (mapped.buffer.get() == &buffer) return number;
            return 0U;
        });
        if (id != 0) wake_reader({ObjectKind::event, id});
    }
    i64 system_call(i64 number, u64 a, u64 b, u64 c, u64 d) override {
        const long result = ::syscall(number, a, b, c, d);
        return result < 0 ? -errno : result;
    }

    // The program in a PROG_ARRAY, bound when it is first called.
    static const void* tail_target(abi::Run& run, u64 map, u32 index) {
        auto* environment = static_cast<helpers::Environment*>(run.environment);
        auto& host = static_cast<Host&>(*environment->host);
        auto* array = std::bit_cast<maps::Map*>(map);
        u32 id = 0;
        if (index >= array->spec().max_entries) return nullptr;
        if (const void* cell = array->lookup(&index, run.vcpu)) std::memcpy(&id, cell, sizeof(id));
        if (id == 0) return nullptr;
        return host.programs.with([&](auto& known) -> const void* {
            auto found = known.find(id);
            if (found == known.end()) {
                const auto program = host.state.root.open_program(id);
                auto bound = program ? host.bind(*program) : Result<std::shared_ptr<const BoundProgram>>(nullptr);
                found = known.emplace(id, bound ? std::move(*bound) : nullptr).first;
            }
            return found->second ? found->second->executable.get() : nullptr;
        });
    }

    void wake_reader(ObjectId object) const {
        const Fd fifo(::open(state.root.wake_path(object).c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
        if (fifo.valid()) (void)!::write(fifo.get(), "", 1);
    }

    Kernel::State& state;
    const engine::AnyEngine& engine;
    maps::VcpuTable vcpus;
    std::shared_ptr<const MappedMap> trace;
    Guarded<std::map<u32, MappedPerfBuffer>> buffers;
    Guarded<std::map<u32, std::shared_ptr<const BoundProgram>>> programs;  // of tail calls
};

Runner::Runner(std::unique_ptr<Host> host) : host_(std::move(host)) {}
Runner::~Runner() = default;

Result<std::unique_ptr<Runner>> Runner::make(Kernel::State& state, const engine::AnyEngine& engine) {
    ANYBPF_TRY(helpers::install_fault_handler());
    static const int watches =
        ::pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });
    if (watches != 0) return refuse(watches, "forks cannot be watched");
    auto host = std::make_unique<Host>(state, engine, ANYBPF_TRY(state.root.vcpus()));
    if (auto trace = state.map_by_id(trace_map_id)) host->trace = std::move(*trace);
    return std::unique_ptr<Runner>(new Runner(std::move(host)));
}

Result<std::unique_ptr<Runner>> Runner::make(Kernel& kernel, const engine::AnyEngine& engine) {
    return make(*kernel.state_, engine);
}

Result<std::shared_ptr<const BoundProgram>> Runner::bind(const ProgramObject& program) { return host_->bind(program); }

Runner::Cpu::Cpu(Runner& runner) : runner_(runner) {
    const auto claim = runner.host_->vcpus.acquire(self().vcpu);
    if (!claim) return;
    slot_ = static_cast<i32>(claim->slot);
    owner_died_ = claim->owner_died;
}
Runner::Cpu::~Cpu() {
    if (valid()) runner_.host_->vcpus.release(self().vcpu, static_cast<u32>(slot_));
}

Runner::Series::Series(Runner& runner, const BoundProgram& program, const Cpu& cpu)
    : engine_(runner.host_->engine),
      executable_(program.executable.get()),
      environment_{.thread = &self().thread,
                   .host = runner.host_.get(),
                   .trace = runner.host_->trace ? runner.host_->trace->map.get() : nullptr} {
    run_.vcpu = static_cast<u32>(cpu.slot_);
    run_.environment = &environment_;
    run_.helpers = &helpers::bodies();
    run_.tail_target = Host::tail_target;
    if (cpu.owner_died_)
        for (const auto& mapped : program.maps) mapped->map->recover(run_.vcpu);
}

u64 Runner::Series::run(const Input& input) {
    run_.context = input.context;
    run_.packet = input.packet;
    run_.cpu = static_cast<u32>(std::max(0, ::sched_getcpu()));
    run_.gave_up = false;
    run_.reservation_count = 0;
    return engine_.run(executable_, run_, 0);
}

}  // namespace anybpf::kernel

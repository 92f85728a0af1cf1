// SPDX-License-Identifier: Apache-2.0
#include "machine.hpp"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstring>

#include "anybpf/agent/environment.hpp"
#include "anybpf/agent/injector.hpp"
#include "anybpf/btf/btf.hpp"
#include "anybpf/helpers/task.hpp"
#include "anybpf/hooks/syscall.hpp"
#include "anybpf/kernel/kernel.hpp"
#include "anybpf/preload/preload.hpp"
#include "asks.hpp"
#include "object_file.hpp"
#include "paths.hpp"

namespace anybpf::cli {

struct Machine::User {
    std::unique_ptr<kernel::Kernel> kernel;
    std::unique_ptr<preload::Interposition> interposition;  // goes before the kernel it reaches
    u32 tree = 0;
    std::unique_ptr<agent::Injector> injector;
};

int kernel_bpf_error() {
    LIBBPF_OPTS(bpf_map_create_opts, options);
    const Fd map(bpf_map_create(BPF_MAP_TYPE_ARRAY, "anybpf_try", 4, 4, 1, &options));
    return map.valid() ? 0 : errno;
}

// The C library registers a list for each thread, where it may.
int robust_futex_error() {
    robust_list_head* head = nullptr;
    std::size_t size = 0;
    if (::syscall(SYS_get_robust_list, 0, &head, &size) != 0) return errno;
    return head != nullptr ? 0 : ENOSYS;
}

Outcome<> Machine::check_runs(Where where) {
    const int error = where == Where::user ? robust_futex_error() : 0;
    if (error == 0) return {};
    return stop(Exit::not_permitted, fmt::format("programs cannot be run here: robust futexes: {} (see anybpf doctor)",
                                                 std::strerror(error)));
}

Machine::Machine(Where where) : where_(where) {}
Machine::Machine(Machine&& other) noexcept = default;
Machine::~Machine() {
    if (user_) user_->injector.reset();
    if (user_ && user_->tree) user_->kernel->root().abandon(user_->tree);
}

kernel::Kernel* Machine::kernel() const { return user_ ? user_->kernel.get() : nullptr; }

Outcome<Machine> Machine::open(Where where, const kernel::Limits& limits) {
    Machine machine(where);
    if (where == Where::kernel) {
        if (limits != kernel::Limits{})
            return stop(Exit::usage,
                        "the machine's own BPF has its own limits: --max-insns and --stack are not for it");
        if (const int error = kernel_bpf_error())
            return stop(Exit::not_permitted,
                        fmt::format("the kernel's own bpf(2): {} (see anybpf doctor)", std::strerror(error)));
        return machine;
    }
    auto kernel = kernel::Kernel::open();
    if (!kernel) return stop(Exit::not_permitted, kernel.error().message);
    if (const auto set = (*kernel)->set_limits(limits); !set) return stop(Exit::usage, set.error().message);
    machine.user_ = std::make_unique<User>();
    machine.user_->kernel = std::move(*kernel);
    machine.user_->interposition = preload::install(*machine.user_->kernel);
    return machine;
}

// The file is read before ours stands in its place.
Outcome<Machine> Machine::open_to_judge(Where where, const std::string& btf, bool unprivileged,
                                        const kernel::Limits& limits) {
    if (where == Where::kernel) return open(where, limits);
    constexpr const char* of_running_kernel = "/sys/kernel/btf/vmlinux";
    const std::string path = btf.empty() && ::access(of_running_kernel, R_OK) == 0 ? of_running_kernel : btf;
    const bool own = path.empty() || path == "anybpf";
    const auto bytes = own ? std::vector<std::byte>() : CLI_TRY(read_file(path));
    auto types = btf::Btf::parse(own ? helpers::own_vmlinux_btf() : std::span<const std::byte>(bytes));
    if (!types) return stop(Exit::truncated, fmt::format("{}: {}", path, types.error().message));
    auto machine = CLI_TRY(open(where, limits));
    machine.kernel()->judge_for(std::move(*types), unprivileged);
    return machine;
}

Outcome<> Machine::supervise() {
    if (!user_) return {};
    auto tree = user_->kernel->root().supervise();
    if (!tree) return stop(Exit::failed, tree.error().message);
    user_->tree = *tree;
    user_->kernel->set_tree(*tree);
    const kernel::Root& root = user_->kernel->root();
    if (const std::string agent = agent_path(); !agent.empty()) {
        // Without one the dynamic loader brings the agent.
        auto injector = agent::Injector::start(agent, root.path(), *tree, root.exec_channel_path(*tree));
        if (injector) user_->injector = std::move(*injector);
    }
    return {};
}

Outcome<Attached> Machine::attach(pid_t pid) const { return Attached::start(user_->kernel->root(), pid, user_->tree); }

bool Machine::injects() const { return user_ && user_->injector && user_->injector->ask_here(); }

Fd Machine::trace() const {
    if (!user_) return {};
    auto held = user_->kernel->root().hold(kernel::trace_object, O_RDWR);
    return held ? std::move(*held) : Fd();
}

Fd Machine::notices() const {
    if (!user_ || user_->tree == 0) return {};
    return Fd(::open(user_->kernel->root().notices_path(user_->tree).c_str(), O_RDONLY | O_CLOEXEC));
}

void Machine::report_exec(const char* path, char* const* arguments, char* const* environment) const {
    if (!user_) return;
    const auto hooks = hooks::SyscallHooks::open(user_->kernel->root().path(), user_->tree);
    if (!hooks) return;
    hooks::SyscallThread thread;
    (*hooks)->attach_thread(thread);
    hooks::SyscallRegisters registers{};
    registers.orig_ax = SYS_execve;
    registers.ax = std::bit_cast<u64>(i64{-ENOSYS});
    registers.di = std::bit_cast<u64>(path);
    registers.si = std::bit_cast<u64>(arguments);
    registers.dx = std::bit_cast<u64>(environment);
    (*hooks)->enter(thread, registers);
}

Outcome<std::vector<std::string>> Machine::command_environment() const {
    std::vector<std::string> ours;
    for (char** variable = environ; *variable; ++variable) ours.emplace_back(*variable);
    if (!user_) return ours;
    const std::string agent = agent_path();
    if (agent.empty()) return stop(Exit::failed, "the agent (libanybpf-agent.so) is not there; set ANYBPF_AGENT_PATH");
    if (const int error = code_mapping_error(agent))
        return stop(Exit::not_permitted, fmt::format("the agent {} cannot be mapped as code: {} (see anybpf doctor)",
                                                     agent, std::strerror(error)));
    if (agent.find_first_of(": ") != agent.npos)
        return stop(Exit::failed,
                    fmt::format("{}: the loader cannot preload from a path with a colon or a space", agent));
    return agent::traced_environment(std::move(ours), agent, user_->kernel->root().path(), user_->tree);
}

}  // namespace anybpf::cli

// SPDX-License-Identifier: Apache-2.0
// Kernel: bpf(2), perf_event_open(2) and what belongs to them, as Linux 6.18 answers them, over the objects of a root.
// Every call behaves like the system call of that name: the result or -errno; user pointers may be bad (-EFAULT).
// Descriptors are real descriptors of the caller's process. May be called from any thread.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "anybpf/abi/types.hpp"
#include "anybpf/btf/btf.hpp"
#include "anybpf/engine/any.hpp"
#include "anybpf/kernel/root.hpp"

namespace anybpf::btf {
class Btf;
}
namespace anybpf::program {
struct Program;
}
namespace anybpf::verifier {
struct Report;
}

namespace anybpf::kernel {

// How much a program may need, where a host allows more than Linux: instructions that the verifier walks, and bytes of
// stack, of each frame and of a chain of calls (up to abi::max_stack_size). What runs the program needs so much of its
// thread's stack, and 8 KiB.
struct Limits {
    u64 max_insns = 1'000'000;
    u32 stack_bytes = abi::stack_size;
    friend bool operator==(const Limits&, const Limits&) = default;
};

class Kernel {
  public:
    // Opens (and makes, where it is missing) the root.
    static Result<std::unique_ptr<Kernel>> open(std::optional<std::string> root = {});
    ~Kernel();

    Root& root();

    long bpf(int command, void* attr, unsigned size);
    long perf_event_open(const void* attr, pid_t pid, int cpu, int group, unsigned long flags);

    // Which object a descriptor is; nothing: not one of ours, and the call goes to the real kernel.
    std::optional<ObjectId> owns(int fd) const;
    // For descriptors that are ours. ioctl: perf events. mmap: ring buffers, arrays, perf buffers; an address or
    // -errno.
    long ioctl(int fd, unsigned long request, unsigned long argument);
    long mmap(void* address, std::size_t length, int protection, int flags, int fd, off_t offset);

    // Sleeping on a ring buffer map or a perf buffer: a descriptor that becomes readable when there may be something to
    // read, to be given to poll or epoll instead. It stays Kernel's. -errno for others.
    int wake_fd(int fd);
    // Whether there is something to read already, once reservations of dead writers are out of the reader's way. Ask
    // before sleeping, and again every look_again_ms: a writer may be killed, or stopped, before it wakes anybody.
    bool readable(int fd);
    static constexpr int look_again_ms = 200;
    // After waking, before reading.
    void drain(int fd);

    // After close(2) of a descriptor that was ours: collects what that released. Calling it is a courtesy: everything
    // is found by a later sweep, too.
    void closed(ObjectId object);

    // Links and events made from now on run only in processes of this tree; 0: in every process of the root.
    void set_tree(u32 tree);

    // What runs programs of PROG_TEST_RUN from now on; the interpreter at first. The engine outlives the kernel.
    void set_engine(const engine::AnyEngine& engine);

    // Makes machine code of each program that is loaded from now on, for the processes that run it: the bytes of an
    // engine::CodeImage. Null, as at first: they interpret. One that cannot be compiled is interpreted, too.
    using Compile = Result<std::vector<std::byte>> (*)(const program::Lowered& lowered,
                                                       std::span<const engine::BoundMap> maps,
                                                       const abi::HelperBodies* helpers);
    void set_compiler(Compile compile);

    // From now on programs are judged, for the kernel with these types (null: none are known), and may be what cannot
    // run here: maps of types that have no contents here are only outlines, and programs may be attached by BTF.
    // Unprivileged: by the rules for loads without CAP_PERFMON. Call it before the first command.
    void judge_for(std::shared_ptr<const btf::Btf> kernel_btf, bool unprivileged);
    std::shared_ptr<const btf::Btf> kernel_btf() const;  // as given; null without

    // Extensions (ext) that are judged from now on replace a function of this program; null: of none.
    void extend(std::shared_ptr<const program::Program> target);

    // For programs that are loaded from now on. Fails where a limit is zero, or more stack than there can be.
    Result<> set_limits(const Limits& limits);

    // Is told of each program that reaches the verifier, as it is after relocation, and what the verifier found: by the
    // thread that loads it.
    using Watcher = std::function<void(const program::Program& program, const verifier::Report& report)>;
    void set_watcher(Watcher watcher);

    // The lines that /proc/self/fdinfo/<fd> has for such an object ("map_type:\t2\n...").
    std::string fdinfo(int fd);

    // Why the last failing call failed, for a person.
    std::string last_error() const;

    struct State;  // private to kernel/

  private:
    friend class Runner;
    template <class F>
    long answer(F&& call);
    explicit Kernel(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace anybpf::kernel

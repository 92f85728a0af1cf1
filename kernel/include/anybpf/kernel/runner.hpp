// SPDX-License-Identifier: Apache-2.0
// Runner: programs of a root, bound to this process by one engine and run in it, by whoever asks: PROG_TEST_RUN, and
// hosts that embed the machine. Everything may be called from any thread.
#pragma once

#include <memory>

#include "anybpf/engine/any.hpp"
#include "anybpf/helpers/environment.hpp"
#include "anybpf/kernel/kernel.hpp"

namespace anybpf::kernel {

// A program bound to this process, with the maps it uses. Immutable.
struct BoundProgram {
    abi::ProgType type{};
    u32 context_bytes = 0;  // of its context it reads no more
    std::shared_ptr<const void> executable;
    std::vector<std::shared_ptr<const MappedMap>> maps;
};

class Runner {
  public:
    // What a run is given; bytes of both must stay during it.
    struct Input {
        void* context = nullptr;
        abi::Packet packet;
    };

    // The kernel and the row must outlive the runner, and the runner what it binds.
    static Result<std::unique_ptr<Runner>> make(Kernel& kernel, const engine::AnyEngine& engine);
    ~Runner();

    Result<std::shared_ptr<const BoundProgram>> bind(const ProgramObject& program);

    // A virtual CPU for the runs of this thread, until it is destroyed: one at a time, on one thread. Not valid when
    // all are taken, or where this thread has one (in a signal handler, or a helper, of a run).
    class Cpu {
      public:
        explicit Cpu(Runner& runner);
        ~Cpu();
        Cpu(const Cpu&) = delete;
        Cpu& operator=(const Cpu&) = delete;
        bool valid() const { return slot_ >= 0; }

      private:
        friend class Runner;
        Runner& runner_;
        i32 slot_ = -1;
        bool owner_died_ = false;
    };
    // Runs of a program in a row, which share what a run needs of the thread. Program and CPU, which is valid, stay as
    // long.
    class Series {
      public:
        Series(Runner& runner, const BoundProgram& program, const Cpu& cpu);
        Series(const Series&) = delete;
        Series& operator=(const Series&) = delete;
        u64 run(const Input& input);                               // what the program returns
        const abi::Packet& packet() const { return run_.packet; }  // as the run left it

      private:
        const engine::AnyEngine& engine_;
        const void* executable_;
        helpers::Environment environment_;
        abi::Run run_;
    };

  private:
    struct Host;
    friend struct Kernel::State;
    explicit Runner(std::unique_ptr<Host> host);
    static Result<std::unique_ptr<Runner>> make(Kernel::State& state, const engine::AnyEngine& engine);
    std::unique_ptr<Host> host_;
};

}  // namespace anybpf::kernel

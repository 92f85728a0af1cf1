// SPDX-License-Identifier: Apache-2.0
// The compiling engine: a bound program is x86-64 machine code. Same meaning as the interpreter's, which is the
// reference, for everything that a verified program can do; the shape of both is the same, too.
#pragma once

#include <memory>
#include <span>

#include "anybpf/abi/run.hpp"
#include "anybpf/base/result.hpp"
#include "anybpf/engine/engine.hpp"
#include "anybpf/program/lowered.hpp"

namespace anybpf::engine {

// A program as machine code of this process. Immutable; may be run by many threads at once.
class JitProgram;

// Where code is put. Whoever gives one keeps it until the last program in it is gone; calls come from any thread that
// binds or drops programs.
class CodeMemory {
  public:
    virtual ~CodeMemory() = default;
    // At least `size` bytes, aligned to 16, writable and not executable, in pages that nobody else uses.
    virtual Result<std::span<std::byte>> reserve(std::size_t size) = 0;
    // From now on executable and not writable; may be put off until the first run of a program in it, so that several
    // are sealed at once. `code` is what reserve gave.
    virtual Result<> seal(std::span<std::byte> code) = 0;
    virtual void release(std::span<std::byte> code) = 0;
    // All of it at once: this code, which may run anywhere, ready to run; what release takes back.
    virtual Result<std::span<std::byte>> place(std::span<const std::byte> code);
};

// Private pages of the process, from mmap. Lives for ever.
CodeMemory& mapped_code_memory();

struct JitOptions {
    CodeMemory* memory = nullptr;  // null: mapped_code_memory()
    bool plain = false;            // no instruction that not every x86-64 processor has
};

struct Jit {
    static constexpr std::string_view name = "jit";
    // Copies what it needs: neither lowered nor maps must outlive the result. Maps themselves must. With helpers given,
    // their addresses become part of the code, and a call of one that has no body there fails; without, the run's own
    // table is asked at each call, and one without body ends the run with 0. A program in a PROG_ARRAY that
    // abi::Run::tail_target yields to a program of this engine must be a JitProgram*.
    static Result<std::shared_ptr<const JitProgram>> bind(const program::Lowered& lowered,
                                                          std::span<const BoundMap> maps,
                                                          const abi::HelperBodies* helpers = nullptr,
                                                          const JitOptions& options = {});
    // Runs to the end; r1 = run.context, r2 = second. The frames are on the caller's stack, at most eight of them; does
    // not allocate, does not make system calls, is async-signal-safe, uses no vector register. Registers that a program
    // never set are 0 at its start; after a helper's call r1 to r5 are unspecified. A function's value can be called
    // back only by helpers of a program that loads one.
    static u64 run(const JitProgram& program, abi::Run& run, u64 second = 0);

    // The machine code, without the addresses and tables behind it.
    static std::span<const std::byte> instructions(const JitProgram& program);
};

}  // namespace anybpf::engine

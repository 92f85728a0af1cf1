// SPDX-License-Identifier: Apache-2.0
// The compiling engine: a bound program is x86-64 machine code. Same meaning as the interpreter's, which is the
// reference, for everything that a verified program can do; the shape of both is the same, too.
#pragma once

#include <memory>
#include <span>

#include "anybpf/abi/run.hpp"
#include "anybpf/base/result.hpp"
#include "anybpf/engine/code.hpp"
#include "anybpf/engine/engine.hpp"
#include "anybpf/program/lowered.hpp"

namespace anybpf::engine {

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
    // What bind links: for other processes of this machine, whose maps of the same shapes lie elsewhere.
    static Result<CodeImage> compile(const program::Lowered& lowered, std::span<const BoundMap> maps,
                                     const abi::HelperBodies* helpers = nullptr, bool plain = false);
    // The same as bytes: a kernel::Kernel::Compile.
    static Result<std::vector<std::byte>> compile_bytes(const program::Lowered& lowered, std::span<const BoundMap> maps,
                                                        const abi::HelperBodies* helpers);
    static u64 run(const JitProgram& program, abi::Run& run, u64 second = 0) { return run_code(program, run, second); }

    // The machine code, without the addresses and tables behind it.
    static std::span<const std::byte> instructions(const JitProgram& program);
};

}  // namespace anybpf::engine

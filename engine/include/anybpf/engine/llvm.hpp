// SPDX-License-Identifier: Apache-2.0
// The optimizing engine: LLVM, in a module (libanybpf-llvm.so) that is loaded when it is first asked for. For programs
// that are worth milliseconds of compilation, and for code that is built ahead of time.
//
// The module is looked for in $ANYBPF_LLVM_PATH, then beside whatever this code is linked into (its folder, and ../lib
// and the like), then where the dynamic linker looks.
#pragma once

#include <string>
#include <vector>

#include "anybpf/engine/engine.hpp"

namespace anybpf::engine {

// Programs for files: code that is linked into an application, which runs it through the interface of host.h.
struct LlvmProgram {
    std::string name;
    const program::Lowered* lowered = nullptr;
    std::vector<u32> maps;  // of each map of the program, its index in LlvmBuild::maps
};
struct LlvmMap {
    // Where programs reach its values by address, as global variables are reached: what they start with. They lie in
    // the object, as a variable of that name.
    std::string values_name;
    std::span<const std::byte> values;
    bool constant = false;  // never written: the values that the verifier took for constant
};
enum class LlvmOutput : u8 {
    object,
    assembly,
    lifted_raw,  // the programs as LLVM IR, as they are lifted
    lifted       // the same, optimized
};
struct LlvmBuild {
    std::vector<LlvmProgram> programs;
    std::vector<LlvmMap> maps;
    std::string cpu = "x86-64";  // as clang's -march; native: this machine's
    std::string prefix;          // of the names of exported functions
};

// Code of one program. Immutable; may be run by many threads at once.
class LlvmExecutable;

struct Llvm {
    static constexpr std::string_view name = "llvm";
    // Whether the module can be loaded; if not, the message says which file or package is missing.
    static Result<> available();
    // As Interpreter's, and runs do the same. With helpers given, their addresses become part of the code. Memory of
    // this process becomes executable, never while it is writable.
    static Result<std::shared_ptr<const LlvmExecutable>> bind(const program::Lowered& lowered,
                                                              std::span<const BoundMap> maps,
                                                              const abi::HelperBodies* helpers = nullptr);
    // Several at once take less time than one after the other; their code goes with the last of them.
    static Result<std::vector<std::shared_ptr<const LlvmExecutable>>> bind_all(
        std::span<const program::Lowered* const> programs, std::span<const BoundMap> maps,
        const abi::HelperBodies* helpers = nullptr);
    static u64 run(const LlvmExecutable& executable, abi::Run& run, u64 second = 0);
    // Each program as a function u64 PREFIX NAME(void* ctx, anybpf_host* host), and a variable PREFIX NAME_program, an
    // anybpf_program, in an x86-64 object or as text.
    static Result<std::string> build(const LlvmBuild& build, LlvmOutput output);
};

}  // namespace anybpf::engine

// SPDX-License-Identifier: Apache-2.0
// The engine as others see it: compiling, and linking what was compiled in this very process.
#include "anybpf/engine/jit.hpp"

#include "anybpf/engine/check.hpp"
#include "anybpf/engine/layout.hpp"
#include "compiler.hpp"

namespace anybpf::engine {

Result<CodeImage> Jit::compile(const program::Lowered& lowered, std::span<const BoundMap> maps,
                               const abi::HelperBodies* helpers, bool plain) {
    ANYBPF_TRY(check(lowered, maps, helpers));
    return Compiler(lowered, maps, helpers, plain ? MachineFeatures{} : MachineFeatures::host()).run();
}

Result<std::vector<std::byte>> Jit::compile_bytes(const program::Lowered& lowered, std::span<const BoundMap> maps,
                                                  const abi::HelperBodies* helpers) {
    return ANYBPF_TRY(compile(lowered, maps, helpers)).bytes();
}

Result<std::shared_ptr<const JitProgram>> Jit::bind(const program::Lowered& lowered, std::span<const BoundMap> maps,
                                                    const abi::HelperBodies* helpers, const JitOptions& options) {
    const CodeImage image = ANYBPF_TRY(compile(lowered, maps, helpers, options.plain));
    return image.link(maps, helpers, options.memory != nullptr ? *options.memory : mapped_code_memory());
}

std::span<const std::byte> Jit::instructions(const JitProgram& program) {
    return std::span<const std::byte>(program.code).first(program.instruction_bytes);
}

}  // namespace anybpf::engine

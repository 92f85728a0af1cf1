// SPDX-License-Identifier: Apache-2.0
// Binding: a program becomes code on pages that may be executed.
//
// Raw because it writes addresses as numbers, for compiled code to jump to. It is safe because each is that of an
// instruction which the compiler named, in pages that live as long as the JitProgram.
#include "anybpf/engine/check.hpp"
#include "anybpf/engine/jit.hpp"
#include "compiler.hpp"
#include "layout.hpp"

namespace anybpf::engine {
namespace {

u64 address(const void* at) { return reinterpret_cast<u64>(at); }

}  // namespace

Result<std::shared_ptr<const JitProgram>> Jit::bind(const program::Lowered& lowered, std::span<const BoundMap> maps,
                                                    const abi::HelperBodies* helpers, const JitOptions& options) {
    ANYBPF_TRY(check(lowered, maps, helpers));
    Compiler compiler(lowered, maps, helpers, options.plain ? MachineFeatures{} : MachineFeatures::host());
    const Code code = ANYBPF_TRY(compiler.run());
    CodeMemory& memory = options.memory != nullptr ? *options.memory : mapped_code_memory();
    auto program = std::make_shared<JitProgram>(memory);
    program->code = ANYBPF_TRY(memory.place(code.bytes));
    program->instruction_bytes = code.instruction_bytes;
    program->body = address(program->code.data() + code.body);
    program->tail_body = address(program->code.data() + code.tail_body);
    program->enter = code.enter ? address(program->code.data() + *code.enter) : 0;
    return program;
}

std::span<const std::byte> Jit::instructions(const JitProgram& program) {
    return std::span<const std::byte>(program.code).first(program.instruction_bytes);
}

}  // namespace anybpf::engine

// SPDX-License-Identifier: Apache-2.0
#include "machine.hpp"

#include <fmt/format.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>

#include <mutex>

namespace anybpf::engine::llvm {
namespace {

// A string that LLVM allocated.
std::string take(char* message) {
    std::string copy = message != nullptr ? message : "";
    LLVMDisposeMessage(message);
    return copy;
}

}  // namespace

tl::unexpected<Error> failed(std::string_view what, LLVMErrorRef error) {
    char* const message = LLVMGetErrorMessage(error);
    std::string text = fmt::format("{}: {}", what, message);
    LLVMDisposeErrorMessage(message);
    return fail(Errc::unsupported, std::move(text));
}

Result<Machine> Machine::open(const std::string& cpu) {
    static std::once_flag once;
    std::call_once(once, [] {
        LLVMInitializeX86TargetInfo();
        LLVMInitializeX86Target();
        LLVMInitializeX86TargetMC();
        LLVMInitializeX86AsmPrinter();
    });
    constexpr const char* triple = "x86_64-pc-linux-gnu";
    LLVMTargetRef target = nullptr;
    char* message = nullptr;
    if (LLVMGetTargetFromTriple(triple, &target, &message) != 0) return fail(Errc::unsupported, take(message));
    const bool native = cpu == "native";
    const std::string name = native ? take(LLVMGetHostCPUName()) : cpu;
    const std::string features = native ? take(LLVMGetHostCPUFeatures()) : "";
    LLVMTargetMachineRef machine = LLVMCreateTargetMachine(target, triple, name.c_str(), features.c_str(),
                                                           LLVMCodeGenLevelDefault, LLVMRelocPIC, LLVMCodeModelSmall);
    if (machine == nullptr) return fail(Errc::unsupported, "LLVM cannot make code for " + name);
    return Machine(machine);
}

Machine::~Machine() {
    if (machine_ != nullptr) LLVMDisposeTargetMachine(machine_);
}

void Machine::describe(Unit& unit) const {
    char* const triple = LLVMGetTargetMachineTriple(machine_);
    LLVMSetTarget(unit.module, triple);
    LLVMDisposeMessage(triple);
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(machine_);
    LLVMSetModuleDataLayout(unit.module, layout);
    LLVMDisposeTargetData(layout);
}

Result<> Machine::optimize(Unit& unit) const {
    LLVMPassBuilderOptionsRef options = LLVMCreatePassBuilderOptions();
    LLVMErrorRef error = LLVMRunPasses(unit.module, "default<O2>", machine_, options);
    LLVMDisposePassBuilderOptions(options);
    if (error != nullptr) return failed("optimizing", error);
    return {};
}

Result<LLVMMemoryBufferRef> Machine::emit(Unit& unit, LLVMCodeGenFileType type) const {
    LLVMMemoryBufferRef buffer = nullptr;
    char* message = nullptr;
    if (LLVMTargetMachineEmitToMemoryBuffer(machine_, unit.module, type, &message, &buffer) != 0)
        return fail(Errc::unsupported, "making code: " + take(message));
    return buffer;
}

}  // namespace anybpf::engine::llvm

// SPDX-License-Identifier: Apache-2.0
// Machine: the x86-64 that code is made for. LLVM's own errors become ours here.
#pragma once

#include <llvm-c/Error.h>
#include <llvm-c/TargetMachine.h>

#include "anybpf/base/result.hpp"
#include "unit.hpp"

namespace anybpf::engine::llvm {

class Machine {
  public:
    // cpu as clang's -march; "native" is this machine, with all that it has.
    static Result<Machine> open(const std::string& cpu);
    Machine(Machine&& other) noexcept : machine_(std::exchange(other.machine_, nullptr)) {}
    ~Machine();

    LLVMTargetMachineRef release() && { return std::exchange(machine_, nullptr); }

    void describe(Unit& unit) const;  // triple and data layout, before anything is lifted
    Result<> optimize(Unit& unit) const;
    // The caller disposes of it.
    Result<LLVMMemoryBufferRef> emit(Unit& unit, LLVMCodeGenFileType type) const;

  private:
    explicit Machine(LLVMTargetMachineRef machine) : machine_(machine) {}
    LLVMTargetMachineRef machine_;
};

tl::unexpected<Error> failed(std::string_view what, LLVMErrorRef error);

}  // namespace anybpf::engine::llvm

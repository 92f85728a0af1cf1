// SPDX-License-Identifier: Apache-2.0
// Body: the instructions that a subprogram's entry leads to without calls: what becomes one LLVM function. They need
// not lie together, and in code that nobody verified two subprograms may share some.
#pragma once

#include <vector>

#include "llvm_module.hpp"

namespace anybpf::engine::llvm {

class Body {
  public:
    // Of the same program for every subprogram in turn: keeps its table, so that the cost is that of the body alone.
    explicit Body(const Program& program);
    void find(u32 first);

    const std::vector<u32>& insns() const {
        return insns_;
    }  // sorted; the program's length stands for "behind the end"
    bool leads(u32 insn) const { return (marks_[insn] & leader) != 0; }  // a block starts there

  private:
    enum Mark : u8 { reached = 1, leader = 2 };
    void follow(u32 insn);
    void go_to(u32 insn);

    const Program& program_;
    std::vector<u8> marks_;
    std::vector<u32> insns_, open_;
};

}  // namespace anybpf::engine::llvm

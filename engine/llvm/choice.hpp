// SPDX-License-Identifier: Apache-2.0
// choice: a switch of the source, which clang makes a tree of comparisons for BPF, is found in it again, so that LLVM
// may make a jump table of it as it would have done of the switch.
//
//         r0 s> 1 --no--> r0 == 0 --no--> B              switch r0:  0 -> A   1 -> B   2 -> C   3 -> D
//            | yes           +-yes-> A             =>                any other -> the tree, or the one place where
//         r0 == 2 --no--> D                                          it leads all others
//            +-yes-> C
#pragma once

#include <optional>
#include <vector>

#include "llvm_module.hpp"

namespace anybpf::engine::llvm {

struct Choice {
    u32 bits = 0;               // of the register that are compared
    i64 first = 0;              // the number of the first case; each next one is one more
    std::vector<u32> targets;   // the instruction that each case leads to
    std::optional<u32> others;  // where every other number leads, if that is one place
};

class Choices {
  public:
    explicit Choices(const Program& program) : program_(program), tree_of_(program.insn_count) {}
    // The one whose tree starts at this instruction. Nothing where that pays nothing, or where the instruction is in a
    // tree that was looked at before.
    std::optional<Choice> at(u32 insn);

  private:
    bool is_node(u32 insn) const { return insn < tree_of_.size() && tree_of_[insn] == tree_; }
    void collect(u32 root);
    std::optional<u32> follow(i64 value) const;
    std::optional<u32> everywhere_else() const;

    const Program& program_;
    std::vector<u32> tree_of_;  // by instruction, the number of the last tree that it was found in
    // The tree that is looked at: its number; where it starts, what it compares, and with what.
    u32 tree_ = 0, root_ = 0, bits_ = 0, comparisons_ = 0;
    i64 least_ = 0, most_ = 0;
};

}  // namespace anybpf::engine::llvm

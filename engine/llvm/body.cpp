// SPDX-License-Identifier: Apache-2.0
#include "body.hpp"

#include <algorithm>

#include "anybpf/engine/op.hpp"

namespace anybpf::engine::llvm {

Body::Body(const Program& program) : program_(program), marks_(program.insn_count + 1) {}

void Body::find(u32 first) {
    for (const u32 insn : insns_) marks_[insn] = 0;
    insns_.clear();
    go_to(first);
    while (!open_.empty()) {
        const u32 insn = open_.back();
        open_.pop_back();
        follow(insn);
    }
    std::ranges::sort(insns_);
}

void Body::go_to(u32 insn) {
    if ((marks_[insn] & leader) == 0) open_.push_back(insn);
    marks_[insn] |= leader;
}

void Body::follow(u32 insn) {
    for (;; ++insn) {
        if ((marks_[insn] & reached) != 0) {
            marks_[insn] |= leader;
            return;
        }
        marks_[insn] |= reached;
        insns_.push_back(insn);
        if (insn == program_.insn_count) {
            marks_[insn] |= leader;
            return;
        }
        const program::LoweredInsn& at = program_.insns[insn];
        const Op op{at.op};
        if (op_indices[at.op] == Index::jump) {
            go_to(static_cast<u32>(at.off));
            if (op != Op::jump) go_to(insn + 1);
            return;
        }
        if (op == Op::exit) return;
    }
}

}  // namespace anybpf::engine::llvm

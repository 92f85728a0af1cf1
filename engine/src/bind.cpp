// SPDX-License-Identifier: Apache-2.0
// Binding for the interpreter: the lowered form, once checked, becomes threaded code of this process.
#include <algorithm>
#include <bit>

#include "anybpf/abi/types.hpp"
#include "anybpf/engine/check.hpp"
#include "anybpf/engine/op.hpp"
#include "executable.hpp"

namespace anybpf::engine {
namespace {

Slot bind_insn(const Executable& executable, const program::LoweredInsn& insn, i64 at) {
    Slot slot{interpreter_handler(insn.op), static_cast<u64>(insn.imm), insn.off, insn.dst, insn.src};
    const auto distance = [at](i64 target) { return static_cast<i32>((target - at) * i64{sizeof(Slot)}); };
    if (op_indices[insn.op] == Index::jump) slot.off = distance(insn.off);
    if (op_indices[insn.op] == Index::array) slot.imm = std::bit_cast<u64>(&executable.arrays[slot.imm]);
    if (op_indices[insn.op] == Index::call) {
        slot.off = distance(insn.imm);
        const auto callee = std::ranges::lower_bound(executable.subprograms, insn.imm);
        slot.imm = executable.frame_bytes[static_cast<std::size_t>(callee - executable.subprograms.begin())];
    }
    return slot;
}

}  // namespace

Result<std::shared_ptr<const Executable>> Interpreter::bind(const program::Lowered& lowered,
                                                            std::span<const BoundMap> maps,
                                                            const abi::HelperBodies* helpers) {
    ANYBPF_TRY(check(lowered, maps, helpers));
    auto executable = std::make_shared<Executable>();
    for (const program::LoweredSubprogram& sub : lowered.subprograms) {
        executable->subprograms.push_back(sub.first);
        executable->frame_bytes.push_back((sub.stack_bytes + 15) & ~15U);
        executable->deep |= sub.stack_bytes > abi::stack_size;
    }
    for (const BoundMap& map : maps) executable->arrays.push_back(map.array);
    executable->code.reserve(lowered.insns.size() + 1);
    for (std::size_t i = 0; i < lowered.insns.size(); ++i)
        executable->code.push_back(bind_insn(*executable, lowered.insns[i], static_cast<i64>(i)));
    executable->code.push_back({.handler = interpreter_handler(op_count)});
    for (const program::MapUse& use : lowered.map_uses) executable->code[use.insn].imm = address_of(maps[use.map], use);
    return executable;
}

}  // namespace anybpf::engine

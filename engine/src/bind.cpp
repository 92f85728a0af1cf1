// SPDX-License-Identifier: Apache-2.0
// Binding: the lowered form, which may come from a file that somebody else wrote, becomes threaded code of this
// process. Every index in it is checked here, once, so that run() needs no checks.
#include <fmt/format.h>

#include <algorithm>

#include "anybpf/abi/types.hpp"
#include "anybpf/engine/op.hpp"
#include "executable.hpp"

namespace anybpf::engine {
namespace {

using program::Lowered;
using program::LoweredInsn;

constexpr u32 max_insns = 1U << 20;

tl::unexpected<Error> malformed(std::size_t at, std::string_view what) {
    return fail(Errc::malformed, fmt::format("lowered instruction {}: {}", at, what));
}

Result<Slot> bind_insn(const Lowered& lowered, const LoweredInsn& insn, i64 at, const abi::HelperBodies* helpers) {
    if (insn.op >= op_count) return malformed(static_cast<u64>(at), "unknown operation");
    if (insn.dst > 10 || insn.src > 10) return malformed(static_cast<u64>(at), "unknown register");
    Slot slot{interpreter_handler(insn.op), static_cast<u64>(insn.imm), insn.off, insn.dst, insn.src};
    const i64 count = static_cast<i64>(lowered.insns.size());
    switch (op_indices[insn.op]) {
        case Index::none:
            break;
        case Index::jump:
            if (insn.off < 0 || insn.off >= count) return malformed(static_cast<u64>(at), "jump out of the program");
            slot.off = static_cast<i32>((insn.off - at) * static_cast<i64>(sizeof(Slot)));
            break;
        case Index::call: {
            const auto found =
                std::ranges::lower_bound(lowered.subprograms, insn.imm, {}, &program::LoweredSubprogram::first);
            const bool known = found != lowered.subprograms.end() && found->first == insn.imm;
            if (!known) return malformed(static_cast<u64>(at), "call of something that is no subprogram");
            slot.off = static_cast<i32>((insn.imm - at) * static_cast<i64>(sizeof(Slot)));
            break;
        }
        case Index::helper:
            if (insn.imm <= 0 || insn.imm >= abi::helper_count)
                return malformed(static_cast<u64>(at), "unknown helper");
            if (helpers != nullptr && (*helpers)[static_cast<u64>(insn.imm)] == nullptr)
                return fail(Errc::unsupported, fmt::format("helper {} is not available here",
                                                           abi::helper_name(static_cast<u32>(insn.imm))));
            break;
    }
    return slot;
}

}  // namespace

Result<std::shared_ptr<const Executable>> Interpreter::bind(const Lowered& lowered, std::span<const BoundMap> maps,
                                                            const abi::HelperBodies* helpers) {
    if (lowered.insns.empty() || lowered.insns.size() > max_insns)
        return fail(Errc::malformed, fmt::format("a program of {} instructions", lowered.insns.size()));
    if (lowered.subprograms.empty() || lowered.subprograms[0].first != 0)
        return fail(Errc::malformed, "no subprogram starts at the first instruction");
    if (std::ranges::adjacent_find(lowered.subprograms, std::ranges::greater_equal{},
                                   &program::LoweredSubprogram::first) != lowered.subprograms.end())
        return fail(Errc::malformed, "the subprograms are not in order");
    auto executable = std::make_shared<Executable>();
    for (const program::LoweredSubprogram& sub : lowered.subprograms) {
        if (sub.first >= lowered.insns.size()) return fail(Errc::malformed, "a subprogram starts behind the end");
        if (sub.stack_bytes > abi::stack_size) return fail(Errc::malformed, "a subprogram's stack is too large");
        executable->subprograms.push_back(sub.first);
    }
    executable->code.reserve(lowered.insns.size() + 1);
    for (std::size_t i = 0; i < lowered.insns.size(); ++i)
        executable->code.push_back(ANYBPF_TRY(bind_insn(lowered, lowered.insns[i], static_cast<i64>(i), helpers)));
    executable->code.push_back({.handler = interpreter_handler(op_count)});
    for (const program::MapUse& use : lowered.map_uses) {
        if (use.insn >= lowered.insns.size() || Op{lowered.insns[use.insn].op} != Op::mov64_imm)
            return malformed(use.insn, "a map is used where none is loaded");
        if (use.map >= maps.size()) return malformed(use.insn, "unknown map");
        const BoundMap& map = maps[use.map];
        if (use.value != 0 && map.values == nullptr)
            return malformed(use.insn, "the map has no values of fixed address");
        executable->code[use.insn].imm = address_of(map, use);
    }
    return executable;
}

}  // namespace anybpf::engine

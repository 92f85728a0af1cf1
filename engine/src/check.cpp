// SPDX-License-Identifier: Apache-2.0
#include "anybpf/engine/check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "anybpf/abi/types.hpp"
#include "anybpf/engine/op.hpp"

namespace anybpf::engine {
namespace {

using program::Lowered;
using program::LoweredInsn;

constexpr u32 max_insns = 1U << 20;

tl::unexpected<Error> malformed(std::size_t at, std::string_view what) {
    return fail(Errc::malformed, fmt::format("lowered instruction {}: {}", at, what));
}

Result<> check_subprograms(const Lowered& lowered) {
    if (lowered.subprograms.empty() || lowered.subprograms[0].first != 0)
        return fail(Errc::malformed, "no subprogram starts at the first instruction");
    if (std::ranges::adjacent_find(lowered.subprograms, std::ranges::greater_equal{},
                                   &program::LoweredSubprogram::first) != lowered.subprograms.end())
        return fail(Errc::malformed, "the subprograms are not in order");
    for (const program::LoweredSubprogram& sub : lowered.subprograms) {
        if (sub.first >= lowered.insns.size()) return fail(Errc::malformed, "a subprogram starts behind the end");
        if (sub.stack_bytes > abi::max_stack_size) return fail(Errc::malformed, "a subprogram's stack is too large");
        if (sub.stack_bytes % 8 != 0) return fail(Errc::malformed, "a subprogram's stack is no whole number of words");
    }
    return {};
}

Result<> check_insn(const Lowered& lowered, std::size_t at, std::span<const BoundMap> maps,
                    const abi::HelperBodies* helpers) {
    const LoweredInsn& insn = lowered.insns[at];
    if (insn.op >= op_count) return malformed(at, "unknown operation");
    if (insn.dst > 10 || insn.src > 10) return malformed(at, "unknown register");
    switch (op_indices[insn.op]) {
        case Index::none:
            break;
        case Index::jump:
            if (insn.off < 0 || static_cast<u32>(insn.off) >= lowered.insns.size())
                return malformed(at, "jump out of the program");
            break;
        case Index::call: {
            const auto found =
                std::ranges::lower_bound(lowered.subprograms, insn.imm, {}, &program::LoweredSubprogram::first);
            if (found == lowered.subprograms.end() || found->first != insn.imm)
                return malformed(at, "call of something that is no subprogram");
            break;
        }
        case Index::helper:
            if (insn.imm <= 0 || insn.imm >= abi::helper_count) return malformed(at, "unknown helper");
            if (helpers != nullptr && (*helpers)[static_cast<u64>(insn.imm)] == nullptr)
                return fail(Errc::unsupported, fmt::format("helper {} is not available here",
                                                           abi::helper_name(static_cast<u32>(insn.imm))));
            break;
        case Index::array:
            if (insn.imm < 0 || static_cast<u64>(insn.imm) >= maps.size()) return malformed(at, "unknown map");
            if (maps[static_cast<u64>(insn.imm)].array.entries == 0) return malformed(at, "the map is no array");
            break;
    }
    return {};
}

Result<> check_map_use(const Lowered& lowered, const program::MapUse& use, std::span<const BoundMap> maps) {
    if (use.insn >= lowered.insns.size() || Op{lowered.insns[use.insn].op} != Op::mov64_imm)
        return malformed(use.insn, "a map is used where none is loaded");
    if (use.map >= maps.size()) return malformed(use.insn, "unknown map");
    if (use.value != 0 && maps[use.map].values == nullptr)
        return malformed(use.insn, "the map has no values of fixed address");
    return {};
}

}  // namespace

Result<> check(const Lowered& lowered, std::span<const BoundMap> maps, const abi::HelperBodies* helpers) {
    if (lowered.insns.empty() || lowered.insns.size() > max_insns)
        return fail(Errc::malformed, fmt::format("a program of {} instructions", lowered.insns.size()));
    ANYBPF_TRY(check_subprograms(lowered));
    for (std::size_t at = 0; at < lowered.insns.size(); ++at) ANYBPF_TRY(check_insn(lowered, at, maps, helpers));
    for (const program::MapUse& use : lowered.map_uses) ANYBPF_TRY(check_map_use(lowered, use, maps));
    return {};
}

u64 address_of(const BoundMap& map, const program::MapUse& use) {
    return use.value != 0 ? std::bit_cast<u64>(map.values) + use.offset : std::bit_cast<u64>(map.map);
}

}  // namespace anybpf::engine

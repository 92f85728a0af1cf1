// SPDX-License-Identifier: Apache-2.0
// Arenas: memory that programs and processes share at addresses of both. A process's address (space 1) becomes one that
// the program can use (space 0) by addr_space_cast, and the other way round. Whatever it was before, what comes out of
// a cast to space 0 points into the arena: engines take 32 bits of it and add where the arena is, and pages that are
// not there read as zero. So nothing has to be known of such an address, and anything may be computed with it. As
// check_alu_op(), adjust_reg_min_max_vals() and __add_used_map() of Linux 6.18 decide.
#include "walker.hpp"

namespace anybpf::verifier {

// A program has one arena.
bool Walker::use_arena(u32 map) {
    if (arena_map_ && *arena_map_ != map) return fail(Finding::second_arena, map);
    if (!options_.allow_ptr_leaks) return fail(Finding::arena_unprivileged, map);
    arena_map_ = map;
    return true;
}

bool Walker::cast() {
    constexpr u32 from_arena = 1, to_arena = 1U << 16;
    const auto spaces = static_cast<u32>(insn().imm);
    if (spaces != from_arena && spaces != to_arena) return fail(Finding::cast_spaces, spaces & 0xffff, spaces >> 16);
    if (!arena_map_) return fail(Finding::cast_without_arena);
    if (!readable(insn().src)) return false;
    reg(insn().dst) = spaces == from_arena ? Reg::pointer(Type::arena) : unknown();
    return true;
}

// Any operation on such an address and anything else gives one again.
bool Walker::arena_arithmetic(Reg& dst, const Reg& operand) {
    if (dst.type != Type::arena && operand.type != Type::arena) return false;
    dst = Reg::pointer(Type::arena);
    return true;
}

// Of those that give what was there before, x86-64 has no single instruction for some, and a loop of them could not be
// resumed behind a missing page.
bool Walker::arena_atomic() {
    using A = isa::AtomicOp;
    const A op = form().atomic;
    if (op != A::fetch_or && op != A::fetch_and && op != A::fetch_xor) return true;
    return fail(Finding::arena_atomic, insn().dst);
}

}  // namespace anybpf::verifier

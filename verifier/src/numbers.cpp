// SPDX-License-Identifier: Apache-2.0
// Arithmetic and comparisons: what they make of numbers and pointers, and what a branch teaches.
#include <cstdlib>

#include "walker.hpp"

namespace anybpf::verifier {

using isa::AluOp;

namespace {

// Beyond this a pointer is of no use, and sums of such offsets cannot wrap round.
constexpr i64 max_offset = i64{1} << 29;

Op domain_op(AluOp op) {
    switch (op) {
        case AluOp::add:
            return Op::add;
        case AluOp::sub:
            return Op::sub;
        case AluOp::mul:
            return Op::mul;
        case AluOp::or_:
            return Op::or_;
        case AluOp::and_:
            return Op::and_;
        case AluOp::xor_:
            return Op::xor_;
        case AluOp::lsh:
            return Op::lsh;
        case AluOp::rsh:
            return Op::rsh;
        case AluOp::arsh:
            return Op::arsh;
        case AluOp::div:
        case AluOp::sdiv:
        case AluOp::mod:
        case AluOp::smod:
        case AluOp::neg:
        case AluOp::mov:
            break;
    }
    return Op::unknown;
}

Compare domain_compare(isa::JumpOp op) {
    switch (op) {
        case isa::JumpOp::jeq:
            return Compare::eq;
        case isa::JumpOp::jgt:
            return Compare::gt;
        case isa::JumpOp::jge:
            return Compare::ge;
        case isa::JumpOp::jset:
            return Compare::set;
        case isa::JumpOp::jne:
            return Compare::ne;
        case isa::JumpOp::jsgt:
            return Compare::sgt;
        case isa::JumpOp::jsge:
            return Compare::sge;
        case isa::JumpOp::jlt:
            return Compare::lt;
        case isa::JumpOp::jle:
            return Compare::le;
        case isa::JumpOp::jslt:
            return Compare::slt;
        case isa::JumpOp::jsle:
            return Compare::sle;
    }
    return Compare::eq;
}

u64 immediate(const isa::Insn& insn) { return static_cast<u64>(i64{insn.imm}); }

// Whether pointers may be added to.
bool movable(Type type) {
    return type == Type::ctx || type == Type::stack || type == Type::map_value || type == Type::record ||
           type == Type::task || type == Type::map_key || type == Type::trace_buffer || type == Type::cast_socket ||
           type == Type::kernel_object || type == Type::btf || type == Type::memory || is_packet(type);
}

Compare mirror(Compare op) {
    switch (op) {
        case Compare::lt:
            return Compare::gt;
        case Compare::gt:
            return Compare::lt;
        case Compare::le:
            return Compare::ge;
        case Compare::ge:
            return Compare::le;
        case Compare::slt:
            return Compare::sgt;
        case Compare::sgt:
            return Compare::slt;
        case Compare::sle:
            return Compare::sge;
        case Compare::sge:
            return Compare::sle;
        case Compare::eq:
        case Compare::ne:
        case Compare::set:
        case Compare::not_set:
            break;
    }
    return op;
}

// Objects that nobody vouches for may turn out to be null, too.
bool certainly_not_null(const Reg& pointer) {
    if (pointer.type == Type::btf)
        return !pointer.has(flag::untrusted) && pointer.has(flag::trusted | flag::referenced);
    if (pointer.type == Type::arena) return false;
    return pointer.type != Type::memory || !pointer.has(flag::untrusted);
}

bool orders(Compare op) { return op == Compare::lt || op == Compare::le || op == Compare::gt || op == Compare::ge; }

// Whether an address below `end` has that many bytes to read: the packet's end, or for metadata the packet's start.
bool is_end_of(const Reg& end, const Reg& at) {
    if (at.type == Type::packet) return end.type == Type::packet_end;
    return at.type == Type::packet_meta && end.type == Type::packet && end.off == 0 && end.value.is_constant(0);
}

}  // namespace

bool Walker::move(bool is64, Reg& from) {
    from.unlink();
    Reg& dst = reg(insn().dst);
    if (is64) {
        dst = from;
        return true;
    }
    if (is_pointer(from.type)) {
        if (!options_.allow_ptr_leaks)
            return fail(Finding::pointer_arithmetic, insn().src, insn().code, static_cast<i64>(from.type));
        dst = unknown(zero_extend<64>(Value<32>::unknown()));
        return true;
    }
    // With nothing in its upper half it is a copy of the same value.
    dst = from.value.umax <= Value<32>::mask ? from
                                             : Reg::number(zero_extend<64>(from.value.low()), values_.fresh(from.id));
    return true;
}

bool Walker::alu() {
    const bool is64 = form().is64;
    const AluOp op = form().alu;
    const u8 dst = insn().dst, src = insn().src;
    if (form().by_register && !readable(src)) return false;
    if (op == AluOp::mov) {
        if (form().by_register) return move(is64, reg(src));
        reg(dst) = constant(is64 ? immediate(insn()) : static_cast<u32>(insn().imm));
        return true;
    }
    if (!readable(dst)) return false;
    Reg& target = reg(dst);
    if (op == AluOp::neg) {
        if (is_pointer(target.type)) return blur(dst, is64);
        const Number zero = Number::constant(0);
        target = Reg::number(is64 ? apply_wide(Op::sub, zero, target.value) : apply_low(Op::sub, zero, target.value),
                             values_.fresh(target.id));
        return true;
    }
    const Reg operand = form().by_register ? seen(src) : Reg::number(Number::constant(immediate(insn())), 0);
    if ((is_pointer(target.type) || is_pointer(operand.type)) && arena_arithmetic(target, operand)) return true;
    if (is_pointer(target.type)) return pointer_arithmetic(op, is64, target, operand);
    if (is_pointer(operand.type)) {
        // number + pointer is the same as pointer + number
        if (op != AluOp::add || !is64)
            return fail(Finding::pointer_arithmetic, src, insn().code, static_cast<i64>(operand.type));
        const Reg number = target;
        target = operand;
        return pointer_arithmetic(op, is64, target, number);
    }
    const Op what = domain_op(op);
    const Number result =
        is64 ? apply_wide(what, target.value, operand.value) : apply_low(what, target.value, operand.value);
    const Reg before = target;
    target = Reg::number(result, values_.fresh(before.id, operand.id));
    if (op == AluOp::add || op == AluOp::sub) link(target, before, op, is64, operand);
    return true;
}

// What is computed of an address otherwise than by adding to it is a number that nobody knows, for those who may know.
bool Walker::blur(u32 source, bool is64) {
    if (!options_.allow_ptr_leaks)
        return fail(Finding::pointer_arithmetic, source, insn().code, static_cast<i64>(reg(source).type));
    reg(insn().dst) = unknown(is64 ? Number::unknown() : zero_extend<64>(Value<32>::unknown()));
    return true;
}

// Once, as in Linux 6.18: the sum of a number and a constant learns what is learnt of the number, and the other way
// round.
void Walker::link(Reg& sum, const Reg& before, AluOp op, bool is64, const Reg& operand) {
    if (before.off != 0 || before.id == 0 || sum.is_constant()) return;
    if (!is64 && before.value.umax > Value<32>::mask) return;
    if (is64 ? !operand.is_constant() : !operand.value.low().is_constant()) return;
    i64 distance = is64 ? operand.value.smin : operand.value.low_smin;
    if (op == AluOp::sub) distance = -distance;
    if (distance < -INT32_MAX || distance > INT32_MAX) return;
    sum.object = before.base(), sum.off = static_cast<i32>(distance), sum.frame = is64 ? 0 : 1;
}

bool Walker::extend() {
    if (!readable(insn().src)) return false;
    const Reg& from = seen(insn().src);
    if (is_pointer(from.type)) return blur(insn().src, form().is64);
    const unsigned width = isa::row(form().extend).bits;
    const Number result = sign_extend(from.value, width, !form().is64);
    reg(insn().dst) = Reg::number(result, values_.fresh(from.id));
    return true;
}

bool Walker::swap() {
    if (!readable(insn().dst)) return false;
    Reg& target = reg(insn().dst);
    if (is_pointer(target.type)) return blur(insn().dst, true);
    // Each bit goes to its place, known or not; what is wider than the swap is cut off.
    const unsigned bits = isa::row(form().swap).bits;
    const isa::SwapOp op = form().swap;
    const bool kept = op == isa::SwapOp::le16 || op == isa::SwapOp::le32 || op == isa::SwapOp::le64;
    const auto moved = [&](u64 value) {
        return kept ? value & (Number::Wide::mask >> (64 - bits)) : __builtin_bswap64(value) >> (64 - bits);
    };
    Number::Wide wide;
    wide.meet_bits({moved(target.value.bits.value), moved(target.value.bits.mask)});
    wide.reconcile();
    target = Reg::number(Number::of(wide, Number::Low::unknown()), values_.fresh(target.id));
    return true;
}

bool Walker::pointer_arithmetic(AluOp op, bool is64, Reg& dst, const Reg& operand) {
    const auto refused = [&] {
        return fail(Finding::pointer_arithmetic, insn().dst, insn().code, static_cast<i64>(dst.type));
    };
    if (op != AluOp::add && op != AluOp::sub) return refused();
    if (is_pointer(operand.type)) {
        // A distance between addresses tells where they are, except within one frame of the stack.
        if (op != AluOp::sub) return refused();
        if (is64 && dst.type == Type::stack && operand.type == Type::stack && dst.frame == operand.frame) {
            // What the difference depends on is in no value's history, so that it may not be taken as known.
            dst = unknown();
            return true;
        }
        const auto of_packet = [](Type type) { return is_packet(type) || type == Type::packet_end; };
        const bool length = is64 && of_packet(dst.type) && of_packet(operand.type);
        if (!length && !options_.allow_ptr_leaks) return refused();
        dst = unknown(is64 ? Number::unknown() : zero_extend<64>(Value<32>::unknown()));
        return true;
    }
    if (!is64) {
        if (op != AluOp::sub || !options_.allow_ptr_leaks) return refused();
        dst = unknown(zero_extend<64>(Value<32>::unknown()));
        return true;
    }
    if (may_be_null(dst)) return fail(Finding::arithmetic_maybe_null, insn().dst, static_cast<i64>(dst.type));
    mark(operand);
    if (!movable(dst.type) && !(dst.type == Type::flow_keys && operand.value.is_constant()))
        return (operand.is_zero() && (dst.type == Type::map || dst.type == Type::function)) || refused();
    if (dst.type == Type::memory && dst.has(flag::untrusted)) return true;
    const auto sane = [](const Number& value) {
        return value.smin > -max_offset && (!value.is_constant() || value.smax < max_offset);
    };
    const Number moved = apply_wide(domain_op(op), dst.value, operand.value);
    if (!sane(operand.value) || !sane(moved))
        return fail(Finding::pointer_offset, insn().dst, static_cast<i64>(dst.type));
    if (is_packet(dst.type)) {
        const i64 step = op == AluOp::add ? operand.value.smin : -operand.value.smin;
        if (operand.value.is_constant() && std::abs(i64{dst.off} + step) < max_offset) {
            dst.off += static_cast<i32>(step);
            return true;
        }
        if (moved.smin >= max_offset) return fail(Finding::pointer_offset, insn().dst, static_cast<i64>(dst.type));
        // What is known of the bytes from there on stays true when the address does not grow.
        if (op == AluOp::add || operand.value.smin < 0) dst.object = 0;
        dst.id = next_id_++;
    }
    dst.value = moved;
    return true;
}

// -------------------------------------------------------------------------------------------------------- comparisons

// Copies of a number, wherever they lie, become the sharper number together; and so do those at a known distance.
void Walker::replace(State& state, const Reg& old, const Number& value, u32 new_id) {
    if (old.id == 0) return;
    const u32 base = old.base();
    // A saved sum is a copy of it that has forgotten of what it is the sum.
    const auto related = [&](const Reg& copy) {
        return copy.is_scalar() && (copy.base() == base || copy.id == old.id);
    };
    const bool stored = values_.stored(base) || values_.stored(old.id);
    if (values_.stored(old.id)) values_.note_stored(new_id);
    const auto learn = [&](Reg& copy) {
        if (copy.id == old.id) {
            if (new_id != old.id && copy.id == base && copy.object == 0) copy.object = base;
            copy.value = value, copy.id = new_id;
            return;
        }
        if (copy.off != 0 && old.off != 0 && copy.frame != old.frame) return;
        const Number distance = Number::constant(static_cast<u64>(i64{copy.off} - old.off));
        const bool narrow = copy.frame != 0 || old.frame != 0;
        const Number moved = narrow ? apply_low(Op::add, value, distance) : apply_wide(Op::add, value, distance);
        auto wide = copy.value.wide();
        auto low = copy.value.low();
        wide.meet(moved.wide());
        low.meet(moved.low());
        const Number both = Number::of(wide, low);
        if (both == copy.value) return;
        copy.value = both.empty() ? moved : both;
        copy.id = values_.fresh(copy.id, new_id), copy.object = base;
    };
    state.change(related, learn, stored);
}

Walker::Step Walker::jump() {
    const u8 dst = insn().dst, src = insn().src;
    if (!readable(dst) || (form().by_register && !readable(src))) return Step::failed;
    const u32 target = structure_.targets[pc_];
    const Compare op = domain_compare(form().jump);
    const Reg a = seen(dst);
    const Reg b = form().by_register ? seen(src) : Reg::number(Number::constant(immediate(insn())), 0);
    if (a.is_scalar() && b.is_scalar()) return compare_numbers(op, a, b, target);
    return compare_pointers(op, form().is64, a, b, target);
}

Walker::Step Walker::compare_numbers(Compare op, const Reg& a, const Reg& b, u32 target) {
    const bool low = !form().is64;
    const Decision known = low ? decide(op, a.value.low(), b.value.low()) : decide(op, a.value.wide(), b.value.wide());
    if (known != Decision::open) {
        mark(a);
        mark(b);
        if (known == Decision::always) next_ = target;
        return Step::next;
    }
    Number a_taken = a.value, b_taken = b.value, a_next = a.value, b_next = b.value;
    refine(op, low, a_taken, b_taken);
    refine(negate(op), low, a_next, b_next);
    const bool taken = !a_taken.empty() && !b_taken.empty(), next = !a_next.empty() && !b_next.empty();
    if (!taken || !next) {
        // Decided by what is known of both numbers. (Neither way: nothing can arrive here with such numbers.)
        mark(a);
        mark(b);
        if (!taken && !next) return Step::path_end;
        if (taken) next_ = target;
        return Step::next;
    }
    // What a comparison with another register teaches holds only as long as that register's value does.
    const auto teach = [&](State& state, const Number& a_value, const Number& b_value) {
        const bool a_changed = !(a_value == a.value), b_changed = !(b_value == b.value) && form().by_register;
        const bool together = form().by_register;
        const u32 a_id = a_changed && together ? values_.fresh(a.id, b.id) : a.id;
        const u32 b_id = b_changed ? values_.fresh(b.id, a.id) : b.id;
        if (a_changed) replace(state, a, a_value, a_id);
        if (b_changed && b.id != a.id) replace(state, b, b_value, b_id);
    };
    State* const other = fork(target);
    if (other == nullptr) return Step::failed;
    teach(*other, a_taken, b_taken);
    teach(state_, a_next, b_next);
    return Step::next;
}

// A pointer that may be null turned out to be null, or not: so did its copies.
void Walker::settle_null(State& state, u32 id, bool null) {
    const Reg zero = constant(0);
    const auto found = [&](const Reg& copy) { return may_be_null(copy) && copy.id == id; };
    state.change(found, [&](Reg& copy) {
        if (null)
            copy = zero;
        else if (copy.has(flag::null))
            copy.flags ^= flag::null, copy.id = copy.has(flag::referenced) ? id : 0;
        else
            settle(copy);
    });
    if (!null) return;
    std::erase_if(state.references, [&](const Reference& reference) { return reference.id == id; });
}

// `at` is below the packet's end, or at most there: so many bytes from it on are in the packet. As
// find_good_pkt_pointers() of Linux 6.18, which knows nothing of addresses beyond 65535 bytes.
void Walker::learn_range(State& state, const Reg& at, bool open) {
    constexpr u64 max_packet = 0xffff;
    if (at.off < 0 || (at.off == 0 && open)) return;
    if (at.value.umax > max_packet || at.value.umax + static_cast<u64>(at.off) > max_packet) return;
    const u32 range = static_cast<u32>(at.off) + (open ? 1 : 0);
    state.change([&](const Reg& copy) { return copy.type == at.type && copy.id == at.id && copy.object < range; },
                 [&](Reg& copy) { copy.object = range; });
}

Walker::Step Walker::compare_packets(Compare op, const Reg& at, u32 target) {
    State* const other = fork(target);
    if (other == nullptr) return Step::failed;
    if (op == Compare::lt || op == Compare::le)
        learn_range(*other, at, op == Compare::lt);
    else
        learn_range(state_, at, op == Compare::ge);
    return Step::next;
}

// The packet may be elsewhere now.
void Walker::lose_packets() {
    lose(
        [](const Reg& reg) { return is_packet(reg.type) || reg.type == Type::packet_end || reg.has(flag::in_packet); });
}

Walker::Step Walker::compare_pointers(Compare op, bool is64, const Reg& a, const Reg& b, u32 target) {
    const bool equality = op == Compare::eq || op == Compare::ne;
    const bool with_zero = a.is_zero() || b.is_zero();
    const Reg& pointer = is_pointer(a.type) ? a : b;
    if (is64 && equality && with_zero) {
        mark(a);
        mark(b);
        if (!may_be_null(pointer)) {
            if (!certainly_not_null(pointer)) return fork(target) != nullptr ? Step::next : Step::failed;
            if (op == Compare::ne) next_ = target;
            return Step::next;
        }
        const u32 id = pointer.id;
        State* const other = fork(target);
        if (other == nullptr) return Step::failed;
        settle_null(*other, id, op == Compare::eq);
        settle_null(state_, id, op == Compare::ne);
        return Step::next;
    }
    if (is64 && orders(op) && is_end_of(b, a)) return compare_packets(op, a, target);
    if (is64 && orders(op) && is_end_of(a, b)) return compare_packets(mirror(op), b, target);
    const bool same_object = is64 && a.type == b.type && a.object == b.object && a.frame == b.frame && a.id == b.id &&
                             op != Compare::set && op != Compare::not_set;
    if (!same_object && !options_.allow_ptr_leaks) {
        fail(Finding::pointer_comparison, &pointer == &a ? insn().dst : insn().src, static_cast<i64>(pointer.type));
        return Step::failed;
    }
    return fork(target) != nullptr ? Step::next : Step::failed;
}

}  // namespace anybpf::verifier

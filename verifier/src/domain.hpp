// SPDX-License-Identifier: Apache-2.0
// What is known of a number: some of its bits (Tnum), and the least and greatest it can be, read as unsigned and as
// signed (Value<N>). Scalar<N> keeps that of a register's N bits and, beside it, of its lower half, because programs
// compute and compare in both widths. All of it is a set of possible values; an operation's result contains every value
// that the operation gives for members of its arguments. That law is tested exhaustively for small N
// (domain_test.cpp), which is why the width is a parameter; programs use 64.
//
// Bits after "Sound, Precise, and Fast Abstract Interpretation with Tristate Numbers" (CGO 2022). An operation computes
// bits and both ranges independently; reconcile() lets them sharpen each other. An impossible combination means that no
// value is left: the set is empty, and a branch that leads to it is never taken.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <optional>

#include "anybpf/base/types.hpp"

namespace anybpf::verifier {

using i128 = __int128;

// Bits that are set in mask are unknown, the others are those of value.
struct Tnum {
    u64 value = 0, mask = ~0ULL;

    static constexpr Tnum constant(u64 v) { return {v, 0}; }
    static constexpr Tnum unknown() { return {0, ~0ULL}; }
    // The smallest that holds all of min..max.
    static constexpr Tnum range(u64 min, u64 max) {
        const u64 differing = min ^ max;
        if (differing == 0) return constant(min);
        const int bits = 64 - std::countl_zero(differing);
        const u64 low = bits == 64 ? ~0ULL : (1ULL << bits) - 1;
        return {min & ~low, low};
    }

    constexpr bool is_constant() const { return mask == 0; }
    constexpr bool contains(u64 v) const { return (v & ~mask) == value; }
    constexpr bool includes(Tnum other) const {
        return (other.mask & ~mask) == 0 && ((other.value ^ value) & ~mask) == 0;
    }
    // Whether a value is left that satisfies both.
    constexpr bool meets(Tnum other) const { return ((value ^ other.value) & ~mask & ~other.mask) == 0; }
    constexpr Tnum intersect(Tnum other) const {
        const u64 both = mask & other.mask;
        return {(value | other.value) & ~both, both};
    }
    constexpr Tnum truncate(u64 width_mask) const { return {value & width_mask, mask & width_mask}; }
    friend constexpr bool operator==(Tnum, Tnum) = default;

    friend constexpr Tnum operator+(Tnum a, Tnum b) {
        const u64 sum = a.value + b.value;
        const u64 carries = (sum + (a.mask + b.mask)) ^ sum;
        const u64 unknown = carries | a.mask | b.mask;
        return {sum & ~unknown, unknown};
    }
    friend constexpr Tnum operator-(Tnum a, Tnum b) {
        const u64 difference = a.value - b.value;
        const u64 borrows = (difference + a.mask) ^ (difference - b.mask);
        const u64 unknown = borrows | a.mask | b.mask;
        return {difference & ~unknown, unknown};
    }
    friend constexpr Tnum operator*(Tnum a, Tnum b) {
        const u64 known = a.value * b.value;
        Tnum rest = constant(0);
        for (; (a.value | a.mask) != 0; a = a >> 1, b = b << 1) {
            if ((a.value & 1) != 0)
                rest = rest + Tnum{0, b.mask};
            else if ((a.mask & 1) != 0)
                rest = rest + Tnum{0, b.value | b.mask};
        }
        return constant(known) + rest;
    }
    friend constexpr Tnum operator&(Tnum a, Tnum b) {
        const u64 ones = a.value & b.value;
        return {ones, (a.value | a.mask) & (b.value | b.mask) & ~ones};
    }
    friend constexpr Tnum operator|(Tnum a, Tnum b) {
        const u64 ones = a.value | b.value;
        return {ones, (a.mask | b.mask) & ~ones};
    }
    friend constexpr Tnum operator^(Tnum a, Tnum b) {
        const u64 unknown = a.mask | b.mask;
        return {(a.value ^ b.value) & ~unknown, unknown};
    }
    friend constexpr Tnum operator<<(Tnum a, unsigned count) { return {a.value << count, a.mask << count}; }
    friend constexpr Tnum operator>>(Tnum a, unsigned count) { return {a.value >> count, a.mask >> count}; }
};

enum class Compare : u8 { eq, ne, lt, le, gt, ge, slt, sle, sgt, sge, set, not_set };

constexpr Compare negate(Compare op) {
    switch (op) {
        case Compare::eq:
            return Compare::ne;
        case Compare::ne:
            return Compare::eq;
        case Compare::lt:
            return Compare::ge;
        case Compare::le:
            return Compare::gt;
        case Compare::gt:
            return Compare::le;
        case Compare::ge:
            return Compare::lt;
        case Compare::slt:
            return Compare::sge;
        case Compare::sle:
            return Compare::sgt;
        case Compare::sgt:
            return Compare::sle;
        case Compare::sge:
            return Compare::slt;
        case Compare::set:
            return Compare::not_set;
        case Compare::not_set:
            return Compare::set;
    }
    return op;
}

// Operations whose result the domain follows; of the others (division, byte swaps) nothing is known.
enum class Op : u8 { add, sub, mul, and_, or_, xor_, lsh, rsh, arsh, unknown };

template <unsigned N>
struct Value {
    static_assert(N >= 2 && N <= 64);
    static constexpr u64 mask = ~0ULL >> (64 - N);
    static constexpr i64 least = static_cast<i64>(~0ULL << (N - 1)), greatest = static_cast<i64>(mask >> 1);
    static constexpr i64 sign_extend(u64 v) { return static_cast<i64>(v << (64 - N)) >> (64 - N); }

    Tnum bits{0, mask};
    u64 umin = 0, umax = mask;
    i64 smin = least, smax = greatest;

    static constexpr Value unknown() { return {}; }
    static constexpr Value constant(u64 v) {
        v &= mask;
        return {Tnum::constant(v), v, v, sign_extend(v), sign_extend(v)};
    }
    friend constexpr bool operator==(const Value&, const Value&) = default;

    constexpr bool is_constant() const { return umin == umax; }
    constexpr bool empty() const { return umin > umax || smin > smax; }
    constexpr bool contains(u64 v) const {
        return bits.contains(v) && v >= umin && v <= umax && sign_extend(v) >= smin && sign_extend(v) <= smax;
    }
    constexpr bool includes(const Value& other) const {
        return bits.includes(other.bits) && umin <= other.umin && umax >= other.umax && smin <= other.smin &&
               smax >= other.smax;
    }

    constexpr void clear() { umin = mask, umax = 0; }

    constexpr void meet_bits(Tnum other) {
        if (!bits.meets(other)) return clear();
        bits = bits.intersect(other);
    }
    constexpr void meet_unsigned(u64 min, u64 max) { umin = std::max(umin, min), umax = std::min(umax, max); }
    constexpr void meet_signed(i64 min, i64 max) { smin = std::max(smin, min), smax = std::min(smax, max); }

    // Lets the three descriptions sharpen each other. Two rounds reach what matters; stopping early is sound.
    constexpr void reconcile() {
        if (umin == umax) {
            if (!contains(umin)) return clear();
            *this = constant(umin);
            return;
        }
        for (int round = 0; round < 2 && !empty(); ++round) {
            const Value before = *this;
            meet_unsigned(bits.value, bits.value | bits.mask);
            const u64 sign = 1ULL << (N - 1);
            meet_signed(sign_extend(bits.value | (bits.mask & sign)), sign_extend(bits.value | (bits.mask & ~sign)));
            if (empty()) return clear();
            if (sign_extend(umin) <= sign_extend(umax)) {
                meet_signed(sign_extend(umin), sign_extend(umax));
            } else {  // the unsigned range holds both signs: each of its ends bounds one of them
                if (smin >= 0) umax = std::min(umax, static_cast<u64>(greatest));
                if (smax < 0) umin = std::max(umin, sign);
            }
            if (empty()) return clear();
            if ((smin < 0) == (smax < 0)) meet_unsigned(static_cast<u64>(smin) & mask, static_cast<u64>(smax) & mask);
            if (empty()) return clear();
            meet_bits(Tnum::range(umin, umax));
            if (*this == before) return;
        }
        if (empty()) clear();
    }

    constexpr void meet(const Value& other) {
        meet_bits(other.bits);
        meet_unsigned(other.umin, other.umax);
        meet_signed(other.smin, other.smax);
        reconcile();
    }
};

namespace detail {

// The range lo..hi of exact results, brought back into N bits: still a range when both ends wrap equally often.
template <unsigned N>
constexpr void wrap_unsigned(Value<N>& out, i128 lo, i128 hi) {
    if ((lo >> N) != (hi >> N)) return;
    out.umin = static_cast<u64>(lo) & Value<N>::mask;
    out.umax = static_cast<u64>(hi) & Value<N>::mask;
}
template <unsigned N>
constexpr void wrap_signed(Value<N>& out, i128 lo, i128 hi) {
    const i128 shift = -static_cast<i128>(Value<N>::least);
    if (((lo + shift) >> N) != ((hi + shift) >> N)) return;
    out.smin = Value<N>::sign_extend(static_cast<u64>(lo));
    out.smax = Value<N>::sign_extend(static_cast<u64>(hi));
}

}  // namespace detail

template <unsigned N>
constexpr Value<N> apply(Op op, const Value<N>& a, const Value<N>& b) {
    using V = Value<N>;
    V out;
    const auto unsigned_of = [](u64 v) { return static_cast<i128>(v); };
    switch (op) {
        case Op::add:
            out.bits = (a.bits + b.bits).truncate(V::mask);
            detail::wrap_unsigned(out, unsigned_of(a.umin) + b.umin, unsigned_of(a.umax) + b.umax);
            detail::wrap_signed(out, i128{a.smin} + b.smin, i128{a.smax} + b.smax);
            break;
        case Op::sub:
            out.bits = (a.bits - b.bits).truncate(V::mask);
            detail::wrap_unsigned(out, unsigned_of(a.umin) - unsigned_of(b.umax),
                                  unsigned_of(a.umax) - unsigned_of(b.umin));
            detail::wrap_signed(out, i128{a.smin} - b.smax, i128{a.smax} - b.smin);
            break;
        case Op::mul: {
            out.bits = (a.bits * b.bits).truncate(V::mask);
            unsigned __int128 high = static_cast<unsigned __int128>(a.umax) * b.umax;
            if (high <= V::mask) out.umin = a.umin * b.umin, out.umax = static_cast<u64>(high);
            const i128 corners[] = {i128{a.smin} * b.smin, i128{a.smin} * b.smax, i128{a.smax} * b.smin,
                                    i128{a.smax} * b.smax};
            const i128 lo = *std::min_element(corners, corners + 4), hi = *std::max_element(corners, corners + 4);
            if (lo >= V::least && hi <= V::greatest) out.smin = static_cast<i64>(lo), out.smax = static_cast<i64>(hi);
            break;
        }
        case Op::and_:
            out.bits = a.bits & b.bits;
            out.umax = std::min(a.umax, b.umax);
            break;
        case Op::or_:
            out.bits = a.bits | b.bits;
            out.umin = std::max(a.umin, b.umin);
            break;
        case Op::xor_:
            out.bits = a.bits ^ b.bits;
            break;
        case Op::lsh: {
            if (!b.is_constant() || b.umin >= N) return out;
            const unsigned count = static_cast<unsigned>(b.umin);
            out.bits = (a.bits << count).truncate(V::mask);
            if (a.umax <= V::mask >> count) out.umin = a.umin << count, out.umax = a.umax << count;
            const i128 factor = i128{1} << count, lo = i128{a.smin} * factor, hi = i128{a.smax} * factor;
            if (lo >= V::least && hi <= V::greatest) out.smin = static_cast<i64>(lo), out.smax = static_cast<i64>(hi);
            break;
        }
        case Op::rsh: {
            if (!b.is_constant() || b.umin >= N) return out;
            const unsigned count = static_cast<unsigned>(b.umin);
            out.bits = a.bits >> count;
            out.umin = a.umin >> count, out.umax = a.umax >> count;
            break;
        }
        case Op::arsh: {
            if (!b.is_constant() || b.umin >= N) return out;
            const unsigned count = static_cast<unsigned>(b.umin);
            out.bits = Tnum{static_cast<u64>(V::sign_extend(a.bits.value) >> count),
                            static_cast<u64>(V::sign_extend(a.bits.mask) >> count)}
                           .truncate(V::mask);
            out.smin = a.smin >> count, out.smax = a.smax >> count;
            break;
        }
        case Op::unknown:
            return out;
    }
    out.reconcile();
    return out;
}

// The operation on two known numbers, in N bits; nothing where apply() knows nothing of it.
template <unsigned N>
constexpr std::optional<u64> exact(Op op, u64 a, u64 b) {
    using V = Value<N>;
    switch (op) {
        case Op::add:
            return (a + b) & V::mask;
        case Op::sub:
            return (a - b) & V::mask;
        case Op::mul:
            return (a * b) & V::mask;
        case Op::and_:
            return a & b;
        case Op::or_:
            return a | b;
        case Op::xor_:
            return a ^ b;
        case Op::lsh:
            return b < N ? std::optional(a << b & V::mask) : std::nullopt;
        case Op::rsh:
            return b < N ? std::optional(a >> b) : std::nullopt;
        case Op::arsh:
            return b < N ? std::optional(static_cast<u64>(V::sign_extend(a) >> b) & V::mask) : std::nullopt;
        case Op::unknown:
            break;
    }
    return std::nullopt;
}

// Whether `a op b` holds for all members or for none, as far as the ranges tell.
enum class Decision : u8 { never, always, open };
constexpr Decision opposite(Decision of) {
    return of == Decision::open ? of : of == Decision::always ? Decision::never : Decision::always;
}
template <unsigned N>
constexpr Decision decide(Compare op, const Value<N>& a, const Value<N>& b) {
    const auto one_of = [](bool always, bool never) {
        return always ? Decision::always : never ? Decision::never : Decision::open;
    };
    switch (op) {
        case Compare::eq:
            return one_of(a.is_constant() && b.is_constant() && a.umin == b.umin,
                          a.umax < b.umin || b.umax < a.umin || a.smax < b.smin || b.smax < a.smin);
        case Compare::lt:
            return one_of(a.umax < b.umin, a.umin >= b.umax);
        case Compare::le:
            return one_of(a.umax <= b.umin, a.umin > b.umax);
        case Compare::slt:
            return one_of(a.smax < b.smin, a.smin >= b.smax);
        case Compare::sle:
            return one_of(a.smax <= b.smin, a.smin > b.smax);
        case Compare::ne:
        case Compare::gt:
        case Compare::ge:
        case Compare::sgt:
        case Compare::sge:
            return opposite(decide(negate(op), a, b));
        case Compare::set:
        case Compare::not_set:
            break;
    }
    return Decision::open;
}

// Leaves in a and b what can be there when `a op b` holds; both become empty when it cannot hold.
template <unsigned N>
constexpr void refine(Compare op, Value<N>& a, Value<N>& b) {
    using V = Value<N>;
    const V a_before = a, b_before = b;
    const auto drop = [](V& from, u64 v) {  // v is not in from
        if (from.umin == v && from.umax == v) return from.clear();
        if (from.umin == v) ++from.umin;
        if (from.umax == v) --from.umax;
        const i64 s = V::sign_extend(v);
        if (from.smin == s && from.smax == s) return from.clear();
        if (from.smin == s) ++from.smin;
        if (from.smax == s) --from.smax;
    };
    switch (op) {
        case Compare::eq:
            if (b.is_constant()) {
                if (!a.contains(b.umin)) b.clear();
                a = b;
                return;
            }
            a.meet(b);
            b = a;
            break;
        case Compare::ne:
            if (b.is_constant())
                drop(a, b.umin);
            else if (a.is_constant())
                drop(b, a.umin);
            break;
        case Compare::lt:
            if (b.umax == 0 || a.umin == V::mask) return a.clear(), b.clear();
            a.umax = std::min(a.umax, b.umax - 1);
            b.umin = std::max(b.umin, a.umin + 1);
            break;
        case Compare::le:
            a.umax = std::min(a.umax, b.umax);
            b.umin = std::max(b.umin, a.umin);
            break;
        case Compare::slt:
            if (b.smax == V::least || a.smin == V::greatest) return a.clear(), b.clear();
            a.smax = std::min(a.smax, b.smax - 1);
            b.smin = std::max(b.smin, a.smin + 1);
            break;
        case Compare::sle:
            a.smax = std::min(a.smax, b.smax);
            b.smin = std::max(b.smin, a.smin);
            break;
        case Compare::gt:
            return refine(Compare::lt, b, a);
        case Compare::ge:
            return refine(Compare::le, b, a);
        case Compare::sgt:
            return refine(Compare::slt, b, a);
        case Compare::sge:
            return refine(Compare::sle, b, a);
        case Compare::set: {
            const u64 common = (a.bits.value | a.bits.mask) & (b.bits.value | b.bits.mask);
            if (common == 0) return a.clear(), b.clear();
            // With a single bit in question it must be set in both.
            if (std::has_single_bit(common))
                a.meet_bits({common, ~common & V::mask}), b.meet_bits({common, ~common & V::mask});
            break;
        }
        case Compare::not_set:
            if ((a.bits.value & b.bits.value) != 0) return a.clear(), b.clear();
            // What is surely set in one is clear in the other.
            a.meet_bits({0, ~b.bits.value & V::mask});
            b.meet_bits({0, ~a.bits.value & V::mask});
            break;
    }
    if (!(a == a_before)) a.reconcile();
    if (!(b == b_before)) b.reconcile();
    if (a.empty() || b.empty()) a.clear(), b.clear();
}

// A register: N bits and its lower half.
template <unsigned N>
struct Scalar {
    static constexpr unsigned half = N / 2;
    using Wide = Value<N>;
    using Low = Value<half>;

    Tnum bits{0, Wide::mask};  // of both
    u64 umin = 0, umax = Wide::mask;
    i64 smin = Wide::least, smax = Wide::greatest;
    u32 low_umin = 0, low_umax = static_cast<u32>(Low::mask);
    i32 low_smin = static_cast<i32>(Low::least), low_smax = static_cast<i32>(Low::greatest);

    static constexpr Scalar unknown() { return {}; }
    static constexpr Scalar constant(u64 v) { return put(Wide::constant(v), Low::constant(v)); }
    static constexpr Scalar of_range(i64 min, i64 max) {
        Wide wide;
        wide.meet_signed(min, max);
        wide.reconcile();
        return of(wide, Low::unknown());
    }
    // Everything that fits into the lower `width` bits, zero-extended.
    static constexpr Scalar of_width(unsigned width) {
        Wide wide;
        wide.meet_bits({0, Wide::mask >> (N - width)});
        wide.reconcile();
        return of(wide, Low::unknown());
    }
    static constexpr Scalar of(Wide wide, Low low) {
        join(wide, low);
        return put(wide, low);
    }
    friend constexpr bool operator==(const Scalar&, const Scalar&) = default;

    constexpr Wide wide() const { return {bits, umin, umax, smin, smax}; }
    constexpr Low low() const { return {bits.truncate(Low::mask), low_umin, low_umax, low_smin, low_smax}; }
    constexpr bool is_constant() const { return umin == umax; }
    constexpr bool is_constant(u64 v) const { return umin == v && umax == v; }
    constexpr bool empty() const { return umin > umax || smin > smax || low_umin > low_umax || low_smin > low_smax; }
    constexpr bool contains(u64 v) const { return wide().contains(v) && low().contains(v & Low::mask); }
    constexpr bool includes(const Scalar& other) const {
        return bits.includes(other.bits) && umin <= other.umin && umax >= other.umax && smin <= other.smin &&
               smax >= other.smax && low_umin <= other.low_umin && low_umax >= other.low_umax &&
               low_smin <= other.low_smin && low_smax >= other.low_smax;
    }

  private:
    static constexpr Scalar put(const Wide& wide, const Low& low) {
        Scalar out;
        out.bits = wide.bits;
        out.umin = wide.umin, out.umax = wide.umax, out.smin = wide.smin, out.smax = wide.smax;
        out.low_umin = static_cast<u32>(low.umin), out.low_umax = static_cast<u32>(low.umax);
        out.low_smin = static_cast<i32>(low.smin), out.low_smax = static_cast<i32>(low.smax);
        return out;
    }
    // Lets the two widths sharpen each other.
    static constexpr void join(Wide& wide, Low& low) {
        const auto high_part = [](u64 v) { return v & ~Low::mask; };
        if (wide.is_constant()) {
            if (!wide.contains(wide.umin) || !low.contains(wide.umin & Low::mask)) return wide.clear(), low.clear();
            low = Low::constant(wide.umin), wide = Wide::constant(wide.umin);
            return;
        }
        for (int round = 0; round < 2; ++round) {
            if (wide.empty() || low.empty()) return wide.clear(), low.clear();
            const Wide before = wide;
            low.meet_bits(wide.bits.truncate(Low::mask));
            if (high_part(wide.umin) == high_part(wide.umax))
                low.meet_unsigned(wide.umin & Low::mask, wide.umax & Low::mask);
            if (wide.smin >= Low::least && wide.smax <= Low::greatest) low.meet_signed(wide.smin, wide.smax);
            low.reconcile();
            if (low.empty()) return wide.clear();
            wide.meet_bits({low.bits.value, low.bits.mask | (Wide::mask & ~Low::mask)});
            wide.meet_unsigned(high_part(wide.umin) | low.umin, high_part(wide.umax) | low.umax);
            wide.meet_signed(static_cast<i64>(high_part(static_cast<u64>(wide.smin)) | low.umin),
                             static_cast<i64>(high_part(static_cast<u64>(wide.smax)) | low.umax));
            if (wide.smin >= Low::least && wide.smax <= Low::greatest) wide.meet_signed(low.smin, low.smax);
            wide.reconcile();
            if (wide.empty()) return low.clear();
            if (wide == before) return;
        }
    }
};

// The operation in all N bits. Additions, products and the like act on the lower half as they would there alone.
template <unsigned N>
constexpr Scalar<N> apply_wide(Op op, const Scalar<N>& a, const Scalar<N>& b) {
    using S = Scalar<N>;
    if (a.is_constant() && b.is_constant())
        if (const auto known = exact<N>(op, a.umin, b.umin)) return S::constant(*known);
    auto low = S::Low::unknown();
    switch (op) {
        case Op::add:
        case Op::sub:
        case Op::mul:
        case Op::and_:
        case Op::or_:
        case Op::xor_:
            low = apply(op, a.low(), b.low());
            break;
        case Op::lsh:
            if (b.is_constant())
                low = b.umin < S::half ? apply(op, a.low(), b.low()) : b.umin < N ? S::Low::constant(0) : low;
            break;
        case Op::rsh:
        case Op::arsh:
        case Op::unknown:
            break;
    }
    return S::of(apply(op, a.wide(), b.wide()), low);
}

// A value of the lower half, with zeros above.
template <unsigned N>
constexpr Scalar<N> zero_extend(const Value<N / 2>& low) {
    Value<N> wide;
    wide.bits = low.bits;
    wide.umin = low.umin, wide.umax = low.umax;
    wide.reconcile();
    return Scalar<N>::of(wide, low);
}

// The operation in the lower half, with zeros above.
template <unsigned N>
constexpr Scalar<N> apply_low(Op op, const Scalar<N>& a, const Scalar<N>& b) {
    if (a.low_umin == a.low_umax && b.low_umin == b.low_umax)
        if (const auto known = exact<N / 2>(op, a.low_umin, b.low_umin)) return Scalar<N>::constant(*known);
    return zero_extend<N>(apply(op, a.low(), b.low()));
}

// The lower `width` bits with the sign spread over N (or, for `low`, over the lower half, with zeros above).
template <unsigned N>
constexpr Scalar<N> sign_extend(const Scalar<N>& a, unsigned width, bool low) {
    const unsigned space = (low ? N / 2 : N) - width;
    const auto count = Scalar<N>::constant(space);
    return low ? apply_low(Op::arsh, apply_low(Op::lsh, a, count), count)
               : apply_wide(Op::arsh, apply_wide(Op::lsh, a, count), count);
}

// The lower `width` bits, with zeros above.
template <unsigned N>
constexpr Scalar<N> truncate(const Scalar<N>& a, unsigned width) {
    return apply_wide(Op::and_, a, Scalar<N>::constant(Value<N>::mask >> (N - width)));
}

template <unsigned N>
constexpr void refine(Compare op, bool low, Scalar<N>& a, Scalar<N>& b) {
    auto a_wide = a.wide(), b_wide = b.wide();
    auto a_low = a.low(), b_low = b.low();
    if (!low) refine(op, a_wide, b_wide);
    if (low || op == Compare::eq) refine(op, a_low, b_low);
    if (!(a_wide == a.wide() && a_low == a.low())) a = Scalar<N>::of(a_wide, a_low);
    if (!(b_wide == b.wide() && b_low == b.low())) b = Scalar<N>::of(b_wide, b_low);
}

using Number = Scalar<64>;

// What a load of 1, 2, 4 or 8 bytes may give.
inline constexpr std::array<Number, 4> loads = {Number::of_width(8), Number::of_width(16), Number::of_width(32),
                                                Number::of_width(64)};
constexpr const Number& loaded(u32 size) { return loads[static_cast<std::size_t>(std::countr_zero(size))]; }

}  // namespace anybpf::verifier

// SPDX-License-Identifier: Apache-2.0
// The laws of the abstract domain: whatever an operation gives for members of its arguments is a member of its result.
// Bits and ranges alone are checked for every argument of a small width; register and half together for arguments that
// describe random sets, with every member of each; and 64 bits by sampling.
#include "domain.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace anybpf::verifier {
namespace {

constexpr Op all_ops[] = {Op::add, Op::sub, Op::mul, Op::and_, Op::or_, Op::xor_, Op::lsh, Op::rsh, Op::arsh};
constexpr Compare all_compares[] = {Compare::eq,  Compare::ne,  Compare::lt,  Compare::le,
                                    Compare::gt,  Compare::ge,  Compare::slt, Compare::sle,
                                    Compare::sgt, Compare::sge, Compare::set, Compare::not_set};

// What the instructions mean, in N bits (RFC 9669, 4.1 and 4.3).
template <unsigned N>
u64 eval(Op op, u64 a, u64 b) {
    const u64 mask = Value<N>::mask;
    const unsigned count = static_cast<unsigned>(b & (N - 1));
    switch (op) {
        case Op::add:
            return (a + b) & mask;
        case Op::sub:
            return (a - b) & mask;
        case Op::mul:
            return (a * b) & mask;
        case Op::and_:
            return a & b;
        case Op::or_:
            return a | b;
        case Op::xor_:
            return a ^ b;
        case Op::lsh:
            return (a << count) & mask;
        case Op::rsh:
            return a >> count;
        case Op::arsh:
            return static_cast<u64>(Value<N>::sign_extend(a) >> count) & mask;
        case Op::unknown:
            break;
    }
    return 0;
}

template <unsigned N>
bool holds(Compare op, u64 a, u64 b) {
    const i64 x = Value<N>::sign_extend(a), y = Value<N>::sign_extend(b);
    switch (op) {
        case Compare::eq:
            return a == b;
        case Compare::ne:
            return a != b;
        case Compare::lt:
            return a < b;
        case Compare::le:
            return a <= b;
        case Compare::gt:
            return a > b;
        case Compare::ge:
            return a >= b;
        case Compare::slt:
            return x < y;
        case Compare::sle:
            return x <= y;
        case Compare::sgt:
            return x > y;
        case Compare::sge:
            return x >= y;
        case Compare::set:
            return (a & b) != 0;
        case Compare::not_set:
            return (a & b) == 0;
    }
    return false;
}

// The least description of a set.
template <unsigned N>
Value<N> hull(const std::vector<u64>& set) {
    auto out = Value<N>::constant(set[0]);
    for (const u64 v : set) {
        const auto c = Value<N>::constant(v);
        out.bits.mask |= c.bits.value ^ out.bits.value;
        out.bits.value &= ~out.bits.mask;
        out.umin = std::min(out.umin, c.umin), out.umax = std::max(out.umax, c.umax);
        out.smin = std::min(out.smin, c.smin), out.smax = std::max(out.smax, c.smax);
    }
    return out;
}

template <unsigned N>
std::vector<u64> members(const auto& abstract) {
    std::vector<u64> out;
    for (u64 v = 0; v <= Value<N>::mask; ++v)
        if (abstract.contains(v)) out.push_back(v);
    return out;
}

// Every tnum of the width.
template <unsigned N>
std::vector<Tnum> every_tnum() {
    std::vector<Tnum> out;
    for (u64 mask = 0; mask <= Value<N>::mask; ++mask)
        for (u64 value = 0; value <= Value<N>::mask; ++value)
            if ((value & mask) == 0) out.push_back({value, mask});
    return out;
}

TEST(Bits, hold_every_result_of_every_argument) {
    constexpr unsigned n = 5;
    const auto all = every_tnum<n>();
    ASSERT_EQ(all.size(), 243U);
    std::vector<std::vector<u64>> in;
    for (const Tnum t : all) in.push_back(members<n>(t));
    for (std::size_t i = 0; i < all.size(); ++i)
        for (std::size_t j = 0; j < all.size(); ++j) {
            const Tnum sum = all[i] + all[j], difference = all[i] - all[j], product = all[i] * all[j],
                       conjunction = all[i] & all[j], disjunction = all[i] | all[j], exclusive = all[i] ^ all[j];
            for (const u64 a : in[i])
                for (const u64 b : in[j]) {
                    ASSERT_TRUE(sum.contains(a + b));
                    ASSERT_TRUE(difference.contains(a - b));
                    ASSERT_TRUE(product.contains(a * b));
                    ASSERT_TRUE(conjunction.contains(a & b));
                    ASSERT_TRUE(disjunction.contains(a | b));
                    ASSERT_TRUE(exclusive.contains(a ^ b));
                }
            bool common = false, subset = true;
            for (const u64 a : in[i]) common |= all[j].contains(a), subset &= all[j].contains(a);
            ASSERT_EQ(all[i].meets(all[j]), common);
            ASSERT_EQ(all[j].includes(all[i]), subset);
            if (common) {
                for (const u64 a : in[i]) ASSERT_EQ(all[i].intersect(all[j]).contains(a), all[j].contains(a));
            }
        }
}

TEST(Bits, range_holds_the_range) {
    for (u64 lo = 0; lo < 64; ++lo)
        for (u64 hi = lo; hi < 64; ++hi)
            for (u64 v = lo; v <= hi; ++v) ASSERT_TRUE(Tnum::range(lo, hi).contains(v));
}

template <unsigned N>
void check_values(const std::vector<Value<N>>& all) {
    std::vector<std::vector<u64>> in;
    for (const auto& v : all) in.push_back(members<N>(v));
    for (std::size_t i = 0; i < all.size(); ++i)
        for (std::size_t j = 0; j < all.size(); ++j) {
            for (const Op op : all_ops) {
                const auto result = apply(op, all[i], all[j]);
                for (const u64 a : in[i])
                    for (const u64 b : in[j])
                        ASSERT_TRUE(result.contains(eval<N>(op, a, b))) << int(op) << ' ' << a << ' ' << b;
            }
            for (const Compare op : all_compares) {
                auto a_left = all[i], b_left = all[j];
                refine(op, a_left, b_left);
                for (const u64 a : in[i])
                    for (const u64 b : in[j])
                        if (holds<N>(op, a, b)) {
                            ASSERT_TRUE(a_left.contains(a) && b_left.contains(b)) << int(op) << ' ' << a << ' ' << b;
                        }
            }
        }
}

// Unsigned ranges, signed ranges and bits, each alone and then reconciled: 3 x all of 4 bits against each other.
TEST(Range, holds_every_result_of_every_argument) {
    constexpr unsigned n = 4;
    std::vector<Value<n>> all;
    for (u64 lo = 0; lo < 16; ++lo)
        for (u64 hi = lo; hi < 16; ++hi) {
            Value<n> u;
            u.meet_unsigned(lo, hi);
            all.push_back(u);
            u.reconcile();
            all.push_back(u);
            Value<n> s;
            s.meet_signed(i64(lo) - 8, i64(hi) - 8);
            s.reconcile();
            all.push_back(s);
        }
    for (const Tnum t : every_tnum<n>()) {
        Value<n> b;
        b.bits = t;
        b.reconcile();
        all.push_back(b);
    }
    check_values<n>(all);
}

TEST(Range, reconciling_loses_no_member) {
    std::mt19937_64 random(7);
    for (int i = 0; i < 200'000; ++i) {
        Value<6> v;
        v.meet_unsigned(random() % 64, random() % 64);
        v.meet_signed(i64(random() % 64) - 32, i64(random() % 64) - 32);
        const u64 mask = random() % 64;
        v.bits = {random() % 64 & ~mask, mask};
        const auto before = members<6>(v);
        auto after = v;
        if (!after.empty()) after.reconcile();
        for (const u64 m : before) ASSERT_TRUE(after.contains(m));
        if (after.empty()) {
            ASSERT_TRUE(before.empty());
        }
    }
}

// Register and half together, 8 and 4 bits: descriptions of random sets, sometimes made wider.
class Registers : public testing::Test {
  protected:
    static constexpr unsigned n = 8;
    using S = Scalar<n>;
    std::mt19937_64 random{11};

    S any() {
        std::vector<u64> wide, low;
        const u64 near = random() & 255;
        for (u64 count = 1 + random() % 3; count > 0; --count) {
            const u64 v = (random() % 2 != 0 ? near + random() % 4 : random()) & 255;
            wide.push_back(v), low.push_back(v & 15);
        }
        auto w = hull<n>(wide);
        auto l = hull<n / 2>(low);
        switch (random() % 6) {
            case 0:
                w.bits = Value<n>{}.bits;
                break;
            case 1:
                w.umin = 0, w.umax = 255;
                break;
            case 2:
                w = Value<n>{};
                break;
            case 3:
                l = Value<n / 2>{};
                break;
            case 4:
                w.smin = -128, w.smax = 127;
                break;
            default:
                break;
        }
        return S::of(w, l);
    }
};

TEST_F(Registers, hold_every_result) {
    for (int i = 0; i < 4'000; ++i) {
        const S a = any(), b = any();
        const auto in_a = members<n>(a), in_b = members<n>(b);
        ASSERT_FALSE(in_a.empty());
        for (const Op op : all_ops) {
            const S wide = apply_wide(op, a, b), low = apply_low(op, a, b);
            for (const u64 x : in_a)
                for (const u64 y : in_b) {
                    ASSERT_TRUE(wide.contains(eval<n>(op, x, y))) << int(op) << ' ' << x << ' ' << y;
                    ASSERT_TRUE(low.contains(eval<n / 2>(op, x & 15, y & 15))) << int(op) << ' ' << x << ' ' << y;
                }
        }
        for (const Compare op : all_compares)
            for (const bool low : {false, true}) {
                S a_left = a, b_left = b;
                refine(op, low, a_left, b_left);
                for (const u64 x : in_a)
                    for (const u64 y : in_b)
                        if (low ? holds<n / 2>(op, x & 15, y & 15) : holds<n>(op, x, y)) {
                            ASSERT_TRUE(a_left.contains(x)) << int(op) << ' ' << x << ' ' << y;
                            ASSERT_TRUE(b_left.contains(y)) << int(op) << ' ' << x << ' ' << y;
                        }
            }
        for (const u64 x : in_a)
            for (const unsigned width : {2U, 4U}) {
                const u64 spread = static_cast<u64>(static_cast<i64>(x << (64 - width)) >> (64 - width));
                ASSERT_TRUE(sign_extend(a, width, false).contains(spread & 255));
                ASSERT_TRUE(sign_extend(a, width, true).contains(spread & 15));
                ASSERT_TRUE(truncate(a, width).contains(x & ((1U << width) - 1)));
            }
        for (const u64 x : in_b)
            if (a.includes(b)) {
                ASSERT_TRUE(a.contains(x));
            }
    }
}

TEST(Register, sixty_four_bits_by_sampling) {
    std::mt19937_64 random(3);
    const auto edge = [&]() -> u64 {
        constexpr u64 edges[] = {0,
                                 1,
                                 0x7f,
                                 0x80,
                                 0xff,
                                 0x7fffffff,
                                 0x80000000,
                                 0xffffffff,
                                 0x100000000,
                                 0x7fffffffffffffff,
                                 0x8000000000000000,
                                 0xffffffff80000000,
                                 ~0ULL};
        switch (random() % 4) {
            case 0:
                return random();
            case 1:
                return random() & 63;
            case 2:
                return random() >> (random() % 64);
            default:
                return edges[random() % std::size(edges)] + random() % 3 - 1;
        }
    };
    const auto describe = [&](std::vector<u64>& set) {
        set.clear();
        for (u64 count = 1 + random() % 3; count > 0; --count) set.push_back(edge());
        std::vector<u64> low;
        for (const u64 v : set) low.push_back(v & 0xffffffff);
        return Number::of(hull<64>(set), hull<32>(low));
    };
    std::vector<u64> in_a, in_b;
    for (int i = 0; i < 50'000; ++i) {
        const Number a = describe(in_a), b = describe(in_b);
        for (const u64 x : in_a)
            for (const u64 y : in_b) {
                for (const Op op : all_ops) {
                    ASSERT_TRUE(apply_wide(op, a, b).contains(eval<64>(op, x, y))) << int(op) << ' ' << x << ' ' << y;
                    ASSERT_TRUE(apply_low(op, a, b).contains(eval<32>(op, x & 0xffffffff, y & 0xffffffff)));
                }
                for (const Compare op : all_compares)
                    for (const bool low : {false, true}) {
                        if (!(low ? holds<32>(op, x & 0xffffffff, y & 0xffffffff) : holds<64>(op, x, y))) continue;
                        Number a_left = a, b_left = b;
                        refine(op, low, a_left, b_left);
                        ASSERT_TRUE(a_left.contains(x) && b_left.contains(y)) << int(op) << ' ' << x << ' ' << y;
                    }
            }
        if (i % 16 != 0) continue;
        for (const u64 x : in_a)
            for (const unsigned width : {8U, 16U, 32U}) {
                const u64 spread = static_cast<u64>(static_cast<i64>(x << (64 - width)) >> (64 - width));
                ASSERT_TRUE(sign_extend(a, width, false).contains(spread));
                ASSERT_TRUE(sign_extend(a, width, true).contains(spread & 0xffffffff));
            }
    }
}

// Not only sound: what programs rely on is found.
TEST(Register, keeps_what_programs_need) {
    const Number byte = truncate(Number::unknown(), 8);
    EXPECT_EQ(byte.umax, 255U);
    EXPECT_EQ(byte.smin, 0);
    Number index = Number::unknown(), limit = Number::constant(16);
    refine(Compare::lt, false, index, limit);
    EXPECT_EQ(index.umax, 15U);
    EXPECT_EQ(index.bits, (Tnum{0, 15}));
    EXPECT_EQ(apply_wide(Op::lsh, index, Number::constant(3)).umax, 120U);
    Number low = zero_extend<64>(Value<32>::unknown()), small = Number::constant(8);
    refine(Compare::le, true, low, small);
    EXPECT_EQ(low.umax, 8U);
    Number error = Number::unknown(), zero = Number::constant(0);
    refine(Compare::sge, false, error, zero);
    EXPECT_EQ(error.smin, 0);
    EXPECT_EQ(error.umax, 0x7fffffffffffffffU);
    Number seven = Number::constant(7), eight = Number::constant(8);
    refine(Compare::eq, false, seven, eight);
    EXPECT_TRUE(seven.empty());
}

}  // namespace
}  // namespace anybpf::verifier

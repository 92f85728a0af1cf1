// SPDX-License-Identifier: Apache-2.0
// Every operation on values and memory, with every pair of registers that hold values, near every edge: compiled code
// leaves in every register and in memory what the interpreter does.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>

#include "anybpf/engine/jit.hpp"
#include "anybpf/engine/lower.hpp"
#include "anybpf/engine/op.hpp"

namespace anybpf::engine {
namespace {

using program::Lowered;
using program::LoweredInsn;

constexpr auto values = std::to_array<u64>({0, 1, ~u64{0}, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000,
                                            0x8000000000000000, 0x7fffffffffffffff, 31, 64, 0x123456789abcdef0});
constexpr i32 result_at = -8, checks = -88;  // on the stack: what all cases leave; the registers after one
// The memory that operations work on: at the same address for every engine, since operations also read it.
alignas(8) u64 cell = 0;
constexpr i32 cell_off = 8;
u64 cell_base() { return std::bit_cast<u64>(&cell) - u64{cell_off}; }

LoweredInsn make(Op op, u8 dst = 0, u8 src = 0, i32 off = 0, i64 imm = 0) {
    return {.op = static_cast<u16>(op), .dst = dst, .src = src, .off = off, .imm = imm};
}

// Whether an operation takes an address in dst, or in src.
struct Addresses {
    bool in_dst = false, in_src = false;
};
Addresses addresses(Op op) {
    const std::string_view name = to_string(op);
    return {.in_dst = name.starts_with("store") || name.starts_with("atomic"), .in_src = name.starts_with("load")};
}
bool works_on_values(Op op) {
    constexpr auto others =
        std::to_array<Op>({Op::call_helper, Op::call_local, Op::callx, Op::tail_call, Op::exit, Op::may_goto, Op::loop,
                           Op::lookup_array, Op::get_vcpu, Op::get_pid_tgid});
    return std::ranges::find(others, op) == others.end();
}

// One case: all registers get a value, the operation runs, and everything is folded into the result.
void add_case(std::vector<LoweredInsn>& out, Op op, u8 dst, u8 src, u64 a, u64 b) {
    const Addresses at = addresses(op);
    const auto set = [&](u8 reg, u64 value) { out.push_back(make(Op::mov64_imm, reg, 0, 0, static_cast<i64>(value))); };
    set(8, cell_base());
    set(9, a);
    out.push_back(make(Op::store_dword, 8, 9, cell_off));
    for (u8 reg = 0; reg < 10; ++reg) set(reg, 0x0101010101010101 * (reg + u64{1}));
    // What is compared is r0: now and then the value that is there.
    if (to_string(op).find("cmpxchg") != std::string_view::npos) set(0, b % 2 == 0 ? a : b);
    set(dst, at.in_dst ? cell_base() : a);
    if (src != dst || at.in_src) set(src, at.in_src ? cell_base() : b);
    LoweredInsn insn = make(op, dst, src, at.in_dst || at.in_src ? cell_off : 0, static_cast<i64>(static_cast<i32>(b)));
    const bool jumps = op_indices[insn.op] == Index::jump;
    if (jumps) insn.off = static_cast<i32>(out.size()) + 2;
    out.push_back(insn);
    if (jumps) out.push_back(make(Op::add64_imm, dst, 0, 0, 77));
    for (u8 reg = 0; reg < 10; ++reg) out.push_back(make(Op::store_dword, 10, reg, checks + 8 * reg));
    out.push_back(make(Op::load_dword, 1, 10, result_at));
    const auto fold = [&](u8 base, i32 from) {
        out.push_back(make(Op::load_dword, 2, base, from));
        out.push_back(make(Op::mul64_imm, 1, 0, 0, 31));
        out.push_back(make(Op::add64_reg, 1, 2));
    };
    for (u8 reg = 0; reg < 10; ++reg) fold(10, checks + 8 * reg);
    set(3, cell_base());
    fold(3, cell_off);
    out.push_back(make(Op::store_dword, 10, 1, result_at));
}

template <class E, class... Options>
u64 run(const Lowered& lowered, const Options&... options) {
    const auto bound = E::bind(lowered, {}, nullptr, options...);
    EXPECT_TRUE(bound.has_value()) << bound.error().message;
    abi::Run run;
    return bound ? E::run(**bound, run) : 0;
}

// Whether the engines agree on the cases.
bool agree(const std::vector<LoweredInsn>& cases) {
    Lowered lowered;
    lowered.subprograms = {{.first = 0, .stack_bytes = 512}};
    lowered.insns = {make(Op::store_imm_dword, 10, 0, result_at)};
    for (LoweredInsn insn : cases) {
        if (op_indices[insn.op] == Index::jump) insn.off += 1;
        lowered.insns.push_back(insn);
    }
    lowered.insns.push_back(make(Op::load_dword, 0, 10, result_at));
    lowered.insns.push_back(make(Op::exit));
    const u64 expected = run<Interpreter>(lowered);
    return run<Jit>(lowered) == expected && run<Jit>(lowered, JitOptions{.plain = true}) == expected;
}

class Ops : public ::testing::TestWithParam<u16> {};

TEST_P(Ops, LeaveWhatTheInterpreterLeaves) {
    const Op op{GetParam()};
    std::vector<LoweredInsn> all, one;
    const auto for_each = [&](auto&& visit) {
        for (u8 dst = 0; dst < 10; ++dst)
            for (u8 src = 0; src < 10; ++src)
                for (std::size_t i = 0; i < values.size(); ++i)
                    visit(dst, src, values[i % values.size()], values[(i * 5 + dst * 10U + src) % values.size()]);
    };
    for_each([&](u8 dst, u8 src, u64 a, u64 b) { add_case(all, op, dst, src, a, b); });
    if (agree(all)) return;
    // Which one is it?
    u32 reported = 0;
    for_each([&](u8 dst, u8 src, u64 a, u64 b) {
        one.clear();
        add_case(one, op, dst, src, a, b);
        if (reported < 3 && !agree(one)) {
            ADD_FAILURE() << to_string(op) << " r" << int{dst} << " r" << int{src} << " on " << a << " and " << b;
            ++reported;
        }
    });
    EXPECT_GT(reported, 0U) << "only all cases together differ";
}

// Divisions by constants are multiplications: by every small divisor and those near powers of two, of dividends near
// multiples.
TEST(Division, ByConstants) {
    std::vector<u64> divisors;
    for (u64 divisor = 1; divisor < 1200; ++divisor) divisors.push_back(divisor);
    for (u32 bit = 10; bit < 64; ++bit)
        for (const i64 near : {-2, -1, 1, 2, 5}) divisors.push_back((u64{1} << bit) + static_cast<u64>(near));
    for (const u64 divisor : {u64{1000000}, u64{1000000000}, ~u64{0}, ~u64{1}, ~u64{0} / 3, ~u64{0} / 2 + 2})
        divisors.push_back(divisor);
    for (const Op op : {Op::div64_imm, Op::mod64_imm, Op::div32_imm, Op::mod32_imm}) {
        const bool is64 = op == Op::div64_imm || op == Op::mod64_imm;
        std::vector<LoweredInsn> cases;
        for (const u64 divisor : divisors) {
            if (!is64 && divisor > 0xffffffff) continue;
            const u64 most = is64 ? ~u64{0} : 0xffffffff;
            for (const u64 dividend : {u64{0}, divisor - 1, divisor, divisor + 1, divisor * 12345 - 1, divisor * 12345,
                                       most, most / divisor * divisor, most / divisor * divisor - 1, most / 2 + 1}) {
                // result = result * 31 + dividend op divisor
                const auto dst = static_cast<u8>(dividend % 3 * 2);  // r0, r2, r4
                cases.push_back(make(Op::mov64_imm, dst, 0, 0, static_cast<i64>(dividend)));
                cases.push_back(make(op, dst, 0, 0, static_cast<i64>(divisor)));
                cases.push_back(make(Op::load_dword, 1, 10, result_at));
                cases.push_back(make(Op::mul64_imm, 1, 0, 0, 31));
                cases.push_back(make(Op::add64_reg, 1, dst));
                cases.push_back(make(Op::store_dword, 10, 1, result_at));
            }
        }
        EXPECT_TRUE(agree(cases)) << to_string(op);
    }
}

std::vector<u16> tested_ops() {
    std::vector<u16> ops;
    for (u16 op = 0; op < op_count; ++op)
        if (works_on_values(Op{op})) ops.push_back(op);
    return ops;
}
INSTANTIATE_TEST_SUITE_P(All, Ops, ::testing::ValuesIn(tested_ops()),
                         [](const auto& one) { return std::string(to_string(Op{one.param})); });

}  // namespace
}  // namespace anybpf::engine

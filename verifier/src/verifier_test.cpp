// SPDX-License-Identifier: Apache-2.0
// Verdicts. Every finding of findings.def is produced by at least one case, which is itself tested; for most there is a
// neighbour that differs by little and is accepted.
#include <functional>
#include <set>

#include "arena_cases.hpp"
#include "extension_cases.hpp"
#include "limit_cases.hpp"
#include "object_programs.hpp"
#include "owned_cases.hpp"
#include "testing.hpp"
#include "typed_cases.hpp"
#include "walker.hpp"

namespace anybpf::verifier {
namespace {

using namespace testing;
using abi::ProgType;

struct Case {
    std::string name;
    std::string text;
    Finding expected = Finding::none;  // none: accepted
    ProgType type = ProgType::kprobe;
    std::function<void(program::Program&, Options&)> adjust = {};
};

// r0 = pointer to a value of map 0 that is not null
const std::string looked_up = R"(
    *(u32 *)(r10 - 4) = 1
    r2 = r10
    r2 += -4
    r1 = map[idx:0] ll
    call map_lookup_elem
    if r0 == 0 goto out
)";
const std::string out = "\nout: r0 = 0\nexit\n";
// r6 = a record of 16 bytes that is not null
const std::string reserved = R"(
    r1 = map[idx:2] ll
    r2 = 16
    r3 = 0
    call ringbuf_reserve
    if r0 == 0 goto out
    r6 = r0
)";
const std::string submitted = "\nr1 = r6\nr2 = 0\ncall ringbuf_submit\n";

// The stricter rules: each finding has a case.
const Options unprivileged{.allow_ptr_leaks = false};

void with_btf(program::Program& program, Options&) { add_btf(program); }

// What loads with CAP_PERFMON may do beside.
void privileged(const auto& add) {
    using F = Finding;
    const auto may = [&](const std::string& name, const std::string& text, F expected = F::none) {
        add(name + ", privileged", text, expected, ProgType::kprobe,
            [](program::Program&, Options& options) { options.allow_ptr_leaks = true; });
    };
    may("read before written", "r0 = *(u64 *)(r10 - 8)\nexit");
    may("half written", "*(u32 *)(r10 - 8) = 1\nr0 = *(u64 *)(r10 - 8)\nexit");
    may("what was not written is unknown", looked_up + "r1 = *(u64 *)(r10 - 16)\nr0 += r1\n" + out, F::pointer_offset);
    may("key not written", "r2 = r10\nr2 += -4\nr1 = map[idx:0] ll\ncall map_lookup_elem\nr0 = 0\nexit");
    may("address read byte by byte",
        "*(u64 *)(r10 - 8) = r1\nr2 = *(u64 *)(r1 + 0)\nr2 &= 7\nr3 = r10\nr3 += r2\nr0 = *(u8 *)(r3 - 8)\nexit");
    may("half of an address", "*(u64 *)(r10 - 8) = r1\nr0 = *(u32 *)(r10 - 8)\nexit", F::partial_pointer);
    may("address written somewhere",
        "*(u64 *)(r10 - 8) = 0\nr2 = *(u64 *)(r1 + 0)\nr2 &= 7\nr3 = r10\nr3 += r2\n*(u8 *)(r3 - 8) = r1\nr0 = "
        "0\nexit");
    may("address in an atomic operation", looked_up + "r6 = r0\nlock *(u64 *)(r0 + 0) += r6\n" + out);
    may("exchange with a saved address",
        "*(u64 *)(r10 - 8) = r1\nr2 = 0\nr2 = xchg_64(r10 - 8, r2)\nr0 = *(u64 *)(r2 + 0)\nexit");
    may("fetch over its address", looked_up + "r0 = atomic_fetch_add((u64 *)(r0 + 0), r0)\n" + out,
        F::atomic_over_address);
    may("negated address", "r1 = -r1\nr0 = r1\nexit");
    may("negated address is unknown", looked_up + "r0 = -r0\nr1 = *(u8 *)(r0 + 0)\n" + out, F::not_a_pointer);
    may("byte order of an address", "r1 = bswap64 r1\nr0 = 0\nexit");
    may("sign of an address", "w2 = (s16)w1\nr3 = (s8)r1\nr0 = 0\nexit");
    may("address in the context", "*(u64 *)(r1 + 0) = r10\nr0 = 0\nexit", F::context_write);
    add("negated address", "r1 = -r1\nr0 = 0\nexit", F::pointer_arithmetic);
    add("sign of an address", "w2 = (s16)w1\nr0 = 0\nexit", F::pointer_arithmetic);
}

// Numbers at a known distance from each other, and keys and constants that go through the stack.
void distances(const auto& add) {
    using F = Finding;
    const auto on = [&](const std::string& name, const std::string& text, F expected = F::none) {
        add("distance: " + name, looked_up + "r6 = r0\n" + text + "\nr6 += r8\nr0 = *(u8 *)(r6 + 0)" + out, expected);
    };
    const std::string number = "r7 = *(u64 *)(r6 + 0)\nr8 = r7\n";
    on("above", number + "r7 += 4\nif r7 > 19 goto out\nif r7 < 4 goto out");
    on("above, too far", number + "r7 += 4\nif r7 > 20 goto out\nif r7 < 4 goto out", F::out_of_map_value);
    on("above, lower bound missing", number + "r7 += 4\nif r7 > 19 goto out", F::out_of_map_value);
    on("below", number + "r7 += -4\nif r7 > 11 goto out");
    on("below, subtracted", number + "r7 -= 4\nif r7 > 11 goto out");
    on("below, too far", number + "r7 -= 4\nif r7 > 12 goto out", F::out_of_map_value);
    on("of the sum", number + "r8 += 4\nif r7 > 11 goto out");
    on("of the sum, too far", number + "r8 += 4\nif r7 > 12 goto out", F::out_of_map_value);
    on("twice", number + "r7 += 2\nr7 += 2\nif r7 > 19 goto out\nif r7 < 4 goto out", F::pointer_offset);
    on("by a register", number + "r9 = 4\nr7 += r9\nif r7 > 19 goto out\nif r7 < 4 goto out");
    const std::string narrow = "r7 = *(u32 *)(r6 + 0)\nr8 = r7\n";
    on("32 bits", narrow + "w7 += -4\nif r7 > 11 goto out");
    on("32 bits, too far", narrow + "w7 += -4\nif r7 > 12 goto out", F::out_of_map_value);
    on("32 bits of 64", number + "w7 += -4\nif r7 > 11 goto out", F::pointer_offset);
    on("against a register", number + "r7 += 4\nr9 = 19\nif r7 > r9 goto out\nif r7 < 4 goto out");
    // On one way they are at that distance, on the other they are not: the second is not cut off.
    on("on one way", R"(
        r7 = *(u8 *)(r6 + 0)
        r9 = *(u8 *)(r6 + 1)
        r8 = r7
        r7 += 4
        if r9 > 7 goto joined
        r7 = *(u8 *)(r6 + 2)
        r7 += 4
    joined:
        r9 = 0
        if r7 > 19 goto out
        if r7 < 4 goto out)",
       F::out_of_map_value);

    const auto key = [&](const std::string& name, const std::string& text, F expected) {
        add("key: " + name, text + "\nr1 = map[idx:7] ll\ncall map_lookup_elem\nr0 = *(u64 *)(r0 + 0)\nexit", expected);
    };
    const std::string at = "\nr2 = r10\nr2 += -4";
    key("known", "*(u32 *)(r10 - 4) = 3" + at, F::maybe_null);  // in the upper half
    key("known, at a slot", "*(u32 *)(r10 - 8) = 3\nr2 = r10\nr2 += -8", F::none);
    key("known, of no element", "*(u32 *)(r10 - 8) = 4\nr2 = r10\nr2 += -8", F::maybe_null);
    key("zero", "*(u32 *)(r10 - 4) = 0" + at, F::none);
    key("half of a zero", "*(u64 *)(r10 - 8) = 0" + at, F::none);
    key("unknown", "r3 = *(u32 *)(r1 + 0)\n*(u32 *)(r10 - 8) = r3\nr2 = r10\nr2 += -8", F::maybe_null);
    key("in one of two ways", R"(
        r3 = *(u32 *)(r1 + 0)
        *(u32 *)(r10 - 8) = 3
        if r3 > 5 goto joined
        *(u32 *)(r10 - 8) = 4
    joined:
        r2 = r10
        r2 += -8)",
        F::maybe_null);
    add("part of a saved constant",
        looked_up + "*(u64 *)(r10 - 16) = 9\nr1 = *(u32 *)(r10 - 16)\nr0 += r1\nr1 = *(u8 *)(r0 + 0)\n" + out);
    add("part of a saved number", looked_up + R"(
        r1 = *(u64 *)(r0 + 0)
        *(u64 *)(r10 - 16) = r1
        r2 = *(u8 *)(r10 - 16)
        if r2 > 15 goto out
        r0 += r1
        r1 = *(u8 *)(r0 + 0)
    )" + out,
        F::pointer_offset);
}

// What is wrong with an instruction by itself matters where a path leads to it.
void faults(const auto& add) {
    using F = Finding;
    const std::string never = "r6 = 1\nif r6 == 1 goto +1\n";
    const auto both = [&](const std::string& name, const std::string& text, F expected) {
        add("fault: " + name, text + "\nr0 = 0\nexit", expected);
        add("fault where no path leads: " + name, never + text + "\nr0 = 0\nexit");
    };
    both("frame pointer written", "r10 = 5", F::frame_pointer_write);
    both("division by zero", "r6 /= 0", F::bad_immediate);
    both("wide shift", "w6 <<= 40", F::bad_immediate);
}

// LD_ABS and LD_IND.
void packet_loads(const auto& add) {
    using F = Finding;
    constexpr auto socket = ProgType::socket_filter;
    add("packet load", "r6 = r1\nr0 = *(u16 *)skb[12]\nr7 = r0\nr0 = *(u8 *)skb[r7 + 3]\nr0 += r7\nexit", F::none,
        socket);
    add("packet load in a tracing program", "r6 = r1\nr0 = *(u8 *)skb[0]\nexit", F::packet_load_type);
    add("packet load, no r6", "r0 = *(u8 *)skb[0]\nexit", F::uninitialized_register, socket);
    add("packet load, r6 is a number", "r6 = 0\nr0 = *(u8 *)skb[0]\nexit", F::packet_load_context, socket);
    add("packet load, r6 moved", "r6 = r1\nr6 += 8\nr0 = *(u8 *)skb[0]\nexit", F::context_offset, socket);
    add("packet load, no index", "r6 = r1\nr0 = *(u8 *)skb[r7 + 0]\nexit", F::uninitialized_register, socket);
    add("packet load loses r1", "r6 = r1\nr0 = *(u8 *)skb[0]\nr0 = *(u32 *)(r1 + 0)\nexit", F::uninitialized_register,
        socket);
    add("packet load loses r5", "r6 = r1\nr5 = 1\nr0 = *(u8 *)skb[0]\nr0 = r5\nexit", F::uninitialized_register,
        socket);
    add("packet load keeps r6 to r9", "r6 = r1\nr9 = 1\nr0 = *(u8 *)skb[0]\nr0 = *(u8 *)skb[r9 + 0]\nr0 = r9\nexit",
        F::none, socket);
    add("packet load with a record",
        "r7 = r1\nr1 = map[idx:2] ll\nr2 = 16\nr3 = 0\ncall ringbuf_reserve\nif r0 == 0 goto out\nr8 = r0\nr6 = r7\n"
        "r0 = *(u8 *)skb[0]\nr1 = r8\nr2 = 0\ncall ringbuf_submit" +
            out,
        F::record_leak, socket);
    const std::string function = "r6 = r1\ncall f\nexit\nf: r6 = r1\nr0 = *(u8 *)skb[0]\nr0 = 5\nexit";
    add("packet load in a function", "r1 = r1\n" + function, F::none, socket, with_btf);
    add("packet load in an unknown function", function, F::packet_load_function, socket);
    // It may have returned 0 instead of 5.
    add("packet load in a function returns 0",
        "r6 = r1\ncall f\nif r0 == 5 goto +1\nr0 = *(u64 *)(r0 + 0)\nexit\nf: r6 = r1\nr0 = *(u8 *)skb[0]\nr0 = "
        "5\nexit",
        F::not_a_pointer, socket, with_btf);
    add("packet load in a callback",
        "r6 = r1\n*(u64 *)(r10 - 8) = r6\nr1 = 3\nr2 = f ll\nr3 = r10\nr3 += -8\nr4 = 0\ncall loop\nr0 = 0\nexit\n"
        "f: r6 = *(u64 *)(r2 + 0)\nr0 = *(u8 *)skb[0]\nr0 = 0\nexit",
        F::packet_load_in_callback, socket, with_btf);
}

// Loops that only the budget of a run may end.
void may_gotos(const auto& add) {
    using F = Finding;
    add("may_goto", "r0 = 0\nagain: may_goto out\nr0 += 1\ngoto again\nout: exit");
    add("may_goto at the end", "r0 = 0\nagain: r0 += 1\nmay_goto out\ngoto again\nout: exit");
    add("may_goto with a bound", "r0 = 0\nagain: may_goto out\nr0 += 1\nif r0 < 100 goto again\nout: exit");
    add("may_goto over the stack",
        "*(u64 *)(r10 - 8) = 0\nagain: may_goto past\nr1 = *(u64 *)(r10 - 8)\nr1 += 1\n*(u64 *)(r10 - 8) = r1\ngoto "
        "again\n"
        "past: r0 = *(u64 *)(r10 - 8)\nexit");
    add("may_goto, nested",
        "r6 = 0\nouter: may_goto out\nr7 = 0\ninner: may_goto next\nr7 += 1\nif r7 < 5 goto inner\nnext: r6 += 1\ngoto "
        "outer\n"
        "out: r0 = r6\nexit");
    add("may_goto in a function",
        "call f\ncall f\nr0 = 0\nexit\nf: r0 = 0\nagain: may_goto back\nr0 += 1\ngoto again\nback: exit");
    add("may_goto in a callback",
        "r1 = 3\nr2 = f ll\nr3 = 0\nr4 = 0\ncall loop\nr0 = 0\nexit\n"
        "f: r3 = 0\nagain: may_goto back\nr3 += 1\ngoto again\nback: r0 = 0\nexit",
        F::none, ProgType::kprobe, with_btf);
    add("may_goto walks an index out of the value",
        looked_up + "r6 = 0\nagain: may_goto out\n*(u8 *)(r0 + 0) = 1\nr0 += 1\ngoto again" + out, F::out_of_map_value);
    add("may_goto with a checked index", looked_up +
                                             "r6 = 0\nagain: may_goto out\nif r6 > 15 goto out\nr1 = r0\nr1 += "
                                             "r6\n*(u8 *)(r1 + 0) = 1\nr6 += 1\ngoto again" +
                                             out);
    add("may_goto leaks a record",
        "again: may_goto out\nr1 = map[idx:2] ll\nr2 = 16\nr3 = 0\ncall ringbuf_reserve\ngoto again" + out,
        F::record_leak);
    // What passes no may_goto must end by itself, also where the budget is used up.
    add("a loop around may_goto", "r0 = 0\nagain: if r0 == 1 goto again\nmay_goto out\ngoto again\nout: exit");
    add("an endless loop beside may_goto", "again: may_goto next\nnext: goto again", F::infinite_loop);
    add("may_goto to itself", "r0 = 0\nagain: may_goto again\nexit", F::infinite_loop);
    add("an endless loop around two", "again: may_goto a\na: may_goto b\nb: goto again", F::infinite_loop);
    add("an endless loop through a passed one",
        "r6 = *(u64 *)(r1 + 0)\nr7 = 0\nagain: may_goto past\nr7 = 1\npast: if r6 == 7 goto again\nr6 = r7\ngoto again",
        F::infinite_loop);
    // What was walked behind a may_goto says nothing to a path that has not passed it, and less than everything to
    // others, until the loop is walked to its end. Enough lies before `t` that its state is remembered there.
    const std::string much = "r0 = 0\nr0 = 1\nr0 = 2\nr0 = 3\nr0 = 4\nr0 = 5\nr0 = 6\nr0 = 7\n";
    // Whichever side of a branch is walked first.
    const auto branch = [](std::string condition, std::string away, bool inverted, std::string here) {
        return inverted ? fmt::format("if {} goto {}\ngoto {}\n{}:\n", condition, here, away, here)
                        : fmt::format("if {} goto {}\n", condition, away);
    };
    for (const bool first : {false, true}) {
        add("an endless loop through what another passed",
            "r8 = r1\nagain: may_goto a\na: r6 = *(u64 *)(r8 + 0)\n" + branch("r6 > 5", "t", first, "b") +
                "may_goto out\n" + much + "goto t\nt: r0 = 0\ngoto again\nout: r0 = 0\nexit",
            F::infinite_loop);
        for (const bool second : {false, true})
            add("an index that another round changes",
                looked_up + "r9 = r0\nr7 = 0\nagain: may_goto out\ncall get_prandom_u32\nr6 = r0\n" +
                    branch("r6 > 5", "x", first, "b") + branch("r6 & 1", "v", second, "c") + much +
                    "goto t\nv: r7 = 1000\nt: goto again\nx: r7 &= 1023\nr9 += r7\n*(u8 *)(r9 + 0) = 1\ngoto out" + out,
                F::out_of_map_value);
    }
    add("r0 after no round", "again: may_goto out\nr0 = 1\ngoto again\nout: exit", F::uninitialized_register);
}

// Contexts of packets, addresses in the packet, what a program may return.
void packet_cases(const auto& add) {
    using F = Finding;
    const std::string xdp = "r2 = *(u32 *)(r1 + 0)\nr3 = *(u32 *)(r1 + 4)\n";
    const std::string skb = "r2 = *(u32 *)(r1 + 76)\nr3 = *(u32 *)(r1 + 80)\n";
    const std::string end = "\nout: r0 = 0\nexit";
    const auto on_xdp = [&](std::string name, const std::string& text, Finding expected = F::none) {
        add("xdp: " + std::move(name), xdp + text + end, expected, ProgType::xdp, {});
    };
    // Every order of the comparison: what it teaches on which side, to the byte.
    struct Order {
        std::string_view condition;
        bool taken;   // whether the bytes are there where it holds
        int learned;  // of 8
    };
    for (const Order& order : {Order{"r4 > r3", false, 8}, Order{"r4 >= r3", false, 9}, Order{"r4 < r3", true, 9},
                               Order{"r4 <= r3", true, 8}, Order{"r3 < r4", false, 8}, Order{"r3 <= r4", false, 9},
                               Order{"r3 > r4", true, 9}, Order{"r3 >= r4", true, 8}}) {
        const auto checked = [&](int last) {
            const auto access = fmt::format("r0 = *(u8 *)(r2 + {})\n", last);
            return order.taken
                       ? fmt::format("r4 = r2\nr4 += 8\nif {} goto in\ngoto out\nin: {}", order.condition, access)
                       : fmt::format("r4 = r2\nr4 += 8\nif {} goto out\n{}", order.condition, access);
        };
        on_xdp(fmt::format("{} within", order.condition), checked(order.learned - 1));
        on_xdp(fmt::format("{} beyond", order.condition), checked(order.learned), F::out_of_packet);
    }
    const std::string some = "r4 = r2\nr4 += 14\nif r4 > r3 goto out\n";
    on_xdp("unchecked", "r0 = *(u8 *)(r2 + 0)\n", F::out_of_packet);
    on_xdp("before the packet", some + "r0 = *(u8 *)(r2 - 1)\n", F::out_of_packet);
    on_xdp("the other side", "r4 = r2\nr4 += 8\nif r4 < r3 goto out\nr0 = *(u8 *)(r2 + 0)\n", F::out_of_packet);
    on_xdp("behind it", some + "r0 = *(u16 *)(r4 - 2)\n");
    on_xdp("misaligned", some + "r0 = *(u32 *)(r2 + 1)\n");
    on_xdp("write", some + "*(u32 *)(r2 + 10) = 7\n");
    on_xdp("address into the packet", some + "*(u64 *)(r2 + 0) = r1\n", F::pointer_leak_store);
    on_xdp("atomic", some + "r5 = 1\nlock *(u32 *)(r2 + 0) += r5\n", F::atomic_region);
    on_xdp("spilled", "*(u64 *)(r10 - 8) = r2\n" + some + "r5 = *(u64 *)(r10 - 8)\nr0 = *(u8 *)(r5 + 13)\n");
    on_xdp("the end", "r0 = *(u8 *)(r3 + 0)\n", F::not_memory);
    on_xdp("arithmetic with the end", "r3 += 1\n", F::pointer_arithmetic);
    on_xdp("length", "r3 -= r2\nif r3 > 4 goto out\n");
    on_xdp("compared for equality", "if r2 == r3 goto out\n", F::pointer_comparison);
    const std::string variable = some + "r5 = *(u8 *)(r2 + 13)\nr6 = r2\nr6 += r5\n";
    const std::string again = "r7 = r6\nr7 += 4\nif r7 > r3 goto out\n";
    on_xdp("variable offset", variable + again + "r0 = *(u32 *)(r6 + 0)\n");
    on_xdp("variable offset unchecked", variable + "r0 = *(u8 *)(r6 + 0)\n", F::out_of_packet);
    on_xdp("variable offset beyond", variable + again + "r0 = *(u32 *)(r6 + 1)\n", F::out_of_packet);
    on_xdp("two variable offsets do not share", variable + again + "r6 += r5\nr0 = *(u8 *)(r6 + 0)\n",
           F::out_of_packet);
    on_xdp("too far",
           some + "r5 = *(u32 *)(r2 + 0)\nr6 = r2\nr5 &= 0x1ffff\nr6 += r5\n" + again + "r0 = *(u8 *)(r6 + 0)\n",
           F::out_of_packet);
    on_xdp("negative", some + "r5 = *(s8 *)(r2 + 0)\nr6 = r2\nr6 += r5\n" + again + "r0 = *(u8 *)(r6 + 0)\n",
           F::out_of_packet);
    on_xdp("swapped",
           some + "r5 = *(u8 *)(r2 + 0)\nr5 = be16 r5\nr6 = r2\nr6 += r5\n" + again + "r0 = *(u8 *)(r6 + 0)\n");
    on_xdp("without bounds", some + "r5 = *(u64 *)(r2 + 0)\nr6 = r2\nr6 += r5\n", F::pointer_offset);
    on_xdp("moved", "r8 = r1\n" + some + "r6 = r2\nr1 = r8\nr2 = 0\ncall xdp_adjust_head\nr0 = *(u8 *)(r6 + 0)\n",
           F::uninitialized_register);
    on_xdp("moved, spilled", "*(u64 *)(r10 - 8) = r2\nr2 = 0\ncall xdp_adjust_head\nr0 = *(u64 *)(r10 - 8)\n",
           F::uninitialized_stack);
    on_xdp("moved and read again",
           "r8 = r1\nr2 = 0\ncall xdp_adjust_head\nr2 = *(u32 *)(r8 + 0)\nr3 = *(u32 *)(r8 + 4)\n" + some +
               "r0 = *(u8 *)(r2 + 0)\n");
    on_xdp("moved by a function", "r6 = r2\ncall f\nr4 = r6\nr0 = 0\nexit\nf: r2 = 0\ncall xdp_adjust_head\n",
           F::uninitialized_register);
    on_xdp("kept", "r8 = r2\n" + some + "call ktime_get_ns\nr0 = *(u8 *)(r8 + 13)\n");
    on_xdp("metadata", "r4 = *(u32 *)(r1 + 8)\nr5 = r4\nr5 += 4\nif r5 > r2 goto out\nr0 = *(u32 *)(r4 + 0)\n");
    on_xdp("metadata beyond", "r4 = *(u32 *)(r1 + 8)\nr5 = r4\nr5 += 4\nif r5 > r2 goto out\nr0 = *(u32 *)(r4 + 1)\n",
           F::out_of_packet);
    on_xdp("metadata against the end", "r4 = *(u32 *)(r1 + 8)\nr5 = r4\nr5 += 4\nif r5 > r3 goto out\n",
           F::pointer_comparison);
    on_xdp("a key in the packet", some + "r1 = map[idx:0] ll\ncall map_lookup_elem\n");
    on_xdp("a key not in the packet", "r1 = map[idx:0] ll\ncall map_lookup_elem\n", F::out_of_packet);
    on_xdp("helper that may not", some + "r1 = map[idx:2] ll\nr3 = 4\nr4 = 0\ncall ringbuf_output\n",
           F::packet_argument);
    on_xdp("checksum", some + "r3 = r2\nr4 = 8\nr1 = 0\nr2 = 0\nr5 = 0\ncall csum_diff\n");
    on_xdp("context", "*(u32 *)(r1 + 12) = 1\n", F::context_write);
    on_xdp("narrow load of data", "r2 = *(u8 *)(r1 + 0)\n", F::out_of_context);
    on_xdp("redirect map", "r1 = map[idx:1] ll\nr2 = 0\nr3 = 0\ncall redirect_map\n", F::wrong_map_type);

    add("tc: write", skb + "r4 = r2\nr4 += 4\nif r4 > r3 goto out\n*(u8 *)(r2 + 3) = 1" + end, F::none,
        ProgType::sched_cls);
    add("cgroup_skb: write", skb + "r4 = r2\nr4 += 4\nif r4 > r3 goto out\n*(u8 *)(r2 + 3) = 1" + end,
        F::packet_read_only, ProgType::cgroup_skb);
    add("cgroup_skb: read", skb + "r4 = r2\nr4 += 4\nif r4 > r3 goto out\nr0 = *(u8 *)(r2 + 3)" + end, F::none,
        ProgType::cgroup_skb);
    add("socket: packet", skb + end, F::out_of_context, ProgType::socket_filter);
    add("socket: cb", "*(u32 *)(r1 + 48) = 1\nr0 = *(u16 *)(r1 + 50)\nexit", F::none, ProgType::socket_filter);
    add("socket: mark", "*(u32 *)(r1 + 8) = 1" + end, F::context_write_field, ProgType::socket_filter);
    add("tc: mark", "*(u32 *)(r1 + 8) = 1" + end, F::none, ProgType::sched_cls);
    add("tc: part of mark", "*(u16 *)(r1 + 8) = 1" + end, F::context_write_field, ProgType::sched_cls);
    add("tc: address in cb", "*(u64 *)(r1 + 48) = r10" + end, F::pointer_leak_store, ProgType::sched_cls);
    add("tc: socket", "r2 = *(u64 *)(r1 + 168)" + end, F::none, ProgType::sched_cls);
    add("netfilter: packet", "r2 = *(u64 *)(r1 + 8)" + end, F::none, ProgType::netfilter);
    add("netfilter: in the packet", "r2 = *(u64 *)(r1 + 8)\nr2 = *(u32 *)(r2 + 0)" + end, F::typed_load_unsupported,
        ProgType::netfilter);
    add("tc: store",
        "r6 = r1\nr2 = 0\nr3 = r10\nr3 += -8\n*(u64 *)(r10 - 8) = 0\nr4 = 8\nr5 = 0\ncall skb_store_bytes" + end,
        F::none, ProgType::sched_cls);
    add("xdp: store", "r2 = 0\ncall skb_pull_data" + end, F::helper_program_type, ProgType::xdp);
    add("cgroup_skb: returns 2", "r0 = 2\nexit", F::return_range, ProgType::cgroup_skb);
    add("cgroup_skb: returns 1", "r0 = 1\nexit", F::none, ProgType::cgroup_skb);
    add("cgroup_skb: returns anything", "call get_prandom_u32\nexit", F::return_range, ProgType::cgroup_skb);
    add("cgroup_skb: returns a bit", "call get_prandom_u32\nr0 &= 1\nexit", F::none, ProgType::cgroup_skb);
    add("cgroup_device", "r0 = *(u16 *)(r1 + 0)\nr0 &= 1\nexit", F::none, ProgType::cgroup_device, {});
}

std::vector<Case> cases() {
    std::vector<Case> all;
    const auto add = [&](std::string name, std::string text, Finding expected = Finding::none,
                         ProgType type = ProgType::kprobe,
                         std::function<void(program::Program&, Options&)> adjust = {}) {
        all.push_back({std::move(name), std::move(text), expected, type, std::move(adjust)});
    };
    const auto set = [](auto change) { return [change](program::Program& p, Options& o) { change(p, o); }; };
    using F = Finding;

    // --- the program as a whole
    add("smallest", "r0 = 0\nexit");
    add("type", "r0 = 0\nexit", F::unsupported_program_type, ProgType::unspec);
    add("attached by types that are not known", "r0 = 0\nexit", F::no_kernel_types, ProgType::struct_ops);
    add("empty", "r0 = 0\nexit", F::bad_program_size, ProgType::kprobe, set([](auto& p, auto&) { p.insns.clear(); }));
    add("unknown opcode", "r0 = 0\nexit", F::bad_insn, ProgType::kprobe,
        set([](auto& p, auto&) { p.insns[0].code = 0xff; }));
    add("reserved field", "r0 = 0\nexit", F::bad_insn, ProgType::kprobe,
        set([](auto& p, auto&) { p.insns[0].off = 1; }));
    add("half of a wide", "r0 = 0\nr1 = 5 ll\nexit", F::bad_insn, ProgType::kprobe,
        set([](auto& p, auto&) { p.insns.resize(2); }));
    add("register 11", "r0 = 0\nexit", F::bad_register, ProgType::kprobe,
        set([](auto& p, auto&) { p.insns[0].dst = 11; }));
    add("divide by constant zero", "r0 = 1\nr0 /= 0\nexit", F::bad_immediate);
    add("shift too far", "r0 = 1\nr0 <<= 64\nexit", F::bad_immediate);
    add("shift 32 bits too far", "r0 = 1\nw0 <<= 32\nexit", F::bad_immediate);
    add("divide by a register that may be zero", "r0 = 1\nr2 = 0\nr0 /= r2\nexit");
    add("kfunc", "r0 = 0\nexit", F::unknown_kfunc, ProgType::kprobe,
        set([](auto& p, auto&) { p.insns[0] = {.code = 0x85, .src = 2, .imm = 1}; }));
    add("callx", "r0 = 0\nr1 = 5\ncallx r1\nexit", F::unsupported_insn);
    add("callx where no path leads", "r0 = 0\nif r0 == 0 goto end\ncallx r1\nend: exit", F::unsupported_insn);
    add("gotox where no path leads", "r0 = 0\nif r0 == 0 goto end\ngotox r1\nend: exit", F::unsupported_insn);
    add("gotox", "r1 = 0\nr0 = 0\ngotox r1\nexit", F::unsupported_insn);
    add("exit with an offset", "r0 = 0\nexit", F::none, ProgType::kprobe,
        set([](auto& p, auto&) { p.insns[1].off = 5; }));
    add("exit with an immediate", "r0 = 0\nexit", F::bad_insn, ProgType::kprobe,
        set([](auto& p, auto&) { p.insns[1].imm = 5; }));
    add("cast", "r0 = 0\nr1 = 0\nr1 = addr_space_cast(r1, 0, 1)\nexit", F::cast_without_arena);
    packet_loads(add);
    privileged(add);
    distances(add);
    faults(add);
    may_gotos(add);
    add("write r10", "r10 = 0\nexit", F::frame_pointer_write);
    add("fetch into r10", "*(u64 *)(r10 - 8) = 0\nr0 = 0\nr1 = 1\nr1 = atomic_fetch_add((u64 *)(r10 - 8), r1)\nexit",
        F::frame_pointer_write, ProgType::kprobe, set([](auto& p, auto&) { p.insns[3].src = 10; }));
    add("jump out", "r0 = 0\ngoto +7\nexit", F::jump_out_of_range);
    add("jump into a wide", "r0 = 0\nif r0 == 0 goto +1\nr1 = 5 ll\nexit", F::jump_out_of_range);
    add("jump into another function", "r0 = 0\nif r0 == 0 goto +2\ncall sub\nexit\nsub: r0 = 1\nexit",
        F::jump_out_of_range);
    add("falls off", "r0 = 0", F::falls_off_end);
    add("falls into the next function", "call sub\nr0 = 0\nsub: r0 = 1\nexit", F::falls_off_end);
    add("unreachable", "r0 = 0\nexit\nr0 = 1\nexit", F::unreachable_insn);
    add("call into a wide", "call +2\nexit\nr0 = 5 ll\nexit", F::bad_call_target, ProgType::kprobe,
        set([](auto& p, auto&) { p.insns[0] = {.code = 0x85, .src = 1, .imm = 2}; }));
    add("call outside", "r0 = 0\nexit", F::bad_call_target, ProgType::kprobe,
        set([](auto& p, auto&) { p.insns[0] = {.code = 0x85, .src = 1, .imm = 100}; }));
    std::string many = "r0 = 0\n", functions;
    for (int i = 0; i < 256; ++i)
        many += fmt::format("call f{}\n", i), functions += fmt::format("f{}: r0 = 0\nexit\n", i);
    add("257 subprograms", many + "exit\n" + functions, F::too_many_subprograms);
    add("recursion", "call sub\nexit\nsub: call sub2\nexit\nsub2: call sub\nexit", F::recursion);
    add("itself", "call sub\nexit\nsub: call sub\nexit", F::recursion);
    const auto chain = [](int functions_in_it, int stack) {
        std::string text;
        for (int i = 0; i < functions_in_it; ++i)
            text += fmt::format("f{}: r1 = 0\n*(u64 *)(r10 - {}) = r1\n{}exit\n", i, stack,
                                i + 1 < functions_in_it ? fmt::format("call f{}\n", i + 1) : "r0 = 0\n");
        return text;
    };
    add("8 frames", chain(8, 8));
    add("9 frames", chain(9, 8), F::too_many_frames);
    add("512 bytes each in a tracing program", chain(8, 512));
    add("512 bytes over the chain", chain(2, 256), F::none, ProgType::socket_filter);
    add("more over the chain", chain(3, 200), F::stack_too_deep, ProgType::socket_filter);
    const auto tail = [](unsigned bytes) {
        return fmt::format(
            "r6 = r1\n*(u8 *)(r10 - {}) = 0\nr1 = r6\ncall f\nr0 = 0\nexit\n"
            "f: r2 = map[idx:4] ll\nr3 = 0\ncall tail_call\nr0 = 0\nexit",
            bytes);
    };
    add("tail call under 240 bytes", tail(240), F::none, ProgType::sched_cls);
    add("tail call under 256 bytes", tail(256), F::tail_call_stack, ProgType::sched_cls);
    add("tail call of the program itself",
        "*(u8 *)(r10 - 512) = 0\nr2 = map[idx:4] ll\nr3 = 0\ncall tail_call\nr0 = 0\nexit");
    add("function that returns nothing", "call f\nr0 = 0\nexit\nf: exit");
    add("function that returns nothing, and is believed to", "call f\nexit\nf: exit", F::uninitialized_register);
    add("map that is not there", "r1 = map[idx:9] ll\nr0 = 0\nexit", F::bad_map_reference);
    add("value of a hash", "r1 = map[idx:0][0]+0 ll\nr0 = 0\nexit", F::bad_map_reference);
    add("value beyond", "r1 = map[idx:1][0]+64 ll\nr0 = 0\nexit", F::bad_map_reference);
    add("value of an array of several", "r1 = map[idx:7][0]+0 ll\nr0 = 0\nexit", F::bad_map_reference);
    const std::string loop = R"(
        *(u64 *)(r10 - 8) = 0
        r1 = 10
        r2 = each ll
        r3 = r10
        r3 += -8
        r4 = 0
        call helper 181
        r0 = 0
        exit
    each:)";
    add("callback without BTF", loop + "r0 = 0\nexit", F::bad_callback_target);
    add("global callback", loop + "r0 = 0\nexit", F::bad_callback_target, ProgType::kprobe,
        set([](auto& p, auto&) { add_btf(p, true); }));

    // --- the walk
    add("loop of 100", "r0 = 0\nagain: r0 += 1\nif r0 < 100 goto again\nexit");
    add("loop with unknown end", R"(
        call get_prandom_u32
        r1 = 0
    again: if r1 >= r0 goto done
        r1 += 1
        goto again
    done: r0 = 0
        exit)",
        F::too_complex, ProgType::kprobe, set([](auto&, auto& o) { o.max_insns = 20'000; }));
    add("loop to a bounded end", R"(
        call get_prandom_u32
        r0 &= 63
        r1 = 0
    again: if r1 >= r0 goto done
        r1 += 1
        goto again
    done: r0 = 0
        exit)");
    add("endless", "r0 = 0\nagain: r1 = 1\nr2 = 2\nr3 = 3\ngoto again\nexit", F::unreachable_insn);
    add("endless in a state", "r0 = 0\nagain: r1 = 1\nif r0 == 0 goto again\nexit", F::infinite_loop);
    add("endless until chance", "again: call get_prandom_u32\nif r0 != 5 goto again\nr0 = 0\nexit", F::infinite_loop);
    std::string branches;
    for (int i = 0; i < 8200; ++i) branches += "call get_prandom_u32\nif r0 == 5 goto +0\n";
    add("8200 branches", branches + "r0 = 0\nexit", F::too_many_branches);
    add("context or stack", R"(
        *(u64 *)(r10 - 8) = 0
        r2 = r10
        r2 += -8
        r3 = *(u64 *)(r1 + 0)
        if r3 == 0 goto both
        r2 = r1
    both: r0 = *(u64 *)(r2 + 0)
        exit)",
        F::mixed_regions);
    add("map value or stack", looked_up + R"(
        *(u64 *)(r10 - 16) = 0
        r2 = r10
        r2 += -16
        r3 = *(u64 *)(r0 + 0)
        if r3 == 0 goto both
        r2 = r0
    both: r0 = *(u64 *)(r2 + 0)
    )" + out);

    // --- registers
    add("r0 never set", "exit", F::uninitialized_register);
    add("r2 never set", "r0 = r2\nexit", F::uninitialized_register);
    add("r1 after a call", "call get_prandom_u32\nr0 = r1\nexit", F::uninitialized_register);
    add("set on one path", "r2 = *(u64 *)(r1 + 0)\nif r2 == 0 goto done\nr0 = 1\ndone: exit",
        F::uninitialized_register);
    add("and with a pointer", "r1 &= 8\nr0 = 0\nexit", F::pointer_arithmetic);
    add("32-bit copy of a pointer", "w0 = w1\nexit", F::pointer_arithmetic);
    add("32-bit addition to a pointer", "r2 = r10\nw2 += -8\nr0 = 0\nexit", F::pointer_arithmetic);
    add("number - pointer", "r2 = 5\nr2 -= r10\nr0 = 0\nexit", F::pointer_arithmetic);
    add("pointer + pointer", "r2 = r10\nr2 += r1\nr0 = 0\nexit", F::pointer_arithmetic);
    add("negated pointer", "r1 = -r1\nr0 = 0\nexit", F::pointer_arithmetic);
    add("swapped pointer", "r1 = be64 r1\nr0 = 0\nexit", F::pointer_arithmetic);
    add("map + 8", "r1 = map[idx:0] ll\nr1 += 8\nr0 = 0\nexit", F::pointer_arithmetic);
    add("distance within the stack", "r2 = r10\nr2 += -8\nr2 -= r10\nr0 = r2\nexit");
    add("add before the null check", R"(
        *(u32 *)(r10 - 4) = 1
        r2 = r10
        r2 += -4
        r1 = map[idx:0] ll
        call map_lookup_elem
        r0 += 8
        if r0 == 0 goto done
    done: r0 = 0
        exit)",
        F::arithmetic_maybe_null);
    add("unknown offset", looked_up + "r6 = r0\ncall get_current_pid_tgid\nr6 += r0\nr0 = *(u8 *)(r6 + 0)\n" + out,
        F::pointer_offset);
    add("huge offset", looked_up + "r0 += 0x40000000\n" + out, F::pointer_offset);
    add("compare pointers", looked_up + "if r0 == r10 goto out\n" + out, F::pointer_comparison);
    add("compare a pointer and a number", "if r1 > 5 goto out\n" + out, F::pointer_comparison);
    add("compare half a pointer", "if w1 == 0 goto out\n" + out, F::pointer_comparison);
    add("compare within the stack", "r2 = r10\nr2 += -8\nif r2 < r10 goto out\n" + out);

    // --- memory
    add("load from a number", "r1 = 4096\nr0 = *(u64 *)(r1 + 0)\nexit", F::not_a_pointer);
    add("store to a number", "r1 = 4096\n*(u64 *)(r1 + 0) = 1\nr0 = 0\nexit", F::not_a_pointer);
    add("atomic at a number", "r1 = 4096\nr0 = 0\nlock *(u64 *)(r1 + 0) += r0\nexit", F::not_a_pointer);
    add("no null check", R"(
        *(u32 *)(r10 - 4) = 1
        r2 = r10
        r2 += -4
        r1 = map[idx:0] ll
        call map_lookup_elem
        r0 = *(u64 *)(r0 + 0)
        exit)",
        F::maybe_null);
    add("null check of a copy", R"(
        *(u32 *)(r10 - 4) = 1
        r2 = r10
        r2 += -4
        r1 = map[idx:0] ll
        call map_lookup_elem
        r6 = r0
        *(u64 *)(r10 - 16) = r0
        if r6 == 0 goto out
        r7 = *(u64 *)(r10 - 16)
        r8 = *(u64 *)(r7 + 8)
        r8 = *(u64 *)(r0 + 8)
    )" + out);
    add("null after the check", looked_up + "goto done\nout: r0 = *(u64 *)(r0 + 0)\ndone: r0 = 0\nexit",
        F::not_a_pointer);
    add("load from a map", "r1 = map[idx:0] ll\nr0 = *(u64 *)(r1 + 0)\nexit", F::not_memory);
    add("load from a task", "call get_current_task_btf\nr0 = *(u32 *)(r0 + 0)\nexit", F::typed_load_unsupported);
    add("read a task by helper", R"(
        call get_current_task_btf
        r3 = r0
        r3 += 16
        r1 = r10
        r1 += -8
        r2 = 8
        call probe_read_kernel
        r0 = *(u64 *)(r10 - 8)
        exit)");
    add("stack misaligned", "*(u64 *)(r10 - 12) = 1\nr0 = 0\nexit", F::misaligned);
    add("atomic misaligned", looked_up + "r1 = 1\nlock *(u64 *)(r0 + 4) += r1\n" + out, F::misaligned);
    add("map value misaligned is fine", looked_up + "r1 = *(u64 *)(r0 + 3)\n" + out);
    add("pt_regs", "r0 = *(u64 *)(r1 + 160)\nexit");
    add("beyond pt_regs", "r0 = *(u64 *)(r1 + 168)\nexit", F::out_of_context);
    add("context misaligned", "r0 = *(u64 *)(r1 + 4)\nexit", F::out_of_context);
    add("before the context", "r0 = *(u64 *)(r1 - 8)\nexit", F::out_of_context);
    add("tracepoint", "r0 = *(u64 *)(r1 + 8184)\nexit", F::none, ProgType::tracepoint);
    add("tracepoint's common fields", "r0 = *(u64 *)(r1 + 0)\nexit", F::out_of_context, ProgType::tracepoint);
    add("beyond a tracepoint", "r0 = *(u64 *)(r1 + 8192)\nexit", F::out_of_context, ProgType::tracepoint);
    add("raw tracepoint", "r0 = *(u64 *)(r1 + 88)\nexit", F::none, ProgType::raw_tracepoint);
    add("beyond a raw tracepoint", "r0 = *(u64 *)(r1 + 96)\nexit", F::out_of_context, ProgType::raw_tracepoint);
    add("perf event", "r0 = *(u64 *)(r1 + 168)\nr0 = *(u64 *)(r1 + 176)\nexit", F::none, ProgType::perf_event);
    add("perf event's registers are whole", "r0 = *(u32 *)(r1 + 8)\nexit", F::out_of_context, ProgType::perf_event);
    add("socket buffer", "r0 = *(u32 *)(r1 + 0)\nr0 = *(u8 *)(r1 + 17)\nr0 = *(u64 *)(r1 + 48)\nexit", F::none,
        ProgType::socket_filter);
    add("socket buffer's packet", "r0 = *(u32 *)(r1 + 76)\nexit", F::out_of_context, ProgType::socket_filter);
    add("store to the context", "*(u64 *)(r1 + 0) = 1\nr0 = 0\nexit", F::context_write);
    add("context plus 8", "r1 += 8\nr0 = *(u64 *)(r1 + 0)\nexit", F::context_offset);
    add("context plus unknown", "r2 = *(u64 *)(r1 + 0)\nr2 &= 8\nr1 += r2\nr0 = *(u64 *)(r1 + 0)\nexit",
        F::context_offset);
    add("below the stack", "*(u64 *)(r10 - 520) = 1\nr0 = 0\nexit", F::out_of_stack);
    add("above the stack", "*(u64 *)(r10 + 0) = 1\nr0 = 0\nexit", F::out_of_stack);
    add("unbounded in the stack",
        "*(u64 *)(r10 - 8) = 1\nr2 = *(u64 *)(r1 + 0)\nr2 >>= 1\nr3 = r10\nr3 += r2\nr0 = *(u8 *)(r3 - 8)\nexit",
        F::unbounded_stack);
    add("bounded in the stack", R"(
        *(u64 *)(r10 - 8) = 1
        *(u64 *)(r10 - 16) = 1
        r2 = *(u64 *)(r1 + 0)
        r2 &= 8
        r3 = r10
        r3 += -16
        r3 += r2
        r0 = *(u64 *)(r3 + 0)
        *(u8 *)(r3 + 3) = 7
        exit)");
    add("bounded over what was not written", R"(
        *(u64 *)(r10 - 8) = 1
        r2 = *(u64 *)(r1 + 0)
        r2 &= 8
        r3 = r10
        r3 += -16
        r3 += r2
        r0 = *(u64 *)(r3 + 0)
        exit)",
        F::uninitialized_stack);
    add("read before written", "r0 = *(u64 *)(r10 - 8)\nexit", F::uninitialized_stack);
    add("half written", "*(u32 *)(r10 - 8) = 1\nr0 = *(u64 *)(r10 - 8)\nexit", F::uninitialized_stack);
    add("key not written", "r2 = r10\nr2 += -4\nr1 = map[idx:0] ll\ncall map_lookup_elem\nr0 = 0\nexit",
        F::uninitialized_stack);
    add("written in halves", "*(u32 *)(r10 - 8) = 1\n*(u32 *)(r10 - 4) = 2\nr0 = *(u64 *)(r10 - 8)\nexit");
    add("half of a saved pointer", "*(u64 *)(r10 - 8) = r1\nr0 = *(u32 *)(r10 - 8)\nexit", F::partial_pointer);
    add("overwrite half of a saved pointer",
        "*(u64 *)(r10 - 8) = r1\n*(u32 *)(r10 - 4) = 0\nr0 = *(u32 *)(r10 - 4)\nexit");
    add("read the other half", "*(u64 *)(r10 - 8) = r1\n*(u32 *)(r10 - 4) = 0\nr0 = *(u32 *)(r10 - 8)\nexit",
        F::uninitialized_stack);
    add("overwrite some of a saved pointer", R"(
        *(u64 *)(r10 - 8) = r1
        *(u64 *)(r10 - 16) = 0
        r2 = *(u64 *)(r1 + 0)
        r2 &= 8
        r3 = r10
        r3 += r2
        *(u8 *)(r3 - 16) = 1
        r0 = *(u64 *)(r10 - 8)
        exit)",
        F::uninitialized_stack);
    add("store half of a pointer", "*(u32 *)(r10 - 8) = r1\nr0 = 0\nexit", F::partial_pointer);
    add("overwrite a saved pointer", "*(u64 *)(r10 - 8) = r1\n*(u64 *)(r10 - 8) = 5\nr0 = *(u64 *)(r10 - 8)\nexit");
    add("half of a saved zero",
        looked_up + "*(u64 *)(r10 - 16) = 0\nr1 = *(u32 *)(r10 - 12)\nr0 += r1\nr1 = *(u64 *)(r0 + 8)\n" + out);
    add("half of a saved number",
        looked_up + "*(u64 *)(r10 - 16) = 1\nr1 = *(u32 *)(r10 - 12)\nr0 += r1\nr1 = *(u64 *)(r0 + 8)\n" + out,
        F::out_of_map_value);
    add("saved and loaded", "*(u64 *)(r10 - 8) = r1\nr2 = *(u64 *)(r10 - 8)\nr0 = *(u64 *)(r2 + 0)\nexit");
    add("stack pointer into the caller's frame", R"(
        r1 = r10
        r1 += -8
        call sub
        r0 = 0
        exit
    sub: *(u64 *)(r1 + 0) = r10
        r0 = 0
        exit)",
        F::stack_pointer_saved);
    add("caller's stack through an argument", R"(
        r1 = r10
        r1 += -8
        call sub
        r0 = *(u64 *)(r10 - 8)
        exit
    sub: *(u64 *)(r1 + 0) = 7
        r0 = 0
        exit)");
    add("map value", looked_up + "r1 = *(u64 *)(r0 + 8)\n" + out);
    add("beyond the map value", looked_up + "r1 = *(u64 *)(r0 + 9)\n" + out, F::out_of_map_value);
    add("before the map value", looked_up + "*(u8 *)(r0 - 1) = 1\n" + out, F::out_of_map_value);
    const std::string index = looked_up + "r6 = r0\ncall get_prandom_u32\n";
    add("index by mask", index + "r0 &= 7\nr6 += r0\nr1 = *(u64 *)(r6 + 1)\n" + out);
    add("index by comparison", index + "if r0 > 8 goto out\nr6 += r0\nr1 = *(u64 *)(r6 + 0)\n" + out);
    add("index by 32-bit comparison", index + "w0 = w0\nif w0 > 8 goto out\nr6 += r0\nr1 = *(u64 *)(r6 + 0)\n" + out);
    add("index by register comparison",
        index + "r1 = 9\nif r0 >= r1 goto out\nr6 += r0\nr1 = *(u64 *)(r6 + 0)\n" + out);
    add("index of a copy", index + "r7 = r0\nif r7 > 8 goto out\nr6 += r0\nr1 = *(u64 *)(r6 + 0)\n" + out);
    add("index one too far", index + "if r0 > 9 goto out\nr6 += r0\nr1 = *(u64 *)(r6 + 0)\n" + out,
        F::out_of_map_value);
    add("index signed", index + "if r0 s> 8 goto out\nr6 += r0\nr1 = *(u64 *)(r6 + 0)\n" + out, F::pointer_offset);
    add("index unbounded above", index + "r0 >>= 1\nr6 += r0\nr1 = *(u64 *)(r6 + 0)\n" + out, F::out_of_map_value);
    add("index by 32-bit comparison of 64 bits", index + "if w0 > 8 goto out\nr6 += r0\nr1 = *(u64 *)(r6 + 0)\n" + out,
        F::pointer_offset);
    add("global data", "r1 = map[idx:1][0]+8 ll\n*(u64 *)(r1 + 48) = 5\nr0 = *(u64 *)(r1 + 0)\nexit");
    add("beyond global data", "r1 = map[idx:1][0]+8 ll\n*(u64 *)(r1 + 56) = 5\nr0 = 0\nexit", F::out_of_map_value);
    add("read-only data is known", R"(
        r1 = map[idx:5][0]+8 ll
        r0 = *(u32 *)(r1 + 0)
        if r0 == 7 goto done
        call 195896080
        r0 = *(u64 *)(r0 + 0)
    done: r0 = 0
        exit)");
    add("store to read-only data", "r1 = map[idx:5][0]+0 ll\n*(u8 *)(r1 + 0) = 5\nr0 = 0\nexit", F::map_read_only);
    add("load from a write-only map", "r1 = map[idx:6][0]+0 ll\nr0 = *(u8 *)(r1 + 0)\nexit", F::map_write_only);
    add("record", reserved + "*(u64 *)(r6 + 8) = 1\n" + submitted + out);
    add("beyond the record", reserved + "*(u64 *)(r6 + 9) = 1\n" + submitted + out, F::out_of_record);
    add("atomic on the context", "r0 = 1\nlock *(u64 *)(r1 + 0) += r0\nexit", F::atomic_region);
    add("atomics", looked_up + R"(
        r1 = 1
        lock *(u64 *)(r0 + 0) += r1
        r1 = atomic_fetch_add((u64 *)(r0 + 8), r1)
        r6 = r0
        r0 = 5
        r1 = 6
        r0 = cmpxchg_64(r6 + 0, r0, r1)
        r1 = xchg32_32(r6 + 4, w1)
    )" + out);
    add("atomic on the stack",
        "*(u64 *)(r10 - 8) = 1\nr1 = 2\nlock *(u64 *)(r10 - 8) |= r1\nr0 = *(u64 *)(r10 - 8)\nexit");
    add("atomic on an unwritten stack", "r1 = 2\nr0 = 0\nlock *(u64 *)(r10 - 8) |= r1\nexit", F::uninitialized_stack);
    add("atomic on a saved pointer", "*(u64 *)(r10 - 8) = r1\nr1 = 2\nr0 = 0\nlock *(u64 *)(r10 - 8) |= r1\nexit",
        F::partial_pointer);
    add("what atomics leave is unknown", looked_up + R"(
        *(u64 *)(r10 - 16) = 0
        r1 = 100
        lock *(u64 *)(r10 - 16) += r1
        r2 = *(u64 *)(r10 - 16)
        r0 += r2
        r1 = *(u8 *)(r0 + 0)
    )" + out,
        F::pointer_offset);

    // --- pointers that would leave
    add("pointer into a map", looked_up + "*(u64 *)(r0 + 0) = r10\n" + out, F::pointer_leak_store);
    const auto leaks = set([](auto&, auto& o) { o.allow_ptr_leaks = true; });
    add("pointer into a map, allowed", looked_up + "*(u64 *)(r0 + 0) = r10\n" + out, F::none, ProgType::kprobe, leaks);
    add("pointer into a record", reserved + "*(u64 *)(r6 + 0) = r6\n" + submitted + out, F::pointer_leak_store);
    add("pointer added atomically", looked_up + "lock *(u64 *)(r0 + 0) += r10\n" + out, F::pointer_leak_store);
    add("pointer as flags", R"(
        r1 = map[idx:2] ll
        r2 = r10
        call ringbuf_query
        r0 = 0
        exit)",
        F::pointer_leak_argument);
    add("pointer to text that is printed", R"(
        *(u64 *)(r10 - 8) = 0
        *(u64 *)(r10 - 16) = 0
        r1 = r10
        r1 += -16
        *(u16 *)(r10 - 16) = 29477
        r2 = 3
        r3 = r10
        r3 += -8
        r4 = 0
        r5 = 0
        call trace_printk
        r0 = 0
        exit)",
        F::none);
    add("pointers among what is printed", R"(
        *(u64 *)(r10 - 16) = 0
        *(u64 *)(r10 - 8) = r10
        r1 = r10
        r1 += -16
        r2 = 3
        r3 = r10
        r3 += -8
        r4 = 8
        call trace_vprintk
        r0 = 0
        exit)",
        F::none);
    add("pointer in a key", R"(
        *(u64 *)(r10 - 8) = r10
        r2 = r10
        r2 += -8
        r1 = map[idx:0] ll
        call map_lookup_elem
        r0 = 0
        exit)",
        F::pointer_leak_stack);
    add("return a pointer", "r0 = r10\nexit", F::pointer_leak_return);
    add("return a pointer, allowed", "r0 = r1\nexit", F::none, ProgType::kprobe, leaks);

    // --- calls
    add("poisoned call", "call 195896080\nr0 = 0\nexit", F::unknown_helper);
    add("without licence", "call get_current_task\nr0 = 0\nexit", F::helper_gpl_only, ProgType::kprobe,
        set([](auto& p, auto&) { p.gpl_compatible = false; }));
    add("tracing only", "call get_attach_cookie\nr0 = 0\nexit", F::helper_program_type, ProgType::socket_filter);
    const std::string from_user = "r1 = r10\nr1 += -8\nr2 = 8\nr3 = 0\ncall copy_from_user\nr0 = 0\nexit";
    add("sleepable only", from_user, F::helper_sleepable);
    add("sleepable", from_user, F::none, ProgType::kprobe, set([](auto& p, auto&) { p.sleepable = true; }));
    add("number for a map", "r1 = 5\nr2 = r10\ncall map_lookup_elem\nr0 = 0\nexit", F::wrong_argument);
    add("arguments that the text may not need",
        "*(u64 *)(r10 - 8) = 0\nr1 = r10\nr1 += -8\nr2 = 8\ncall trace_printk\nr0 = 0\nexit");
    add("context for memory", "r2 = 8\ncall trace_printk\nr0 = 0\nexit", F::wrong_argument);
    add("stack for the context", R"(
        r1 = r10
        call get_attach_cookie
        r0 = 0
        exit)",
        F::wrong_argument);
    add("number for a callback", "r1 = 1\nr2 = 0\nr3 = 0\nr4 = 0\ncall helper 181\nr0 = 0\nexit", F::wrong_argument);
    add("null with a size", "r1 = 0\nr2 = 8\nr3 = map[idx:5][0]+0 ll\nr4 = 0\nr5 = 0\ncall snprintf\nr0 = 0\nexit",
        F::wrong_argument);
    add("lookup in a ring buffer", "r1 = map[idx:2] ll\nr2 = r10\ncall map_lookup_elem\nr0 = 0\nexit",
        F::wrong_map_type);
    add("reserve from a hash", "r1 = map[idx:0] ll\nr2 = 8\nr3 = 0\ncall ringbuf_reserve\nr0 = 0\nexit",
        F::wrong_map_type);
    add("lookup in a program array", "r1 = map[idx:4] ll\nr2 = r10\ncall map_lookup_elem\nr0 = 0\nexit",
        F::wrong_map_type);
    add("update read-only data", R"(
        *(u64 *)(r10 - 8) = 0
        r2 = r10
        r2 += -8
        r3 = map[idx:5][0]+0 ll
        r4 = 0
        r1 = map[idx:5] ll
        call map_update_elem
        r0 = 0
        exit)",
        F::map_read_only);
    const auto read = [](std::string size) {
        return "r6 = *(u64 *)(r1 + 0)\n" + std::move(size) + R"(
            r1 = r10
            r1 += -16
            r3 = 0
            call probe_read_kernel
            r0 = 0
            exit)";
    };
    add("unknown size", read("r2 = r6"), F::unbounded_size);
    add("negative size", read("r2 = -1"), F::unbounded_size);
    add("masked size", read("r2 = r6\nr2 &= 15"));
    add("size beyond the stack", read("r2 = r6\nr2 &= 31"), F::out_of_stack);
    add("size may be zero",
        "*(u64 *)(r10 - 8) = 0\nr2 = *(u64 *)(r1 + 0)\nr2 &= 7\nr1 = r10\nr1 += -8\ncall trace_printk\nr0 = 0\nexit",
        F::zero_size);
    add("reserve an unknown size",
        "r2 = *(u64 *)(r1 + 0)\nr2 &= 8\nr1 = map[idx:2] ll\nr3 = 0\ncall ringbuf_reserve\nr0 = 0\nexit",
        F::size_not_constant);
    const auto compare = [](std::string text) {
        return "*(u64 *)(r10 - 8) = 0\nr1 = r10\nr1 += -8\nr2 = 8\n" + std::move(text) + "\ncall strncmp\nr0 = 0\nexit";
    };
    add("constant string", compare("r3 = map[idx:5][0]+0 ll"));
    add("string in writable data", compare("r3 = map[idx:1][0]+0 ll"), F::bad_string);
    add("string without end", compare("r3 = map[idx:5][0]+24 ll"), F::bad_string);
    const auto print = [](std::string format, std::string size) {
        return "*(u64 *)(r10 - 8) = 5\nr1 = r10\nr1 += -24\nr2 = 16\n" + std::move(format) +
               "\nr4 = r10\nr4 += -8\nr5 = " + std::move(size) + "\ncall snprintf\nr0 = 0\nexit";
    };
    add("format", print("r3 = map[idx:5][0]+0 ll", "8"));
    add("format without its argument", print("r3 = map[idx:5][0]+0 ll", "0"), F::bad_format);
    add("format with half an argument", print("r3 = map[idx:5][0]+0 ll", "4"), F::bad_format);
    add("Latin punctuation behind text", print("r3 = map[idx:5][0]+16 ll", "8"));
    add("Latin letter behind text", print("r3 = map[idx:5][0]+20 ll", "8"), F::bad_format);
    add("unknown conversion", print("r3 = map[idx:5][0]+12 ll", "8"), F::bad_format);
    add("record plus 8", reserved + "r1 = r6\nr1 += 8\nr2 = 0\ncall ringbuf_submit\n" + out, F::record_modified);
    add("record kept", reserved + out, F::record_leak);
    add("record kept on one path", reserved + "r7 = *(u64 *)(r6 + 0)\nif r7 == 5 goto out\n" + submitted + out,
        F::record_leak);
    add("record used after submit", reserved + submitted + "r7 = *(u64 *)(r6 + 0)\n" + out, F::uninitialized_register);
    add("record submitted twice", reserved + submitted + submitted + out, F::uninitialized_register);
    add("record's copy in the stack after submit",
        reserved + "*(u64 *)(r10 - 8) = r6\n" + submitted + "r7 = *(u64 *)(r10 - 8)\n" + out, F::uninitialized_stack);
    add("record without null check",
        "r1 = map[idx:2] ll\nr2 = 16\nr3 = 0\ncall ringbuf_reserve\nr1 = r0\nr2 = 0\ncall ringbuf_submit\nr0 = 0\nexit",
        F::maybe_null);
    add("record submitted by a function",
        reserved + "r1 = r6\ncall sub\ngoto out\n" + out + "sub: r2 = 0\ncall ringbuf_submit\nr0 = 0\nexit");
    add("tail call with a record",
        "r7 = r1\n" + reserved + "r1 = r7\nr2 = map[idx:4] ll\nr3 = 0\ncall tail_call\n" + submitted + out,
        F::record_leak);
    add("tail call", "r2 = map[idx:4] ll\nr3 = 0\ncall tail_call\nr0 = 0\nexit");
    add("tail call leaves nothing in r0", "r2 = map[idx:4] ll\nr3 = 0\ncall tail_call\nexit",
        F::uninitialized_register);
    add("a tail call's result may be anything", looked_up + R"(
        r6 = r0
        r1 = r7
        call sub
        r6 += r0
        r1 = *(u8 *)(r6 + 0)
    )" + out + R"(
    sub: r2 = map[idx:4] ll
        r3 = 0
        call tail_call
        r0 = 0
        exit)",
        F::uninitialized_register);
    add("a tail call's result may be anything, with context", "r7 = r1\n" + looked_up + R"(
        r6 = r0
        r1 = r7
        call sub
        r6 += r0
        r1 = *(u8 *)(r6 + 0)
    )" + out + R"(
    sub: r2 = map[idx:4] ll
        r3 = 0
        call tail_call
        r0 = 0
        exit)",
        F::pointer_offset);
    add("loop", loop + "r0 = 0\nexit", F::none, ProgType::kprobe, with_btf);
    add("loop counts", loop + "r3 = *(u64 *)(r2 + 0)\nr3 += 1\n*(u64 *)(r2 + 0) = r3\nr0 = 0\nexit", F::none,
        ProgType::kprobe, with_btf);
    add("callback returns 2", loop + "r0 = 2\nexit", F::callback_return, ProgType::kprobe, with_btf);
    add("callback returns anything", loop + "r0 = r1\nexit", F::callback_return, ProgType::kprobe, with_btf);
    add("callback reads r3", loop + "r0 = r3\nexit", F::uninitialized_register, ProgType::kprobe, with_btf);
    add("tail call in a callback", R"(
        r7 = r1
        *(u64 *)(r10 - 8) = r7
        r1 = 10
        r2 = each ll
        r3 = r10
        r3 += -8
        r4 = 0
        call helper 181
        r0 = 0
        exit
    each: r1 = *(u64 *)(r2 + 0)
        r2 = map[idx:4] ll
        r3 = 0
        call tail_call
        r0 = 0
        exit)",
        F::tail_call_in_frame, ProgType::kprobe, with_btf);
    // What the callback leaves behind holds for every number of rounds: the index grows past the value in the second.
    const auto rounds = [](std::string body) {
        return looked_up + R"(
        *(u64 *)(r10 - 16) = 0
        *(u64 *)(r10 - 24) = r0
        r1 = 10
        r2 = each ll
        r3 = r10
        r3 += -24
        r4 = 0
        call helper 181
        r2 = *(u64 *)(r10 - 24)
        r1 = *(u64 *)(r10 - 16)
        if r1 > 8 goto out
        r2 += r1
        r0 = *(u64 *)(r2 + 0)
    )" + out +
               "each:" + std::move(body);
    };
    add("index after a loop", rounds("r3 = *(u64 *)(r2 + 8)\nr3 += 1\n*(u64 *)(r2 + 8) = r3\nr0 = 0\nexit"), F::none,
        ProgType::kprobe, with_btf);
    // The number grows in every round, but is used only after one that sets the flag.
    add("what rounds add up to", looked_up + R"(
        *(u64 *)(r10 - 16) = 0
        *(u64 *)(r10 - 24) = 0
        r6 = r0
        r1 = 100
        r2 = each ll
        r3 = r10
        r3 += -24
        r4 = 0
        call helper 181
        r1 = *(u64 *)(r10 - 16)
        if r1 == 0 goto out
        r2 = *(u64 *)(r10 - 24)
        r6 += r2
        r0 = *(u64 *)(r6 + 0)
    )" + out + R"(
    each: r3 = *(u64 *)(r2 + 0)
        r3 += 1
        *(u64 *)(r2 + 0) = r3
        if r1 != 9 goto on
        *(u64 *)(r2 + 8) = 1
    on: r0 = 0
        exit)",
        F::pointer_offset, ProgType::kprobe, with_btf);
    add("pointer moved in a loop", rounds("r3 = *(u64 *)(r2 + 0)\nr3 += 1\n*(u64 *)(r2 + 0) = r3\nr0 = 0\nexit"),
        F::out_of_map_value, ProgType::kprobe, with_btf);
    add("index in the callback", rounds(R"(
        r3 = *(u64 *)(r2 + 8)
        r4 = *(u64 *)(r2 + 0)
        r4 += r3
        r5 = *(u64 *)(r4 + 0)
        r3 += 1
        *(u64 *)(r2 + 8) = r3
        r0 = 0
        exit)"),
        F::out_of_map_value, ProgType::kprobe, with_btf);
    add("pointer overwritten in a loop", rounds("*(u64 *)(r2 + 0) = 0\nr0 = 0\nexit"), F::not_a_pointer,
        ProgType::kprobe, with_btf);
    add("callback submits the caller's record", reserved + R"(
        *(u64 *)(r10 - 8) = r6
        r1 = 2
        r2 = each ll
        r3 = r10
        r3 += -8
        r4 = 0
        call helper 181
    )" + submitted + out + "each: r1 = *(u64 *)(r2 + 0)\nr2 = 0\ncall ringbuf_submit\nr0 = 0\nexit",
        F::uninitialized_register, ProgType::kprobe, with_btf);
    add("callback keeps a record", loop + R"(
        r1 = map[idx:2] ll
        r2 = 16
        r3 = 0
        call ringbuf_reserve
        r0 = 0
        exit)",
        F::record_leak, ProgType::kprobe, with_btf);
    add("endless around a loop", R"(
        *(u64 *)(r10 - 8) = 0
    again: r1 = 10
        r2 = each ll
        r3 = r10
        r3 += -8
        r4 = 0
        call helper 181
        r6 = *(u64 *)(r10 - 8)
        if r6 == 0 goto again
        r0 = 0
        exit
    each: r0 = 0
        exit)",
        F::infinite_loop, ProgType::kprobe, with_btf);
    // Without its rounds the loop would end, for r6 grows; but each takes it back, so that no run ever ends.
    add("endless because of a round", R"(
        *(u64 *)(r10 - 8) = 0
        call get_prandom_u32
        w0 &= 7
        *(u64 *)(r10 - 8) = r0
    again: r1 = 1
        r2 = each ll
        r3 = r10
        r3 += -8
        r4 = 0
        call helper 181
        r6 = *(u64 *)(r10 - 8)
        r6 += 1
        *(u64 *)(r10 - 8) = r6
        if r6 < 8 goto again
        r0 = 0
        exit
    each: *(u64 *)(r2 + 0) = 0
        r0 = 0
        exit)",
        F::too_complex, ProgType::kprobe, set([](auto& p, auto& o) {
            add_btf(p);
            o.max_insns = 50'000;
        }));
    add("function returns a stack pointer", "call sub\nr0 = 0\nexit\nsub: r0 = r10\nexit", F::returns_pointer);
    add("function returns a map value",
        looked_up + "r1 = r0\ncall sub\nr1 = *(u64 *)(r0 + 0)\n" + out + "sub: r0 = r1\nexit");
    packet_cases(add);
    add("a map of struct_ops", "r1 = map[idx:0] ll\nr0 = 0\nexit", F::wrong_map, ProgType::sched_cls,
        [](auto& p, auto&) { p.maps[0].type = abi::MapType::struct_ops; });
    for (const ObjectCase& one : object_cases())
        all.push_back({one.name, {}, one.expected, one.type, [one](program::Program& program, Options& options) {
                           program = object_program(one);
                           options.allow_ptr_leaks = true;
                       }});
    return all;
}

TEST(Verdict, is_what_it_should_be) {
    for (const Case& one : cases()) {
        SCOPED_TRACE(one.name);
        program::Program program = program_of(one.text, one.type);
        Options options = unprivileged;
        if (one.adjust) one.adjust(program, options);
        const Report report = verify(program, options);
        EXPECT_EQ(to_string(report.diagnostic.what), to_string(one.expected)) << explain(report, program);
        EXPECT_EQ(report.accepted, one.expected == Finding::none);
        EXPECT_EQ(explain(report, program).empty(), report.accepted);
        EXPECT_EQ(report.proof.insns.size(), report.accepted ? program.insns.size() : 0U);
    }
}

TEST(Verdict, does_not_depend_on_the_log) {
    for (const Case& one : cases()) {
        program::Program program = program_of(one.text, one.type);
        Options options = unprivileged;
        if (one.adjust) one.adjust(program, options);
        options.max_insns = std::min<u64>(options.max_insns, 20'000);
        const Report quiet = verify(program, options);
        options.log_level = 2;
        options.max_log_bytes = 100'000;
        const Report loud = verify(program, options);
        EXPECT_EQ(quiet.diagnostic.what, loud.diagnostic.what) << one.name;
        EXPECT_EQ(quiet.processed, loud.processed) << one.name;
        EXPECT_TRUE(quiet.log.empty());
        EXPECT_NE(loud.log.rfind("\nprocessed "), std::string::npos) << one.name;
        EXPECT_LE(loud.log.size(), 100'000U + 200U);
    }
}

TEST(Findings, are_all_produced_by_a_case) {
    std::set<Finding> produced;
    for (const Case& one : cases()) produced.insert(one.expected);
    for (const TypedCase& one : typed_cases()) produced.insert(one.expected);
    for (const OwnedCase& one : owned_cases()) produced.insert(one.expected);
    for (const ArenaCase& one : arena_cases()) produced.insert(one.expected);
    for (const ExtensionCase& one : extension_cases()) produced.insert(one.expected);
    produced.insert(Finding::arena_unprivileged);  // arena_test.cpp
    for (const LimitCase& one : limit_cases()) produced.insert(one.expected);
    u16 count = 1;
#define ANYBPF_FINDING(name, sentence, advice)                                  \
    EXPECT_TRUE(produced.contains(Finding::name)) << "no case produces " #name; \
    EXPECT_FALSE(std::string_view(sentence).empty());                           \
    EXPECT_FALSE(std::string_view(advice).empty());                             \
    ++count;
#include "anybpf/verifier/findings.def"
    EXPECT_EQ(produced.size(), count);
}

TEST(Message, names_everything) {
    const auto program = program_of("r6 = r1\n*(u64 *)(r10 - 520) = r6\nr0 = 0\nexit");
    const Report report = verify(program, {});
    EXPECT_EQ(message(report.diagnostic, program), "access of 8 bytes at fp-520 leaves the stack");
    EXPECT_EQ(explain(report, program),
              "access of 8 bytes at fp-520 leaves the stack (out_of_stack)\n"
              "  instruction 1: *(u64 *)(r10 -520) = r6\n"
              "  known here: R1=ctx() R6=ctx() R10=fp0\n"
              "  what would do: keep offsets between -512 and the frame pointer, or raise the limit "
              "(--stack BYTES, up to 65536)\n");
}

TEST(Log, looks_like_the_kernels) {
    const auto program = program_of("r0 = 5\n*(u64 *)(r10 - 8) = r1\nr0 += 1\nexit");
    Options options;
    options.log_level = 1;
    EXPECT_EQ(verify(program, options).log,
              "0: R1=ctx() R10=fp0\n"
              "0: (b7) r0 = 5 ; R0=5\n"
              "1: (7b) *(u64 *)(r10 -8) = r1 ; fp-8=ctx()\n"
              "2: (07) r0 += 1 ; R0=6\n"
              "3: (95) exit\n"
              "processed 4 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n");
}

TEST(Proof, says_what_engines_need) {
    const auto program = program_of(R"(
        r2 = *(u64 *)(r1 + 104)
        *(u64 *)(r10 - 24) = r2
        r3 = map[idx:5][0]+8 ll
        r4 = *(u32 *)(r3 + 0)
        if r4 == 7 goto used
        r0 = *(u64 *)(r4 + 0)
    used: call sub
        exit
    sub: *(u8 *)(r10 - 33) = 1
        r0 = 0
        exit)");
    const Report report = verify(program, {});
    ASSERT_TRUE(report.accepted) << explain(report, program);
    const auto& insns = report.proof.insns;
    using program::Region;
    EXPECT_EQ(insns[0].region, Region::context);
    EXPECT_EQ(insns[1].region, Region::stack);
    EXPECT_EQ(insns[4].region, Region::map_value);
    EXPECT_TRUE(insns[5].reached);
    EXPECT_FALSE(insns[6].reached);
    EXPECT_EQ(report.proof.context_bytes, 112U);
    ASSERT_EQ(report.proof.subprograms.size(), 2U);
    EXPECT_EQ(report.proof.subprograms[0].stack_bytes, 24U);
    EXPECT_EQ(report.proof.subprograms[1].stack_bytes, 40U);
    EXPECT_EQ(report.proof.subprograms[1].first, 9U);
    EXPECT_FALSE(report.proof.subprograms[1].is_callback);
}

// Branches whose outcome decides nothing do not multiply paths.
TEST(Walk, prunes_what_does_not_matter) {
    std::string text = "r6 = 0\nr7 = *(u64 *)(r1 + 0)\n";
    for (int i = 0; i < 40; ++i)
        text += fmt::format("r8 = r7\nr8 &= {}\nif r8 == 0 goto +1\nr6 |= {}\n", 1 << (i % 30), 1 << (i % 30));
    text += "*(u64 *)(r10 - 8) = r6\nr0 = r6\nexit";
    const auto program = program_of(text);
    const Report report = verify(program, {});
    EXPECT_TRUE(report.accepted);
    EXPECT_LT(report.processed, 2000U);
}

// Where the second of three ways is cut off because the first covers it, what mattered there matters on it, too: the
// third shares with the second what the first lacks.
TEST(Walk, hands_down_what_mattered) {
    const auto program = [](int third) {
        return program_of(looked_up +
                          fmt::format(R"(
        r6 = r0
        call get_prandom_u32
        r7 = r0
        call get_prandom_u32
        r8 = r0
        r5 = r0
        r5 &= 7
        r4 = 1
        if r7 > 5 goto second
        goto joined
    second: r5 = 3
        r4 = 2
        if r7 > 10 goto third
        goto joined
    third: r5 = {}
        r4 = 2
    joined: r3 = r6
        r3 += r4
        r3 = *(u8 *)(r3 + 0)
        r3 = 0
        r4 = 0
        r9 = 1
        r9 = 2
        r9 = 3
        r9 = 4
        if r8 s> 7 goto past
        r9 = 5
    past: r6 += r5
        r0 = *(u8 *)(r6 + 0)
    )",
                                      third) +
                          out);
    };
    for (const bool remember_all : {false, true}) {
        for (const int third : {15, 16}) {
            const auto one = program(third);
            Structure structure;
            Report report;
            const Options options = unprivileged;
            ASSERT_FALSE(analyse(one, structure));
            Arena arena;
            Walker walker(one, options, structure, arena, report);
            walker.remember_all = remember_all;
            walker.run();
            EXPECT_EQ(report.accepted, third == 15) << explain(report, one);
        }
    }
}

// ... and those that do are all walked: the sum is an offset.
TEST(Walk, does_not_prune_what_matters) {
    std::string text = looked_up + "r6 = 0\nr9 = r0\ncall get_prandom_u32\nr7 = r0\n";
    for (int i = 0; i < 5; ++i) text += fmt::format("r8 = r7\nr8 &= {}\nif r8 == 0 goto +1\nr6 += 4\n", 1 << i);
    const auto within = program_of(text + "r9 += r6\nr0 = *(u8 *)(r9 - 5)\n" + out);
    const auto beyond = program_of(text + "r9 += r6\nr0 = *(u8 *)(r9 + 0)\n" + out);
    EXPECT_EQ(verify(within, {}).diagnostic.what, Finding::out_of_map_value);
    EXPECT_EQ(verify(beyond, {}).diagnostic.what, Finding::out_of_map_value);
    const auto fits = program_of(text + "if r6 > 15 goto out\nr9 += r6\nr0 = *(u8 *)(r9 + 0)\n" + out);
    const Report report = verify(fits, {});
    EXPECT_TRUE(report.accepted) << explain(report, fits);
}

}  // namespace
}  // namespace anybpf::verifier

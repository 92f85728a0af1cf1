// SPDX-License-Identifier: Apache-2.0
// Programs at the edge of a limit, or whose verdict depends on how they are loaded: judged here, and by the running
// kernel where it has such a limit.
#pragma once

#include <string>
#include <vector>

#include "testing.hpp"

namespace anybpf::verifier::testing {

struct LimitCase {
    std::string name;
    std::string text;
    Finding expected = Finding::none;
    abi::ProgType type = abi::ProgType::socket_filter;
    bool sleepable = false, strict_alignment = false, functions = false;  // functions: BTF says that they are static
    u32 stack_bytes = abi::stack_size;                                    // another one: the kernel is not asked
};

// A chain of `functions` functions, each with so many bytes of stack; only the first call is reached, or none.
inline std::string call_chain(int functions, int stack, bool reached = true) {
    std::string text;
    for (int i = 0; i < functions; ++i) {
        text += fmt::format("f{}: r0 = 0\n", i);
        if (stack > 0) text += fmt::format("r1 = r10\nr1 += -{}\n*(u8 *)(r1 + 0) = 1\n", stack);
        if (!reached && i == 0) text += "if r0 == 0 goto end\n";
        if (i + 1 < functions) text += fmt::format("call f{}\n", i + 1);
        if (i == 0) text += "end: ";
        text += "exit\n";
    }
    return text;
}

inline std::vector<LimitCase> limit_cases() {
    using F = Finding;
    using P = abi::ProgType;
    std::vector<LimitCase> all;
    const auto add = [&](LimitCase one) { all.push_back(std::move(one)); };

    // The stack as the kernel has it.
    add({"512 bytes", call_chain(1, 512)});
    add({"513 bytes", call_chain(1, 513), F::out_of_stack});
    add({"a frame without stack costs nothing", call_chain(2, 0)});
    add({"512 bytes, and a function without stack", "*(u64 *)(r10 - 512) = 0\ncall f\nexit\nf: r0 = 0\nexit"});
    add({"512 bytes, and a byte", "*(u64 *)(r10 - 512) = 0\ncall f\nexit\nf: *(u8 *)(r10 - 1) = 0\nr0 = 0\nexit",
         F::stack_too_deep});
    add({"528 bytes in two frames", call_chain(2, 257), F::stack_too_deep});
    add({"512 bytes in each frame", call_chain(8, 512), F::none, P::kprobe});
    add({"nine frames", call_chain(9, 0), F::too_many_frames});

    // Calls that no path reaches.
    const std::string skip = "*(u64 *)(r10 - 400) = 0\nr0 = 0\nif r0 == 0 goto end\ncall f\nend: call g\nexit\n";
    add({"an unreached call", call_chain(2, 400, false)});
    add({"an unreached call of a function that is called elsewhere",
         skip + "f: *(u64 *)(r10 - 120) = 0\nr0 = 0\nexit\ng: call f\nexit", F::stack_too_deep});
    add({"an unreached call of too deep a function",
         "*(u64 *)(r10 - 400) = 0\nr0 = 0\nif r0 == 0 goto end\ncall f\nend: exit\n"
         "f: *(u64 *)(r10 - 8) = 0\nr0 = 0\nexit"});
    add({"nine frames that no path reaches", call_chain(9, 0, false), F::too_many_frames});
    add({"nine frames that no path of a tracing program reaches", call_chain(9, 0, false), F::too_many_frames,
         P::kprobe});
    add({"eight frames that no path reaches", call_chain(8, 0, false)});
    const std::string tail = "r2 = map[idx:4] ll\nr3 = 0\ncall tail_call\nr0 = 0\nexit";
    add({"an unreached call of a function with a tail call",
         "r6 = r1\n*(u64 *)(r10 - 256) = 0\nr0 = 0\nif r0 == 0 goto end\nr1 = r6\ncall f\nend: exit\nf: " + tail,
         F::tail_call_stack, P::sched_cls, false, false, true});
    add({"the same with less stack",
         "r6 = r1\n*(u64 *)(r10 - 240) = 0\nr0 = 0\nif r0 == 0 goto end\nr1 = r6\ncall f\nend: exit\nf: " + tail,
         F::none, P::sched_cls, false, false, true});

    // Programs that must be where they may sleep.
    add({"a syscall program", "r0 = 0\nexit", F::none, P::syscall, true});
    add({"a syscall program that does not sleep", "r0 = 0\nexit", F::must_sleep, P::syscall});

    // Alignment.
    const std::string value =
        "*(u32 *)(r10 - 4) = 1\nr2 = r10\nr2 += -4\nr1 = map[idx:0] ll\ncall map_lookup_elem\n"
        "if r0 == 0 goto out\n";
    const std::string out = "\nout: r0 = 0\nexit";
    const auto aligned = [&](std::string name, const std::string& text, F expected, P type = P::sched_cls) {
        add({name, text, F::none, type});
        add({name + ", strictly", text, expected, type, false, true});
    };
    aligned("a word of a value", value + "r1 = *(u32 *)(r0 + 4)" + out, F::none);
    aligned("a word between words of a value", value + "r1 = *(u32 *)(r0 + 2)" + out, F::misaligned);
    aligned("a store between words of a value", value + "*(u16 *)(r0 + 1) = 1" + out, F::misaligned);
    aligned("bytes of a value", value + "r1 = *(u8 *)(r0 + 3)" + out, F::none);
    aligned("anywhere in a value", value + "r1 = *(u64 *)(r0 + 0)\nr1 &= 6\nr0 += r1\nr1 = *(u32 *)(r0 + 0)" + out,
            F::misaligned);
    aligned("at even places of a value",
            value + "r1 = *(u64 *)(r0 + 0)\nr1 &= 6\nr0 += r1\nr1 = *(u16 *)(r0 + 0)" + out, F::none);
    const std::string packet =
        "r2 = *(u32 *)(r1 + 76)\nr3 = *(u32 *)(r1 + 80)\nr4 = r2\nr4 += 40\nif r4 > r3 goto out\n";
    aligned("a word behind an Ethernet header", packet + "r0 = *(u32 *)(r2 + 14)" + out, F::none);
    aligned("the first word of a packet", packet + "r0 = *(u32 *)(r2 + 0)" + out, F::misaligned);
    aligned("two bytes of a packet", packet + "r0 = *(u16 *)(r2 + 2)" + out, F::none);
    aligned("across words of a packet", packet + "r2 += 3\nr0 = *(u32 *)(r2 + 13)" + out, F::misaligned);
    aligned("a moved address of a packet", packet + "r2 += 3\nr0 = *(u32 *)(r2 + 11)" + out, F::none);
    aligned("a record",
            "r1 = map[idx:2] ll\nr2 = 16\nr3 = 0\ncall ringbuf_reserve\nif r0 == 0 goto out\n"
            "*(u32 *)(r0 + 2) = 1\nr1 = r0\nr2 = 0\ncall ringbuf_submit" +
                out,
            F::misaligned);
    aligned("an array's memory", "r1 = map[idx:1][0]+0 ll\nr0 = *(u64 *)(r1 + 4)" + out, F::misaligned);

    // A host that allows more.
    const auto raised = [&](std::string name, const std::string& text, u32 bytes, F expected = F::none,
                            P type = P::socket_filter) {
        add({std::move(name), text, expected, type, false, false, false, bytes});
    };
    raised("40 KiB in one frame", call_chain(1, 40 << 10), 40 << 10);
    raised("a byte more than 40 KiB", call_chain(1, (40 << 10) + 1), 40 << 10, F::out_of_stack);
    raised("40 KiB and a function without stack", call_chain(1, 40 << 10), 40 << 10);
    raised("eight frames of 2 KiB", call_chain(8, 2048), 16 << 10);
    raised("eight frames of 2 KiB, and 16 bytes less allowed", call_chain(8, 2048), (16 << 10) - 16, F::stack_too_deep);
    raised("64 KiB", call_chain(1, 64 << 10), 64 << 10);
    raised("more than 64 KiB is never allowed", call_chain(1, (64 << 10) + 1), 128 << 10, F::out_of_stack);
    raised("a tracing program's frames keep what the kernel gives", call_chain(8, 512), 1024, F::none, P::kprobe);
    raised("a tracing program's frames of 2 KiB", call_chain(8, 2048), 16 << 10, F::none, P::kprobe);
    raised("a tracing program's frames of too much", call_chain(8, 2048), (16 << 10) - 16, F::stack_too_deep,
           P::kprobe);
    raised("far away by an immediate", "*(u64 *)(r10 - 32768) = 1\nr0 = *(u64 *)(r10 - 32768)\nexit", 32 << 10);
    raised("anywhere in 40 KiB",
           "r6 = r10\nr6 += -40960\nr1 = 0\n*(u64 *)(r6 + 0) = r1\ncall get_prandom_u32\nr0 &= 0x7fff\nr6 += r0\n"
           "*(u8 *)(r6 + 0) = 1\nr0 = *(u8 *)(r6 + 8191)\nexit",
           40 << 10);
    raised("beyond 40 KiB",
           "r6 = r10\nr6 += -40960\nr1 = 0\n*(u64 *)(r6 + 0) = r1\ncall get_prandom_u32\nr0 &= 0x7fff\nr6 += r0\n"
           "*(u8 *)(r6 + 0) = 1\nr0 = *(u8 *)(r6 + 8193)\nexit",
           40 << 10, F::out_of_stack);
    raised("an address saved far away",
           "r6 = r10\nr6 += -50000\n*(u64 *)(r6 + 0) = r1\nr1 = *(u64 *)(r6 + 0)\nr0 = *(u32 *)(r1 + 0)\nr0 = 0\nexit",
           50000);
    return all;
}

inline program::Program limit_program(const LimitCase& one) {
    program::Program program = program_of(one.text, one.type);
    program.sleepable = one.sleepable;
    if (one.functions) add_btf(program);
    return program;
}

}  // namespace anybpf::verifier::testing

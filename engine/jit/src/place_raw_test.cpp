// SPDX-License-Identifier: Apache-2.0
// Where compiled code lies and what it may touch: far from everything, between guard pages, on a small stack between
// guard pages, with every register of its caller kept, never writable and executable at once.
//
// Raw because it maps memory, protects it and switches stacks. It is safe because all of it is the test's own.
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>

#include "anybpf/engine/jit.hpp"
#include "anybpf/engine/lower.hpp"
#include "anybpf/isa/text.hpp"

namespace anybpf::engine {
namespace {

const std::size_t page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));

std::size_t round_to_pages(std::size_t size) { return (size + page - 1) / page * page; }

// Writable pages with an inaccessible one on each side; at the address if one is given.
class Guarded {
  public:
    explicit Guarded(std::size_t size, std::uintptr_t at = 0) : size_(round_to_pages(size) + 2 * page) {
        const int flags = MAP_PRIVATE | MAP_ANONYMOUS | (at != 0 ? MAP_FIXED_NOREPLACE : 0);
        void* const base = ::mmap(reinterpret_cast<void*>(at), size_, PROT_NONE, flags, -1, 0);
        EXPECT_NE(base, MAP_FAILED);
        base_ = static_cast<std::byte*>(base);
        EXPECT_EQ(::mprotect(base_ + page, size_ - 2 * page, PROT_READ | PROT_WRITE), 0);
    }
    Guarded(const Guarded&) = delete;
    Guarded& operator=(const Guarded&) = delete;
    ~Guarded() { ::munmap(base_, size_); }
    std::span<std::byte> bytes() const { return {base_ + page, size_ - 2 * page}; }

  private:
    std::size_t size_;
    std::byte* base_;
};

// What /proc/self/maps says of an address: "r-xp".
std::string permissions(const void* address) {
    std::ifstream maps("/proc/self/maps");
    const auto wanted = reinterpret_cast<std::uintptr_t>(address);
    for (std::string line; std::getline(maps, line);) {
        std::uintptr_t first = 0, last = 0;
        std::array<char, 8> flags{};
        if (std::sscanf(line.c_str(), "%lx-%lx %7s", &first, &last, flags.data()) == 3 && wanted >= first &&
            wanted < last)
            return flags.data();
    }
    return "nothing";
}

// Puts code at an address of the test's choice, between guard pages, and notes how it was treated.
class ChosenMemory final : public CodeMemory {
  public:
    explicit ChosenMemory(std::uintptr_t at) : at_(at) {}
    Result<std::span<std::byte>> reserve(std::size_t size) override {
        if (fails) return fail(Errc::out_of_memory, "no room");
        pages_ = std::make_unique<Guarded>(size, at_);
        // The code ends where the page does: what runs past it faults.
        const auto all = pages_->bytes();
        const auto code = all.last((size + 15) / 16 * 16);
        before_seal = permissions(code.data());
        return code;
    }
    Result<> seal(std::span<std::byte>) override {
        if (fails_to_seal) return fail(Errc::io, "cannot");
        if (::mprotect(pages_->bytes().data(), pages_->bytes().size(), PROT_READ | PROT_EXEC) != 0)
            return fail_errno("cannot make code executable");
        return {};
    }
    void release(std::span<std::byte>) override {
        ++released;
        pages_.reset();
    }
    bool fails = false, fails_to_seal = false;
    u32 released = 0;
    std::string before_seal;

  private:
    std::uintptr_t at_;
    std::unique_ptr<Guarded> pages_;
};

u64 add5(abi::Run&, u64 r1, u64 r2, u64 r3, u64 r4, u64 r5) { return r1 + r2 + r3 + r4 + r5; }
u64 loop(abi::Run& run, u64 count, u64 callback, u64 context, u64, u64) {
    u64 i = 0;
    while (i < count)
        if (run.call_back(run, callback, i++, context, 0, 0, 0) != 0) break;
    return i;
}
const abi::HelperBodies& helpers() {
    static const abi::HelperBodies bodies = [] {
        abi::HelperBodies all{};
        all[5] = add5;
        all[181] = loop;
        return all;
    }();
    return bodies;
}

std::shared_ptr<const JitProgram> load(std::string_view text, JitOptions options = {}) {
    const auto insns = isa::assemble(text);
    EXPECT_TRUE(insns.has_value()) << insns.error().message;
    const auto lowered = lower_unverified(*insns);
    EXPECT_TRUE(lowered.has_value()) << lowered.error().message;
    const auto bound = Jit::bind(*lowered, {}, &helpers(), options);
    EXPECT_TRUE(bound.has_value()) << bound.error().message;
    return bound ? *bound : nullptr;
}
u64 run(const JitProgram& program, void* context = nullptr, u64 second = 0) {
    abi::Run run;
    run.context = context;
    run.helpers = &helpers();
    return Jit::run(program, run, second);
}

// Uses what depends on places: helpers, functions, callbacks, values of functions.
constexpr std::string_view everything = R"(
    r6 = 7
    *(u64 *)(r10 - 512) = 1
    r1 = 1
    r2 = 2
    r3 = 3
    r4 = 4
    r5 = 5
    call 5
    r6 += r0
    r1 = 10
    r2 = body ll
    r3 = r10
    r3 += -512
    r4 = 0
    call 181
    r0 += r6
    r7 = inner ll
    r1 = r0
    callx r7
    call inner2
    r1 = *(u64 *)(r10 - 512)
    r0 += r1
    exit
body:
    r3 = *(u64 *)(r2 + 0)
    r3 += r1
    *(u64 *)(r2 + 0) = r3
    r0 = 0
    exit
inner:
    r6 = 1000
    r0 = r1
    r0 += r6
    exit
inner2:
    r6 = 10000
    r0 += r6
    exit)";
constexpr u64 everything_yields = 7 + 15 + 10 + 1000 + 10000 + 1 + 45;

TEST(Place, CodeRunsFarFromItsHelpers) {
    // Neither of these is within reach of a relative call from here, nor from each other.
    for (const std::uintptr_t at : {std::uintptr_t{0x10000000}, std::uintptr_t{0x123400000000}}) {
        ChosenMemory memory(at);
        {
            const auto program = load(everything, {.memory = &memory});
            EXPECT_EQ(run(*program), everything_yields);
            const auto code = reinterpret_cast<std::uintptr_t>(Jit::instructions(*program).data());
            const auto helper = reinterpret_cast<std::uintptr_t>(&add5);
            EXPECT_GT(code > helper ? code - helper : helper - code, u64{1} << 31);
            EXPECT_EQ(permissions(Jit::instructions(*program).data()), "r-xp");
            EXPECT_EQ(memory.before_seal, "rw-p");
            EXPECT_EQ(memory.released, 0U);
        }
        EXPECT_EQ(memory.released, 1U);
    }
}

TEST(Place, PagesAreNeverWritableAndExecutable) {
    const auto program = load(everything);
    EXPECT_EQ(permissions(Jit::instructions(*program).data()), "r-xp");
    EXPECT_EQ(run(*program), everything_yields);
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) EXPECT_EQ(line.find(" rwx"), std::string::npos) << line;
}

TEST(Place, FailingMemoryFailsTheBinding) {
    ChosenMemory memory(0x10000000);
    const auto lowered = *lower_unverified(*isa::assemble("r0 = 0\nexit"));
    memory.fails = true;
    EXPECT_FALSE(Jit::bind(lowered, {}, nullptr, {.memory = &memory}));
    EXPECT_EQ(memory.released, 0U);
    memory.fails = false;
    memory.fails_to_seal = true;
    EXPECT_FALSE(Jit::bind(lowered, {}, nullptr, {.memory = &memory}));
    EXPECT_EQ(memory.released, 1U);
}

TEST(Place, TouchesOnlyItsContext) {
    const Guarded pages(1);
    const auto bytes = pages.bytes();
    const auto size = static_cast<u64>(bytes.size());
    const auto program = load(
        "r3 = r1\nr3 += r2\nr0 = *(u8 *)(r1 + 0)\n*(u8 *)(r1 + 0) = 5\n*(u64 *)(r3 - 8) = r0\nr4 = *(u8 *)(r3 - 1)\n"
        "*(u16 *)(r3 - 2) = 7\nr4 = *(u16 *)(r3 - 2)\nw4 = *(u32 *)(r3 - 4)\nlock *(u32 *)(r3 - 4) += r4\n"
        "lock *(u64 *)(r1 + 0) += r4\nr0 = 1\nexit");
    EXPECT_EQ(run(*program, bytes.data(), size), 1U);
}

// Runs a program eight frames deep, each with a full stack, on a thread whose stack lies between guard pages, and says
// how much of that it touched.
struct OnSmallStack {
    const JitProgram* program;
    u64 result = 0;
};
TEST(Place, EightFramesNeedLittleStack) {
    const auto program = load(
        "r1 = 7\ncall down\nexit\n"
        "down: r6 = r1\nr7 = 1\nr8 = 2\nr9 = 3\n*(u64 *)(r10 - 512) = 7\n*(u64 *)(r10 - 8) = 8\nr0 = 0\n"
        "if r1 == 1 goto +3\nr1 += -1\ncall down\nr0 += r6\nr2 = *(u64 *)(r10 - 512)\nr0 += r2\nexit");
    const Guarded stack(64 * 1024);
    const auto bytes = stack.bytes();
    constexpr int pattern = 0x5a;
    const auto untouched = [&] {
        std::size_t count = 0;
        while (count < bytes.size() && bytes[count] == std::byte{pattern}) ++count;
        return count;
    };
    const auto depth_of = [&](void* (*body)(void*), OnSmallStack& work) {
        std::memset(bytes.data(), pattern, bytes.size());
        pthread_attr_t attributes;
        pthread_attr_init(&attributes);
        EXPECT_EQ(pthread_attr_setstack(&attributes, bytes.data(), bytes.size()), 0);
        pthread_t thread{};
        EXPECT_EQ(pthread_create(&thread, &attributes, body, &work), 0);
        pthread_join(thread, nullptr);
        pthread_attr_destroy(&attributes);
        return bytes.size() - untouched();
    };
    OnSmallStack work{program.get()};
    const std::size_t without = depth_of([](void*) -> void* { return nullptr; }, work);
    const std::size_t with = depth_of(
        [](void* argument) -> void* {
            auto* self = static_cast<OnSmallStack*>(argument);
            self->result = run(*self->program);
            return nullptr;
        },
        work);
    EXPECT_EQ(work.result, 7U + 6 + 5 + 4 + 3 + 2 + 7 * 7);
    EXPECT_LT(with, without + 8 * (abi::stack_size + 96) + 1024);
}

// Adds up how far the stack is from what the calling convention promises to helpers.
[[gnu::noinline]] u64 misaligned(abi::Run& run, u64, u64, u64, u64, u64) {
    run.attach_cookie += reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)) % 16;
    run.func_ip += 1;
    return 0;
}

TEST(Place, HelpersFindTheStackAligned) {
    abi::HelperBodies bodies{};
    bodies[5] = misaligned;
    bodies[181] = loop;
    const auto worst = [&](std::string_view text) {
        const auto lowered = lower_unverified(*isa::assemble(text));
        EXPECT_TRUE(lowered.has_value()) << text;
        u64 sum = 0;
        for (const bool bind : {true, false}) {
            const auto program = Jit::bind(*lowered, {}, bind ? &bodies : nullptr);
            EXPECT_TRUE(program.has_value()) << program.error().message;
            abi::Run run;
            run.helpers = &bodies;
            Jit::run(**program, run);
            EXPECT_GT(run.func_ip, 0U) << text;
            sum += run.attach_cookie;
        }
        return sum;
    };
    // With every number of registers to save, with and without a stack, alone and called.
    for (const std::string_view stack : {"", "*(u64 *)(r10 - 8) = 1\n", "*(u64 *)(r10 - 504) = 1\n"})
        for (u32 registers = 0; registers <= 4; ++registers) {
            std::string body(stack);
            for (u32 reg = 6; reg < 6 + registers; ++reg) body += "r" + std::to_string(reg) + " = 1\n";
            EXPECT_EQ(worst(body + "call 5\nexit"), 0U) << body;
            EXPECT_EQ(worst(body + "call f\nexit\nf: call 5\nexit"), 0U) << body;
            EXPECT_EQ(worst("call f\nexit\nf: " + body + "call 5\nexit"), 0U) << body;
            EXPECT_EQ(worst(body + "r1 = 1\nr2 = f ll\ncall 181\nexit\nf: " + body + "call 5\nexit"), 0U) << body;
        }
}

// Calls run() with a mark in every register that a callee must keep, and counts those that it did not.
extern "C" u64 anybpf_test_marked(u64 (*function)(void*), void* argument);
asm(R"(
anybpf_test_marked:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    sub $8, %rsp
    mov %rdi, %rax
    mov %rsi, %rdi
    mov $0x1111, %rbx
    mov $0x2222, %rbp
    mov $0x3333, %r12
    mov $0x4444, %r13
    mov $0x5555, %r14
    mov $0x6666, %r15
    call *%rax
    xor %eax, %eax
    cmp $0x1111, %rbx
    setne %al
    cmp $0x2222, %rbp
    setne %cl
    add %cl, %al
    cmp $0x3333, %r12
    setne %cl
    add %cl, %al
    cmp $0x4444, %r13
    setne %cl
    add %cl, %al
    cmp $0x5555, %r14
    setne %cl
    add %cl, %al
    cmp $0x6666, %r15
    setne %cl
    add %cl, %al
    add $8, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
)");

TEST(Place, KeepsTheCallersRegisters) {
    const auto lost = [](std::string_view text) {
        const auto program = load(text);
        // Only compiled code lies between the marks and the count that could change a register and not put it back.
        return anybpf_test_marked([](void* argument) { return run(*static_cast<const JitProgram*>(argument)); },
                                  const_cast<JitProgram*>(program.get()));
    };
    constexpr std::string_view use_all = "r6 = 6\nr7 = 7\nr8 = 8\nr9 = 9\n*(u64 *)(r10 - 8) = 7\n";
    EXPECT_EQ(lost(std::string(use_all) + "r0 = 0\nexit"), 0U);
    EXPECT_EQ(lost(std::string(use_all) + "call 5\nexit"), 0U);
    EXPECT_EQ(lost(std::string(use_all) + "call f\nexit\nf: r6 = 1\nr9 = 1\ncall 5\nexit"), 0U);
    EXPECT_EQ(lost(everything), 0U);
    // Given up in the second frame.
    EXPECT_EQ(lost(std::string(use_all) + "call f\nexit\nf: r6 = 1\nr9 = 1\nr1 = 7777\ncallx r1\nexit"), 0U);
    // Given up in a callback, which ends only that.
    EXPECT_EQ(lost(std::string(use_all) +
                   "r1 = 3\nr2 = f ll\nr3 = 0\nr4 = 0\ncall 181\nexit\nf: r6 = 1\nr9 = 1\nr1 = 7777\ncallx r1\nexit"),
              0U);
}

}  // namespace
}  // namespace anybpf::engine

// SPDX-License-Identifier: Apache-2.0
// The machine code itself, decoded back: of every operation with every pair of registers all bytes are instructions, of
// the kinds that may occur, and jumps lead to instructions; and what small programs become, as text.
#include <Zydis/Zydis.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "anybpf/engine/jit.hpp"
#include "anybpf/engine/lower.hpp"
#include "anybpf/engine/op.hpp"
#include "anybpf/isa/text.hpp"

namespace anybpf::engine {
namespace {

using program::Lowered;
using program::LoweredInsn;

struct Decoded {
    std::size_t at = 0;
    ZydisDecodedInstruction instruction{};
    std::array<ZydisDecodedOperand, ZYDIS_MAX_OPERAND_COUNT> operands{};
};

// Calls visit for each instruction, and yields where the last one ends.
template <class Visit>
std::size_t decode(std::span<const std::byte> code, Visit visit) {
    ZydisDecoder decoder;
    ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
    Decoded next;
    while (next.at < code.size()) {
        const auto rest = code.subspan(next.at);
        if (!ZYAN_SUCCESS(
                ZydisDecoderDecodeFull(&decoder, rest.data(), rest.size(), &next.instruction, next.operands.data())))
            break;
        visit(std::as_const(next));
        next.at += next.instruction.length;
    }
    return next.at;
}

std::string print(const Decoded& decoded) {
    ZydisFormatter formatter;
    ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
    ZydisFormatterSetProperty(&formatter, ZYDIS_FORMATTER_PROP_FORCE_RELATIVE_BRANCHES, ZYAN_TRUE);
    ZydisFormatterSetProperty(&formatter, ZYDIS_FORMATTER_PROP_FORCE_RELATIVE_RIPREL, ZYAN_TRUE);
    ZydisFormatterSetProperty(&formatter, ZYDIS_FORMATTER_PROP_HEX_UPPERCASE, ZYAN_FALSE);
    ZydisFormatterSetProperty(&formatter, ZYDIS_FORMATTER_PROP_ADDR_PADDING_RELATIVE, ZYDIS_PADDING_DISABLED);
    ZydisFormatterSetProperty(&formatter, ZYDIS_FORMATTER_PROP_DISP_PADDING, ZYDIS_PADDING_DISABLED);
    ZydisFormatterSetProperty(&formatter, ZYDIS_FORMATTER_PROP_IMM_PADDING, ZYDIS_PADDING_DISABLED);
    std::array<char, 128> text{};
    ZydisFormatterFormatInstruction(&formatter, &decoded.instruction, decoded.operands.data(),
                                    decoded.instruction.operand_count_visible, text.data(), text.size(),
                                    ZYDIS_RUNTIME_ADDRESS_NONE, nullptr);
    return text.data();
}

bool is_general(ZydisRegister reg) {
    constexpr auto general = std::to_array<ZydisRegisterClass>(
        {ZYDIS_REGCLASS_INVALID, ZYDIS_REGCLASS_GPR8, ZYDIS_REGCLASS_GPR16, ZYDIS_REGCLASS_GPR32, ZYDIS_REGCLASS_GPR64,
         ZYDIS_REGCLASS_FLAGS, ZYDIS_REGCLASS_IP});
    return std::ranges::find(general, ZydisRegisterGetClass(reg)) != general.end();
}

// What every instruction must be; yields where it leads, when it jumps.
std::optional<std::size_t> expect_good(const Decoded& decoded) {
    const ZydisDecodedInstruction& instruction = decoded.instruction;
    std::optional<std::size_t> target;
    bool good = (instruction.attributes & ZYDIS_ATTRIB_IS_PRIVILEGED) == 0;
    for (u32 i = 0; i < instruction.operand_count; ++i) {
        const ZydisDecodedOperand& operand = decoded.operands[i];
        if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER) good &= is_general(operand.reg.value);
        if (operand.type == ZYDIS_OPERAND_TYPE_MEMORY)
            good &= is_general(operand.mem.base) && is_general(operand.mem.index);
        if (operand.type == ZYDIS_OPERAND_TYPE_IMMEDIATE && operand.imm.is_relative)
            target = decoded.at + instruction.length + static_cast<std::size_t>(operand.imm.value.s);
    }
    EXPECT_TRUE(good) << print(decoded);
    return target;
}

// The instructions tile the code exactly, and each is good.
void expect_good_code(std::span<const std::byte> code) {
    std::vector<bool> starts(code.size());
    std::vector<std::size_t> targets;
    const std::size_t end = decode(code, [&](const Decoded& decoded) {
        starts[decoded.at] = true;
        if (const auto target = expect_good(decoded)) targets.push_back(*target);
    });
    ASSERT_EQ(end, code.size()) << "undecodable bytes";
    for (const std::size_t target : targets)
        ASSERT_TRUE(target < code.size() && starts[target]) << "a jump into the middle: " << target;
}

u64 some_helper(abi::Run&, u64, u64, u64, u64, u64) { return 0; }
abi::HelperBodies all_helpers() {
    abi::HelperBodies bodies;
    bodies.fill(some_helper);
    return bodies;
}

// Arrays of every shape that lookups tell apart.
std::vector<BoundMap> arrays() {
    static std::array<std::byte, 64> values{};
    const auto array = [](u64 stride, u64 block, u32 entries) {
        return BoundMap{
            nullptr, nullptr, {.values = values.data(), .stride = stride, .block = block, .entries = entries}};
    };
    return {array(8, 0, 1), array(8, 128, 100), array(24, u64{1} << 40, 0x80000001), array(u64{3} << 33, 384, 2)};
}

constexpr auto immediates = std::to_array<i64>({0, 1, -1, 8, 127, -128, 1000, 0x7fffffff, -0x80000000LL, 0xffffffff,
                                                0x123456789abcdef, static_cast<i64>(function_value(0))});
constexpr auto offsets = std::to_array<i32>({0, 8, -8, 4096, -0x7fffffff});

// Every operation with every pair of registers, and immediates and offsets of every size; jumps lead back, to the next
// and far away. In two functions.
Lowered everything(bool calls) {
    Lowered out;
    out.insns.push_back({.op = static_cast<u16>(Op::jump), .off = 2});
    out.insns.push_back({.op = static_cast<u16>(Op::exit)});
    const auto add = [&](LoweredInsn insn) {
        const auto at = static_cast<i32>(out.insns.size());
        switch (op_indices[insn.op]) {
            case Index::none:
                break;
            case Index::jump:
                insn.off = insn.src % 3 == 0 ? 1 : at + insn.src % 3;
                break;
            case Index::call:
                insn.imm = 0;
                break;
            case Index::array:
                insn.imm = insn.src % 4;
                break;
            case Index::helper:
                insn.imm = 1 + at % (i32{abi::helper_count} - 1);
                break;
        }
        out.insns.push_back(insn);
    };
    for (u16 op = 0; op < op_count; ++op) {
        const bool is_call =
            op_indices[op] == Index::call || Op{op} == Op::callx || Op{op} == Op::tail_call || Op{op} == Op::may_goto;
        if (is_call && !calls) continue;
        for (u8 dst = 0; dst < 11; ++dst)
            for (u8 src = 0; src < 11; ++src)
                add({.op = op,
                     .dst = dst,
                     .src = src,
                     .off = offsets[src % offsets.size()],
                     .imm = immediates[src % immediates.size()]});
        for (const i64 imm : immediates) {
            if (!calls && is_function(static_cast<u64>(imm))) continue;
            add({.op = op, .dst = 7, .src = 7, .off = -1, .imm = imm});
        }
    }
    out.insns.push_back({.op = static_cast<u16>(Op::exit)});
    out.insns.push_back({.op = static_cast<u16>(Op::exit)});
    out.insns.push_back({.op = static_cast<u16>(Op::exit)});
    out.subprograms = {{.first = 0, .stack_bytes = 512},
                       {.first = static_cast<u32>(out.insns.size()) - 1, .stack_bytes = 16}};
    return out;
}

TEST(Code, EveryOperationDecodesBackWithoutAnyVectorRegister) {
    const abi::HelperBodies helpers = all_helpers();
    for (const bool calls : {false, true}) {
        Lowered program = everything(calls);
        // In a leaf a value of a function would make it none.
        if (!calls)
            for (LoweredInsn& insn : program.insns)
                if (is_function(static_cast<u64>(insn.imm))) insn.imm = 77;
        for (const abi::HelperBodies* bodies : {&helpers, static_cast<const abi::HelperBodies*>(nullptr)})
            for (const bool plain : {false, true}) {
                const auto bound = Jit::bind(program, arrays(), bodies, {.plain = plain});
                ASSERT_TRUE(bound.has_value()) << bound.error().message;
                EXPECT_GT(Jit::instructions(**bound).size(), program.insns.size());
                expect_good_code(Jit::instructions(**bound));
            }
    }
}

// One line an instruction, without the filler between functions; jumps count from their own first byte.
std::string listing(std::string_view text, JitOptions options = {.plain = true}) {
    const auto insns = isa::assemble(text);
    EXPECT_TRUE(insns.has_value()) << insns.error().message;
    const auto lowered = lower_unverified(*insns);
    EXPECT_TRUE(lowered.has_value()) << lowered.error().message;
    const abi::HelperBodies helpers = all_helpers();
    const auto bound = Jit::bind(*lowered, {}, &helpers, options);
    EXPECT_TRUE(bound.has_value()) << bound.error().message;
    const auto code = Jit::instructions(**bound);
    expect_good_code(code);
    std::string out;
    decode(code, [&](const Decoded& decoded) {
        if (decoded.instruction.mnemonic != ZYDIS_MNEMONIC_NOP) out += print(decoded) + "\n";
    });
    return out;
}

TEST(Code, ALeafHasOnlyTheFrameThatItNeeds) {
    EXPECT_EQ(listing("r0 = 0\nexit"), "xor eax, eax\nret\n");
    EXPECT_EQ(listing("exit"), "xor eax, eax\nret\n");  // a register that nobody set is 0
    EXPECT_EQ(listing("r6 = r1\nr0 = r6\nexit"), "push rbx\nmov rbx, rsi\nmov rax, rbx\npop rbx\nret\n");
    EXPECT_EQ(listing("*(u64 *)(r10 - 8) = 7\nr0 = *(u64 *)(r10 - 8)\nexit"),
              "push rbp\nmov rbp, rsp\nsub rsp, 0x200\nmov qword ptr [rbp-0x8], 0x7\nmov rax, [rbp-0x8]\n"
              "add rsp, 0x200\npop rbp\nret\n");
    EXPECT_EQ(listing("call 5\nexit"), "push r12\nmov r12, rdi\nmov rdi, r12\ncall [rip+0xa]\npop r12\nret\n");
    EXPECT_EQ(
        listing("if r1 == 0 goto +1\nr6 = 3\nr0 = r6\nexit"),
        "xor eax, eax\npush rbx\nxor ebx, ebx\ntest rsi, rsi\njz +0xb\nmov ebx, 0x3\nmov rax, rbx\npop rbx\nret\n");
}

TEST(Code, ShortestForms) {
    const auto body = [](std::string_view text, JitOptions options = {.plain = true}) {
        const std::string all = listing(std::string(text) + "\nr0 = r1\nexit", options);
        return all.substr(0, all.size() - std::string_view("mov rax, rsi\nret\n").size());
    };
    EXPECT_EQ(body("r1 = 0"), "xor esi, esi\n");
    EXPECT_EQ(body("r1 = -1"), "mov rsi, 0xffffffffffffffff\n");
    EXPECT_EQ(body("w1 = -1"), "mov esi, 0xffffffff\n");
    EXPECT_EQ(body("r1 = 0xffffffff ll"), "mov esi, 0xffffffff\n");
    EXPECT_EQ(body("r1 = 0x123456789 ll"), "mov rsi, 0x123456789\n");
    EXPECT_EQ(body("r1 = r2\nr1 += 16"), "lea rsi, [rdx+0x10]\n");
    EXPECT_EQ(body("r1 = r2\nr1 += r1"), "mov rsi, rdx\nadd rsi, rsi\n");
    EXPECT_EQ(body("r1 &= 255"), "and esi, 0xff\n");
    EXPECT_EQ(body("r1 &= -8"), "and rsi, 0xfffffffffffffff8\n");
    EXPECT_EQ(body("w1 &= -8"), "and esi, 0xfffffff8\n");
    EXPECT_EQ(body("r1 <<= 32\nr1 >>= 32"), "mov esi, esi\n");
    EXPECT_EQ(body("r1 <<= 32\nr1 s>>= 32"), "movsxd rsi, esi\n");
    EXPECT_EQ(body("r1 <<= 56\nr1 >>= 56"), "movzx esi, sil\n");
    EXPECT_EQ(body("r1 <<= 48\nr1 s>>= 48"), "movsx rsi, si\n");
    EXPECT_EQ(body("r1 <<= 32\nr1 >>= 31"), "shl rsi, 0x20\nshr rsi, 0x1f\n");
    EXPECT_EQ(body("w1 <<= 0"), "mov esi, esi\n");
    EXPECT_EQ(body("r1 /= 8"), "shr rsi, 0x3\n");
    EXPECT_EQ(body("r1 %= 8"), "and esi, 0x7\n");
    EXPECT_EQ(body("w1 /= 1"), "mov esi, esi\n");
    EXPECT_EQ(body("r1 s/= -1"), "neg rsi\n");
    EXPECT_EQ(body("w1 %= 10"), R"(mov r11d, esi
mov r10, rax
mov rdi, rdx
mov rax, 0xcccccccccccccccd
mul r11
shr rdx, 0x3
imul rdx, rdx, 0xa
sub r11, rdx
mov rsi, r11
mov rax, r10
mov rdx, rdi
)");
    EXPECT_EQ(body("r1 <<= r2"), "mov r11, rcx\nmov ecx, edx\nshl rsi, cl\nmov rcx, r11\n");
    EXPECT_EQ(body("r1 <<= r3"), "xor ecx, ecx\nshl rsi, cl\n");
    EXPECT_EQ(body("r1 = be16 r1"), "bswap esi\nshr esi, 0x10\n");
    EXPECT_EQ(body("goto +0"), "xor eax, eax\n");
    EXPECT_EQ(body("if r1 == 7 goto +0"), "xor eax, eax\n");
    const auto condition = [&](std::string_view text) { return body("r0 = 7\n" + std::string(text) + " goto -1"); };
    EXPECT_EQ(condition("if r1 == 0"), "mov eax, 0x7\ntest rsi, rsi\njz -0x3\n");
    EXPECT_EQ(condition("if w1 s< 5"), "mov eax, 0x7\ncmp esi, 0x5\njl -0x3\n");
    EXPECT_EQ(condition("if r1 & 4"), "mov eax, 0x7\ntest esi, 0x4\njnz -0x6\n");
    EXPECT_EQ(condition("if r1 > r2"), "mov eax, 0x7\ncmp rsi, rdx\njnbe -0x3\n");
    EXPECT_EQ(body("lock *(u64 *)(r1 + 8) += r2"), "lock add [rsi+0x8], rdx\n");
    EXPECT_EQ(body("r2 = xchg_64(r1 + 8, r2)"), "xchg [rsi+0x8], rdx\n");
}

// How a function is called, and how the whole is entered and left.
TEST(Code, CallsAreCalls) {
    EXPECT_EQ(listing("call f\nexit\nf: r0 = 1\nexit"), R"(push rbp
push rbx
push r12
push r13
push r14
push r15
sub rsp, 0x8
mov r12, rdi
mov r11, [r12+0x38]
mov [r11+0x8], rsp
mov r10, [rsp+0x40]
mov r11d, [rsp+0x48]
xor eax, eax
xor ebx, ebx
xor r13d, r13d
xor r14d, r14d
xor r15d, r15d
call r10
add rsp, 0x8
pop r15
pop r14
pop r13
pop r12
pop rbx
pop rbp
ret
sub rsp, 0x8
mov [rsp], r11d
mov r11d, [rsp]
cmp r11d, 0x7
jnb +0x26
add r11d, 0x1
call +0x16
add rsp, 0x8
ret
mov eax, 0x1
ret
mov byte ptr [r12+0x40], 0x1
mov r11, [r12+0x38]
mov rsp, [r11+0x8]
xor eax, eax
add rsp, 0x8
pop r15
pop r14
pop r13
pop r12
pop rbx
pop rbp
ret
)");
}

}  // namespace
}  // namespace anybpf::engine

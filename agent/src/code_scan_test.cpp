// SPDX-License-Identifier: Apache-2.0
// Against Zydis, on the C library: the same lengths, and the same system calls.
#include "code_scan.hpp"

#include <Zydis/Zydis.h>
#include <elf.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>
#include <vector>

namespace anybpf::agent {
namespace {

const char* const c_library = "/lib/x86_64-linux-gnu/libc.so.6";

// The bytes of its .text section, and those of its executable segment before and behind.
struct Text {
    std::vector<u8> file;
    std::span<const u8> code;
};

Text text_of(const char* path) {
    std::ifstream in(path, std::ios::binary);
    Text text{.file = {std::istreambuf_iterator<char>(in), {}}, .code = {}};
    if (text.file.size() < sizeof(Elf64_Ehdr)) return text;
    const auto* const header = reinterpret_cast<const Elf64_Ehdr*>(text.file.data());
    const auto* const sections = reinterpret_cast<const Elf64_Shdr*>(text.file.data() + header->e_shoff);
    const char* const names = reinterpret_cast<const char*>(text.file.data()) + sections[header->e_shstrndx].sh_offset;
    for (u32 i = 0; i < header->e_shnum; ++i)
        if (std::string_view(names + sections[i].sh_name) == ".text")
            text.code = {text.file.data() + sections[i].sh_offset, sections[i].sh_size};
    return text;
}

class CodeScan : public testing::Test {
  protected:
    void SetUp() override {
        text_ = text_of(c_library);
        if (text_.code.empty()) GTEST_SKIP() << "no " << c_library;
        ZydisDecoder decoder;
        ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
        for (u64 at = 0; at < text_.code.size();) {
            ZydisDecodedInstruction next{};
            const auto rest = text_.code.subspan(at);
            if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, nullptr, rest.data(), rest.size(), &next))) {
                ++at;
                continue;
            }
            ++instructions_;
            const u32 length = instruction_length(rest);
            unknown_ += length == 0;
            if (length != 0 && length != next.length) ++wrong_;
            if (next.mnemonic == ZYDIS_MNEMONIC_SYSCALL) calls_.insert(at);
            at += next.length;
        }
    }
    Text text_;
    std::set<u64> calls_;
    u64 instructions_ = 0, unknown_ = 0, wrong_ = 0;
};

TEST_F(CodeScan, KnowsTheLengthOfInstructions) {
    EXPECT_GT(instructions_, 200'000U);
    EXPECT_EQ(wrong_, 0U);
    EXPECT_LT(unknown_, instructions_ / 500);
}

TEST_F(CodeScan, FindsTheCallsAndNothingElse) {
    ASSERT_GT(calls_.size(), 400U);
    u64 found = 0;
    for (u64 at = next_candidate(text_.code, 0); at < text_.code.size(); at = next_candidate(text_.code, at + 1)) {
        if (!is_system_call(text_.code, at)) continue;
        EXPECT_EQ(calls_.count(at), 1U) << std::hex << at;
        ++found;
    }
    EXPECT_GE(found + 2, calls_.size());
}

TEST_F(CodeScan, FindsEveryCandidate) {
    u64 at = 0;
    for (u64 i = 0; i + 1 < text_.code.size(); ++i) {
        if (text_.code[i] != 0x0f || text_.code[i + 1] != 0x05) continue;
        at = next_candidate(text_.code, at);
        ASSERT_EQ(at, i);
        ++at;
    }
    EXPECT_EQ(next_candidate(text_.code, at), text_.code.size());
}

TEST_F(CodeScan, TakesNoOperandForACall) {
    // mov $0x50f,%eax and the like, each within the code of getppid's kind.
    std::vector<u8> code;
    for (int i = 0; i < 12; ++i) code.insert(code.end(), {0x48, 0x89, 0xc8, 0x48, 0x83, 0xc0, 0x08});
    for (const std::vector<u8>& operand :
         {std::vector<u8>{0xb8, 0x0f, 0x05, 0x00, 0x00}, {0x48, 0x8b, 0x80, 0x0f, 0x05, 0x00, 0x00}}) {
        auto whole = code;
        const u64 at = whole.size() + (operand[0] == 0xb8 ? 1 : 3);
        whole.insert(whole.end(), operand.begin(), operand.end());
        for (int i = 0; i < 4; ++i) whole.insert(whole.end(), {0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff});
        EXPECT_FALSE(is_system_call(whole, at));
    }
    code.insert(code.end(), {0x31, 0xc0});
    const u64 at = code.size();
    code.insert(code.end(),
                {0x0f, 0x05, 0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff, 0x77, 0x02, 0xc3, 0x90, 0x90, 0x90, 0x90, 0x90});
    EXPECT_TRUE(is_system_call(code, at));
}

TEST(MovableLength, OfWhatMeansTheSameElsewhere) {
    const auto length = [](std::vector<u8> code) {
        code.resize(16, 0x90);
        return movable_length(code);
    };
    EXPECT_EQ(length({0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff}), 6U);        // cmp $-4096,%rax
    EXPECT_EQ(length({0x3d, 0x00, 0xf0, 0xff, 0xff}), 5U);              // cmp $-4096,%eax
    EXPECT_EQ(length({0x48, 0x89, 0xc2}), 3U);                          // mov %rax,%rdx
    EXPECT_EQ(length({0x48, 0x8b, 0x44, 0x24, 0x08}), 5U);              // mov 8(%rsp),%rax
    EXPECT_EQ(length({0x48, 0x83, 0xbd, 0x10, 0, 0, 0, 0x00}), 8U);     // cmpq $0,16(%rbp)
    EXPECT_EQ(length({0xc3}), 1U);                                      // ret
    EXPECT_EQ(length({0x48, 0x8b, 0x05, 0x10, 0x00, 0x00, 0x00}), 0U);  // mov 16(%rip),%rax
    EXPECT_EQ(length({0x48, 0x8d, 0x15, 0x10, 0x00, 0x00, 0x00}), 0U);  // lea 16(%rip),%rdx
    EXPECT_EQ(length({0xe8, 0x10, 0x00, 0x00, 0x00}), 0U);              // call
    EXPECT_EQ(length({0xff, 0xd0}), 0U);                                // call *%rax, which leaves its own address
    EXPECT_EQ(length({0xff, 0x54, 0x24, 0x08}), 0U);                    // call *8(%rsp)
    EXPECT_EQ(length({0xeb, 0x10}), 0U);                                // jmp
    EXPECT_EQ(length({0x0f, 0x87, 0x10, 0x00, 0x00, 0x00}), 0U);        // ja
    EXPECT_EQ(length({0xe3, 0x10}), 0U);                                // jrcxz
    EXPECT_EQ(length({0x0f, 0x05}), 0U);                                // syscall
}

TEST(MayBranchTo, SeesShortAndNearBranches) {
    std::vector<u8> code(64, 0x90);
    EXPECT_FALSE(may_branch_to(code, 32));
    const auto with = [&](u64 at, const std::vector<u8>& bytes) {
        auto changed = code;
        std::ranges::copy(bytes, changed.begin() + static_cast<std::ptrdiff_t>(at));
        return may_branch_to(changed, 32);
    };
    EXPECT_TRUE(with(10, {0xeb, 20}));
    EXPECT_TRUE(with(40, {0x77, 0xf6}));                          // back
    EXPECT_TRUE(with(8, {0xe9, 19, 0x00, 0x00, 0x00}));           // jmp
    EXPECT_TRUE(with(50, {0x0f, 0x82, 0xe8, 0xff, 0xff, 0xff}));  // jb, back
    EXPECT_FALSE(with(10, {0xeb, 21}));
    EXPECT_FALSE(with(59, {0xe9, 0xe0, 0xff, 0xff}));  // cut off
}

}  // namespace
}  // namespace anybpf::agent

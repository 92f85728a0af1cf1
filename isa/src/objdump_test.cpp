// SPDX-License-Identifier: Apache-2.0
// Our text against the one of LLVM 19: its assembler makes an object of random instructions, its llvm-objdump prints
// them. Skipped where the tools are not installed.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>

#include "anybpf/isa/text.hpp"

namespace anybpf::isa {
namespace {

class Objdump : public ::testing::Test {
  protected:
    void SetUp() override {
        for (const std::string tool : {"clang-19", "llvm-objdump-19", "llvm-objcopy-19"})
            if (std::system(("command -v " + tool + " >/dev/null").c_str()) != 0)
                GTEST_SKIP() << tool << " is not installed";
        std::string name = "/tmp/anybpf-objdump-XXXXXX";
        ASSERT_NE(mkdtemp(name.data()), nullptr);
        folder_ = name;
    }
    void TearDown() override {
        if (!folder_.empty()) std::filesystem::remove_all(folder_);
    }
    // The source through the compiler; the text of every instruction by its index.
    std::map<u32, std::string> texts(std::string_view source, const char* extension) {
        const std::string input = folder_ / ("x" + std::string(extension)), object = folder_ / "x.o";
        std::ofstream(input) << source;
        const std::string compile = "clang-19 --target=bpf -mcpu=v4 -O2 -c -o " + object + " " + input;
        EXPECT_EQ(std::system(compile.c_str()), 0);
        return parse("llvm-objdump-19 -d --no-show-raw-insn " + object);
    }
    std::vector<Insn> bytes() {
        const std::string object = folder_ / "x.o", binary = folder_ / "x.bin";
        EXPECT_EQ(std::system(("llvm-objcopy-19 -O binary -j .text " + object + " " + binary).c_str()), 0);
        std::ifstream in(binary, std::ios::binary);
        const std::string raw((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
        return *from_bytes(std::as_bytes(std::span(raw)));
    }

  private:
    static std::map<u32, std::string> parse(const std::string& command) {
        std::map<u32, std::string> lines;
        FILE* const pipe = popen(command.c_str(), "r");
        EXPECT_NE(pipe, nullptr);
        std::array<char, 512> line{};
        while (pipe != nullptr && std::fgets(line.data(), line.size(), pipe) != nullptr) {
            unsigned pc = 0;
            int used = 0;
            if (std::sscanf(line.data(), " %u:%n", &pc, &used) != 1 || used == 0) continue;
            std::string text = line.data() + used;
            text.erase(0, text.find_first_not_of(" \t"));
            text.erase(text.find('\n'));
            if (text.ends_with('>')) text.erase(text.rfind(" <"));  // the symbol a jump leads to
            lines[pc] = text;
        }
        if (pipe != nullptr) pclose(pipe);
        return lines;
    }
    std::filesystem::path folder_;
};

// What LLVM 19 does not know, or prints without the part that tells two instructions apart.
bool llvm_knows(const Insn& insn) {
    const Form form = decode(insn).form;
    switch (form.kind) {
        case Kind::atomic:  // without -mcpu it prints wrong 32-bit ones
            return form.is64 && insn.imm < 0x100;
        case Kind::wide:
            return form.pseudo == Pseudo::imm64;
        case Kind::packet_ind:
            return insn.imm == 0;
        case Kind::gotox:
            return false;
        case Kind::call:
            return form.call == CallKind::helper;
        case Kind::alu:
        case Kind::extend:
        case Kind::swap:
        case Kind::cast:
        case Kind::jump:
        case Kind::ja:
        case Kind::gotol:
        case Kind::callx:
        case Kind::exit:
        case Kind::may_goto:
        case Kind::load:
        case Kind::load_sx:
        case Kind::store_imm:
        case Kind::store:
        case Kind::packet_abs:
            return true;
    }
    return false;
}

TEST_F(Objdump, PrintsRandomInstructionsAlike) {
    std::mt19937_64 random(4);
    std::vector<Insn> insns;
    std::string source = ".text\n";
    for (u32 tries = 0; tries < 200000 && insns.size() < 3000; ++tries) {
        Insn insn = std::bit_cast<Insn>(random() & random());
        if (tries % 3 == 0) insn.imm = atomic_rows[tries / 3 % 10].imm;
        if (tries % 5 == 0) insn.imm = static_cast<i32>(tries / 5 % 5 * 16);
        if (tries % 2 == 0) insn.imm = 0;
        if (tries % 4 < 2) insn.off = static_cast<i16>(tries % 3);
        if (decode(insn).defect || !llvm_knows(insn)) continue;
        insns.push_back(insn);
        if (insn.code == code_wide) insns.push_back({.imm = static_cast<i32>(random())});
    }
    ASSERT_GT(insns.size(), 2500U);
    for (const Insn& insn : insns) source += ".quad " + std::to_string(std::bit_cast<u64>(insn)) + "\n";
    const auto theirs = texts(source, ".s");
    u32 compared = 0;
    for (const Line& line : disassemble(insns)) {
        const auto found = theirs.find(line.pc.v);
        ASSERT_NE(found, theirs.end()) << line.text;
        EXPECT_EQ(line.text, found->second) << line.pc.v;
        ++compared;
    }
    EXPECT_GT(compared, 2000U);
}

TEST_F(Objdump, PrintsCompiledCodeAlike) {
    const auto theirs = texts(R"(
        typedef unsigned long u64;
        struct pair { short a; char b; int c; u64 d; };
        static long (*helper)(void *, u64) = (void *)1;
        __attribute__((noinline)) long inner(struct pair *p, long n) {
            for (long i = 0; i < n; i++) p->d += (u64)p->a * p->b / (i + 1) + __builtin_bswap32(p->c);
            return __sync_fetch_and_add(&p->d, 3) + (signed char)p->d + (long)p->c % 7;
        }
        long entry(struct pair *p) {
            struct pair local = {1, 2, 3, 0x1122334455667788};
            if (inner(p, 5) > 3 && (int)p->d != -5) local.c = __sync_val_compare_and_swap(&p->d, 1, 2);
            return helper(&local, p->d >> 3) + inner(&local, p->c);
        }
    )",
                              ".c");
    const auto ours = disassemble(bytes());
    ASSERT_GT(ours.size(), 40U);
    for (const Line& line : ours) {
        std::string text = line.text;
        if (text.starts_with("call pc")) text = "call " + text.substr(text[7] == '+' ? 8 : 7);  // see print_call
        EXPECT_EQ(text, theirs.at(line.pc.v)) << line.pc.v;
    }
}

}  // namespace
}  // namespace anybpf::isa

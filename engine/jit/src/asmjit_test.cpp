// SPDX-License-Identifier: Apache-2.0
// asmjit without its printers: a failure is reported, and the assembler goes on.
#include <asmjit/x86.h>
#include <gtest/gtest.h>

#include <string>

namespace {

namespace x86 = asmjit::x86;

struct Heard : asmjit::ErrorHandler {
    void handleError(asmjit::Error error, const char* message, asmjit::BaseEmitter*) override {
        ++count;
        last = error;
        text = message;
    }
    asmjit::Error last = asmjit::kErrorOk;
    std::string text;
    int count = 0;
};

TEST(Asmjit, ReportsWhatCannotBeEncoded) {
    asmjit::CodeHolder code;
    Heard heard;
    ASSERT_EQ(code.init(asmjit::Environment(asmjit::Arch::kX64)), asmjit::kErrorOk);
    code.setErrorHandler(&heard);
    x86::Assembler a(&code);
    EXPECT_EQ(a.mov(x86::rax, x86::rbx), asmjit::kErrorOk);
    EXPECT_NE(a.emit(x86::Inst::kIdMov, x86::dword_ptr(x86::rax), x86::dword_ptr(x86::rbx)), asmjit::kErrorOk);
    EXPECT_EQ(heard.count, 1);
    EXPECT_EQ(heard.text, "not encodable");
    const asmjit::Label label = a.newLabel();
    EXPECT_EQ(a.short_().jmp(label), asmjit::kErrorOk);
    for (int i = 0; i < 200; ++i) a.nop();
    EXPECT_NE(a.bind(label), asmjit::kErrorOk);
    EXPECT_EQ(heard.text, "a jump is too far");
    EXPECT_EQ(a.ret(), asmjit::kErrorOk);
    EXPECT_EQ(code.textSection()->buffer().size(), 3U + 2 + 200 + 1);
}

}  // namespace

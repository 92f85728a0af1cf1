// SPDX-License-Identifier: Apache-2.0
// Runs the corpus: every *.bpf file is a test AREA.NAME. anybpf-corpus [--bless] [gtest options]
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <sstream>

#include "anybpf/abi/helper.hpp"
#include "anybpf/abi/types.hpp"
#include "anybpf/engine/engine.hpp"
#include "anybpf/engine/jit.hpp"
#include "anybpf/engine/llvm.hpp"
#include "anybpf/engine/lower.hpp"
#include "anybpf/isa/text.hpp"
#include "anybpf/verifier/verifier.hpp"
#include "case.hpp"
#include "live_kernel.hpp"

namespace anybpf::corpus {
namespace {

bool bless = false;

std::string_view helper_name(u32 id) {
    return abi::helper_name(id) == "unknown" ? std::string_view{} : abi::helper_name(id);
}
std::optional<u32> helper_number(std::string_view name) {
    const auto id = abi::helper_by_name(name);
    return id ? std::optional(static_cast<u32>(*id)) : std::nullopt;
}

std::vector<std::string> lines_of(const std::string& text) {
    std::vector<std::string> lines;
    std::istringstream in(text);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
}

// The helpers of the corpus: number 5 returns its first argument, as in the conformance tests; loop is real.
u64 first_argument(abi::Run&, u64 r1, u64, u64, u64, u64) { return r1; }
u64 loop(abi::Run& run, u64 count, u64 function, u64 context, u64, u64) {
    u64 i = 0;
    while (i < count)
        if (run.call_back(run, function, i++, context, 0, 0, 0) != 0) break;
    return i;
}

template <class E>
Result<u64> run_on(const program::Lowered& lowered, std::vector<std::byte> memory) {
    abi::HelperBodies helpers{};
    helpers[5] = first_argument;
    helpers[static_cast<u32>(abi::HelperId::loop)] = loop;
    const auto executable = ANYBPF_TRY(E::bind(lowered, {}, &helpers));
    abi::Run run;
    run.context = memory.empty() ? nullptr : memory.data();
    run.helpers = &helpers;
    run.packet.bytes = memory;
    return E::run(*executable, run, memory.size());
}

// On one engine, and on all of them.
template <class E>
void expect_on(const program::Lowered& lowered, const std::vector<std::byte>& memory, u64 expected,
               std::string_view how) {
    const auto result = run_on<E>(lowered, memory);
    ASSERT_TRUE(result.has_value()) << result.error().message << how << ", " << E::name;
    EXPECT_EQ(*result, expected) << how << ", " << E::name;
}
void expect(const program::Lowered& lowered, const std::vector<std::byte>& memory, u64 expected, std::string_view how) {
    expect_on<engine::Interpreter>(lowered, memory, expected, how);
    expect_on<engine::Jit>(lowered, memory, expected, how);
    static const auto llvm = engine::Llvm::available();
    if (llvm)
        expect_on<engine::Llvm>(lowered, memory, expected, how);
    else
        std::printf("not run by LLVM: %s\n", llvm.error().message.c_str());
}

class CorpusTest : public ::testing::Test {
  public:
    explicit CorpusTest(std::filesystem::path path) : path_(std::move(path)) {}
    void TestBody() override;

  private:
    void classic(const std::string& text);
    bool assemble();
    void golden(std::string_view key, const std::string& actual);
    Result<program::Lowered> lowered();
    program::Program program();
    Result<program::Lowered> verified(const std::string& verdict);
    void run_if_accepted(u64 expected);
    void execute();
    void compare_with_kernel(u64 expected);

    std::filesystem::path path_;
    Case case_;
    std::vector<isa::Insn> insns_;
    std::vector<std::byte> memory_;
};

// Compares a golden section with what is so, or rewrites it.
void CorpusTest::golden(std::string_view key, const std::string& actual) {
    const std::string* const expected = case_.find(key);
    if (expected == nullptr) return;
    if (bless) {
        if (*expected != actual) {
            case_.set(key, actual);
            EXPECT_TRUE(case_.write());
        }
        return;
    }
    EXPECT_EQ(*expected, actual) << key << " (anybpf-corpus --bless rewrites it)";
}

void CorpusTest::classic(const std::string& text) {
    const auto insns = isa::assemble_classic(text);
    if (const std::string* error = case_.find("error")) {
        ASSERT_FALSE(insns.has_value());
        EXPECT_NE(insns.error().message.find(*error), std::string::npos) << insns.error().message;
        return;
    }
    ASSERT_TRUE(insns.has_value()) << insns.error().message;
    golden("disasm", isa::listing(*insns));
    const auto defect = isa::check(*insns);
    const std::string* const verdict = case_.find("verdict");
    ASSERT_NE(verdict, nullptr) << "a classic case says accept or reject";
    bool named = !defect && *verdict == "accept";
#define ANYBPF_CLASSIC_DEFECT(name, text) \
    named |= defect && defect->what == isa::ClassicDefectKind::name && *verdict == "reject " #name;
#include "anybpf/isa/classic.def"
    EXPECT_TRUE(named) << *verdict << ", but: " << (defect ? isa::to_string(defect->what) : "accepted");
    if (case_.find("kernel") == nullptr) {
        EXPECT_EQ(attach_classic(*insns) == 0, !defect) << "the kernel decides otherwise";
    }
}

// False when the case ends here, as it should.
bool CorpusTest::assemble() {
    if (const std::string* raw = case_.find("raw")) {
        const auto bytes = parse_hex(*raw);
        EXPECT_TRUE(bytes) << bytes.error().message;
        auto insns = isa::from_bytes(*bytes);
        EXPECT_TRUE(insns) << insns.error().message;
        insns_ = std::move(*insns);
        return true;
    }
    const std::string* const text = case_.find("asm");
    EXPECT_NE(text, nullptr) << "the case has no program";
    if (text == nullptr) return false;
    auto insns = isa::assemble(*text, helper_number);
    const std::string* const error = case_.find("error");
    if (!insns && error != nullptr) {
        EXPECT_NE(insns.error().message.find(*error), std::string::npos) << insns.error().message;
        return false;
    }
    EXPECT_TRUE(insns.has_value()) << insns.error().message;
    if (!insns) return false;
    insns_ = std::move(*insns);
    return true;
}

// The case as the verifier sees it.
program::Program CorpusTest::program() {
    program::Program program;
    program.name = case_.name;
    program.insns = insns_;
    program.gpl_compatible = true;
    program.type = abi::ProgType::socket_filter;
#define ANYBPF_PROG_TYPE(name, value, major, minor) \
    if (case_.find("type") != nullptr && *case_.find("type") == #name) program.type = abi::ProgType::name;
#include "anybpf/abi/prog_types.def"
    if (const std::string* type = case_.find("type")) {
        EXPECT_EQ(abi::to_string(program.type), *type);
    }
    for (const std::string& line : case_.all("map")) {
        program::MapInfo map;
        std::array<char, 32> type{};
        EXPECT_EQ(
            std::sscanf(line.c_str(), "%31s %u %u %u", type.data(), &map.key_size, &map.value_size, &map.max_entries),
            4)
            << line;
#define ANYBPF_MAP_TYPE(name, value, major, minor, inside) \
    if (std::string_view(type.data()) == #name) map.type = abi::MapType::name;
#include "anybpf/abi/map_types.def"
        map.id = static_cast<u32>(program.maps.size()) + 1;
        program.maps.push_back(std::move(map));
    }
    return program;
}

Result<program::Lowered> CorpusTest::verified(const std::string& verdict) {
    const program::Program program = this->program();
    verifier::Options options;
    options.log_level = case_.find("log") != nullptr ? 1 : 0;
    if (const std::string* bytes = case_.find("stack")) options.stack_bytes = static_cast<u32>(std::stoul(*bytes));
    const verifier::Report report = verifier::verify(program, options);
    const std::string actual =
        report.accepted ? "accept" : "reject " + std::string(verifier::to_string(report.diagnostic.what));
    EXPECT_EQ(actual, verdict) << verifier::explain(report, program);
    // The last line counts microseconds and states: not a golden fact.
    std::string log;
    for (const std::string& line : lines_of(report.log))
        if (!line.starts_with("processed ") && !line.starts_with("verification time ")) log += line + "\n";
    golden("log", log);
    if (!report.accepted) return fail(Errc::rejected, actual);
    return engine::lower(program, report.proof);
}
// A program that runs unverified in its case may be acceptable all the same: then what the proof lets lowering drop
// must not change the result.
void CorpusTest::run_if_accepted(u64 expected) {
    const program::Program program = this->program();
    const verifier::Report report = verifier::verify(program, {});
    if (!report.accepted) return;
    const auto lowered = engine::lower(program, report.proof);
    ASSERT_TRUE(lowered.has_value()) << lowered.error().message;
    expect(*lowered, memory_, expected, "verified");
}

Result<program::Lowered> CorpusTest::lowered() {
    if (const std::string* verdict = case_.find("verdict")) return verified(*verdict);
    return engine::lower_unverified(insns_, static_cast<u32>(case_.all("map").size()));
}

// Every instruction that the kernel's log shows is printed as the kernel does, and r0 is the same.
void CorpusTest::compare_with_kernel(u64 expected) {
    if (const auto reason = kernel_unavailable()) {
        std::printf("not compared with the live kernel: %s\n", reason->c_str());
        return;
    }
    const auto answer = run_in_kernel(insns_, memory_);
    ASSERT_TRUE(answer.has_value()) << answer.error().message;
    EXPECT_EQ(answer->result, expected) << "the live kernel";
    u32 compared = 0;
    for (const std::string& line : lines_of(answer->log)) {  // 12: (bf) r1 = r2          ; R1=1
        unsigned pc = 0, code = 0;
        int start = 0;
        if (std::sscanf(line.c_str(), "%u: (%2x) %n", &pc, &code, &start) != 2 || start == 0) continue;
        if (pc < kernel_wrapper_insns || code == isa::code_wide) continue;  // addresses are not printed as loaded
        std::string text = line.substr(static_cast<u32>(start), line.find(';') - static_cast<u32>(start));
        text.erase(text.find_last_not_of(' ') + 1);
        const auto rest = std::span(insns_).subspan(pc - kernel_wrapper_insns);
        EXPECT_EQ(isa::print(rest, isa::Style::kernel, helper_name), text)
            << "instruction " << pc - kernel_wrapper_insns;
        ++compared;
    }
    EXPECT_GT(compared, 0U) << answer->log;
}

void CorpusTest::execute() {
    const std::string* const text = case_.find("result");
    const auto program = lowered();
    if (const std::string* error = case_.find("error")) {
        ASSERT_FALSE(program.has_value()) << "lowered, but should fail with " << *error;
        EXPECT_NE(program.error().message.find(*error), std::string::npos) << program.error().message;
        return;
    }
    if (text == nullptr) return;
    ASSERT_TRUE(program.has_value()) << program.error().message;
    const auto expected = parse_number(*text);
    ASSERT_TRUE(expected) << expected.error().message;
    expect(*program, memory_, *expected, "as the case has it");
    if (case_.find("verdict") == nullptr) run_if_accepted(*expected);
    if (case_.find("kernel") == nullptr) compare_with_kernel(*expected);
}

void CorpusTest::TestBody() {
    auto read = read_case(path_);
    ASSERT_TRUE(read.has_value()) << read.error().message;
    case_ = std::move(*read);
    ASSERT_NE(case_.find("about"), nullptr) << "a case says what it is about";
    if (const std::string* text = case_.find("classic")) return classic(*text);
    if (!assemble()) return;
    std::string text;
    for (const isa::Line& line : isa::disassemble(insns_)) text += line.text + "\n";
    golden("disasm", text);
    EXPECT_EQ(isa::assemble(text).value_or(std::vector<isa::Insn>{}), insns_) << text;
    if (const std::string* name = case_.find("defect")) {
        const auto defect = isa::check(insns_);
        ASSERT_TRUE(defect) << "the encoding is accepted";
        std::string_view actual;
#define ANYBPF_DEFECT(key, sentence) \
    if (defect->what == isa::DefectKind::key) actual = #key;
#include "anybpf/isa/defects.def"
        EXPECT_EQ(actual, *name);
        EXPECT_FALSE(engine::lower_unverified(insns_)) << "lowered in spite of its defect";
        const verifier::Report report = verifier::verify(program(), {});
        const verifier::Finding finding = report.diagnostic.what;
        if (const auto* verdict = case_.find("verdict")) {  // the RFC reserves what Linux does not look at
            const bool accepted = finding == verifier::Finding::none;
            EXPECT_EQ(accepted ? "accept" : "reject " + std::string(verifier::to_string(finding)), *verdict);
            EXPECT_EQ(engine::lower(program(), report.proof).has_value(), accepted)
                << "lowered, or not, in spite of it";
            return;
        }
        EXPECT_EQ(finding, *name == "bad_register" ? verifier::Finding::bad_register : verifier::Finding::bad_insn);
        return;
    }
    if (const std::string* mem = case_.find("mem")) {
        const auto bytes = parse_hex(*mem);
        ASSERT_TRUE(bytes) << bytes.error().message;
        memory_ = *bytes;
    }
    ASSERT_TRUE(case_.find("result") != nullptr || case_.find("verdict") != nullptr || case_.find("error") != nullptr ||
                case_.find("disasm") != nullptr)
        << "the case expects nothing";
    execute();
}

}  // namespace
}  // namespace anybpf::corpus

int main(int argc, char** argv) {
    namespace fs = std::filesystem;
    std::vector<fs::path> files;
    for (const auto& entry : fs::recursive_directory_iterator(ANYBPF_CORPUS))
        if (entry.path().extension() == ".bpf") files.push_back(entry.path());
    std::ranges::sort(files);
    for (const fs::path& file : files) {
        const std::string area = file.parent_path().filename(), name = file.stem();
        ::testing::RegisterTest(area.c_str(), name.c_str(), nullptr, nullptr, file.c_str(), 1,
                                [file] { return new anybpf::corpus::CorpusTest(file); });
    }
    ::testing::InitGoogleTest(&argc, argv);
    for (int i = 1; i < argc; ++i) {
        if (std::string_view(argv[i]) != "--bless") {
            std::fprintf(stderr, "anybpf-corpus: unknown argument %s\n", argv[i]);
            return 2;
        }
        anybpf::corpus::bless = true;
    }
    return RUN_ALL_TESTS();
}

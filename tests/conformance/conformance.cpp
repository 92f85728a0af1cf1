// SPDX-License-Identifier: Apache-2.0
// anybpf-conformance [MEM] [--interpret|--jit|--llvm] [--elf]: runs the program on standard input on the memory MEM and
// prints what it returns, as the runner of the public conformance suite asks of a plugin. Nothing is verified; what
// cannot be decoded is refused.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <iostream>
#include <optional>
#include <string>

#include "anybpf/engine/engine.hpp"
#include "anybpf/engine/jit.hpp"
#include "anybpf/engine/llvm.hpp"
#include "anybpf/engine/lower.hpp"
#include "anybpf/isa/text.hpp"
#include "fault.hpp"
#include "hex.hpp"
#include "object.hpp"

namespace anybpf::conformance {
namespace {

// The suite's one helper, which it knows by this number.
constexpr u32 first_argument_helper = 5;
u64 first_argument(abi::Run&, u64 r1, u64, u64, u64, u64) { return r1; }

template <class Engine>
Result<u64> run_on(const program::Lowered& lowered, std::span<std::byte> memory) {
    abi::HelperBodies helpers{};
    helpers[first_argument_helper] = first_argument;
    const auto executable = ANYBPF_TRY(Engine::bind(lowered, {}, &helpers));
    abi::Run run;
    run.context = memory.empty() ? nullptr : memory.data();
    run.helpers = &helpers;
    run.packet.bytes = memory;
    const u64 result = Engine::run(*executable, run, memory.size());
    if (run.gave_up) return fail(Errc::rejected, "the program calls too deep, or something that is no function");
    return result;
}

// An engine is a row.
struct EngineRow {
    std::string_view option;
    Result<u64> (*run)(const program::Lowered&, std::span<std::byte> memory);
};
constexpr auto engines = std::to_array<EngineRow>({
    {"--interpret", run_on<engine::Interpreter>},
    {"--jit", run_on<engine::Jit>},
    {"--llvm", run_on<engine::Llvm>},
});

struct Options {
    std::string_view memory;
    const EngineRow* engine = &engines[0];
    bool elf = false;
};

Result<Options> parse(std::span<char* const> words) {
    Options options;
    for (std::size_t i = 0; i < words.size(); ++i) {
        const std::string_view word = words[i];
        if (word.empty()) continue;  // runners pass options that they don't have as empty words
        if (word == "--elf") {
            options.elf = true;
        } else if (const auto row = std::ranges::find(engines, word, &EngineRow::option); row != engines.end()) {
            options.engine = &*row;
        } else if (i == 0 && !word.starts_with('-')) {
            options.memory = word;
        } else {
            return fail(Errc::invalid_argument,
                        fmt::format("'{}': usage: anybpf-conformance [MEM] [--interpret|--jit|--llvm] [--elf]", word));
        }
    }
    return options;
}

Result<std::string> run(std::span<char* const> words) {
    const Options options = ANYBPF_TRY(parse(words));
    auto memory = parse_hex(options.memory);
    if (!memory) return fail(Errc::malformed, "memory: " + memory.error().message);
    std::ios::sync_with_stdio(false);  // a large program is tens of megabytes of text
    std::string line;
    std::getline(std::cin, line);
    const auto bytes = parse_hex(line);
    if (!bytes) return fail(Errc::malformed, "program: " + bytes.error().message);
    Object object;
    if (options.elf)
        object = ANYBPF_TRY(read_object(*bytes));
    else
        object.insns = ANYBPF_TRY(isa::from_bytes(*bytes));
    const auto lowered = ANYBPF_TRY(engine::lower_unverified(object.insns));
    report_faults();
    return fmt::format("{:x}\n", ANYBPF_TRY(options.engine->run(lowered, *memory)));
}

}  // namespace
}  // namespace anybpf::conformance

int main(int argc, char** argv) {
    const auto result = anybpf::conformance::run(std::span(argv, static_cast<std::size_t>(argc)).subspan(1));
    if (!result) {
        fmt::print(stderr, "anybpf-conformance: {}\n", result.error().message);
        return 1;
    }
    fmt::print("{}", *result);
    return std::fflush(stdout) == 0 ? 0 : 1;
}

// SPDX-License-Identifier: Apache-2.0
// anybpf-differential: random programs that the verifier accepts, on every engine. A seed is one program, the same on
// every machine. What engines disagree on is made small and kept as a file, which differential_test runs ever after.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>

#include "anybpf/abi/types.hpp"
#include "anybpf/engine/llvm.hpp"
#include "anybpf/isa/text.hpp"
#include "minimise.hpp"
#include "workers_raw.hpp"

namespace anybpf::differential {
namespace {

constexpr std::string_view usage =
    "anybpf-differential [--programs N] [--seed S] [--engines interp,jit,jit-plain,llvm,kernel] [--jobs J] "
    "[--no-chaos]\n"
    "                    [--corpus DIR] [--json] [-v]\n"
    "  --engines   the first is what the others are compared with (interp,jit)\n"
    "  --corpus    where to keep what they disagree on, made small\n"
    "  -v          print each program (with few of them) and what our verifier and the kernel's decide differently\n"
    "The exit status is 1 where engines disagree, 2 where they cannot be asked.\n";

struct Arguments {
    Settings settings;
    Range range{.first = 1, .count = 10'000, .jobs = 1};
    std::string engines = "interp,jit", corpus;
    bool json = false, verbose = false;
};

Result<Arguments> parse(std::span<char*> words) {
    Arguments out;
    for (std::size_t i = 1; i < words.size(); ++i) {
        const std::string_view word = words[i];
        if (word == "--no-chaos") {
            out.settings.chaos = false;
        } else if (word == "--json") {
            out.json = true;
        } else if (word == "-v") {
            out.verbose = true;
        } else if (i + 1 == words.size()) {
            return fail(Errc::invalid_argument, std::string(usage));
        } else if (const std::string_view value = words[++i]; word == "--engines") {
            out.engines = value;
        } else if (word == "--corpus") {
            out.corpus = value;
        } else {
            const u64 number = ANYBPF_TRY(corpus::parse_number(value));
            if (word == "--programs")
                out.range.count = number;
            else if (word == "--seed")
                out.range.first = number;
            else if (word == "--jobs")
                out.range.jobs = static_cast<u32>(std::max<u64>(1, number));
            else
                return fail(Errc::invalid_argument, std::string(usage));
        }
    }
    for (std::string_view rest = out.engines; !rest.empty();) {
        const std::string_view name = rest.substr(0, rest.find(','));
        rest.remove_prefix(std::min(rest.size(), name.size() + 1));
        if (name == "kernel") {
            out.settings.kernel = true;
            continue;
        }
        const engine::AnyEngine* const engine = engine_named(name, out.settings.chaos);
        if (engine == nullptr) return fail(Errc::not_found, fmt::format("there is no engine {}", name));
        if (name == engine::Llvm::name) ANYBPF_TRY(engine::Llvm::available());
        out.settings.engines.push_back(engine);
    }
    if (out.settings.engines.empty()) return fail(Errc::invalid_argument, "an engine of ours must be among them");
    return out;
}

// A line on standard error, every ten seconds, and more often for somebody who watches.
class Progress {
  public:
    void show(const Totals& totals, bool last) {
        const bool watched = ::isatty(STDERR_FILENO) != 0;
        const double now = seconds();
        if (!last && now < next_) return;
        next_ = now + (watched ? 1 : 10);
        fmt::print(stderr, "{}{:.0f} s: {} programs, {:.0f}/s, {} disagreements{}", watched ? "\r" : "", now,
                   totals.programs, static_cast<double>(totals.programs) / now, totals.disagreed,
                   watched && !last ? "" : "\n");
    }
    double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

  private:
    std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
    double next_ = 0;
};

void print(const Arguments& arguments, const Totals& totals, double seconds) {
    const double programs = static_cast<double>(std::max<u64>(totals.programs, 1));
    if (arguments.json) {
        fmt::print(
            "{{\"engines\":\"{}\",\"seed\":{},\"programs\":{},\"agreed\":{},\"disagreed\":{},\"refused\":{},"
            "\"kernel_refuses\":{},\"kernel_accepts\":{},\"insns\":{},\"seconds\":{:.1f}}}\n",
            arguments.engines, arguments.range.first, totals.programs, totals.agreed, totals.disagreed, totals.refused,
            totals.kernel_refuses, totals.kernel_accepts, totals.insns, seconds);
        return;
    }
    fmt::print("{}: {} programs from seed {}, {:.1f} instructions each, {:.1f} s, {:.1f} us a program\n",
               arguments.engines, totals.programs, arguments.range.first, static_cast<double>(totals.insns) / programs,
               seconds, seconds * 1e6 / programs);
    fmt::print("agreed {}, disagreed {}, refused {} ({:.1f} %)\n", totals.agreed, totals.disagreed,
               totals.refused + totals.kernel_accepts,
               100 * static_cast<double>(totals.refused + totals.kernel_accepts) / programs);
    if (arguments.settings.kernel)
        fmt::print(
            "verdicts: the kernel refuses {} that we accept, and accepts {} that we refuse; bugs of Linux stand in the "
            "way of comparing {}\n",
            totals.kernel_refuses, totals.kernel_accepts, totals.kernel_errs);
    for (u32 i = 0; i < totals.findings.size(); ++i)
        if (totals.findings[i] != 0)
            fmt::print("  refused: {} {}\n", totals.findings[i],
                       verifier::to_string(static_cast<verifier::Finding>(i)));
    for (const Failure& failure : totals.failures) fmt::print("seed {}: {}\n", failure.seed, failure.text);
    if (arguments.verbose)
        for (const Failure& failure : totals.verdicts_differ) fmt::print("seed {}: {}\n", failure.seed, failure.text);
}

// What differs may change while the program becomes smaller; who differs may not.
Result<> keep(const Arguments& arguments, const Failure& failure) {
    const auto who = [](const std::string& text) { return text.substr(0, text.find(':')); };
    const auto small = minimise(generate(failure.seed), [&](const program::Program& candidate) {
        const Verdict verdict = check_apart(arguments.settings, candidate, failure.seed);
        return verdict.what == What::disagreed && who(verdict.text) == who(failure.text);
    });
    const Verdict verdict = check_apart(arguments.settings, small, failure.seed);
    auto file = to_case(small, failure.seed, verdict.text.empty() ? failure.text : verdict.text);
    std::filesystem::create_directories(arguments.corpus);
    file.path = std::filesystem::path(arguments.corpus) / fmt::format("seed_{}.bpf", failure.seed);
    ANYBPF_TRY(file.write());
    fmt::print("{}: {} instructions\n", file.path.string(), small.insns.size());
    return {};
}

void list(const Arguments& arguments) {
    for (u64 seed = arguments.range.first; seed < arguments.range.first + arguments.range.count; ++seed) {
        const auto program = generate(seed);
        const Verdict verdict = check_apart(arguments.settings, program, seed);
        constexpr const char* words[] = {
            "agreed", "refused", "disagreed", "the kernel refuses it", "the kernel accepts it", "a bug of Linux:"};
        fmt::print("seed {}, {}: {} {}\n{}", seed, abi::to_string(program.type), words[static_cast<u8>(verdict.what)],
                   verdict.text, isa::listing(program.insns));
    }
}

int run(std::span<char*> words) {
    const auto arguments = parse(words);
    if (!arguments) {
        fmt::print(stderr, "{}\n", arguments.error().message);
        return 2;
    }
    if (arguments->verbose && arguments->range.count <= 10) list(*arguments);
    Progress progress;
    const auto totals =
        run_workers(arguments->settings, arguments->range, [&](const Totals& so_far) { progress.show(so_far, false); });
    if (!totals) {
        fmt::print(stderr, "{}\n", totals.error().message);
        return 2;
    }
    progress.show(*totals, true);
    print(*arguments, *totals, progress.seconds());
    constexpr std::size_t most = 10;
    if (!arguments->corpus.empty())
        for (std::size_t i = 0; i < std::min(most, totals->failures.size()); ++i)
            if (const auto written = keep(*arguments, totals->failures[i]); !written)
                fmt::print(stderr, "{}\n", written.error().message);
    return totals->disagreed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace anybpf::differential

int main(int argc, char** argv) { return anybpf::differential::run({argv, static_cast<std::size_t>(argc)}); }

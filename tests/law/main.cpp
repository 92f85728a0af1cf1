// SPDX-License-Identifier: Apache-2.0
// anybpf-law: random programs that the verifier accepts, each run many times in made-up memory with random input; every
// register and every slot of the stack is compared with what was proved of it. A seed is one program, the same on every
// machine. What goes wrong is printed with the program; a crash is told with its seed.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <map>
#include <nlohmann/json.hpp>

#include "../verdicts/arguments.hpp"
#include "../verdicts/maps.hpp"
#include "../verdicts/programs.hpp"
#include "../verdicts/workers_raw.hpp"
#include "law.hpp"
#include "progress_raw.hpp"

namespace anybpf::law {
namespace {

using verifier::testing::LawOptions;
using verifier::testing::Trial;

constexpr double least_accepted = 0.3, least_compared = 0.8;
constexpr std::size_t most_faults = 20;

struct Arguments : verdicts::Arguments {
    u64 runs = 100;
};

using Counts = std::map<std::string, u64>;

struct Tally {
    u64 programs = 0, accepted = 0, run = 0, compared = 0, runs = 0, steps = 0, compared_steps = 0, faults = 0;
    Counts cannot_run;               // accepted, by what the machine has not
    Counts types;                    // run, by program type
    std::vector<std::string> wrong;  // the first faults
    NLOHMANN_DEFINE_TYPE_INTRUSIVE(Tally, programs, accepted, run, compared, runs, steps, compared_steps, faults,
                                   cannot_run, types, wrong)

    void add(const Tally& other) {
        programs += other.programs, accepted += other.accepted, run += other.run, compared += other.compared;
        runs += other.runs, steps += other.steps, compared_steps += other.compared_steps, faults += other.faults;
        for (const auto& [what, count] : other.cannot_run) cannot_run[what] += count;
        for (const auto& [what, count] : other.types) types[what] += count;
        wrong.insert(wrong.end(), other.wrong.begin(), other.wrong.end());
    }
    static double share(u64 part, u64 of) { return of == 0 ? 0 : static_cast<double>(part) / static_cast<double>(of); }
};

LawOptions law_of(u64 seed, const Arguments& arguments) {
    LawOptions law;
    law.privileged = seed % 3 != 0;
    law.remember_all = seed % 2 == 0;
    law.runs = arguments.runs;
    return law;
}

Tally run(const Arguments& arguments, u32 part, Progress& progress) {
    Tally tally;
    const auto maps = verdicts::every_map();
    verifier::Arena arena;
    const bool watched = part == 0 && ::isatty(STDERR_FILENO) != 0;
    for (u64 seed = arguments.seed + part; seed < arguments.seed + arguments.count; seed += arguments.jobs) {
        progress.seed = seed;
        const auto program = verdicts::make(seed, maps);
        LawOptions law = law_of(seed, arguments);
        law.arena = &arena;
        const Trial trial = verifier::testing::try_program(program, seed, law);
        ++tally.programs;
        progress.programs = tally.programs;
        if (watched && tally.programs % 1000 == 0)
            fmt::print(stderr, "\r{} programs, {} runs", tally.programs * arguments.jobs, tally.runs * arguments.jobs);
        if (trial.finding != verifier::Finding::none) continue;
        ++tally.accepted;
        if (!trial.cannot_run.empty()) {
            ++tally.cannot_run[std::string(trial.cannot_run)];
            continue;
        }
        ++tally.run;
        ++tally.types[std::string(abi::to_string(program.type))];
        tally.compared += trial.compared;
        tally.runs += trial.runs, tally.steps += trial.steps, tally.compared_steps += trial.compared_steps;
        progress.runs = tally.runs;
        if (trial.fault.empty()) continue;
        ++tally.faults;
        if (tally.wrong.size() < most_faults)
            tally.wrong.push_back(fmt::format("=== seed {}, run {} ({}): {}", seed, trial.bad_run,
                                              abi::to_string(program.type), trial.fault));
    }
    if (watched) fmt::print(stderr, "\r");
    return tally;
}

bool good(const Tally& tally, bool check) {
    if (tally.faults > 0) return false;
    return !check || (Tally::share(tally.accepted, tally.programs) >= least_accepted &&
                      Tally::share(tally.compared, tally.accepted) >= least_compared);
}

void print(const Arguments& arguments, const Tally& tally, double seconds) {
    if (arguments.json) {
        nlohmann::ordered_json out{{"seed", arguments.seed}, {"seconds", seconds}};
        out.update(nlohmann::json(tally));
        fmt::print("{}\n", out.dump(2));
        return;
    }
    for (const std::string& wrong : tally.wrong) fmt::print("{}\n", wrong);
    fmt::print("{} programs from seed {}, {} accepted ({:.1f} %), {:.1f} s\n", tally.programs, arguments.seed,
               tally.accepted, 100 * Tally::share(tally.accepted, tally.programs), seconds);
    for (const auto& [what, count] : tally.cannot_run) fmt::print("not run: {} that have {}\n", count, what);
    fmt::print("{} programs were run {} times: {} instructions ({:.0f} runs a second)\n", tally.run, tally.runs,
               tally.steps, static_cast<double>(tally.runs) / seconds);
    fmt::print("registers and stack of {} of them ({:.1f} %) were compared before {} instructions\n", tally.compared,
               100 * Tally::share(tally.compared, tally.run), tally.compared_steps);
    fmt::print("faults: {}\n", tally.faults);
}

int only(const Arguments& arguments) {
    const auto program = verdicts::make(*arguments.only, verdicts::every_map());
    const LawOptions law = law_of(*arguments.only, arguments);
    const Trial trial = verifier::testing::try_program(program, *arguments.only, law);
    fmt::print("{} ({}){}\n{}", abi::to_string(program.type), abi::to_string(program.expected_attach_type),
               law.privileged ? "" : ", unprivileged", verifier::testing::listing(program));
    if (trial.finding != verifier::Finding::none) {
        fmt::print("refused: {}\n", verifier::to_string(trial.finding));
    } else if (!trial.cannot_run.empty()) {
        fmt::print("accepted, and not run: it has {}\n", trial.cannot_run);
    } else {
        fmt::print("accepted{}, {} runs, {} instructions\n{}", trial.compared ? ", compared" : "", trial.runs,
                   trial.steps, trial.fault);
    }
    return trial.fault.empty() ? 0 : 1;
}

int run(const Arguments& arguments) {
    if (arguments.only) return only(arguments);
    const auto progress = shared_progress(arguments.jobs);
    if (!progress) {
        fmt::print(stderr, "{}\n", progress.error().message);
        return 1;
    }
    const auto start = std::chrono::steady_clock::now();
    const auto parts = verdicts::in_processes(
        arguments.jobs, [&](u32 part) { return nlohmann::json(run(arguments, part, (*progress)[part])).dump(); });
    if (!parts) {
        fmt::print(stderr, "{}\n", parts.error().message);
        for (const Progress& one : *progress)
            fmt::print(stderr, "a process had come to seed {}, after {} programs and {} runs\n", one.seed.load(),
                       one.programs.load(), one.runs.load());
        return 1;
    }
    Tally tally;
    for (const std::string& part : *parts) tally.add(nlohmann::json::parse(part).get<Tally>());
    print(arguments, tally, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    return good(tally, arguments.check) ? 0 : 1;
}

}  // namespace
}  // namespace anybpf::law

int main(int argc, char** argv) {
    CLI::App app{
        "Runs random programs that the verifier accepts, and compares registers and stack with what was proved"};
    anybpf::law::Arguments arguments;
    arguments.add_to(app, "also where less than 30 % are accepted, or less than 80 % of these compared");
    app.add_option("--runs", arguments.runs,
                   "each accepted program so often; fewer times when that takes more than 1,000,000 instructions")
        ->capture_default_str();
    app.footer("The exit status is 1 where anything went wrong.");
    CLI11_PARSE(app, argc, argv);
    return anybpf::law::run(arguments);
}

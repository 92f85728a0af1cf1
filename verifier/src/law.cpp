// SPDX-License-Identifier: Apache-2.0
#include "law.hpp"

#include <fmt/format.h>

#include <optional>

#include "anybpf/isa/text.hpp"
#include "within.hpp"

namespace anybpf::verifier::testing {

namespace {

// Along every path: without remembered states. Whether it came to the end.
bool walk_all(const program::Program& program, const Structure& structure, const LawOptions& law, Arena& arena,
              Within& within, Report& report) {
    Options options;
    options.max_insns = law.max_states;
    options.allow_ptr_leaks = law.privileged;
    options.max_state_bytes = 0;
    Walker walker(program, options, structure, arena, report);
    walker.observe = [&](u32 pc, const State& state) { within.add(pc, state); };
    walker.run();
    return report.accepted;
}

void run_all(const program::Program& program, const Structure& structure, const program::Proof& proof, u64 seed,
             const LawOptions& law, Within* within, Trial& trial) {
    Machine machine(program, structure, proof);
    machine.reads_unwritten = law.privileged;
    machine.observer = within;
    while (trial.runs < law.runs && machine.steps() < law.max_steps) {
        if (within != nullptr) within->begin();
        const bool good = machine.run((seed << 20) + trial.runs);
        ++trial.runs;
        if (good) continue;
        trial.bad_run = trial.runs - 1;
        trial.fault = machine.wrong() + '\n';
        if (within != nullptr) trial.fault += within->describe(machine);
        break;
    }
    trial.steps = machine.steps();
    if (within != nullptr) trial.compared_steps = within->checked();
}

}  // namespace

std::string listing(const program::Program& program) {
    return isa::listing(program.insns, {.bytes = false, .style = isa::Style::kernel, .helper = {}, .before = {}});
}

Trial try_program(const program::Program& program, u64 seed, const LawOptions& law) {
    Trial trial;
    Structure structure;
    if (const auto bad = analyse(program, structure)) {
        trial.finding = bad->what;
        return trial;
    }
    std::optional<Arena> own;
    Arena& arena = law.arena != nullptr ? *law.arena : own.emplace();
    Report report;
    Options options;
    options.max_insns = law.max_insns;
    options.allow_ptr_leaks = law.privileged;
    {
        arena.rewind();
        Walker walker(program, options, structure, arena, report);
        walker.remember_all = law.remember_all;
        walker.run();
    }
    trial.finding = report.diagnostic.what;
    if (!report.accepted) return trial;
    trial.cannot_run = Machine::cannot_run(program, structure);
    if (!trial.cannot_run.empty()) return trial;

    arena.rewind();
    Within within(program, structure);
    Report every;
    trial.compared = walk_all(program, structure, law, arena, within, every);
    // A walk that remembers ends sooner, but finds the same.
    if (!trial.compared && every.diagnostic.what != Finding::too_complex &&
        every.diagnostic.what != Finding::infinite_loop)
        trial.fault = fmt::format("accepted, and on every path: {}\n", message(every.diagnostic, program));
    if (trial.fault.empty())
        run_all(program, structure, report.proof, seed, law, trial.compared ? &within : nullptr, trial);
    if (!trial.fault.empty()) trial.fault += listing(program);
    return trial;
}

}  // namespace anybpf::verifier::testing

// SPDX-License-Identifier: Apache-2.0
#include "differential.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "anybpf/engine/lower.hpp"
#include "anybpf/isa/decode.hpp"

namespace anybpf::differential {
namespace {

constexpr u32 inputs = 2;  // for each program

// What PROG_TEST_RUN of Linux shows of a result.
Outcome as_of_kernel(Outcome outcome) {
    outcome.r0 = static_cast<u32>(outcome.r0);
    outcome.wakes = 0;
    return outcome;
}

// Linux 6.18 forgets to clear the upper half of r0 behind some of these, on the stack.
bool exchanges_words(const program::Program& program) {
    return std::ranges::any_of(program.insns, [](const isa::Insn& insn) {
        const auto [form, defect] = isa::decode(insn);
        return !defect && form.kind == isa::Kind::atomic && form.atomic == isa::AtomicOp::cmpxchg &&
               form.width == isa::Width::word;
    });
}

Verdict disagreed(std::string_view who, std::string_view how) {
    return {.what = What::disagreed, .text = fmt::format("{}: {}", who, how)};
}

}  // namespace

Result<std::unique_ptr<Differential>> Differential::make(const Settings& settings) {
    auto world = ANYBPF_TRY(World::make(settings.chaos));
    std::unique_ptr<LiveKernel> kernel;
    if (settings.kernel) kernel = ANYBPF_TRY(LiveKernel::make());
    return std::unique_ptr<Differential>(new Differential(settings, std::move(world), std::move(kernel)));
}

Differential::Prepared Differential::prepare(const Candidate& candidate) const {
    Prepared prepared{
        .candidate = &candidate, .verdict = {}, .lowered = {}, .as_written = {}, .reference = {}, .bound = {}};
    const program::Program& program = candidate.program;
    verifier::Options options;
    options.max_insns = 20'000;
    const verifier::Report report = verifier::verify(program, options);
    if (!report.accepted) {
        const bool differs = kernel_ != nullptr && kernel_->load(program);
        prepared.verdict = {.what = differs ? What::kernel_accepts : What::refused,
                            .text = verifier::message(report.diagnostic, program),
                            .finding = report.diagnostic.what};
    } else {
        for (const auto constants : {engine::Constants::as_written, engine::Constants::folded}) {
            auto lowered = engine::lower(program, report.proof, constants);
            if (!lowered) prepared.verdict = disagreed("lowering", lowered.error().message);
            if (!lowered) break;
            (constants == engine::Constants::folded ? prepared.lowered : prepared.as_written) = std::move(*lowered);
        }
    }
    return prepared;
}

// Those whose memory is guarded on this side.
void Differential::bind(std::span<Prepared> prepared, bool in_front) {
    world_->guard(in_front);
    std::vector<Prepared*> these;
    std::vector<const program::Lowered*> lowered;
    for (Prepared& each : prepared)
        if (!each.verdict && each.in_front() == in_front) {
            these.push_back(&each);
            lowered.push_back(&each.lowered);
        }
    if (these.empty()) return;
    for (Prepared* each : these) {
        auto bound = world_->bind(*settings_.engines[0], each->as_written);
        if (!bound) each->verdict = disagreed("as written", bound.error().message);
        each->reference = bound ? std::move(*bound) : nullptr;
    }
    for (const engine::AnyEngine* engine : settings_.engines) {
        const auto together = world_->bind_all(*engine, lowered);
        for (std::size_t i = 0; i < these.size(); ++i) {
            auto bound = together.empty() ? world_->bind(*engine, *lowered[i]) : Result<Bound>(together[i]);
            if (!bound) these[i]->verdict = disagreed(engine->name, bound.error().message);
            these[i]->bound.push_back(bound ? std::move(*bound) : nullptr);
        }
    }
}

Verdict Differential::compare(const Prepared& prepared) {
    const Candidate& candidate = *prepared.candidate;
    const abi::ProgType type = candidate.program.type;
    world_->guard(prepared.in_front());
    Result<Fd> in_kernel;
    if (kernel_ != nullptr) {
        in_kernel = kernel_->load(candidate.program);
        if (!in_kernel && in_kernel.error().code != Errc::unsupported)
            return {.what = What::kernel_refuses, .text = in_kernel.error().message};
    }
    for (u32 i = 0; i < inputs; ++i) {
        const Input input(candidate.seed * inputs + i, type);
        Outcome expected;
        const auto differs = [&](const engine::AnyEngine& engine, const Bound& bound,
                                 std::string_view who) -> std::optional<Verdict> {
            const auto outcome = world_->run(engine, bound, input, type);
            if (!outcome) return disagreed(who, outcome.error().message);
            if (outcome->gave_up) return disagreed(who, "it gave up");
            if (&bound == &prepared.reference)
                expected = *outcome;
            else if (*outcome != expected)
                return disagreed(who, difference(*outcome, expected));
            return {};
        };
        if (auto verdict = differs(*settings_.engines[0], prepared.reference, "as written")) return *verdict;
        for (std::size_t e = 0; e < prepared.bound.size(); ++e)
            if (auto verdict = differs(*settings_.engines[e], prepared.bound[e], settings_.engines[e]->name))
                return *verdict;
        if (kernel_ == nullptr || !in_kernel) continue;
        const auto outcome = kernel_->run(*in_kernel, input, type);
        if (!outcome) return disagreed("kernel", outcome.error().message);
        if (*outcome == as_of_kernel(expected)) continue;
        Verdict verdict = disagreed("kernel", difference(*outcome, as_of_kernel(expected)));
        if (exchanges_words(candidate.program)) verdict.what = What::kernel_errs;
        return verdict;
    }
    if (!in_kernel) return {.what = What::kernel_errs, .text = in_kernel.error().message};
    return {};
}

void Differential::check(std::span<const Candidate> candidates, const std::function<void(const Candidate&)>& begin,
                         const std::function<void(const Candidate&, const Verdict&)>& end) {
    std::vector<Prepared> prepared;
    for (const Candidate& candidate : candidates) {
        begin(candidate);
        prepared.push_back(prepare(candidate));
    }
    for (const bool in_front : {false, true}) bind(prepared, in_front);
    for (const Prepared& each : prepared) {
        begin(*each.candidate);
        end(*each.candidate, each.verdict ? *each.verdict : compare(each));
    }
}

Verdict Differential::check(const program::Program& program, u64 seed) {
    Verdict out;
    const std::array<Candidate, 1> one = {Candidate{.seed = seed, .program = program}};
    check(one, [](const Candidate&) {}, [&](const Candidate&, const Verdict& verdict) { out = verdict; });
    return out;
}

}  // namespace anybpf::differential

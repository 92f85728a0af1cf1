// SPDX-License-Identifier: Apache-2.0
// Raw because it forks, and shares memory with what it forked. It is safe because that memory holds plain numbers and
// text of fixed size, and a process writes into its own part alone.
#include "workers_raw.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstring>
#include <optional>
#include <thread>

#include "anybpf/base/assert.hpp"
#include "generator.hpp"

namespace anybpf::differential {
namespace {

using namespace std::chrono_literals;

constexpr u32 at_once = 64;  // programs
constexpr u32 kept = 32;     // failures of a worker
constexpr auto look_every = 100ms;
constexpr u32 looks_until_hung = 600;  // counted, for the machine may be stopped meanwhile

struct Note {
    u64 seed;
    std::array<char, 480> text;
};
struct Notes {
    std::atomic<u32> count;
    std::array<Note, kept> notes;
    void add(u64 seed, std::string_view text) {
        const u32 at = count.load();
        if (at == kept) return;
        notes[at].seed = seed;
        notes[at].text = {};
        text.substr(0, notes[at].text.size() - 1).copy(notes[at].text.data(), notes[at].text.size() - 1);
        count.store(at + 1);
    }
};

// A worker's part of the shared memory.
struct Part {
    std::atomic<u64> next;      // the first seed that is not done
    std::atomic<u64> seed;      // which it is at
    std::atomic<u32> together;  // so many are looked at in one go
    std::atomic<u64> programs, insns;
    std::array<std::atomic<u64>, 6> verdicts;
    std::array<std::atomic<u32>, 256> findings;
    Notes failures, verdicts_differ;
    std::array<char, 256> error;  // why it cannot work
};

std::span<Part> shared_parts(u32 count) {
    void* const at = ::mmap(nullptr, count * sizeof(Part), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ANYBPF_ASSERT(at != MAP_FAILED);
    return {static_cast<Part*>(at), count};
}

void note(Part& part, const Candidate& candidate, const Verdict& verdict) {
    part.programs.fetch_add(1, std::memory_order_relaxed);
    part.insns.fetch_add(candidate.program.insns.size(), std::memory_order_relaxed);
    part.verdicts[static_cast<u8>(verdict.what)].fetch_add(1, std::memory_order_relaxed);
    if (verdict.finding != verifier::Finding::none)
        part.findings[static_cast<u16>(verdict.finding)].fetch_add(1, std::memory_order_relaxed);
    if (verdict.what == What::disagreed) part.failures.add(candidate.seed, verdict.text);
    if (verdict.what == What::kernel_refuses)
        part.verdicts_differ.add(candidate.seed, "the kernel refuses it: " + verdict.text);
    if (verdict.what == What::kernel_accepts)
        part.verdicts_differ.add(candidate.seed, "the kernel accepts it: " + verdict.text);
}

// Every step-th seed from part.next on, but those where it died before. Where it died among several, the first of these
// are looked at one by one.
[[noreturn]] void work(const Settings& settings, Part& part, u64 end, u32 step, const std::vector<Failure>& deaths,
                       bool carefully) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    auto differential = Differential::make(settings);
    if (!differential) {
        differential.error().message.copy(part.error.data(), part.error.size() - 1);
        ::_exit(2);
    }
    std::vector<Candidate> candidates;
    const u64 careful_until = part.next + (carefully ? u64{at_once} * step : 0);
    for (u64 next = part.next; next < end;) {
        const u32 most = next < careful_until ? 1 : at_once;
        part.together = most;
        for (candidates.clear(); next < end && candidates.size() < most; next += step) {
            part.seed.store(next, std::memory_order_relaxed);
            if (std::ranges::find(deaths, next, &Failure::seed) == deaths.end())
                candidates.push_back({.seed = next, .program = generate(next)});
        }
        (*differential)
            ->check(
                candidates,
                [&](const Candidate& candidate) { part.seed.store(candidate.seed, std::memory_order_relaxed); },
                [&](const Candidate& candidate, const Verdict& verdict) {
                    note(part, candidate, verdict);
                    part.next.store(candidate.seed + step, std::memory_order_relaxed);
                });
    }
    ::_exit(0);
}

// How the process ended, if it did not end well.
std::optional<std::string> death(int status) {
    if (WIFSIGNALED(status)) return fmt::format("the process was killed by signal {}", WTERMSIG(status));
    if (WEXITSTATUS(status) != 0) return fmt::format("the process ended with status {}", WEXITSTATUS(status));
    return std::nullopt;
}

Totals sum(std::span<const Part> parts, const std::vector<Failure>& deaths) {
    Totals totals;
    for (const Part& part : parts) {
        totals.programs += part.programs;
        totals.insns += part.insns;
        const auto count = [&](What what) { return part.verdicts[static_cast<u8>(what)].load(); };
        totals.agreed += count(What::agreed);
        totals.refused += count(What::refused);
        totals.disagreed += count(What::disagreed);
        totals.kernel_refuses += count(What::kernel_refuses);
        totals.kernel_accepts += count(What::kernel_accepts);
        totals.kernel_errs += count(What::kernel_errs);
        for (u32 i = 0; i < part.findings.size(); ++i) totals.findings[i] += part.findings[i];
        const auto add = [](const Notes& notes, std::vector<Failure>& to) {
            for (u32 i = 0; i < notes.count; ++i) to.push_back({notes.notes[i].seed, notes.notes[i].text.data()});
        };
        add(part.failures, totals.failures);
        add(part.verdicts_differ, totals.verdicts_differ);
    }
    totals.programs += deaths.size();
    totals.disagreed += deaths.size();
    totals.failures.insert(totals.failures.end(), deaths.begin(), deaths.end());
    return totals;
}

struct Worker {
    pid_t pid = -1;
    u64 seen = ~u64{0};
    u32 looks = 0;  // at the same seed
};

}  // namespace

Result<Totals> run_workers(const Settings& settings, const Range& range,
                           const std::function<void(const Totals&)>& progress) {
    const std::span<Part> parts = shared_parts(range.jobs);
    const u64 end = range.first + range.count;
    std::vector<Worker> workers(range.jobs);
    std::vector<Failure> deaths;
    const auto start = [&](u32 i, bool carefully) -> Result<> {
        workers[i] = {};
        workers[i].pid = ::fork();
        if (workers[i].pid < 0) return fail_errno("fork");
        if (workers[i].pid == 0) work(settings, parts[i], end, range.jobs, deaths, carefully);
        return {};
    };
    for (u32 i = 0; i < range.jobs; ++i) {
        parts[i].next = range.first + i;
        ANYBPF_TRY(start(i, false));
    }
    for (u32 running = range.jobs; running > 0; std::this_thread::sleep_for(look_every)) {
        for (u32 i = 0; i < range.jobs; ++i) {
            Worker& worker = workers[i];
            if (worker.pid < 0) continue;
            const u64 seed = parts[i].seed;
            worker.looks = seed == worker.seen ? worker.looks + 1 : 0;
            worker.seen = seed;
            const bool hung = worker.looks == looks_until_hung;
            if (hung) ::kill(worker.pid, SIGKILL);
            int status = 0;
            if (::waitpid(worker.pid, &status, hung ? 0 : WNOHANG) != worker.pid) continue;
            worker.pid = -1;
            --running;
            if (parts[i].error[0] != 0) return fail(Errc::unsupported, parts[i].error.data());
            const auto how = hung ? std::optional<std::string>("it does not end") : death(status);
            if (!how) continue;
            const bool alone = parts[i].together <= 1;
            if (alone) deaths.push_back({parts[i].seed, *how});
            ANYBPF_TRY(start(i, !alone));
            ++running;
        }
        progress(sum(parts, deaths));
    }
    return sum(parts, deaths);
}

Verdict check_apart(const Settings& settings, const program::Program& program, u64 seed) {
    const std::span<Part> part = shared_parts(1);
    const pid_t pid = ::fork();
    ANYBPF_ASSERT(pid >= 0);
    if (pid == 0) {
        std::signal(SIGSEGV, SIG_DFL);  // a fault ends it, whatever a sanitizer would make of that
        ::alarm(10);
        auto differential = Differential::make(settings);
        if (!differential) ::_exit(2);
        const Verdict verdict = (*differential)->check(program, seed);
        part[0].seed = static_cast<u64>(verdict.what);
        part[0].failures.add(0, verdict.text);
        ::_exit(0);
    }
    int status = 0;
    ::waitpid(pid, &status, 0);
    Verdict verdict{.what = static_cast<What>(part[0].seed.load()), .text = part[0].failures.notes[0].text.data()};
    ::munmap(part.data(), part.size_bytes());
    if (const auto how = death(status)) verdict = {.what = What::disagreed, .text = *how};
    return verdict;
}

}  // namespace anybpf::differential

// SPDX-License-Identifier: Apache-2.0
// anybpf-verdicts: random programs before our verifier and the live kernel's. A seed is one program, the same on every
// machine whose kernel creates the same maps. What they disagree on is counted by classes, and shown made small.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstring>

#include "anybpf/isa/text.hpp"
#include "arguments.hpp"
#include "classes.hpp"
#include "maps.hpp"
#include "programs.hpp"
#include "tally.hpp"
#include "walker.hpp"
#include "workers_raw.hpp"

namespace anybpf::verdicts {
namespace {

constexpr int cannot_ask = 77;
constexpr double least_equal = 0.995, least_each = 0.3;
constexpr std::size_t most_seeds = 200;

struct Options : Arguments {
    u64 show = 0, messages = 20;
};

// As a load with every capability, on this machine.
verifier::Options as_root() {
    verifier::Options options;
    options.allow_ptr_leaks = true;
    options.cpus = static_cast<u32>(::sysconf(_SC_NPROCESSORS_CONF));
    return options;
}

program::Program typed(program::Program program) {
    static const std::shared_ptr<const btf::Btf> types = verifier::testing::running_kernel();
    program.kernel_btf = types;
    return program;
}

verifier::Report judge(const program::Program& program, u32 log_level = 0) {
    verifier::Options options = as_root();
    options.log_level = log_level;
    return verifier::verify(typed(program), options);
}

// Every path to its end, as far as a program's limit allows.
struct Paths {
    explicit Paths(const program::Program& program) {
        const program::Program it = typed(program);
        verifier::Options options = as_root();
        options.max_state_bytes = 0;
        verifier::Structure structure;
        if (verifier::analyse(it, structure)) return;
        verifier::Arena arena;
        verifier::Report report;
        verifier::Walker walker(it, options, structure, arena, report);
        walker.trail = &trail;
        walker.run();
        complete = report.accepted;
        finding = report.diagnostic.what;
        // The kernel walks these in another order.
        for (u32 pc = 0; pc < it.insns.size(); pc += isa::slots(it.insns[pc]))
            complete &= isa::decode(it.insns[pc]).form.pseudo != isa::Pseudo::func;
    }
    // Whether none of them ends, somewhere, in these instructions.
    bool exclude(const std::vector<u32>& path) const {
        if (!complete || path.empty()) return false;
        return std::ranges::none_of(trail, [&](const verifier::Walker::Trod& last) {
            const verifier::Walker::Trod* at = &last;
            for (std::size_t i = path.size(); i-- > 0;) {
                if (at == nullptr || at->pc != path[i]) return false;
                at = at->before < 0 ? nullptr : &trail[static_cast<u32>(at->before)];
            }
            return true;
        });
    }

    bool complete = false;
    verifier::Finding finding{};
    std::vector<verifier::Walker::Trod> trail;
};

// A called function that loads from the packet: what the kernel's verifier does then may be a write to wrong memory.
bool crashes_linux(const program::Program& program) {
    bool loads = false, calls = false;
    for (u32 pc = 0; pc < program.insns.size(); pc += isa::slots(program.insns[pc])) {
        const isa::Form form = isa::decode(program.insns[pc]).form;
        loads |= form.kind == isa::Kind::packet_abs || form.kind == isa::Kind::packet_ind;
        calls |= form.kind == isa::Kind::call && form.call == isa::CallKind::subprogram;
    }
    return loads && calls;
}

struct Both {
    bool ours = false, kernels = false;
    verifier::Finding finding{};
    std::string not_verified, message;
};

class Judges {
  public:
    static Result<Judges> open() {
        Judges out;
        for (const program::MapInfo& map : every_map()) {
            auto one = verifier::testing::LiveKernel::open({map});
            if (one)
                out.maps.push_back(map);
            else if (out.maps.size() < verifier::testing::maps().size())
                return tl::make_unexpected(one.error());
            else
                out.missing.push_back(one.error().message);
        }
        out.kernel_ = ANYBPF_TRY(verifier::testing::LiveKernel::open(out.maps));
        program::Program smallest = verifier::testing::program_of("r0 = 0\nexit");
        if (const auto verdict = out.kernel_.load(smallest); !verdict.accepted)
            return fail(Errc::unsupported, verdict.log);
        return out;
    }
    Both ask(const program::Program& program) const {
        Both out;
        if (crashes_linux(program)) {
            out.not_verified = "not shown: Linux 6.18 may crash";
            return out;
        }
        const auto verdict = kernel_.load(program, 4);
        out.kernels = verdict.accepted;
        if (!verdict.accepted) {
            out.message = message_of(verdict.log);
            out.not_verified = not_verified(verdict.error, verdict.log);
        }
        const auto report = judge(program);
        out.ours = report.accepted;
        out.finding = report.diagnostic.what;
        return out;
    }
    std::string_view class_of_difference(const program::Program& program, const std::string& message) const {
        const auto path = last_path(kernel_.load(program, 1).log);
        const Paths ours(program);
        return class_of(
            {.program = program,
             .message = message,
             .walked = !path.empty(),
             .excluded = ours.exclude(path) || (!path.empty() && !judge(program).proof.insns[path.back()].reached),
             .walked_out = ours.finding,
             .kernel_accepts = [&](std::vector<isa::Insn> insns) {
                 return kernel_.load(with_insns(program, std::move(insns)), 4).accepted;
             }});
    }
    std::string kernel_log(const program::Program& program) const { return kernel_.load(program, 2).log; }

    std::vector<program::MapInfo> maps;
    std::vector<std::string> missing;  // kinds of maps that the kernel does not create

  private:
    verifier::testing::LiveKernel kernel_;
};

Tally run(const Judges& judges, const Options& options, u32 part) {
    Tally tally;
    const bool watched = part == 0 && ::isatty(STDERR_FILENO) != 0;
    for (u64 seed = options.seed + part; seed < options.seed + options.count; seed += options.jobs) {
        const auto program = make(seed, judges.maps);
        const Both both = judges.ask(program);
        ++tally.programs;
        tally.insns += program.insns.size();
        if (watched && tally.programs % 5000 == 0)
            fmt::print(stderr, "\r{} programs, {:.3f} % equal", tally.programs * options.jobs, 100 * tally.equal());
        if (!both.not_verified.empty()) {
            ++tally.not_verified[both.not_verified];
            continue;
        }
        if (both.kernels)
            ++tally.types[std::string(abi::to_string(program.type))];
        else
            ++tally.messages[normalised(both.message)];
        if (both.ours == both.kernels) {
            ++(both.ours ? tally.both_accept : tally.both_reject);
        } else if (both.kernels) {
            ++tally.kernel_accepts;
            ++tally.we_refuse[std::string(verifier::to_string(both.finding))];
            if (tally.kernel_accepts_seeds.size() < most_seeds) tally.kernel_accepts_seeds.push_back(seed);
        } else {
            ++tally.we_accept;
            const auto name = judges.class_of_difference(program, both.message);
            ++tally.classes[std::string(name)];
            if (name.empty() && tally.we_accept_seeds.size() < most_seeds) tally.we_accept_seeds.push_back(seed);
        }
    }
    if (watched) fmt::print(stderr, "\r");
    return tally;
}

std::string tail(const std::string& log) { return log.size() > 6000 ? "..." + log.substr(log.size() - 6000) : log; }

void show_logs(const Judges& judges, const program::Program& program) {
    const auto report = judge(program, 2);
    fmt::print("{} ({})\n{}", abi::to_string(program.type), abi::to_string(program.expected_attach_type),
               isa::listing(program.insns, {.bytes = false, .style = isa::Style::kernel, .helper = {}, .before = {}}));
    fmt::print("--- ours: {}\n{}{}\n--- the kernel's:\n{}\n", report.accepted ? "accepted" : "refused",
               tail(report.log), report.accepted ? "" : verifier::message(report.diagnostic, program),
               tail(judges.kernel_log(program)));
}

// The same kind of disagreement with less.
program::Program smaller(const Judges& judges, const program::Program& program) {
    const Both first = judges.ask(program);
    const auto insns = differential::shrink(program.insns, [&](const differential::Insns& candidate) {
        const auto made = with_insns(program, candidate);
        const Both both = judges.ask(made);
        return both.not_verified.empty() && both.ours == first.ours && both.kernels == first.kernels &&
               both.finding == first.finding &&
               (first.kernels || normalised(both.message) == normalised(first.message));
    });
    return with_insns(program, insns);
}

void show(const Judges& judges, const Options& options, const std::vector<u64>& seeds) {
    std::map<std::string, u64> shown;
    for (const u64 seed : seeds) {
        const auto program = make(seed, judges.maps);
        const Both both = judges.ask(program);
        const std::string what =
            both.kernels ? std::string(verifier::to_string(both.finding)) : normalised(both.message);
        if (shown[what]++ >= options.show) continue;
        fmt::print("\n=== seed {}: {} {}\n", seed,
                   both.kernels ? "the kernel accepts, we say" : "we accept, the kernel says",
                   both.kernels ? what : both.message);
        show_logs(judges, smaller(judges, program));
    }
}

std::vector<std::pair<u64, std::string>> by_count(const Counts& counts) {
    std::vector<std::pair<u64, std::string>> out;
    for (const auto& [what, count] : counts) out.emplace_back(count, what);
    std::ranges::sort(out, std::greater());
    return out;
}

bool good(const Tally& tally) {
    const auto unknown = tally.classes.find("");
    return tally.equal() >= least_equal && tally.share(tally.both_accept + tally.kernel_accepts) >= least_each &&
           tally.share(tally.both_reject + tally.we_accept) >= least_each &&
           (unknown == tally.classes.end() || unknown->second == 0);
}

void print(const Judges& judges, const Options& options, const Tally& tally, double seconds) {
    if (options.json) {
        nlohmann::ordered_json out{{"seed", options.seed},
                                   {"seconds", seconds},
                                   {"counted", tally.counted()},
                                   {"equal", tally.equal()},
                                   {"good", good(tally)}};
        out.update(nlohmann::json(tally));
        out["missing_maps"] = judges.missing;
        fmt::print("{}\n", out.dump(2));
        return;
    }
    const auto percent = [&](u64 count) { return 100 * tally.share(count); };
    fmt::print("{} programs from seed {}, {:.1f} instructions each, {:.1f} s\n", tally.programs, options.seed,
               static_cast<double>(tally.insns) / static_cast<double>(std::max<u64>(tally.programs, 1)), seconds);
    for (const auto& text : judges.missing) fmt::print("not created: {}\n", text);
    for (const auto& [why, count] : tally.not_verified) fmt::print("not verified by the kernel: {} {}\n", count, why);
    fmt::print("equal {:.3f} %: both accept {} ({:.1f} %), both refuse {} ({:.1f} %)\n", 100 * tally.equal(),
               tally.both_accept, percent(tally.both_accept), tally.both_reject, percent(tally.both_reject));
    fmt::print("the kernel accepts, we refuse: {} ({:.3f} %)\n", tally.kernel_accepts, percent(tally.kernel_accepts));
    for (const auto& [count, what] : by_count(tally.we_refuse)) fmt::print("  {:7} {}\n", count, what);
    fmt::print("we accept, the kernel refuses: {} ({:.3f} %)\n", tally.we_accept, percent(tally.we_accept));
    for (const auto& [count, what] : by_count(tally.classes))
        fmt::print(
            "  {:7} {}\n", count,
            what.empty() ? fmt::format("of no known class: seeds {}", fmt::join(tally.we_accept_seeds, ", ")) : what);
    fmt::print("the kernel's messages: {}\n", tally.messages.size());
    for (u64 i = 0; const auto& [count, what] : by_count(tally.messages))
        if (i++ < options.messages) fmt::print("  {:7} {}\n", count, what);
}

int run(const Options& options) {
    const auto judges = Judges::open();
    if (!judges) {
        fmt::print(stderr, "the kernel cannot be asked: {}\n", judges.error().message);
        return cannot_ask;
    }
    if (options.only) {
        show_logs(*judges, make(*options.only, judges->maps));
        return 0;
    }
    const auto start = std::chrono::steady_clock::now();
    const auto parts =
        in_processes(options.jobs, [&](u32 part) { return nlohmann::json(run(*judges, options, part)).dump(); });
    if (!parts) {
        fmt::print(stderr, "{}\n", parts.error().message);
        return 1;
    }
    Tally tally;
    for (const std::string& part : *parts) tally.add(nlohmann::json::parse(part).get<Tally>());
    print(*judges, options, tally, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    if (options.show > 0) {
        show(*judges, options, tally.we_accept_seeds);
        show(*judges, options, tally.kernel_accepts_seeds);
    }
    return options.check && !good(tally) ? 1 : 0;
}

}  // namespace
}  // namespace anybpf::verdicts

int main(int argc, char** argv) {
    CLI::App app{"Shows random programs to the verifier and to the live kernel's"};
    anybpf::verdicts::Options options;
    options.add_to(
        app,
        "unless 99.5 % of the verdicts are equal, 30 % of the programs accepted, 30 % refused, and each that "
        "only the kernel refuses is of a known class");
    app.add_option("--show", options.show, "of each kind of disagreement, so many: made small, with both logs")
        ->capture_default_str();
    app.add_option("--messages", options.messages, "so many of the kernel's messages, the most frequent ones")
        ->capture_default_str();
    app.footer("The exit status is 77 where the kernel cannot be asked.");
    CLI11_PARSE(app, argc, argv);
    return anybpf::verdicts::run(options);
}

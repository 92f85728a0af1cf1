// SPDX-License-Identifier: Apache-2.0
// anybpf verify: each program of an object or a recording alone before the verifier, and what it says.
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>

#include "anybpf/abi/types.hpp"
#include "anybpf/abi/uapi.hpp"
#include "anybpf/kernel/kernel.hpp"
#include "anybpf/verifier/verifier.hpp"
#include "commands.hpp"
#include "compile.hpp"
#include "extensions.hpp"
#include "loader.hpp"
#include "machine.hpp"
#include "object_file.hpp"
#include "recording.hpp"
#include "value.hpp"

namespace anybpf::cli {

namespace {

struct Verdict {
    std::string section, program, type, message, line, log;
    verifier::Told told;  // of a refusal by our verifier
    bool accepted = false;
    u64 insns = 0, processed = 0, states = 0, peak_states = 0, time_us = 0;
};

// The number behind a word of the statistics line: "processed 12 insns (limit 1000000) max_states_per_insn 0
// total_states 1 ..."
u64 number_after(const std::string& log, std::string_view word) {
    const auto at = log.rfind(word);
    return at == log.npos ? 0 : std::strtoull(log.c_str() + at + word.size(), nullptr, 10);
}

// "; *value += 1; @ syscount.bpf.c:61", as both verifiers quote the source: the last one is where the walk stopped.
std::string last_source_line(const std::string& log) {
    const auto at = log.rfind(" @ ");
    if (at == log.npos) return {};
    std::string place = log.substr(at + 3, log.find('\n', at) - at - 3);
    const auto start = log.rfind('\n', at) + 1;
    std::string text = log.substr(start, at - start);
    text.erase(0, text.find_first_not_of("; "));
    return fmt::format("{}: {}", place, text);
}

// Some machines permit these to nobody.
bool attached_by_btf(bpf_prog_type type) {
    return type == BPF_PROG_TYPE_TRACING || type == BPF_PROG_TYPE_LSM || type == BPF_PROG_TYPE_EXT;
}

// The log as the kernel has it, which the statistics end.
std::string kernel_log(const std::string& log) {
    const auto at = log.rfind("\nprocessed ");
    return log.substr(0, at == log.npos ? at : log.find('\n', at + 1));
}

std::string_view base_name(std::string_view path) {
    return path.substr(path.rfind('/') == path.npos ? 0 : path.rfind('/') + 1);
}

Json to_json(const verifier::Told& told) {
    const auto place = [](Json& row, const std::optional<verifier::Told::Place>& at) {
        row["file"] = at ? Json(at->file) : Json();
        row["line"] = at ? Json(at->line) : Json();
        row["source"] = at ? Json(at->text) : Json();
    };
    Json refusal{{"finding", told.finding}, {"insn", told.insn},   {"code", told.code},     {"required", told.required},
                 {"known", told.known},     {"state", told.state}, {"advice", told.advice}, {"mend", told.mend}};
    place(refusal, told.source);
    Json causes = Json::array();
    for (const auto& link : told.causes) {
        Json row{{"insn", link.insn ? Json(*link.insn) : Json()}, {"code", link.code}, {"text", link.text}};
        place(row, link.source);
        causes.push_back(std::move(row));
    }
    refusal["causes"] = std::move(causes);
    return refusal;
}

// Source files, read once.
class Sources {
  public:
    std::optional<std::string> line(const std::string& path, u32 number) {
        auto [at, fresh] = files_.try_emplace(path);
        if (fresh)
            if (const auto bytes = read_file(path)) {
                std::string_view rest(static_cast<const char*>(static_cast<const void*>(bytes->data())), bytes->size());
                for (; !rest.empty(); rest.remove_prefix(std::min(rest.find('\n'), rest.size() - 1) + 1))
                    at->second.emplace_back(rest.substr(0, rest.find('\n')));
            }
        if (number == 0 || number > at->second.size()) return std::nullopt;
        return at->second[number - 1];
    }

  private:
    std::map<std::string, std::vector<std::string>> files_;
};

verifier::Style style() {
    const char* no_colour = std::getenv("NO_COLOR");
    const char* terminal = std::getenv("TERM");
    verifier::Style style;
    style.colour = ::isatty(STDOUT_FILENO) == 1 && (no_colour == nullptr || *no_colour == '\0') &&
                   (terminal == nullptr || std::strcmp(terminal, "dumb") != 0);
    std::error_code none;
    const std::string here = std::filesystem::current_path(none).string() + '/';
    style.name = [here](const std::string& file) { return file.starts_with(here) ? file.substr(here.size()) : file; };
    style.line = [sources = std::make_shared<Sources>()](const std::string& file, u32 number) {
        return sources->line(file, number);
    };
    return style;
}

// What our verifier said last, and when.
struct Judged {
    verifier::Told told;
    std::optional<std::chrono::steady_clock::time_point> at;
};

// One load of a program, with the verifier's log.
struct Attempt {
    bpf_prog_type type{};
    u64 insns = 0;
    std::chrono::steady_clock::time_point start;
    std::optional<Failure> failure;
    bool loader = false;  // what failed is a verdict of whoever loads: nothing to attach to, no function of that name
    std::string log;
};
using Load = std::function<Outcome<Attempt>(u32 log_level)>;

// A program of an object, by libbpf.
Load by_libbpf(const ObjectFile& file, const ProgramSymbol& symbol, const VerifyOptions& options, LibbpfLog& said) {
    return [&](u32 level) -> Outcome<Attempt> {
        auto loaded = CLI_TRY(open_object(
            file,
            {.only = symbol.name, .log_level = level, .verbose = options.verbose, .fill_in = true, .name = file.name()},
            said));
        bpf_program* program = bpf_object__find_program_by_name(loaded.object(), symbol.name.c_str());
        if (options.strict_alignment)
            bpf_program__set_flags(program, bpf_program__flags(program) | abi::uapi::prog_strict_alignment);
        Attempt attempt{
            .type = bpf_program__type(program), .start = std::chrono::steady_clock::now(), .failure = {}, .log = {}};
        if (const auto result = load_object(loaded, file, said); !result) attempt.failure = result.error();
        attempt.log = loaded.log(program);
        attempt.insns = bpf_program__insn_cnt(program);
        attempt.loader =
            attempt.failure && (attempt.failure->exit == Exit::failed ||
                                (attempt.failure->exit == Exit::not_permitted && attached_by_btf(attempt.type)));
        return attempt;
    };
}

// A program of a recording: what is wrong with one says nothing of the others.
Load by_recording(const std::string& path, const RecordedProgram& program) {
    return [&](u32 level) -> Outcome<Attempt> {
        Attempt attempt{.type = static_cast<bpf_prog_type>(program.type),
                        .insns = program.insns.size() / sizeof(bpf_insn),
                        .start = std::chrono::steady_clock::now(),
                        .failure = {},
                        .log = {}};
        RecordedLoad loaded = load_recorded(program, level);
        attempt.log = std::move(loaded.log);
        if (loaded.error == 0) return attempt;
        const bool permitted = loaded.error != EPERM;
        attempt.loader = !loaded.trouble.empty() || !permitted || attempt.log.empty();
        const std::string what = loaded.trouble.empty() ? std::strerror(loaded.error) : loaded.trouble;
        attempt.failure =
            Failure{permitted ? Exit::refused : Exit::not_permitted,
                    fmt::format("{}: {}: {}", path, permitted ? "cannot be loaded" : "not permitted", what)};
        return attempt;
    };
}

Outcome<Verdict> judge(Verdict verdict, const Load& load, const VerifyOptions& options, Judged& judged) {
    constexpr u32 statistics = 4, walk = 1;
    for (const bool again : {false, true}) {
        const u32 level = statistics | (options.log || again ? walk : 0) | (options.log && options.verbose ? 2U : 0U);
        judged = {};
        Attempt attempt = CLI_TRY(load(level));
        const auto time = judged.at.value_or(std::chrono::steady_clock::now()) - attempt.start;
        verdict.type = abi::to_string(static_cast<abi::ProgType>(attempt.type));
        verdict.log = std::move(attempt.log);
        // What is no verdict (a map, a permission) is the end. That libbpf does not find what the program attaches to
        // or calls is one.
        if (attempt.failure && !attempt.loader && attempt.failure->exit != Exit::refused)
            return tl::make_unexpected(*attempt.failure);
        // Whether the program could run here is no part of the verdict.
        const auto lacks = verdict.log.find(abi::cannot_run_here);
        verdict.accepted = !attempt.failure || lacks != std::string::npos;
        if (lacks != std::string::npos)
            verdict.message = verdict.log.substr(lacks, verdict.log.find('\n', lacks) - lacks);
        if (!again) {
            verdict.time_us = static_cast<u64>(std::chrono::duration_cast<std::chrono::microseconds>(time).count());
            if (const u64 own = number_after(verdict.log, "verification time "); own) verdict.time_us = own;
        }
        verdict.insns = attempt.insns;
        verdict.processed = number_after(verdict.log, "processed ");
        verdict.states = number_after(verdict.log, "total_states ");
        verdict.peak_states = number_after(verdict.log, "peak_states ");
        if (verdict.accepted) break;
        if (const verifier::Told& told = judged.told; !told.finding.empty()) {
            verdict.told = told;
            verdict.message = fmt::format("{} ({})", told.message, told.finding);
            verdict.log = kernel_log(verdict.log);
            if (told.source)
                verdict.line =
                    fmt::format("{}:{}: {}", base_name(told.source->file), told.source->line, told.source->text);
            break;
        }
        // A refusal is looked at once more with the walk in the log, for its source line.
        if (attempt.loader) {
            verdict.message = attempt.failure->message;
            break;
        }
        verdict.message = shorten_verifier_log(verdict.log);
        if (again || options.log) verdict.line = last_source_line(verdict.log);
        if (options.log) break;
    }
    return verdict;
}

}  // namespace

Outcome<int> verify(const VerifyOptions& options) {
    if (!options.kernels.empty()) return profile(options);
    if (options.files.size() != 1) return stop(Exit::usage, "verify takes one FILE; several go with --kernel");
    if (options.strict) return stop(Exit::usage, "--strict goes with --kernel");
    const std::string& name = options.files.front();
    std::optional<ObjectFile> file;
    std::vector<RecordedProgram> recorded;
    if (is_recording(name)) {
        const auto bytes = CLI_TRY(read_file(name));
        recorded = CLI_TRY(
            read_recording(name, {static_cast<const char*>(static_cast<const void*>(bytes.data())), bytes.size()}));
    } else {
        file = CLI_TRY(ObjectFile::of_program(name, options.clang));
        CLI_TRY(check_sections(*file));
    }
    const auto machine =
        CLI_TRY(Machine::open_to_judge(options.where, options.btf, options.unprivileged, options.limits));
    LibbpfLog said(options.verbose);
    if (!options.target.empty() && machine.kernel() == nullptr)
        return stop(Exit::usage, "--target is for our own verifier, not for --on kernel");
    const auto extensions = CLI_TRY(Extensions::open(options, machine, said));
    const verifier::Style on_screen = style();
    Judged judged;
    if (machine.kernel() != nullptr)
        machine.kernel()->set_watcher([&judged](const program::Program& program, const verifier::Report& report) {
            judged.at = std::chrono::steady_clock::now();
            judged.told = verifier::tell(report, program);
        });
    struct Candidate {
        std::string section, name;
        Load load;
    };
    const std::vector<ProgramSymbol> symbols = file ? file->programs() : std::vector<ProgramSymbol>();
    std::vector<Candidate> candidates;
    for (const ProgramSymbol& symbol : symbols)
        candidates.push_back({symbol.section, symbol.name, by_libbpf(*file, symbol, options, said)});
    for (const RecordedProgram& program : recorded)
        candidates.push_back({{}, program.name, by_recording(name, program)});
    bool refused = false, found = false;
    Json list = Json::array();
    for (const Candidate& candidate : candidates) {
        if (!options.only.empty() && candidate.name != options.only) continue;
        found = true;
        extensions.prepare(candidate.section, machine);
        const Verdict verdict = CLI_TRY(judge({.section = candidate.section,
                                               .program = candidate.name,
                                               .type = {},
                                               .message = {},
                                               .line = {},
                                               .log = {},
                                               .told = {}},
                                              candidate.load, options, judged));
        refused = refused || !verdict.accepted;
        if (options.json) {
            Json row{{"file", name},
                     {"section", verdict.section},
                     {"program", verdict.program},
                     {"type", verdict.type},
                     {"verdict", verdict.accepted ? "accept" : "reject"},
                     {"message", verdict.message},
                     {"line", verdict.line},
                     {"insns", verdict.insns},
                     {"processed", verdict.processed},
                     {"states", verdict.states},
                     {"peak_states", verdict.peak_states},
                     {"time_us", verdict.time_us}};
            if (!verdict.told.finding.empty()) row["refusal"] = to_json(verdict.told);
            if (options.log) row["log"] = verdict.log;
            list.push_back(std::move(row));
            continue;
        }
        fmt::print("{:<7} {:<24} {:<16} {} insns, {} processed, {} states, {} us\n",
                   verdict.accepted ? "accept" : "REJECT", verdict.program, verdict.type, verdict.insns,
                   verdict.processed, verdict.states, verdict.time_us);
        if (!verdict.told.finding.empty()) {
            fmt::print("{}", verifier::show(verdict.told, on_screen));
            if (options.log) fmt::print("\n{}\n", verdict.log);
            continue;
        }
        if (options.log) fmt::print("{}\n", verdict.log);
        if (!options.log && !verdict.message.empty()) fmt::print("{}\n", verdict.message);
        if (!verdict.accepted && !verdict.line.empty()) fmt::print("at {}\n", verdict.line);
    }
    if (!found) {
        std::vector<std::string> names;
        for (const Candidate& candidate : candidates) names.push_back(candidate.name);
        return stop(Exit::usage,
                    fmt::format("{}: no program '{}'; there are: {}", name, options.only, fmt::join(names, ", ")));
    }
    if (options.json) fmt::print("{}\n", dump(list));
    return static_cast<int>(refused ? Exit::failed : Exit::ok);
}

}  // namespace anybpf::cli

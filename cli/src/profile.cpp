// SPDX-License-Identifier: Apache-2.0
// anybpf verify --kernel: programs against versions of Linux. Each program is loaded here, by libbpf, and the
// verifier's judge() is asked about it as it was when it reached the verifier; what does not get that far (a map or an
// attachment that user space does not have) is judged as it stands in the object.
#include "anybpf/verifier/profile.hpp"

#include <bpf/btf.h>
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "anybpf/base/bytes.hpp"
#include "anybpf/kernel/kernel.hpp"
#include "commands.hpp"
#include "loader.hpp"
#include "machine.hpp"
#include "recording.hpp"
#include "value.hpp"

namespace anybpf::cli {

namespace {

using abi::KernelVersion;
using verifier::Answer;

struct NewerSection {
    std::string_view name;
    abi::ProgType type;
    abi::AttachType attach;
};
constexpr NewerSection newer_sections[] = {
#define ANYBPF_NEWER_SECTION(name, type, attach) {name, abi::ProgType::type, abi::AttachType::attach},
#include "newer_sections.def"
};

// "uprobe.multi.s//bin/true:main" is of the kind "uprobe.multi.s".
bool is_of_kind(std::string_view section, std::string_view kind) {
    if (section.starts_with('?')) section.remove_prefix(1);
    return section.starts_with(kind) && (section.size() == kind.size() || section[kind.size()] == '/');
}

bool may_sleep(std::string_view section) {
    const auto kind = section.substr(0, section.find('/'));
    return kind.ends_with(".s") || is_of_kind(section, "syscall");
}

// What holds for all programs of an object.
struct ObjectFacts {
    std::vector<program::MapInfo> maps;
    std::vector<std::string> kfuncs;
    std::vector<isa::Insn> functions;  // of .text
    std::shared_ptr<const btf::Btf> btf;
    bool has_constants = false, asks_kernel = false;
};

// How a program was when it reached the verifier, and what that said.
struct Seen {
    program::Program program;
    verifier::Report report;
};

struct Row {
    std::string file, section, program, type;
    std::vector<verifier::Profile> profiles;  // one a version
    std::vector<std::string> lines;           // of the source, one a profile, empty where not known
    std::vector<verifier::BtfNeed> btf;
};

std::vector<isa::Insn> insns_of(std::span<const std::byte> code) {
    std::vector<isa::Insn> insns(code.size() / sizeof(isa::Insn));
    if (!insns.empty()) std::memcpy(insns.data(), code.data(), insns.size() * sizeof(isa::Insn));
    return insns;
}

// Whether the object has CO-RE relocations that ask whether something exists (bpf_core_read.h: field 2, type 8,
// enumerator 10, type matches 12): libbpf answers them by the kernel it loads on. The section is libbpf's; a damaged
// one is libbpf's to refuse.
Result<bool> asks_by_core(std::span<const std::byte> section) {
    struct Header {
        u16 magic;
        u8 version, flags;
        u32 size, func_offset, func_size, line_offset, line_size, core_offset, core_size;
    };
    struct Relocation {
        u32 insn, type, access, kind;
    };
    ByteReader in(section);
    const auto header = ANYBPF_TRY(in.take<Header>());
    if (header.size < sizeof(Header)) return false;
    ByteReader table(ANYBPF_TRY(in.slice(u64{header.size} + header.core_offset, header.core_size)));
    if (table.size() == 0) return false;
    const u32 record_size = ANYBPF_TRY(table.take<u32>());
    if (record_size < sizeof(Relocation)) return false;
    while (table.remaining() != 0) {
        ANYBPF_TRY(table.take<u32>());  // the name of the section
        const u32 count = ANYBPF_TRY(table.take<u32>());
        for (u32 i = 0; i < count; ++i) {
            ByteReader record(ANYBPF_TRY(table.take_bytes(record_size)));
            const auto relocation = ANYBPF_TRY(record.take<Relocation>());
            for (const u32 existence : {2U, 8U, 10U, 12U})
                if (relocation.kind == existence) return true;
        }
    }
    return false;
}

// The functions among the symbols that the object wants of the kernel and cannot do without. Variables have no FUNC.
std::vector<std::string> strong_kfuncs(const ObjectFile& file, const btf::Btf& btf) {
    std::vector<std::string> names;
    for (const Symbol& symbol : file.symbols())
        if (symbol.section == 0 && symbol.global && !symbol.weak && btf.find(symbol.name, btf::Kind::func))
            names.push_back(symbol.name);
    return names;
}

ObjectFacts facts_of(const ObjectFile& file, const Loaded& loaded) {
    ObjectFacts facts;
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, loaded.object()) {
        u32 flags = bpf_map__map_flags(map);
        facts.has_constants |= bpf_map__is_internal(map) && (flags & abi::map_rdonly_prog) != 0;
        // libbpf asks for that flag itself, where the kernel has it.
        if (bpf_map__is_internal(map)) flags &= ~abi::map_mmapable;
        if (!bpf_map__autocreate(map)) continue;
        facts.maps.push_back({.id = 0,
                              .type = static_cast<abi::MapType>(bpf_map__type(map)),
                              .key_size = bpf_map__key_size(map),
                              .value_size = bpf_map__value_size(map),
                              .max_entries = bpf_map__max_entries(map),
                              .flags = flags,
                              .name = bpf_map__name(map),
                              .frozen = {}});
    }
    facts.btf = loaded.btf();
    if (facts.btf) {
        facts.kfuncs = strong_kfuncs(file, *facts.btf);
        facts.asks_kernel = facts.btf->find(".kconfig", btf::Kind::datasec).has_value();
    }
    facts.has_constants |= facts.asks_kernel;
    if (const Section* extension = file.section(".BTF.ext"))
        facts.asks_kernel |= asks_by_core(extension->bytes).value_or(false);
    if (const Section* text = file.section(".text")) facts.functions = insns_of(text->bytes);
    return facts;
}

// Gives programs of sections that this libbpf does not know their types; false: nobody knows the section.
bool set_types(const Loaded& loaded) {
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, loaded.object()) {
        if (bpf_program__type(program) != BPF_PROG_TYPE_UNSPEC) continue;
        const auto* known = std::ranges::find_if(newer_sections, [&](const NewerSection& section) {
            return is_of_kind(bpf_program__section_name(program), section.name);
        });
        if (known == std::end(newer_sections)) return false;
        bpf_program__set_type(program, static_cast<bpf_prog_type>(known->type));
        bpf_program__set_expected_attach_type(program, static_cast<bpf_attach_type>(known->attach));
    }
    return true;
}

// "count.bpf.c:61: *value += 1;"
std::string source_line(const program::Program& program, std::optional<Pc> pc) {
    if (!pc || !program.btf) return {};
    const program::LineInfo* found = nullptr;
    for (const program::LineInfo& line : program.lines)
        if (line.insn <= pc->v) found = &line;
    if (found == nullptr) return {};
    std::string_view text = program.btf->string(found->line_off);
    text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
    return fmt::format("{}:{}: {}", program.btf->string(found->file_name_off), found->line(), text);
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

class Profiler {
  public:
    Profiler(const VerifyOptions& options, std::vector<KernelVersion> versions, const Machine& machine)
        : options_(options), versions_(std::move(versions)), machine_(machine), said_(options.verbose) {}

    Outcome<> add(const std::string& path);
    const std::vector<Row>& rows() const { return rows_; }
    const std::vector<KernelVersion>& versions() const { return versions_; }

  private:
    Outcome<Loaded> open(const ObjectFile& file, const std::string& only) const;
    Outcome<Row> judge(const ObjectFile& file, const ProgramSymbol& symbol);

    const VerifyOptions& options_;
    std::vector<KernelVersion> versions_;
    const Machine& machine_;
    LibbpfLog said_;
    std::vector<Row> rows_;
};

Outcome<Loaded> Profiler::open(const ObjectFile& file, const std::string& only) const {
    auto opened =
        object::open(file.bytes(), {.only = only, .log_level = 0, .fill_in = true, .name = file.name()}, said_);
    if (!opened) return stop(Exit::truncated, fmt::format("{}: {}", file.path(), opened.error().message));
    // With the message that says which names there are.
    if (!set_types(*opened)) CLI_TRY(check_sections(file));
    return std::move(*opened);
}

Outcome<Row> Profiler::judge(const ObjectFile& file, const ProgramSymbol& symbol) {
    const auto loaded = CLI_TRY(open(file, symbol.name));
    const ObjectFacts facts = facts_of(file, loaded);
    const bpf_program* program = bpf_object__find_program_by_name(loaded.object(), symbol.name.c_str());
    if (program == nullptr)
        return stop(Exit::truncated, fmt::format("{}: libbpf finds no program '{}'", file.path(), symbol.name));

    Seen seen;
    seen.program.name = symbol.name;
    seen.program.type = static_cast<abi::ProgType>(bpf_program__type(program));
    seen.program.expected_attach_type = static_cast<abi::AttachType>(bpf_program__expected_attach_type(program));
    seen.program.sleepable = may_sleep(symbol.section);
    seen.program.insns = insns_of(symbol.code);
    bool reached = false;
    // libbpf loads programs of its own, too, to learn what the kernel can.
    machine_.kernel()->set_watcher([&](const program::Program& it, const verifier::Report& report) {
        if (it.name != symbol.name.substr(0, abi::name_size - 1) || it.type != seen.program.type) return;
        seen = {it, report};
        reached = true;
    });
    const auto done = object::load(loaded, said_);
    machine_.kernel()->set_watcher({});

    // What is pinned to the machine's frozen maps is gone with them.
    for (auto& map : seen.program.maps) map.frozen = {};
    const verifier::Subject subject{.program = seen.program,
                                    .report = reached ? &seen.report : nullptr,
                                    .why_not_seen = done ? "" : first_line(done.error().message),
                                    .maps = facts.maps,
                                    .kfuncs = facts.kfuncs,
                                    .functions = reached ? std::span<const isa::Insn>() : facts.functions,
                                    .fragments = is_of_kind(symbol.section, "xdp.frags"),
                                    .has_constants = facts.has_constants,
                                    .asks_kernel = facts.asks_kernel};
    Row row{.file = file.path(),
            .section = symbol.section,
            .program = symbol.name,
            .type = std::string(abi::to_string(seen.program.type)),
            .profiles = {},
            .lines = {},
            .btf = {}};
    for (const KernelVersion version : versions_) {
        row.profiles.push_back(verifier::judge(subject, version));
        row.lines.push_back(source_line(seen.program, row.profiles.back().pc));
    }
    if (facts.btf) row.btf = verifier::btf_needs(*facts.btf);
    return row;
}

Outcome<> Profiler::add(const std::string& path) {
    const auto file = CLI_TRY(ObjectFile::of_program(path, options_.clang));
    std::vector<std::string> names;
    bool found = false;
    for (const ProgramSymbol& symbol : file.programs()) {
        names.push_back(symbol.name);
        if (!options_.only.empty() && symbol.name != options_.only) continue;
        found = true;
        rows_.push_back(CLI_TRY(judge(file, symbol)));
        rows_.back().file = path;
    }
    if (names.empty()) CLI_TRY(check_sections(file));
    if (!found)
        return stop(Exit::usage,
                    fmt::format("{}: no program '{}'; there are: {}", path, options_.only, fmt::join(names, ", ")));
    return {};
}

Outcome<std::vector<KernelVersion>> versions_of(const std::vector<std::string>& words) {
    std::vector<KernelVersion> versions;
    for (const std::string& word : words) {
        if (word == "all") {
            versions.insert(versions.end(), abi::long_term_kernels.begin(), abi::long_term_kernels.end());
            continue;
        }
        const auto version = abi::kernel_version(word);
        if (!version)
            return stop(Exit::usage,
                        fmt::format("--kernel {}: there are profiles of the versions from {} to {}", word,
                                    to_string(abi::long_term_kernels.front()), to_string(abi::reference_kernel)));
        versions.push_back(*version);
    }
    std::ranges::sort(versions);
    versions.erase(std::unique(versions.begin(), versions.end()), versions.end());
    return versions;
}

// The objects of a folder and those in it, in the order of their names.
Outcome<std::vector<std::string>> objects_of(const std::string& folder) {
    std::vector<std::string> paths;
    std::error_code error;
    for (std::filesystem::recursive_directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
        if (it->path().extension() == ".o" && it->is_regular_file(error)) paths.push_back(it->path().string());
    if (error) return stop(Exit::missing, fmt::format("{}: {}", folder, error.message()));
    if (paths.empty()) return stop(Exit::missing, fmt::format("{}: there is no object (*.o) in the folder", folder));
    std::ranges::sort(paths);
    return paths;
}

Json to_json(const Row& row, KernelVersion version, const verifier::Profile& profile, const std::string& line) {
    const bool has_version = profile.since != KernelVersion{};
    Json btf = Json::array();
    for (const verifier::BtfNeed& need : row.btf)
        if (need.since > version) btf.push_back({{"kind", to_string(need.kind)}, {"since", to_string(need.since)}});
    return {{"file", row.file},
            {"section", row.section},
            {"program", row.program},
            {"type", row.type},
            {"kernel", to_string(version)},
            {"answer", to_string(profile.answer)},
            {"cause", to_string(profile.cause)},
            {"reason", explain(profile)},
            {"since", has_version ? Json(to_string(profile.since)) : Json()},
            {"insn", profile.pc ? Json(profile.pc->v) : Json()},
            {"line", line},
            {"btf", std::move(btf)}};
}

void print_json(const Profiler& profiler) {
    Json list = Json::array();
    for (const Row& row : profiler.rows())
        for (std::size_t i = 0; i < row.profiles.size(); ++i)
            list.push_back(to_json(row, profiler.versions()[i], row.profiles[i], row.lines[i]));
    fmt::print("{}\n", dump(list));
}

// Versions that have the same reason stand on one line.
void print_reasons(const Row& row, const std::vector<KernelVersion>& versions) {
    for (std::size_t i = 0; i < row.profiles.size(); ++i) {
        const std::string reason = explain(row.profiles[i]);
        if (reason.empty()) continue;
        std::vector<std::string> same;
        bool told = false;
        for (std::size_t k = 0; k < row.profiles.size(); ++k) {
            if (explain(row.profiles[k]) != reason) continue;
            told = told || k < i;
            same.push_back(to_string(versions[k]));
        }
        if (told) continue;
        fmt::print("{}: {}: {}: {}: {}\n", row.file, row.program, fmt::join(same, ", "),
                   to_string(row.profiles[i].answer), reason);
        if (!row.lines[i].empty()) fmt::print("  at {}\n", row.lines[i]);
    }
}

void print_matrix(const Profiler& profiler) {
    std::size_t file = 4, program = 7, type = 4;
    for (const Row& row : profiler.rows()) {
        file = std::max(file, row.file.size());
        program = std::max(program, row.program.size());
        type = std::max(type, row.type.size());
    }
    const auto print = [&](std::string_view a, std::string_view b, std::string_view c, const auto& cells) {
        std::string line = fmt::format("{:<{}}  {:<{}}  {:<{}}", a, file, b, program, c, type);
        for (const auto& cell : cells) line += fmt::format("  {:<7}", cell);
        fmt::print("{}\n", line.substr(0, line.find_last_not_of(' ') + 1));
    };
    std::vector<std::string> cells;
    for (const KernelVersion version : profiler.versions()) cells.push_back(to_string(version));
    print("FILE", "PROGRAM", "TYPE", cells);
    for (const Row& row : profiler.rows()) {
        cells.clear();
        for (const verifier::Profile& profile : row.profiles) cells.emplace_back(to_string(profile.answer));
        print(row.file, row.program, row.type, cells);
    }
    for (const Row& row : profiler.rows()) print_reasons(row, profiler.versions());
}

}  // namespace

Outcome<int> profile(const VerifyOptions& options) {
    if (options.limits != kernel::Limits{} || options.strict_alignment)
        return stop(Exit::usage,
                    "--kernel asks about kernels, which have their own limits: --max-insns, --stack and "
                    "--strict-alignment do not go with it");
    if (options.where == Where::kernel || options.log)
        return stop(Exit::usage, "--kernel goes with neither --on kernel nor --log: it asks about other machines");
    auto versions = CLI_TRY(versions_of(options.kernels));
    const auto machine = CLI_TRY(Machine::open_to_judge(options.where, options.btf, options.unprivileged));
    Profiler profiler(options, std::move(versions), machine);
    bool failed = false;
    for (const std::string& name : options.files) {
        if (is_recording(name))
            return stop(Exit::usage, fmt::format("{}: a recording, which --kernel does not take", name));
        if (!std::filesystem::is_directory(name)) {
            CLI_TRY(profiler.add(name));
            continue;
        }
        // What is no BPF object is none of ours; one that cannot be read fails, but does not hide the others.
        for (const std::string& path : CLI_TRY(objects_of(name))) {
            const auto added = profiler.add(path);
            if (added) continue;
            failed = failed || (added.error().exit != Exit::not_bpf && added.error().exit != Exit::usage);
            fmt::print(stderr, "anybpf: skipped: {}\n", added.error().message);
        }
    }
    options.json ? print_json(profiler) : print_matrix(profiler);
    for (const Row& row : profiler.rows())
        for (const verifier::Profile& profile : row.profiles)
            failed = failed || profile.answer == Answer::no || (options.strict && profile.answer == Answer::unknown);
    return static_cast<int>(failed ? Exit::failed : Exit::ok);
}

}  // namespace anybpf::cli

// SPDX-License-Identifier: Apache-2.0
#include "extensions.hpp"

#include <bpf/bpf.h>
#include <fmt/format.h>

#include "anybpf/btf/btf.hpp"
#include "anybpf/verifier/verifier.hpp"
#include "object_file.hpp"

namespace anybpf::cli {

namespace {

constexpr std::string_view kind = "freplace";

// What the extension that is loaded next replaces, as a type of its target's BTF. libbpf's handlers of sections are the
// whole process's, and version 1.1 leaves its list broken where the last one is taken back: so this one stays, and
// what it reads does, too.
u32 replaced = 0;

int name_function(bpf_program*, bpf_prog_load_opts* load, long) {
    load->attach_btf_id = replaced;
    return 0;
}

void handle_sections() {
    static const int handler = [] {
        libbpf_prog_handler_opts options{};
        options.sz = sizeof(options);
        options.prog_prepare_load_fn = name_function;
        return libbpf_register_prog_handler(fmt::format("{}+", kind).c_str(), BPF_PROG_TYPE_EXT,
                                            static_cast<bpf_attach_type>(0), &options);
    }();
    static_cast<void>(handler);
}

// What the program's BTF calls a function of it; 0: nothing.
u32 function_named(const program::Program& program, std::string_view name) {
    if (program.btf == nullptr) return 0;
    for (const program::FuncInfo& function : program.funcs)
        if (program.btf->contains(function.type_id) && program.btf->type(function.type_id).name == name)
            return function.type_id;
    return 0;
}

// The contents of maps go with the kernel's, and nobody asks for them.
std::shared_ptr<const program::Program> keep(const program::Program& program) {
    auto copy = std::make_shared<program::Program>(program);
    for (program::MapInfo& map : copy->maps) map.frozen = {};
    return copy;
}

}  // namespace

Outcome<Extensions> Extensions::open(const VerifyOptions& options, const Machine& machine, const LibbpfLog& said) {
    Extensions extensions;
    if (machine.kernel() == nullptr) return extensions;
    if (!options.target.empty()) {
        const ObjectFile file = CLI_TRY(ObjectFile::of_program(options.target, options.clang));
        std::string refusal, name;
        machine.kernel()->set_watcher([&](const program::Program& program, const verifier::Report& report) {
            // libbpf loads others, to see what a kernel can.
            if (program.name != name.substr(0, program.name.size()) || program.name.empty()) return;
            if (report.accepted)
                extensions.targets_.push_back(keep(program));
            else
                refusal = verifier::message(report.diagnostic, program);
        });
        std::string refused;
        for (const ProgramSymbol& symbol : file.programs()) {
            if (!options.target_program.empty() && symbol.name != options.target_program) continue;
            name = symbol.name;
            const auto before = extensions.targets_.size();
            const auto loaded = CLI_TRY(open_object(
                file, {.only = symbol.name, .verbose = options.verbose, .fill_in = true, .name = file.name()}, said));
            const auto result = load_object(loaded, file, said);
            if (extensions.targets_.size() != before) continue;
            refused += fmt::format("\n  {}: {}", symbol.name,
                                   !refusal.empty() ? refusal
                                   : result         ? "the verifier was not asked"
                                                    : result.error().message);
            refusal.clear();
        }
        machine.kernel()->set_watcher({});
        if (extensions.targets_.empty() && refused.empty())
            return stop(Exit::usage,
                        fmt::format("{}: there is no program{} to extend", options.target,
                                    options.target_program.empty() ? "" : " '" + options.target_program + "'"));
        if (extensions.targets_.empty())
            return stop(Exit::refused, fmt::format("{}: no program that can be extended:{}", options.target, refused));
    }
    return extensions;
}

void Extensions::prepare(std::string_view section, const Machine& machine) const {
    if (machine.kernel() == nullptr) return;
    if (section.starts_with('?')) section.remove_prefix(1);
    if (!section.starts_with(kind)) return;
    section.remove_prefix(std::min(section.size(), kind.size() + 1));
    auto target = targets_.empty() ? nullptr : targets_.front();
    u32 function = 0;
    for (const auto& one : targets_) {
        function = function_named(*one, section);
        if (function == 0) continue;
        target = one;
        break;
    }
    machine.kernel()->extend(std::move(target));
    replaced = function;
    handle_sections();
}

}  // namespace anybpf::cli

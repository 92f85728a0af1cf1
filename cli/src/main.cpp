// SPDX-License-Identifier: Apache-2.0
// The command line: every command with its options, its help and its examples; the work is done beside.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <functional>

#include "compile.hpp"
#include "paths.hpp"
#include "run.hpp"

namespace {

using namespace anybpf;
using namespace anybpf::cli;

// What CLI11 must not touch: a command of the user's behind "--", and clang's arguments behind "--clang".
struct Words {
    std::vector<std::string> ours, clang, command;
};

Words split(int count, char** arguments) {
    Words words;
    std::vector<std::string>* to = &words.ours;
    for (int i = 1; i < count; ++i) {
        const std::string word = arguments[i];
        if (word == "--" && to != &words.command)
            to = &words.command;
        else if (word == "--clang" && to == &words.ours)
            to = &words.clang;
        else
            to->push_back(word);
    }
    return words;
}

using Action = std::function<Outcome<int>()>;

// CLI11 writes the usage line from the name; what it cannot know stands in `tail`.
CLI::App* command(CLI::App& app, const std::string& name, const std::string& about, const std::string& tail,
                  const std::string& examples) {
    CLI::App* added = app.add_subcommand(name, about + (tail.empty() ? "" : "\n" + tail));
    added->footer("\nExamples:\n" + examples + "\nExit status:\n" + exit_code_table());
    return added;
}

void add_where(CLI::App* app, Where& where) {
    app->add_option("--on", where,
                    "Whose BPF: user (this process tree, no privileges) or kernel (the machine's own, all processes)")
        ->transform(
            CLI::CheckedTransformer(std::map<std::string, Where>{{"user", Where::user}, {"kernel", Where::kernel}},
                                    CLI::ignore_case)
                .description(""))
        ->option_text("user|kernel");
}

void add_run(CLI::App& app, const Words& words, Action& action) {
    auto options = std::make_shared<RunOptions>();
    CLI::App* run_app =
        command(app, "run", "Run a BPF program on the events of a command's process tree",
                "anybpf run [OPTIONS] PROG [--clang ARG...] [-- CMD ARG...]",
                "  anybpf run execsnoop -- make -j2            a program that ships, by its name\n"
                "  anybpf run my.bpf.c -- ./server             C is compiled first\n"
                "  anybpf run --map-dump --json my.o -- ls     maps as JSON at the end, one object a line\n"
                "  anybpf run syscount --duration 10           every process of this root, for 10 seconds\n"
                "  anybpf run my.bpf.c --clang -DDEBUG -- ls   what follows --clang is clang's\n");
    run_app->add_option("PROG", options->program, "A .bpf.c file, an object, or the name of a program that ships")
        ->required();
    run_app->add_flag("--map-dump", options->map_dump,
                      "Print all maps at the end, also those without an output format");
    run_app->add_flag("--json", options->json,
                      "One JSON object a line: {buffer,event}, {printk,...}, {map,type,entries}");
    run_app
        ->add_option("-o,--output", options->output, "Write there what the program reports; CMD keeps stdout to itself")
        ->option_text("FILE");
    run_app->add_option("--duration", options->duration, "End after so many seconds (CMD gets SIGTERM)")
        ->option_text("SECONDS");
    run_app->add_flag("-v,--verbose", options->verbose, "Show what libbpf and the verifier say");
    add_where(run_app, options->where);
    run_app->callback([=, &words, &action] {
        options->command = words.command;
        options->clang = words.clang;
        action = [options] { return run(*options); };
    });
}

void add_compile(CLI::App& app, const Words& words, Action& action) {
    auto options = std::make_shared<CompileOptions>();
    CLI::App* compile_app = command(app, "compile", "Compile C to a BPF object, with debug and line information",
                                    "anybpf compile [OPTIONS] FILE.bpf.c [--clang ARG...]",
                                    "  anybpf compile my.bpf.c                     writes my.bpf.o\n"
                                    "  anybpf compile my.bpf.c -o x.o -DN=8 -Iinc\n"
                                    "  anybpf compile my.bpf.c --emit asm -o -     what clang makes of it, on stdout\n"
                                    "  anybpf compile my.bpf.c --clang -Wall -O1\n");
    compile_app
        ->add_option("FILE", options->source,
                     "C source; finds <linux/bpf.h>, <bpf/...>, <anybpf/output.h> and \"vmlinux.h\"")
        ->required();
    compile_app->add_option("-o,--output", options->output, "Where to; FILE.bpf.o beside nothing else")
        ->option_text("OUT");
    compile_app->add_option("--emit", options->emit, "What to write")
        ->transform(CLI::CheckedTransformer(std::map<std::string, Emit>{
                                                {"obj", Emit::object}, {"llvm", Emit::llvm}, {"asm", Emit::assembly}})
                        .description(""))
        ->option_text("obj|llvm|asm");
    compile_app->add_option("-I", options->includes, "Look for headers there")
        ->option_text("DIR")
        ->allow_extra_args(false);
    compile_app->add_option("-D", options->defines, "Define a macro")
        ->option_text("NAME[=VALUE]")
        ->allow_extra_args(false);
    compile_app->add_flag("-v,--verbose", options->show, "Show clang's command line");
    compile_app->callback([=, &words, &action] {
        options->clang = words.clang;
        if (options->output.empty()) {
            const char* ending = options->emit == Emit::object ? ".o" : options->emit == Emit::llvm ? ".ll" : ".s";
            const std::string name = options->source.substr(options->source.rfind('/') + 1);
            options->output = name.substr(0, name.rfind('.')) + ending;
        }
        action = [options]() -> Outcome<int> {
            CLI_TRY(compile(*options));
            return 0;
        };
    });
}

}  // namespace

int main(int count, char** arguments) {
    const Words words = split(count, arguments);
    CLI::App app(
        "BPF in user space: run BPF programs on real processes, without the kernel's BPF and without privileges",
        "anybpf");
    app.require_subcommand(1);
    app.set_version_flag("--version", "anybpf " ANYBPF_VERSION);
    app.footer("\nEach command has --help with examples.\n\nExit status:\n" + exit_code_table());
    Action action;
    add_run(app, words, action);
    add_compile(app, words, action);
    try {
        std::vector<std::string> reversed(words.ours.rbegin(), words.ours.rend());
        app.parse(reversed);
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() == 0) return app.exit(error);
        fmt::print(stderr, "anybpf: {}\nanybpf --help shows what there is.\n", error.what());
        return static_cast<int>(Exit::usage);
    }
    const auto outcome = action();
    if (outcome) return *outcome;
    fmt::print(stderr, "anybpf: {}\n", outcome.error().message);
    return static_cast<int>(outcome.error().exit);
}

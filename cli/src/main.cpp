// SPDX-License-Identifier: Apache-2.0
// The command line: every command with its options, its help and its examples; the work is done beside.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <functional>

#include "build.hpp"
#include "commands.hpp"
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

void add_limits(CLI::App* app, kernel::Limits& limits) {
    app->add_option("--max-insns", limits.max_insns, "The verifier walks so many instructions, instead of 1000000")
        ->option_text("N");
    app->add_option("--stack", limits.stack_bytes,
                    "A program may have so many bytes of stack, over its chain of calls, instead of 512: up to 65536")
        ->option_text("BYTES");
}

void add_run(CLI::App& app, const Words& words, Action& action) {
    auto options = std::make_shared<RunOptions>();
    CLI::App* run_app =
        command(app, "run", "Run a BPF program on the events of a command's process tree",
                "anybpf run [OPTIONS] PROG [--clang ARG...] [-- CMD ARG...]",
                "  anybpf run execsnoop -- make -j2            a program that ships, by its name\n"
                "  anybpf run my.bpf.c -- ./server             C is compiled first\n"
                "  anybpf run --map-dump --json my.o -- ls     maps as JSON at the end, one object a line\n"
                "  anybpf run syscount -p 4711                 a process that runs already, until it or you end\n"
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
    run_app
        ->add_option("-p,--pid", options->pids,
                     "A running process, for the time of the run, which ends with the last of these; may be repeated")
        ->option_text("PID")
        ->allow_extra_args(false);
    run_app->add_option("--duration", options->duration, "End after so many seconds (CMD gets SIGTERM)")
        ->option_text("SECONDS");
    run_app
        ->add_option("--engine", options->engine,
                     "What runs the programs: jit compiles them, for processes where they run often")
        ->option_text("interp|jit")
        ->check(CLI::IsMember({"interp", "jit"}));
    run_app->add_flag("-v,--verbose", options->verbose, "Show what libbpf and the verifier say");
    add_limits(run_app, options->limits);
    add_where(run_app, options->where);
    run_app->callback([=, &words, &action] {
        options->command = words.command;
        options->clang = words.clang;
        action = [options] { return run(*options); };
    });
}

Outcome<int> compile_lifted(const CompileOptions& options) {
    BuildOptions build;
    build.program = options.source;
    build.output = options.output.empty() ? "-" : options.output;
    build.clang = options.clang;
    for (const std::string& folder : options.includes) build.clang.push_back("-I" + folder);
    for (const std::string& define : options.defines) build.clang.push_back("-D" + define);
    CLI_TRY(emit_lifted(build, options.emit == Emit::lifted));
    return 0;
}

void add_compile(CLI::App& app, const Words& words, Action& action) {
    auto options = std::make_shared<CompileOptions>();
    CLI::App* compile_app =
        command(app, "compile", "Compile C to a BPF object, with debug and line information",
                "anybpf compile [OPTIONS] FILE.bpf.c [--clang ARG...]",
                "  anybpf compile my.bpf.c                     writes my.bpf.o\n"
                "  anybpf compile my.bpf.c -o x.o -DN=8 -Iinc\n"
                "  anybpf compile my.bpf.c --emit asm -o -     what clang makes of it, on stdout\n"
                "  anybpf compile my.bpf.c --clang -Wall -O1\n"
                "  anybpf compile my.bpf.c --emit lifted       the verified programs as LLVM IR again, optimized\n");
    compile_app
        ->add_option("FILE", options->source,
                     "C source; finds <linux/bpf.h>, <bpf/...>, <anybpf/output.h> and \"vmlinux.h\"")
        ->required();
    compile_app->add_option("-o,--output", options->output, "Where to; FILE.bpf.o beside nothing else")
        ->option_text("OUT");
    compile_app->add_option("--emit", options->emit, "What to write")
        ->transform(CLI::CheckedTransformer(std::map<std::string, Emit>{{"obj", Emit::object},
                                                                        {"llvm", Emit::llvm},
                                                                        {"asm", Emit::assembly},
                                                                        {"lifted", Emit::lifted},
                                                                        {"lifted-raw", Emit::lifted_raw}})
                        .description(""))
        ->option_text("obj|llvm|asm|lifted|lifted-raw");
    compile_app->add_option("-I", options->includes, "Look for headers there")
        ->option_text("DIR")
        ->allow_extra_args(false);
    compile_app->add_option("-D", options->defines, "Define a macro")
        ->option_text("NAME[=VALUE]")
        ->allow_extra_args(false);
    compile_app->add_flag("-v,--verbose", options->show, "Show clang's command line");
    compile_app->callback([=, &words, &action] {
        options->clang = words.clang;
        if (options->emit == Emit::lifted || options->emit == Emit::lifted_raw) {
            action = [options] { return compile_lifted(*options); };
            return;
        }
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

void add_build(CLI::App& app, const Words& words, Action& action) {
    auto options = std::make_shared<BuildOptions>();
    CLI::App* build_app = command(app, "build", "Make verified programs into code that an application is linked with",
                                  "anybpf build [OPTIONS] PROG -o OUT [--clang ARG...]",
                                  "  anybpf build filter.bpf.c -o filter.o --header filter.h\n"
                                  "  anybpf build filter.o -o libfilter.so --cpu native --prefix my_\n");
    build_app->add_option("PROG", options->program, "A .bpf.c file or an object")->required();
    build_app->add_option("-o,--output", options->output, "An object, or a shared library where it ends in .so")
        ->option_text("OUT")
        ->required();
    build_app->add_option("--header", options->header, "Write a C header there")->option_text("OUT.h");
    build_app->add_option("--prog", options->only, "This program only")->option_text("NAME");
    build_app->add_option("--prefix", options->prefix, "Put it before the names of functions and variables")
        ->option_text("TEXT");
    build_app->add_option("--cpu", options->cpu, "Which processors run the code (x86-64: all)")
        ->option_text("native|x86-64|x86-64-v2|x86-64-v3|x86-64-v4")
        ->check(CLI::IsMember({"native", "x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"}));
    build_app->add_flag("-v,--verbose", options->verbose, "Show what libbpf says");
    build_app->callback([=, &words, &action] {
        options->clang = words.clang;
        action = [options] { return build(*options); };
    });
}

void add_verify(CLI::App& app, const Words& words, Action& action) {
    auto options = std::make_shared<VerifyOptions>();
    CLI::App* verify_app =
        command(app, "verify", "Ask the verifier about each program: accept, or refuse with the reason", "",
                "  anybpf verify my.bpf.c\n"
                "  anybpf verify my.o --prog count --log       with the verifier's walk\n"
                "  anybpf verify --json my.o | jq '.[].verdict'\n"
                "  anybpf verify --btf vmlinux-6.6.btf my.o    for the kernel with these types\n"
                "  anybpf verify --target xdp.o ext.o          extensions (freplace) of the programs in xdp.o\n"
                "  anybpf verify --on kernel my.o              what the machine's own verifier says\n"
                "  anybpf verify bpftrace.rec                  programs that were recorded when a tool loaded them\n"
                "  anybpf verify --kernel 5.10 my.o            would it load there? no: exit status 1\n"
                "  anybpf verify --kernel all build/           each object of a folder on each long-term kernel\n"
                "  anybpf verify --kernel 5.4,6.1 --json a.o b.o\n");
    verify_app
        ->add_option("FILE", options->files,
                     "An object, a .bpf.c file or a recording; with --kernel several objects, .bpf.c files or folders")
        ->required();
    verify_app->add_option("--prog", options->only, "This program only")->option_text("NAME");
    verify_app
        ->add_option(
            "--btf", options->btf,
            "The types of the kernel to verify for, as BTF; 'anybpf': those that programs see here. The running "
            "kernel's where it publishes them")
        ->option_text("FILE");
    verify_app
        ->add_option("--target", options->target,
                     "The object or .bpf.c file with the program that extensions (SEC(\"freplace/FUNCTION\")) are of")
        ->option_text("FILE");
    verify_app
        ->add_option("--target-prog", options->target_program,
                     "Its program; the first that has the function where none is named")
        ->option_text("NAME");
    verify_app->add_flag("--unprivileged", options->unprivileged,
                         "By the rules for loads without CAP_PERFMON: addresses stay inside of the program");
    verify_app->add_flag("--log", options->log,
                         "Print the verifier's log in the kernel's format (with -v: the state at each instruction)");
    verify_app->add_flag(
        "--json", options->json,
        "An array of {file,section,program,type,verdict,message,line,insns,processed,states,peak_states,time_us}, with "
        "refusal:{finding,insn,code,file,line,source,required,known,state,causes,advice,mend} where one is refused; "
        "with --kernel of {file,section,program,type,kernel,answer,cause,reason,since,insn,line,btf}");
    verify_app
        ->add_option(
            "--kernel", options->kernels,
            "Would it load on that version of Linux? yes, no with the reason, or unknown; all: 5.4, 5.10, 5.15, "
            "6.1, 6.6, 6.12, 6.18")
        ->option_text("VERSION,...|all")
        ->delimiter(',')
        ->allow_extra_args(false);
    verify_app->add_flag("--strict", options->strict, "With --kernel: unknown fails, too");
    verify_app->add_flag("--strict-alignment", options->strict_alignment,
                         "As BPF_F_STRICT_ALIGNMENT: no unaligned loads and stores, for processors without them");
    add_limits(verify_app, options->limits);
    verify_app->add_flag("-v,--verbose", options->verbose, "Show what libbpf says");
    add_where(verify_app, options->where);
    verify_app->callback([=, &words, &action] {
        options->clang = words.clang;
        action = [options] { return verify(*options); };
    });
}

void add_exec(CLI::App& app, const Words& words, Action& action) {
    auto options = std::make_shared<ExecOptions>();
    CLI::App* exec_app = command(app, "exec", "Run one program on given input, and show what it returns", "",
                                 "  anybpf exec filter.o --prog filter --data-in packet.bin\n"
                                 "  anybpf exec my.o --prog count --repeat 1000 --json\n"
                                 "  anybpf exec my.o --prog count --engine kernel\n");
    exec_app->add_option("FILE", options->program, "An object or a .bpf.c file")->required();
    exec_app->add_option("--prog", options->name, "Which program")->option_text("NAME")->required();
    exec_app->add_option("--data-in", options->data_in, "The packet")->option_text("FILE");
    exec_app->add_option("--ctx-in", options->ctx_in, "The context")->option_text("FILE");
    exec_app->add_option("--repeat", options->repeat, "How many times")
        ->option_text("N")
        ->check(CLI::Range(1, 1 << 30));
    exec_app->add_option("--engine", options->engine, "What runs it")
        ->option_text("interp|jit|llvm|kernel")
        ->check(CLI::IsMember({"interp", "jit", "llvm", "kernel"}));
    exec_app->add_flag("--json", options->json, "{retval,duration_ns,repeat,engine,data_out,ctx_out}");
    add_limits(exec_app, options->limits);
    exec_app->add_flag("-v,--verbose", options->verbose, "Show what libbpf says");
    exec_app->callback([=, &words, &action] {
        options->clang = words.clang;
        action = [options] { return exec(*options); };
    });
}

void add_assembly(CLI::App& app, Action& action) {
    auto to_text = std::make_shared<DisasmOptions>();
    CLI::App* disasm_app =
        command(app, "disasm", "Instructions as text: of an object's functions, or of a file of raw instructions", "",
                "  anybpf disasm my.o --prog count\n"
                "  anybpf disasm --style kernel my.o           as verifier logs print them, helpers by name\n"
                "  anybpf asm prog.s -o - | anybpf disasm -\n");
    disasm_app->add_option("FILE", to_text->file, "An object, raw instructions, or - for stdin")->required();
    disasm_app->add_option("--prog", to_text->only, "This function only")->option_text("NAME");
    disasm_app->add_option("--style", to_text->kernel_style, "Whose syntax")
        ->transform(
            CLI::CheckedTransformer(std::map<std::string, bool>{{"objdump", false}, {"kernel", true}}).description(""))
        ->option_text("objdump|kernel");
    disasm_app->add_flag("--no-bytes", to_text->no_bytes, "Leave the instructions' bytes out");
    disasm_app->add_flag("--json", to_text->json, "An array of {section,function,insns:[{pc,bytes,text}]}");
    disasm_app->callback([=, &action] { action = [to_text] { return disasm(*to_text); }; });

    auto to_bytes = std::make_shared<AsmOptions>();
    CLI::App* asm_app = command(app, "asm", "Text to instructions: raw, or as an object with one program", "",
                                "  anybpf asm prog.s -o prog.bin\n"
                                "  anybpf asm prog.s -o prog.o --section tracepoint/raw_syscalls/sys_enter\n"
                                "  echo 'r0 = 1; exit' | tr ';' '\\n' | anybpf asm - -o -\n");
    asm_app
        ->add_option("FILE", to_bytes->file,
                     "Assembly in the syntax of llvm-objdump or of verifier logs, or - for stdin")
        ->required();
    asm_app->add_option("-o,--output", to_bytes->output, "Where to, or - for stdout")->option_text("OUT")->required();
    asm_app->add_option("--section", to_bytes->section, "Write an object with the program in this section")
        ->option_text("NAME");
    asm_app->add_option("--name", to_bytes->name, "The program's name in the object (prog)")->option_text("NAME");
    asm_app->add_option("--license", to_bytes->license, "The object's licence (GPL)")->option_text("TEXT");
    asm_app->callback([=, &action] { action = [to_bytes] { return assemble(*to_bytes); }; });
}

void add_objects(CLI::App& app, Action& action) {
    for (const auto& [name, what] :
         {std::pair{"prog", "programs"}, {"map", "maps"}, {"link", "links"}, {"btf", "type information"}}) {
        auto options = std::make_shared<ObjectsOptions>();
        options->kind = name;
        CLI::App* objects_app = command(
            app, name, fmt::format("List, show and dump {} of this root, in bpftool's words", what), "",
            fmt::format(
                "  anybpf {0} list\n  anybpf {0} show id 3 --json\n  anybpf {0} show name NAME --on kernel\n{1}", name,
                std::string_view(name) == "link" ? "" : fmt::format("  anybpf {} dump id 3\n", name)));
        objects_app->add_option("WORDS", options->words, "list | show [id N | name NAME | pinned PATH] | dump ...");
        objects_app->add_flag("--json", options->json, "With bpftool's names");
        add_where(objects_app, options->where);
        objects_app->callback([=, &action] { action = [options] { return objects(*options); }; });
    }
}

void add_attach(CLI::App& app, Action& action) {
    for (const bool attaches : {true, false}) {
        auto options = std::make_shared<AttachOptions>();
        CLI::App* attach_app =
            attaches ? command(app, "attach",
                               "Bring running processes into this root: what is attached to all of its processes (run "
                               "without a command) sees them from now on",
                               "", "  anybpf run syscount & anybpf attach 4711\n")
                     : command(app, "detach",
                               "Let them go again: nothing of anybpf is left in them, and they notice nothing", "",
                               "  anybpf detach 4711\n");
        attach_app->add_option("PID", options->pids, "The processes, with all of their threads")
            ->required()
            ->check(CLI::PositiveNumber);
        attach_app->add_flag("--json", options->json, "An object {pid,result} for each process");
        attach_app->callback([=, &action] { action = [=] { return attaches ? attach(*options) : detach(*options); }; });
    }
}

void add_doctor(CLI::App& app, Action& action) {
    auto json = std::make_shared<bool>(false);
    CLI::App* doctor_app = command(app, "doctor", "What this machine allows, and why not", "",
                                   "  anybpf doctor\n  anybpf doctor --json\n");
    doctor_app->add_flag("--json", *json,
                         "An array of {check,result,detail,without,mend,needed}: what is lost, and what mends it");
    doctor_app->callback([=, &action] { action = [json] { return doctor(*json); }; });
    CLI::App* version_app = command(app, "version", "The version", "", "  anybpf version\n");
    version_app->callback([&action] {
        action = []() -> Outcome<int> {
            fmt::print("anybpf {}\n", ANYBPF_VERSION);
            return 0;
        };
    });
}

// The manual page, from the same words as --help.
std::string roff(std::string_view text) {
    std::string result;
    bool line_start = true;
    for (const char c : text) {
        if (line_start && (c == '.' || c == '\'')) result += "\\&";
        result += c == '\\' ? "\\e" : c == '-' ? "\\-" : std::string(1, c);
        line_start = c == '\n';
    }
    return result;
}

void print_manual(const CLI::App& app) {
    fmt::print(
        ".TH ANYBPF 1 \"\" \"anybpf {}\" \"User Commands\"\n.SH NAME\nanybpf \\- BPF in user space\n.SH SYNOPSIS\n",
        ANYBPF_VERSION);
    fmt::print(".B anybpf\n.I COMMAND\n[\\fIOPTIONS\\fR] ...\n.SH DESCRIPTION\n{}.\n.SH COMMANDS\n",
               roff(app.get_description()));
    for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
        fmt::print(".SS anybpf {}\n.nf\n{}\n.fi\n", command->get_name(), roff(command->get_description()));
        for (const CLI::Option* option : command->get_options())
            fmt::print(".TP\n.B {} {}\n{}\n",
                       roff(option->get_positional() ? option->get_name(true) : option->get_name(false, true)),
                       roff(option->get_option_text()), roff(option->get_description()));
        const std::string footer = command->get_footer();
        const auto from = footer.find("Examples:\n");
        if (from != footer.npos)
            fmt::print(".PP\nExamples:\n.nf\n{}.fi\n",
                       roff(footer.substr(from + 10, footer.find("\nExit status") - from - 10)));
    }
    fmt::print(".SH EXIT STATUS\n.nf\n{}.fi\n", roff(exit_code_table()));
    fmt::print(
        ".SH ENVIRONMENT\n.TP\n.B ANYBPF_ROOT\nthe folder, on a tmpfs, that holds programs, maps and links\n"
        ".TP\n.B ANYBPF_CLANG\nthe C compiler\n.TP\n.B ANYBPF_AGENT_PATH\nthe library that is loaded into traced "
        "processes\n.TP\n.B ANYBPF_LLVM_PATH\nthe LLVM engine, libanybpf-llvm.so\n");
}

int command(int count, char** arguments) {
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
    add_build(app, words, action);
    add_verify(app, words, action);
    add_exec(app, words, action);
    add_assembly(app, action);
    add_objects(app, action);
    add_attach(app, action);
    add_doctor(app, action);
    if (words.ours == std::vector<std::string>{"--manual"}) {
        print_manual(app);
        return 0;
    }
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

}  // namespace

int main(int count, char** arguments) {
    try {
        return command(count, arguments);
    } catch (const std::exception& error) {  // a library's
        std::fprintf(stderr, "anybpf: %s\n", error.what());
        return static_cast<int>(Exit::failed);
    }
}

// SPDX-License-Identifier: Apache-2.0
// The programs of an object are loaded as they always are, by libbpf into our kernel, which verifies and lowers them;
// what it keeps of them is what LLVM gets.
#include "build.hpp"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "anybpf/base/fd.hpp"
#include "anybpf/engine/llvm.hpp"
#include "anybpf/kernel/kernel.hpp"
#include "compile.hpp"
#include "host_header.hpp"
#include "loader.hpp"
#include "machine.hpp"

extern char** environ;

namespace anybpf::cli {
namespace {

// What a name of C can hold of it.
std::string identifier(std::string text) {
    for (char& c : text)
        if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
    return text.empty() || std::isdigit(static_cast<unsigned char>(text[0])) ? "_" + text : text;
}
std::string upper(std::string text) {
    std::ranges::transform(text, text.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    return text;
}

struct MapRow {
    u32 id = 0;
    std::string name;
    std::string short_name;  // as an identifier; of a section of variables without the object's name before it
    std::string symbol;      // of such a section's values in the object that is built
    bpf_map_type type{};
    u32 key_size = 0, value_size = 0, max_entries = 0, flags = 0;
    std::span<const std::byte> values;  // of a section of variables: what they start with
};

struct ProgramRow {
    std::string name, section;
    kernel::ProgramObject object;
};

// An object that was loaded, and what is to be built of it. The kernel's files go with the machine.
struct Source {
    std::optional<Machine> machine;
    std::optional<Loaded> loaded;
    std::string name;  // of the object, as an identifier
    std::vector<MapRow> maps;
    std::vector<ProgramRow> programs;
};

template <class Info>
Outcome<Info> info_of(int fd, const std::string& what) {
    Info info{};
    u32 size = sizeof(info);
    if (bpf_obj_get_info_by_fd(fd, &info, &size) != 0)
        return stop(Exit::failed, fmt::format("{}: {}", what, std::strerror(errno)));
    return info;
}

Outcome<> collect(Source& source, const BuildOptions& options) {
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, source.loaded->object()) {
        MapRow row;
        row.name = bpf_map__name(map);
        row.short_name = identifier(bpf_map__is_internal(map) ? row.name.substr(row.name.find('.') + 1) : row.name);
        row.type = bpf_map__type(map);
        row.key_size = bpf_map__key_size(map);
        row.value_size = bpf_map__value_size(map);
        row.max_entries = bpf_map__max_entries(map);
        row.flags = bpf_map__map_flags(map);
        row.id = CLI_TRY(info_of<bpf_map_info>(bpf_map__fd(map), row.name)).id;
        if (bpf_map__is_internal(map)) {
            std::size_t size = 0;
            const void* const values = bpf_map__initial_value(map, &size);
            if (values != nullptr) row.values = {static_cast<const std::byte*>(values), size};
            row.symbol = options.prefix + source.name + "_" + row.short_name;
        }
        source.maps.push_back(std::move(row));
    }
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, source.loaded->object()) {
        if (!bpf_program__autoload(program)) continue;
        const std::string name = bpf_program__name(program);
        const u32 id = CLI_TRY(info_of<bpf_prog_info>(bpf_program__fd(program), name)).id;
        auto object = source.machine->kernel()->root().open_program(id);
        if (!object) return stop(Exit::failed, object.error().message);
        source.programs.push_back({name, bpf_program__section_name(program), std::move(*object)});
    }
    return {};
}

Outcome<Source> load(const BuildOptions& options) {
    CLI_TRY(llvm_available());
    const auto file = CLI_TRY(ObjectFile::of_program(options.program, options.clang));
    Source source;
    source.name = identifier(file.name());
    source.machine.emplace(CLI_TRY(Machine::open(Where::user)));
    const LibbpfLog said(options.verbose);
    source.loaded.emplace(CLI_TRY(open_object(
        file, {.only = options.only, .log_level = 0, .verbose = options.verbose, .name = file.name()}, said)));
    CLI_TRY(load_object(*source.loaded, file, said));
    CLI_TRY(collect(source, options));
    return source;
}

Outcome<std::string> make(const Source& source, const BuildOptions& options, engine::LlvmOutput output) {
    engine::LlvmBuild build{.programs = {}, .maps = {}, .cpu = options.cpu, .prefix = options.prefix};
    for (const MapRow& map : source.maps)
        build.maps.push_back(
            {.values_name = map.symbol, .values = map.values, .constant = (map.flags & abi::map_rdonly_prog) != 0});
    for (const ProgramRow& program : source.programs) {
        engine::LlvmProgram row{.name = program.name, .lowered = &program.object.lowered, .maps = {}};
        for (const u32 id : program.object.map_ids)
            row.maps.push_back(static_cast<u32>(std::ranges::find(source.maps, id, &MapRow::id) - source.maps.begin()));
        build.programs.push_back(std::move(row));
    }
    auto made = engine::Llvm::build(build, output);
    if (!made) return stop(Exit::failed, fmt::format("{}: {}", options.program, made.error().message));
    return std::move(*made);
}

Outcome<> write(const std::string& path, std::string_view bytes) {
    if (path == "-") {
        std::fwrite(bytes.data(), 1, bytes.size(), stdout);
        return {};
    }
    std::ofstream out(path, std::ios::binary);
    out << bytes;
    if (!out.flush()) return stop(Exit::failed, fmt::format("{}: {}", path, std::strerror(errno)));
    return {};
}

// The compiler or the linker makes a library of an object that has no name.
Outcome<> link(const std::string& object, const std::string& output) {
    std::string linker;
    for (const char* name : {"cc", "ld", "ld.lld-19", "clang-19"})
        if (linker.empty()) linker = find_in_path(name);
    if (linker.empty()) return stop(Exit::failed, "no linker found for a shared library: install gcc or binutils");
    const Fd memory(::memfd_create("anybpf.o", MFD_CLOEXEC));
    if (!memory.valid() || ::write(memory.get(), object.data(), object.size()) != static_cast<ssize_t>(object.size()))
        return stop(Exit::failed, fmt::format("an object in memory: {}", std::strerror(errno)));
    std::vector<std::string> words{linker, "-shared", "-o", output,
                                   fmt::format("/proc/{}/fd/{}", ::getpid(), memory.get())};
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    pid_t child = 0;
    if (const int error = ::posix_spawn(&child, linker.c_str(), nullptr, nullptr, arguments.data(), environ);
        error != 0)
        return stop(Exit::failed, fmt::format("{}: {}", linker, std::strerror(error)));
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
    return stop(Exit::failed, fmt::format("{}: {} cannot link it (see its message above)", output, linker));
}

std::string header_text(const Source& source, const BuildOptions& options) {
    const std::string name = options.prefix + source.name, guard = upper(name);
    std::string text = fmt::format(
        "/* The programs of {}, made by anybpf build. */\n{}\n#ifndef {}_PROGRAMS_H\n"
        "#define {}_PROGRAMS_H\n\n#ifdef __cplusplus\nextern \"C\" {{\n#endif\n\n",
        options.program.substr(options.program.rfind('/') + 1), host_header, guard, guard);
    text +=
        "/* The maps, in the order of anybpf_host.maps. Those that hold variables need no pointer there. */\nenum {\n";
    for (const MapRow& map : source.maps) text += fmt::format("    {}_MAP_{},\n", guard, map.short_name);
    text += fmt::format("    {}_MAPS\n}};\n", guard);
    if (!source.maps.empty()) {
        text +=
            fmt::format("static const struct anybpf_map {}_maps[{}_MAPS] __attribute__((unused)) = {{\n", name, guard);
        for (const MapRow& map : source.maps)
            text += fmt::format("    {{\"{}\", {}, {}, {}, {}, {:#x}}},\n", map.name, static_cast<u32>(map.type),
                                map.key_size, map.value_size, map.max_entries, map.flags);
        text += "};\n";
    }
    text += "\n";
    for (const MapRow& map : source.maps)
        if (!map.values.empty() && (map.flags & abi::map_rdonly_prog) == 0)
            text += fmt::format("extern unsigned char {}[{}]; /* {} */\n", map.symbol, map.values.size(), map.name);
    for (const ProgramRow& program : source.programs)
        text += fmt::format(
            "\n/* {}: ctx has at least {} bytes. */\nuint64_t {}(void *ctx, struct anybpf_host *host);\n"
            "extern const struct anybpf_program {}_program;\n",
            program.section, program.object.context_bytes, options.prefix + program.name,
            options.prefix + program.name);
    return text + "\n#ifdef __cplusplus\n}\n#endif\n\n#endif\n";
}

}  // namespace

Outcome<> llvm_available() {
    if (const auto available = engine::Llvm::available(); !available)
        return stop(Exit::failed, available.error().message);
    return {};
}

Outcome<int> build(const BuildOptions& options) {
    const Source source = CLI_TRY(load(options));
    const std::string object = CLI_TRY(make(source, options, engine::LlvmOutput::object));
    if (options.output.ends_with(".so"))
        CLI_TRY(link(object, options.output));
    else
        CLI_TRY(write(options.output, object));
    if (!options.header.empty()) CLI_TRY(write(options.header, header_text(source, options)));
    return 0;
}

Outcome<> emit_lifted(const BuildOptions& options, bool optimized) {
    const Source source = CLI_TRY(load(options));
    const auto output = optimized ? engine::LlvmOutput::lifted : engine::LlvmOutput::lifted_raw;
    return write(options.output, CLI_TRY(make(source, options, output)));
}

}  // namespace anybpf::cli

// SPDX-License-Identifier: Apache-2.0
#include "sections.hpp"

#include <bpf/libbpf.h>
#include <fmt/format.h>

#include <algorithm>

#include "anybpf/abi/syscalls.hpp"
#include "paths.hpp"

namespace anybpf::cli {

namespace {

enum class Hook : u8 { tracepoint, raw_tracepoint, kernel_function, system_call, nowhere };

struct SectionKind {
    std::string_view name;
    Hook hook;
};
constexpr SectionKind section_kinds[] = {
#define ANYBPF_SECTION(name, hook) {name, Hook::hook},
#include "sections.def"
};

constexpr std::string_view served =
    "tracepoint/raw_syscalls/sys_enter, tracepoint/syscalls/sys_enter_NAME, raw_tracepoint/sys_enter, "
    "kprobe/__x64_sys_NAME, ksyscall/NAME, "
    "and the same with sys_exit, kretprobe, kretsyscall";

struct Split {
    std::string kind, target;
};
Split split(std::string_view section) {
    if (section.starts_with('?')) section.remove_prefix(1);  // libbpf: not loaded unless asked for
    const auto slash = section.find('/');
    if (slash == section.npos) return {std::string(section), {}};
    return {std::string(section.substr(0, slash)), std::string(section.substr(slash + 1))};
}

std::string or_else(const std::vector<std::string>& names) {
    return names.empty() ? std::string() : fmt::format("; did you mean '{}'?", fmt::join(names, "', '"));
}

tl::unexpected<Failure> absent(const ObjectFile& object, const ProgramSymbol& program, std::string_view what,
                               const std::vector<std::string>& near) {
    return stop(Exit::no_attach_point, fmt::format("{}: program '{}' wants to attach to '{}': {}{}", object.path(),
                                                   program.name, program.section, what, or_else(near)));
}

Outcome<> check_target(const ObjectFile& object, const ProgramSymbol& program, Hook hook, const std::string& target) {
    if (target.empty()) return {};  // loaded only: for tail calls
    switch (hook) {
        case Hook::tracepoint: {
            const auto slash = target.find('/');
            if (slash == target.npos) return absent(object, program, "a tracepoint is named CATEGORY/NAME", {});
            const std::string category = target.substr(0, slash);
            std::string name = target.substr(slash + 1);
            if (abi::find_tracepoint(category, name)) return {};
            auto near = abi::nearest_tracepoints(category + ":" + name);
            for (std::string& event : near) std::replace(event.begin(), event.end(), ':', '/');
            return absent(object, program, "there is no such tracepoint", near);
        }
        case Hook::raw_tracepoint:
            if (target == "sys_enter" || target == "sys_exit") return {};
            return absent(object, program, "there is no such raw tracepoint in user space",
                          nearest(target, {"sys_enter", "sys_exit"}));
        case Hook::kernel_function:
            if (target.find('+') != target.npos)
                return absent(object, program, "a system call's function can only be probed at its start", {});
            if (abi::syscall_by_kernel_symbol(target)) return {};
            return absent(object, program, "not a system call's function, and only those exist in user space",
                          abi::nearest_kernel_symbols(target));
        case Hook::system_call: {
            if (abi::syscall_by_function(target)) return {};
            auto near = abi::nearest_kernel_symbols("__x64_sys_" + target);
            for (std::string& symbol : near) symbol.erase(0, std::string_view("__x64_sys_").size());
            return absent(object, program, "there is no such system call", near);
        }
        case Hook::nowhere:
            break;
    }
    return {};
}

}  // namespace

Outcome<> check_sections(const ObjectFile& object) {
    const auto programs = object.programs();
    if (programs.empty())
        return stop(
            Exit::not_bpf,
            fmt::format("{}: there is no program in it (a program is a global function in a section of its own)",
                        object.path()));
    for (const ProgramSymbol& program : programs) {
        bpf_prog_type type;
        bpf_attach_type attach;
        const std::string section = program.section.substr(program.section.starts_with('?'));
        if (libbpf_prog_type_by_name(section.c_str(), &type, &attach) == 0) continue;
        const Split parts = split(section);
        std::vector<std::string> known;
        for (const SectionKind& kind : section_kinds) known.emplace_back(kind.name);
        return stop(Exit::unknown_section,
                    fmt::format("{}: program '{}' is in section '{}', which is not known{}\nKnown: {}", object.path(),
                                program.name, program.section, suggestion(parts.kind, known), fmt::join(known, ", ")));
    }
    return {};
}

Outcome<> check_attach_points(const ObjectFile& object, Where where) {
    if (where == Where::kernel) return {};
    for (const ProgramSymbol& program : object.programs()) {
        const Split parts = split(program.section);
        Hook hook = Hook::nowhere;
        for (const SectionKind& kind : section_kinds)
            if (kind.name == parts.kind) hook = kind.hook;
        if (hook == Hook::nowhere)
            return stop(Exit::unknown_section, fmt::format("{}: program '{}' is in section '{}', which cannot be "
                                                           "attached in user space yet\nIn user space: {}",
                                                           object.path(), program.name, program.section, served));
        CLI_TRY(check_target(object, program, hook, parts.target));
    }
    return {};
}

}  // namespace anybpf::cli

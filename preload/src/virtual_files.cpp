// SPDX-License-Identifier: Apache-2.0
#include "virtual_files.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "anybpf/abi/syscalls.hpp"

namespace anybpf::preload {
namespace {

constexpr std::string_view tracefs_roots[] = {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"};

const VirtualFile directory{true, false, {}};

VirtualFile text_file(std::string text, bool writable = false) { return {false, writable, std::move(text)}; }

// The rest of path below root: "" for root itself; nothing where path lies elsewhere.
std::optional<std::string_view> below(std::string_view path, std::string_view root) {
    if (!path.starts_with(root)) return std::nullopt;
    path.remove_prefix(root.size());
    if (path.empty()) return path;
    if (path.front() != '/') return std::nullopt;
    return path.substr(1);
}

std::string available_events() {
    std::string text;
    for (const auto id : abi::tracepoints())
        text += fmt::format("{}:{}\n", abi::category(id), abi::tracepoint_name(id));
    return text;
}

std::string functions() {
    std::string text;
    for (const auto& call : abi::syscalls()) text += abi::kernel_symbol(call) + '\n';
    return text;
}

std::string symbols() {
    std::string text;
    for (const auto& call : abi::syscalls())
        text += fmt::format("{:016x} T {}\n", abi::kernel_address(call.number), abi::kernel_symbol(call));
    return text;
}

// What our kernel is built with, for `extern ... __kconfig` of programs.
constexpr std::string_view configuration =
    "CONFIG_64BIT=y\nCONFIG_X86_64=y\nCONFIG_SMP=y\nCONFIG_HZ=1000\n"
    "CONFIG_BPF=y\nCONFIG_BPF_SYSCALL=y\nCONFIG_BPF_EVENTS=y\nCONFIG_DEBUG_INFO_BTF=y\n"
    "CONFIG_ARCH_HAS_SYSCALL_WRAPPER=y\nCONFIG_FTRACE_SYSCALLS=y\nCONFIG_KPROBES=y\nCONFIG_KPROBE_EVENTS=y\n"
    "CONFIG_PERF_EVENTS=y\nCONFIG_TRACING=y\n";

// path is relative to events/.
std::optional<VirtualFile> event_file(std::string_view path) {
    const auto slash = path.find('/');
    const auto category = path.substr(0, slash);
    if (category != "raw_syscalls" && category != "syscalls") return std::nullopt;
    if (slash == std::string_view::npos) return directory;
    path.remove_prefix(slash + 1);
    const auto end = path.find('/');
    const auto id = abi::find_tracepoint(category, path.substr(0, end));
    if (!id) return std::nullopt;
    if (end == std::string_view::npos) return directory;
    const auto name = path.substr(end + 1);
    if (name == "id") return text_file(fmt::format("{}\n", id->v));
    if (name == "format") return text_file(abi::format_text(*id));
    return std::nullopt;
}

std::optional<VirtualFile> tracefs_file(std::string_view path) {
    if (path.empty() || path == "events") return directory;
    if (path == "available_events") return text_file(available_events());
    if (path == "available_filter_functions") return text_file(functions());
    // Probes are made by perf_event_open; what tools write here to clean up after themselves is accepted.
    if (path == "trace_pipe") return text_file({});  // for access and stat
    if (path == "kprobe_events" || path == "uprobe_events") return text_file({}, true);
    if (path == "README") return text_file("anybpf: system call events of this root\n  events/\n  available_events\n");
    if (const auto event = below(path, "events")) return event_file(*event);
    return std::nullopt;
}

std::optional<VirtualFile> event_source_file(std::string_view path) {
    const auto slash = path.find('/');
    const auto device = path.substr(0, slash);
    if (path.empty()) return directory;
    if (device != "kprobe" && device != "uprobe") return std::nullopt;
    if (slash == std::string_view::npos) return directory;
    const auto name = path.substr(slash + 1);
    if (name == "format") return directory;
    if (name == "type")
        return text_file(fmt::format("{}\n", device == "kprobe" ? abi::perf_type_kprobe : abi::perf_type_uprobe));
    if (name == "format/retprobe") return text_file("config:0\n");
    if (name == "format/ref_ctr_offset" && device == "uprobe") return text_file("config:32-63\n");
    return std::nullopt;
}

}  // namespace

std::string plain_path(std::string_view path) {
    if (path.empty() || path.front() != '/') return {};
    std::string plain;
    while (!path.empty()) {
        const auto start = std::min(path.find_first_not_of('/'), path.size());
        path.remove_prefix(start);
        const auto part = path.substr(0, path.find('/'));
        path.remove_prefix(part.size());
        if (part.empty() || part == ".") continue;
        plain.append("/").append(part);
    }
    return plain.empty() ? "/" : plain;
}

bool is_trace_pipe(std::string_view path) {
    for (const auto root : tracefs_roots)
        if (below(path, root) == "trace_pipe") return true;
    return false;
}

Where find_virtual(std::string_view path, const VirtualFacts& facts, VirtualFile* file) {
    std::optional<VirtualFile> found;
    bool ours = false;
    const auto answer = [&](std::string_view root, const auto& make) {
        if (const auto rest = below(path, root); rest && !ours) {
            ours = true;
            found = make(*rest);
        }
    };
    const auto single = [&](std::string_view name, const auto& make) {
        answer(name, [&](std::string_view rest) -> std::optional<VirtualFile> {
            if (!rest.empty()) return std::nullopt;
            return text_file(make());
        });
    };
    for (const auto root : tracefs_roots) answer(root, tracefs_file);
    answer("/sys/bus/event_source/devices", event_source_file);
    single("/sys/devices/system/cpu/possible", [&] {
        return facts.possible_cpus > 1 ? fmt::format("0-{}\n", facts.possible_cpus - 1) : std::string("0\n");
    });
    single("/sys/kernel/btf/vmlinux", facts.vmlinux_btf);
    answer("/sys/kernel/btf", [](std::string_view rest) -> std::optional<VirtualFile> {
        if (!rest.empty()) return std::nullopt;  // no modules
        return directory;
    });
    single("/proc/kallsyms", symbols);
    // libbpf prefers this file to uname(2): programs see the version whose BPF we are, not the machine's.
    single("/proc/version_signature", [] { return std::string("anybpf 6.18.0 6.18.0\n"); });
    single("/proc/config.gz", [] { return std::string(configuration); });  // zlib reads plain text as it is
    if (path.starts_with("/boot/config-")) ours = true;                    // so that /proc/config.gz is asked
    if (found && file) *file = std::move(*found);
    return found ? Where::found : ours ? Where::missing : Where::elsewhere;
}

}  // namespace anybpf::preload

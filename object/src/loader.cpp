// SPDX-License-Identifier: Apache-2.0
#include "anybpf/object/loader.hpp"

#include <bpf/btf.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "anybpf/abi/types.hpp"

namespace anybpf::object {

namespace {

LibbpfLog* current_log = nullptr;  // libbpf_set_print takes a function without context

constexpr u32 log_size = 4U << 20;

// Gives maps what loading programs often set when they run: entries, and the length of a stack trace. Nothing is
// pinned.
void fill_in_map(bpf_map* map) {
    const auto type = static_cast<abi::MapType>(bpf_map__type(map));
    using enum abi::MapType;
    bpf_map__set_pin_path(map, nullptr);
    if (type == stack_trace && bpf_map__value_size(map) == 0) bpf_map__set_value_size(map, 127 * sizeof(u64));
    const bool without = type == sk_storage || type == inode_storage || type == task_storage || type == cgrp_storage ||
                         type == cgroup_storage || type == percpu_cgroup_storage;
    if (without || bpf_map__max_entries(map) != 0) return;
    const bool ring = type == ringbuf || type == user_ringbuf;
    bpf_map__set_max_entries(map, ring ? static_cast<u32>(::sysconf(_SC_PAGESIZE)) : 1);
}

}  // namespace

int keep(enum libbpf_print_level level, const char* format, va_list arguments) {
    if (!current_log || (level == LIBBPF_DEBUG && !current_log->verbose_)) return 0;
    va_list again;
    va_copy(again, arguments);
    const int length = std::vsnprintf(nullptr, 0, format, again);
    va_end(again);
    if (length <= 0) return 0;
    std::string line(static_cast<std::size_t>(length) + 1, '\0');
    std::vsnprintf(line.data(), line.size(), format, arguments);
    line.pop_back();
    if (current_log->verbose_) std::fputs(line.c_str(), stderr);
    current_log->text_ += line;
    return length;
}

LibbpfLog::LibbpfLog(bool verbose) : verbose_(verbose) {
    current_log = this;
    libbpf_set_print(keep);
}

LibbpfLog::~LibbpfLog() { current_log = nullptr; }

std::string LibbpfLog::last_complaint() const {
    std::string found;
    for (std::size_t from = 0; from < text_.size();) {
        const auto end = std::min(text_.find('\n', from), text_.size());
        std::string line = text_.substr(from, end - from);
        from = end + 1;
        if (line.starts_with("libbpf: ")) line.erase(0, 8);
        // The first complaint is the cause; "failed to load object" follows from it.
        if (line.starts_with("failed to load object") || line.find("skipping") != line.npos ||
            line.starts_with("Error in bpf_create_map_xattr"))
            continue;
        if (line.find("fail") != line.npos || line.find("invalid") != line.npos ||
            line.find("unsupported") != line.npos || found.empty())
            found = line;
    }
    return found;
}

// Our kernel puts the explanation behind the statistics line; the machine's own ends the walk with one line that says
// it.
std::string shorten_verifier_log(const std::string& log) {
    std::vector<std::string> walk, explanation;
    bool behind = false;
    for (std::size_t from = 0; from < log.size();) {
        const auto end = std::min(log.find('\n', from), log.size());
        std::string line = log.substr(from, end - from);
        from = end + 1;
        const bool statistics = line.starts_with("processed ") || line.starts_with("verification time ") ||
                                line.starts_with("stack depth ");
        behind = behind || line.starts_with("processed ");
        if (!statistics) (behind ? explanation : walk).push_back(std::move(line));
    }
    std::vector<std::string>& lines = explanation.empty() ? walk : explanation;
    while (!lines.empty() && lines.back().empty()) lines.pop_back();
    while (!lines.empty() && lines.front().empty()) lines.erase(lines.begin());
    if (explanation.empty() && lines.size() > 12) lines.erase(lines.begin(), lines.end() - 12);
    return fmt::format("{}", fmt::join(lines, "\n"));
}

std::string Loaded::log(const bpf_program* program) const {
    for (const Log& log : logs_)
        if (log.program == program) return log.text.get();
    return {};
}

namespace {

tl::unexpected<Failure> stop(Trouble what, std::string message) {
    return tl::make_unexpected(Failure{what, std::move(message)});
}

}  // namespace

Outcome<Loaded> open(std::span<const std::byte> bytes, const OpenOptions& options, const LibbpfLog& log) {
    Loaded loaded;
    LIBBPF_OPTS(bpf_object_open_opts, opts);
    if (!options.name.empty()) opts.object_name = options.name.c_str();
    loaded.object_.reset(bpf_object__open_mem(bytes.data(), bytes.size(), &opts));
    if (!loaded.object_) {
        const int error = errno;
        return stop(error == ENOMEM ? Trouble::no_memory : Trouble::unreadable,
                    fmt::format("libbpf cannot read it: {} ({})", log.last_complaint(), std::strerror(error)));
    }
    bpf_map* map = nullptr;
    if (options.fill_in) bpf_object__for_each_map(map, loaded.object_.get()) fill_in_map(map);
    bool found = options.only.empty();
    std::vector<std::string> names;
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, loaded.object_.get()) {
        names.emplace_back(bpf_program__name(program));
        if (!options.only.empty()) {
            const bool wanted = options.only == bpf_program__name(program);
            bpf_program__set_autoload(program, wanted);
            found = found || wanted;
        }
        if (!bpf_program__autoload(program)) continue;
        // Not initialized: only pages that a log reaches are touched.
        Loaded::Log text{program, std::make_unique_for_overwrite<char[]>(log_size)};
        text.text[0] = '\0';
        bpf_program__set_log_buf(program, text.text.get(), log_size);
        bpf_program__set_log_level(program, options.log_level);
        loaded.logs_.push_back(std::move(text));
    }
    if (!found)
        return stop(Trouble::no_such_program,
                    fmt::format("no program '{}'; there are: {}", options.only, fmt::join(names, ", ")));
    // libbpf's copy, not the section's bytes: in the file the sizes of data sections are not filled in yet.
    if (const struct btf* types = bpf_object__btf(loaded.object())) {
        u32 size = 0;
        const void* raw = btf__raw_data(types, &size);
        // Types that no kernel would take are none: libbpf goes on without them, and so do we.
        if (auto parsed = btf::Btf::parse(std::span(static_cast<const std::byte*>(raw), raw ? size : 0)))
            loaded.btf_ = *parsed;
    }
    return loaded;
}

Outcome<> load(const Loaded& loaded, const LibbpfLog& log) {
    const int result = bpf_object__load(loaded.object());
    if (result == 0) return {};
    if (result == -EMFILE || result == -ENFILE)
        return stop(Trouble::failed, fmt::format("cannot be loaded: {} (ulimit -n)", std::strerror(-result)));
    bpf_program* program = nullptr;
    bpf_object__for_each_program(program, loaded.object()) {
        const std::string text = loaded.log(program);
        if (text.empty() || bpf_program__fd(program) >= 0) continue;
        // The log of a program that was loaded before the refused one is empty unless asked for; libbpf names the one.
        if (log.text().find(fmt::format("prog '{}': BPF program load failed", bpf_program__name(program))) ==
            std::string::npos)
            continue;
        return stop(Trouble::refused, fmt::format("the verifier refuses program '{}':\n{}", bpf_program__name(program),
                                                  shorten_verifier_log(text)));
    }
    const std::string complaint = log.last_complaint();
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, loaded.object()) {
        if (result == -EPERM ||
            log.text().find(fmt::format("map '{}': failed to create", bpf_map__name(map))) == std::string::npos)
            continue;
        const double bytes =
            static_cast<double>(bpf_map__max_entries(map)) * (bpf_map__key_size(map) + bpf_map__value_size(map));
        const bool large = result == -E2BIG || result == -ENOMEM || result == -ENOSPC;
        return stop(
            Trouble::map_refused,
            fmt::format("map '{}' {}: {}, {} entries of {} + {} bytes, {:.1f} MB without what each CPU adds ({})",
                        bpf_map__name(map), large ? "is too large" : "cannot be created",
                        abi::to_string(static_cast<abi::MapType>(bpf_map__type(map))), bpf_map__max_entries(map),
                        bpf_map__key_size(map), bpf_map__value_size(map), bytes / 1e6, std::strerror(-result)));
    }
    if (result == -EPERM) return stop(Trouble::not_permitted, fmt::format("not permitted: {}", complaint));
    return stop(Trouble::failed, fmt::format("cannot be loaded: {} ({})", complaint, std::strerror(-result)));
}

}  // namespace anybpf::object

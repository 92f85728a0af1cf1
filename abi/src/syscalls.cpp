// SPDX-License-Identifier: Apache-2.0
// Apart from abi.cpp and records.cpp, so that a library which looks no name up does not carry the names.
#include "anybpf/abi/syscalls.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "anybpf/base/assert.hpp"

namespace anybpf::abi {
namespace {

constexpr Syscall row(u32 number, std::string_view name, std::string_view function,
                      std::initializer_list<SyscallArgument> arguments) {
    Syscall call{number, name, function, {}, static_cast<u32>(arguments.size())};
    std::copy(arguments.begin(), arguments.end(), call.argument_table.begin());
    return call;
}

constexpr auto table = std::to_array<Syscall>({
#define ANYBPF_SYSCALL(number, name, function, ...) row(number, #name, #function, {__VA_ARGS__}),
#include "anybpf/abi/syscalls.def"
});
static_assert(std::ranges::is_sorted(table, {}, &Syscall::number) && table.back().number + 1 == syscall_numbers);
static_assert(std::ranges::adjacent_find(table, {}, &Syscall::number) == table.end());

constexpr u16 no_row = 0xffff;
constexpr auto row_of_number = [] {
    std::array<u16, syscall_numbers> rows{};
    rows.fill(no_row);
    for (std::size_t i = 0; i < table.size(); ++i) rows[table[i].number] = static_cast<u16>(i);
    return rows;
}();

constexpr std::string_view symbol_prefix = "__x64_sys_", enter_prefix = "sys_enter_", exit_prefix = "sys_exit_";

const Syscall* first_with(std::string_view Syscall::* member, std::string_view value) {
    const auto found = std::ranges::find(table, value, member);
    return found == table.end() ? nullptr : &*found;
}

// Levenshtein's distance.
std::size_t distance(std::string_view a, std::string_view b) {
    std::vector<std::size_t> line(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) line[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
        std::size_t diagonal = std::exchange(line[0], i);
        for (std::size_t j = 1; j <= b.size(); ++j) {
            const std::size_t changed = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
            diagonal = line[j];
            line[j] = std::min({changed, line[j] + 1, line[j - 1] + 1});
        }
    }
    return line.back();
}

std::vector<std::string> nearest(std::string_view name, std::vector<std::string> names, std::size_t count) {
    std::vector<std::pair<std::size_t, std::string>> ranked;
    for (auto& candidate : names) {
        const std::size_t far = distance(name, candidate);
        if (far <= 2 + name.size() / 3) ranked.emplace_back(far, std::move(candidate));
    }
    std::ranges::stable_sort(ranked, {}, &std::pair<std::size_t, std::string>::first);
    std::vector<std::string> best;
    for (auto& [far, candidate] : ranked) {
        if (best.size() == count) break;
        best.push_back(std::move(candidate));
    }
    return best;
}

constexpr std::string_view common_fields =
    "format:\n"
    "\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n"
    "\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n"
    "\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;\n"
    "\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;\n\n";
constexpr std::string_view raw_enter_fields =
    "\tfield:long id;\toffset:8;\tsize:8;\tsigned:1;\n"
    "\tfield:unsigned long args[6];\toffset:16;\tsize:48;\tsigned:0;\n\n"
    "print fmt: \"NR %ld (%lx, %lx, %lx, %lx, %lx, %lx)\", REC->id, REC->args[0], REC->args[1], REC->args[2], "
    "REC->args[3], REC->args[4], REC->args[5]\n";
constexpr std::string_view raw_exit_fields =
    "\tfield:long id;\toffset:8;\tsize:8;\tsigned:1;\n"
    "\tfield:long ret;\toffset:16;\tsize:8;\tsigned:1;\n\n"
    "print fmt: \"NR %ld = %ld\", REC->id, REC->ret\n";
constexpr std::string_view number_field = "\tfield:int __syscall_nr;\toffset:8;\tsize:4;\tsigned:1;\n";

std::string entry_fields(const Syscall& call) {
    std::string fields(number_field), names, values;
    u32 offset = 16;
    for (const auto& [type, name] : call.arguments()) {
        fields += fmt::format("\tfield:{} {};\toffset:{};\tsize:8;\tsigned:0;\n", type, name, offset);
        names += fmt::format("{}{}: 0x%08lx", names.empty() ? "" : ", ", name);
        values += fmt::format(", ((unsigned long)(REC->{}))", name);
        offset += 8;
    }
    return fields + fmt::format("\nprint fmt: \"{}\"{}\n", names, values);
}

}  // namespace

std::span<const Syscall> syscalls() { return table; }

const Syscall* find_syscall(u32 number) {
    return number < syscall_numbers && row_of_number[number] != no_row ? &table[row_of_number[number]] : nullptr;
}

const Syscall* syscall_by_name(std::string_view name) { return first_with(&Syscall::name, name); }

const Syscall* syscall_by_function(std::string_view function) { return first_with(&Syscall::function, function); }

const Syscall* syscall_by_kernel_symbol(std::string_view symbol) {
    if (!symbol.starts_with(symbol_prefix)) return nullptr;
    return syscall_by_function(symbol.substr(symbol_prefix.size()));
}

std::string kernel_symbol(const Syscall& call) { return std::string(symbol_prefix).append(call.function); }

std::vector<TracepointId> tracepoints() {
    std::vector<TracepointId> all = {raw_sys_exit, raw_sys_enter};
    for (const auto& call : table) {
        all.push_back(sys_exit_of(call.number));
        all.push_back(sys_enter_of(call.number));
    }
    return all;
}

std::optional<TracepointId> find_tracepoint(std::string_view category, std::string_view name) {
    if (category == "raw_syscalls") {
        if (name == "sys_enter") return raw_sys_enter;
        if (name == "sys_exit") return raw_sys_exit;
    } else if (category == "syscalls") {
        if (name.starts_with(enter_prefix))
            if (const auto* call = syscall_by_function(name.substr(enter_prefix.size())))
                return sys_enter_of(call->number);
        if (name.starts_with(exit_prefix))
            if (const auto* call = syscall_by_function(name.substr(exit_prefix.size())))
                return sys_exit_of(call->number);
    }
    return std::nullopt;
}

std::string_view category(TracepointId id) { return is_raw(id) ? "raw_syscalls" : "syscalls"; }

std::string tracepoint_name(TracepointId id) {
    if (is_raw(id)) return is_entry(id) ? "sys_enter" : "sys_exit";
    ANYBPF_ASSERT(tracepoint_exists(id));
    return std::string(is_entry(id) ? enter_prefix : exit_prefix).append(find_syscall(number_of(id))->function);
}

std::string format_text(TracepointId id) {
    std::string text = fmt::format("name: {}\nID: {}\n{}", tracepoint_name(id), id.v, common_fields);
    if (is_raw(id)) return text.append(is_entry(id) ? raw_enter_fields : raw_exit_fields);
    if (is_entry(id)) return text + entry_fields(*find_syscall(number_of(id)));
    return text.append(number_field)
        .append("\tfield:long ret;\toffset:16;\tsize:8;\tsigned:1;\n\nprint fmt: \"0x%lx\", REC->ret\n");
}

std::vector<std::string> nearest_tracepoints(std::string_view name, std::size_t count) {
    std::vector<std::string> names;
    for (const auto id : tracepoints()) names.push_back(fmt::format("{}:{}", category(id), tracepoint_name(id)));
    return nearest(name, std::move(names), count);
}

std::vector<std::string> nearest_kernel_symbols(std::string_view name, std::size_t count) {
    std::vector<std::string> names;
    for (const auto& call : table) names.push_back(kernel_symbol(call));
    return nearest(name, std::move(names), count);
}

}  // namespace anybpf::abi

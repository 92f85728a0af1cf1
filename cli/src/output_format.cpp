// SPDX-License-Identifier: Apache-2.0
#include "output_format.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <ctime>

#include "anybpf/abi/syscalls.hpp"

namespace anybpf::cli {

namespace {

struct KindRow {
    std::string_view name;
    u32 width;
};
constexpr KindRow kinds[] = {
#define ANYBPF_KIND(name, width, meaning) {#name, width},
#include "output_kinds.def"
};

std::string upper(std::string_view text) {
    std::string result(text);
    std::transform(result.begin(), result.end(), result.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    return result;
}

Result<Column> parse_column(std::string_view text) {
    Column column;
    const auto colon = text.find(':');
    std::string_view name = text.substr(0, colon);
    if (const auto equals = name.find('='); equals != name.npos) {
        column.heading = name.substr(0, equals);
        name.remove_prefix(equals + 1);
    }
    column.field = name;
    if (name.empty()) return fail(Errc::malformed, fmt::format("'{{{}}}' names no field", text));
    if (column.heading.empty()) column.heading = upper(name.substr(name.rfind('.') + 1));
    if (colon == text.npos) return column;

    std::string_view rest = text.substr(colon + 1);
    if (rest.starts_with('<') || rest.starts_with('>')) {
        column.align = rest.front();
        rest.remove_prefix(1);
    }
    while (!rest.empty() && std::isdigit(static_cast<unsigned char>(rest.front())) && column.width < 1000) {
        column.width = column.width * 10 + static_cast<u32>(rest.front() - '0');
        rest.remove_prefix(1);
    }
    if (rest.empty()) return column;
    for (std::size_t i = 0; i < std::size(kinds); ++i) {
        if (kinds[i].name != rest) continue;
        column.kind = static_cast<Kind>(i);
        if (column.width == 0) column.width = kinds[i].width;
        return column;
    }
    return fail(Errc::malformed, fmt::format("'{{{}}}': there is no kind '{}'", text, rest));
}

bool is_blank(const std::string& text) {
    return std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isspace(c); });
}

void pad(std::string& line, std::string_view cell, const Column& column, bool right) {
    const std::size_t fill = column.width > cell.size() ? column.width - cell.size() : 0;
    if (right) line.append(fill, ' ');
    line += cell;
    if (!right) line.append(fill, ' ');
}

bool looks_numeric(std::string_view cell) {
    return !cell.empty() &&
           (std::isdigit(static_cast<unsigned char>(cell.front())) || (cell.front() == '-' && cell.size() > 1));
}

std::string trim_end(std::string line) {
    line.erase(line.find_last_not_of(' ') + 1);
    return line;
}

// Nothing that a program reports may move the cursor of who looks at it.
std::string printable(std::string_view text) {
    std::string result;
    for (const char c : text) {
        if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f)
            result += c;
        else if (c == '\n' || c == '\t')
            result += c == '\n' ? "\\n" : "\\t";
        else
            result += fmt::format("\\x{:02x}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    }
    return result;
}

std::string time_of_day(clockid_t base, u64 nanoseconds) {
    timespec now{}, then{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    ::clock_gettime(base, &then);
    const i64 since =
        (now.tv_sec - then.tv_sec) * 1'000'000'000 + now.tv_nsec - then.tv_nsec + static_cast<i64>(nanoseconds);
    const std::time_t seconds = since / 1'000'000'000;
    std::tm parts{};
    ::localtime_r(&seconds, &parts);
    return fmt::format("{:02}:{:02}:{:02}", parts.tm_hour, parts.tm_min, parts.tm_sec);
}

std::string arguments(Bytes raw) {
    std::string_view rest(static_cast<const char*>(static_cast<const void*>(raw.data())), raw.size());
    std::string text;
    while (!rest.empty()) {
        const auto end = rest.find('\0');
        const std::string_view one = rest.substr(0, end);
        // NULs to the end: what a program did not fill.
        if (one.empty() && rest.find_first_not_of('\0') == rest.npos) break;
        const bool quote = one.empty() || one.find_first_of(" \t\n\"'\\$|;&<>()*") != one.npos;
        text += fmt::format("{}{}{}{}", text.empty() ? "" : " ", quote ? "'" : "", printable(one), quote ? "'" : "");
        if (end == rest.npos) break;
        rest.remove_prefix(end + 1);
    }
    return text;
}

i64 number(const Json& value) {
    if (value.is_number_unsigned()) return static_cast<i64>(value.get<u64>());
    if (value.is_number_integer()) return value.get<i64>();
    if (value.is_boolean()) return value.get<bool>();
    return 0;
}

}  // namespace

Result<OutputFormat> OutputFormat::parse(std::string_view text) {
    OutputFormat format;
    std::string literal;
    while (!text.empty()) {
        const char c = text.front();
        const bool doubled = text.size() > 1 && text[1] == c;
        if ((c == '{' || c == '}') && doubled) {
            literal += c;
            text.remove_prefix(2);
        } else if (c == '{') {
            const auto end = text.find('}');
            if (end == text.npos) return fail(Errc::malformed, "a '{' has no '}'");
            Column column = ANYBPF_TRY(parse_column(text.substr(1, end - 1)));
            column.before = std::exchange(literal, {});
            format.columns.push_back(std::move(column));
            text.remove_prefix(end + 1);
        } else {
            if (c == '}') return fail(Errc::malformed, "a '}' has no '{'");
            literal += c;
            text.remove_prefix(1);
        }
    }
    format.after = literal;
    return format;
}

OutputFormat OutputFormat::of_members(const btf::Btf& btf, u32 id) {
    OutputFormat format;
    const btf::Type type = btf.type(btf.skip_modifiers(id));
    for (u32 i = 0; i < type.vlen; ++i) {
        const btf::Member member = btf.member(type, i);
        if (member.name.empty()) continue;
        Column column{.before = format.columns.empty() ? "" : " ",
                      .heading = upper(member.name),
                      .field = std::string(member.name)};
        const btf::Type inner = btf.type(btf.skip_modifiers(member.type));
        const u32 size = btf.size(inner.id).value_or(0);
        // Enough for nearly every number of that size, and for a command's name.
        if (i + 1U < type.vlen)
            column.width = inner.kind == btf::Kind::array ? std::min(size, 16U) : size == 8 ? 15 : size >= 4 ? 8 : 5;
        column.width = std::max(column.width, i + 1U < type.vlen ? static_cast<u32>(column.heading.size()) : 0);
        if (inner.kind != btf::Kind::array) column.align = '>';
        format.columns.push_back(std::move(column));
    }
    return format;
}

std::optional<std::string> OutputFormat::heading() const {
    std::string line;
    if (!is_blank(after)) return {};
    for (const Column& column : columns) {
        if (!is_blank(column.before)) return {};
        line += column.before;
        pad(line, column.heading, column, column.align == '>');
    }
    return trim_end(line);
}

std::string OutputFormat::line(const std::vector<std::string>& cells) const {
    std::string line;
    for (std::size_t i = 0; i < columns.size() && i < cells.size(); ++i) {
        line += columns[i].before;
        pad(line, cells[i], columns[i], columns[i].align ? columns[i].align == '>' : looks_numeric(cells[i]));
    }
    return trim_end(line + after);
}

std::string show(Kind kind, const Json& value, Bytes raw) {
    const u64 unsigned_number = static_cast<u64>(number(value));
    switch (kind) {
        case Kind::plain:
            return printable(to_text(value));
        case Kind::str: {
            const std::string_view all(static_cast<const char*>(static_cast<const void*>(raw.data())), raw.size());
            return printable(all.substr(0, all.find('\0')));
        }
        case Kind::argv:
            return arguments(raw);
        case Kind::clock:
            return time_of_day(CLOCK_BOOTTIME, unsigned_number);
        case Kind::monotonic:
            return time_of_day(CLOCK_MONOTONIC, unsigned_number);
        case Kind::us:
            return fmt::format("{:.1f}", static_cast<double>(unsigned_number) / 1e3);
        case Kind::ms:
            return fmt::format("{:.3f}", static_cast<double>(unsigned_number) / 1e6);
        case Kind::s:
            return fmt::format("{:.6f}", static_cast<double>(unsigned_number) / 1e9);
        case Kind::syscall: {
            const abi::Syscall* call = abi::find_syscall(static_cast<u32>(unsigned_number));
            return call ? std::string(call->name) : fmt::format("{}", number(value));
        }
        case Kind::error: {
            const i64 result = number(value);
            const char* name = result < 0 && result >= -4095 ? ::strerrorname_np(static_cast<int>(-result)) : nullptr;
            return name ? name : fmt::format("{}", result);
        }
        case Kind::signal: {
            const i64 signal = number(value);
            const char* name = signal > 0 && signal < 65 ? ::sigabbrev_np(static_cast<int>(signal)) : nullptr;
            return name ? fmt::format("SIG{}", name) : fmt::format("{}", signal);
        }
        case Kind::hex:
            return value.is_number() ? fmt::format("{:#x}", unsigned_number) : hex(raw);
        case Kind::oct:
            return fmt::format("{:#o}", unsigned_number);
    }
    return {};
}

}  // namespace anybpf::cli

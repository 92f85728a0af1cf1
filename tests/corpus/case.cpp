// SPDX-License-Identifier: Apache-2.0
#include "case.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>

namespace anybpf::corpus {
namespace {

constexpr auto known_keys =
    std::to_array<std::string_view>({"about", "asm", "classic", "raw", "mem", "type", "map", "verdict", "defect",
                                     "seed", "error", "result", "kernel", "disasm", "log", "stack"});

std::string trim(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    return std::string(text);
}

}  // namespace

const std::string* Case::find(std::string_view key) const {
    const auto found = std::ranges::find(sections, key, &Section::key);
    return found == sections.end() ? nullptr : &found->value;
}

std::vector<std::string> Case::all(std::string_view key) const {
    std::vector<std::string> values;
    for (const Section& section : sections)
        if (section.key == key) values.push_back(section.value);
    return values;
}

bool Case::set(std::string_view key, std::string value) {
    const auto found = std::ranges::find(sections, key, &Section::key);
    if (found == sections.end()) return false;
    found->value = std::move(value);
    return true;
}

Result<> Case::write() const {
    std::ofstream out(path);
    for (const Section& section : sections)
        out << "-- " << section.key << (section.lines ? "\n" : ": ") << section.value << (section.lines ? "" : "\n");
    if (!out.flush()) return fail_errno("write", path.string());
    return {};
}

Result<Case> read_case(const std::filesystem::path& path) {
    Case result{.path = path, .area = path.parent_path().filename(), .name = path.stem(), .sections = {}};
    std::ifstream in(path);
    if (!in) return fail_errno("open", path.string());
    for (std::string line; std::getline(in, line);) {
        if (!line.starts_with("-- ")) {
            if (result.sections.empty() || !result.sections.back().lines) {
                if (trim(line).empty()) continue;
                return fail(Errc::malformed, path.string() + ": text outside of a section: " + line);
            }
            result.sections.back().value += line + "\n";
            continue;
        }
        const std::size_t colon = line.find(':');
        Section section{.key = trim(std::string_view(line).substr(3, colon == std::string::npos ? colon : colon - 3)),
                        .value = {},
                        .lines = colon == std::string::npos};
        if (!section.lines) section.value = trim(std::string_view(line).substr(colon + 1));
        if (std::ranges::find(known_keys, section.key) == known_keys.end())
            return fail(Errc::malformed, path.string() + ": there is no section " + section.key);
        result.sections.push_back(std::move(section));
    }
    return result;
}

Result<std::vector<std::byte>> parse_hex(std::string_view text) {
    std::vector<std::byte> bytes;
    while (true) {
        while (!text.empty() && (text.front() == ' ' || text.front() == '\n')) text.remove_prefix(1);
        if (text.empty()) return bytes;
        u8 byte = 0;
        const auto [end, error] =
            std::from_chars(text.data(), text.data() + std::min<std::size_t>(2, text.size()), byte, 16);
        if (error != std::errc{} || end != text.data() + 2)
            return fail(Errc::malformed, "not a pair of hex digits: " + std::string(text));
        bytes.push_back(std::byte{byte});
        text.remove_prefix(2);
    }
}

Result<u64> parse_number(std::string_view text) {
    const bool negative = text.starts_with('-');
    if (negative) text.remove_prefix(1);
    const bool hex = text.starts_with("0x");
    if (hex) text.remove_prefix(2);
    u64 value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, hex ? 16 : 10);
    if (error != std::errc{} || end != text.data() + text.size())
        return fail(Errc::malformed, "not a number: " + std::string(text));
    return negative ? 0 - value : value;
}

}  // namespace anybpf::corpus

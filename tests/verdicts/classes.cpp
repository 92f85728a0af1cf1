// SPDX-License-Identifier: Apache-2.0
#include "classes.hpp"

#include <array>
#include <cctype>
#include <cerrno>

namespace anybpf::verdicts {
namespace {

bool has(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

constexpr std::array differences = {
    Difference{"limit", "the kernel bounds how much it walks by its own count of states and branches",
               [](const program::Program&, std::string_view kernel) {
                   return has(kernel, "BPF program is too large") || has(kernel, "jumps is too complex");
               }},
};

}  // namespace

std::span<const Difference> more_accepted() { return differences; }

std::string_view class_of(const program::Program& program, std::string_view kernel) {
    for (const Difference& difference : differences)
        if (difference.is(program, kernel)) return difference.name;
    return {};
}

std::string_view not_verified(int error, std::string_view kernel) {
    if (error == EPERM) return "not permitted";
    if (error == ENOMEM || error == EAGAIN) return "out of memory";
    if (has(kernel, "verifier bug")) return "a bug of the kernel";
    return {};
}

std::string message_of(std::string_view log) {
    std::string_view last;
    while (!log.empty()) {
        const auto end = log.find('\n');
        const std::string_view line = log.substr(0, end);
        if (line.starts_with("verification time") || line.starts_with("processed ") || line.starts_with("stack depth"))
            break;
        last = line;
        if (end == log.npos) break;
        log.remove_prefix(end + 1);
    }
    return std::string(last);
}

std::string normalised(std::string_view message) {
    std::string out;
    for (std::size_t i = 0; i < message.size();) {
        const bool digit = std::isdigit(static_cast<unsigned char>(message[i])) != 0;
        if (!digit) {
            out += message[i++];
            continue;
        }
        while (i < message.size() && (std::isxdigit(static_cast<unsigned char>(message[i])) != 0 || message[i] == 'x'))
            ++i;
        if (!out.empty() && out.back() == '-') out.pop_back();
        out += 'N';
    }
    return out;
}

}  // namespace anybpf::verdicts

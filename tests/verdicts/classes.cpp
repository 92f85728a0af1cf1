// SPDX-License-Identifier: Apache-2.0
#include "classes.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstdlib>

#include "../differential/shrink.hpp"
#include "anybpf/isa/decode.hpp"
#include "anybpf/verifier/verifier.hpp"

namespace anybpf::verdicts {
namespace {

bool has(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

// Messages about what a number can be, of which our verifier knows more.
bool speaks_of_range(std::string_view message) {
    constexpr std::array parts = {"outside of the allowed memory range",
                                  "unbounded memory access",
                                  "min value is negative",
                                  "unbounded min value",
                                  "outside of the packet",
                                  "misaligned",
                                  "At program exit the register R0 has",
                                  "value is outside",
                                  "variable",
                                  "invalid access to map value",
                                  "pointer offset",
                                  "must be a known constant",
                                  "is not a known constant",
                                  "unbounded",
                                  "invalid zero-sized read",
                                  "be out of bounds",
                                  "At callback return the register R0 has",
                                  "invalid write to stack"};
    return std::ranges::any_of(parts, [&](std::string_view part) { return has(message, part); });
}

bool any_insn(const program::Program& program, bool (*is)(const isa::Insn& insn, const isa::Form& form)) {
    for (u32 pc = 0; pc < program.insns.size(); pc += isa::slots(program.insns[pc]))
        if (is(program.insns[pc], isa::decode(program.insns[pc]).form)) return true;
    return false;
}

bool divides_narrowly(const isa::Form& form) {
    using isa::AluOp;
    return form.kind == isa::Kind::alu && !form.is64 &&
           (form.alu == AluOp::div || form.alu == AluOp::sdiv || form.alu == AluOp::mod || form.alu == AluOp::smod);
}

// The same program, saying again after each 32-bit division what it has done to the upper half.
std::vector<isa::Insn> with_zero_extension(std::vector<isa::Insn> insns) {
    for (u32 pc = 0; pc < insns.size(); pc += isa::slots(insns[pc]))
        if (divides_narrowly(isa::decode(insns[pc]).form)) {
            const u8 dst = insns[pc].dst;
            differential::insert(
                insns, ++pc,
                isa::Insn{.code = 0xbc, .dst = static_cast<u8>(dst & 15), .src = static_cast<u8>(dst & 15)});
        }
    return insns;
}

constexpr std::array differences = {
    Difference{"limit", "the kernel bounds how much it walks by its own count of states and branches",
               [](const Disagreement& of) {
                   return has(of.message, "BPF program is too large") || has(of.message, "jumps is too complex");
               }},
    Difference{"unreached_function", "the kernel looks kernel functions up also where no path leads",
               [](const Disagreement& of) { return !of.walked && has(of.message, "kernel btf_id"); }},
    Difference{"stack_subtraction", "a constant is subtracted from an address of the stack",
               [](const Disagreement& of) { return has(of.message, "subtraction from stack pointer prohibited"); }},
    Difference{"narrow_division", "the kernel forgets that a 32-bit division clears the upper half",
               [](const Disagreement& of) {
                   return any_insn(of.program,
                                   [](const isa::Insn&, const isa::Form& form) { return divides_narrowly(form); }) &&
                          of.kernel_accepts(with_zero_extension(of.program.insns));
               }},
    Difference{"dead_branch", "the kernel walks into a branch that what is known of its numbers excludes",
               [](const Disagreement& of) { return of.excluded; }},
    Difference{"any_number_there", "on another path what is read there was shown to be of no account",
               [](const Disagreement& of) {
                   return has(of.message, "invalid size of register fill") &&
                          of.walked_out == verifier::Finding::partial_pointer;
               }},
    Difference{"sum_of_offsets", "the kernel wants what is variable of an offset in bounds without its constant part",
               [](const Disagreement& of) {
                   return has(of.message, "unbounded memory access") || has(of.message, "min value is negative");
               }},
    Difference{"sharper_range", "less is known of a number in the kernel",
               [](const Disagreement& of) { return speaks_of_range(of.message); }},
};

}  // namespace

std::span<const Difference> more_accepted() { return differences; }

std::string_view class_of(const Disagreement& disagreement) {
    for (const Difference& difference : differences)
        if (difference.is(disagreement)) return difference.name;
    return {};
}

std::string_view not_verified(int error, std::string_view log) {
    if (error == EPERM) return "not permitted";
    if (error == ENOMEM || error == EAGAIN) return "out of memory";
    if (has(log, "verifier bug")) return "a bug of the kernel";
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

std::vector<u32> last_path(std::string_view log) {
    std::vector<u32> path;
    while (!log.empty()) {
        const auto end = log.find('\n');
        std::string_view line = log.substr(0, end);
        const auto number = [](std::string_view text) {
            return static_cast<u32>(std::strtoul(std::string(text).c_str(), nullptr, 10));
        };
        if (line.starts_with("from ")) {
            path.assign(1, number(line.substr(5)));  // where this path left the one before
        } else if (const auto colon = line.find(": (");
                   colon != line.npos && colon > 0 && line.find_first_not_of("0123456789") == colon) {
            path.push_back(number(line.substr(0, colon)));
        }
        if (end == log.npos) break;
        log.remove_prefix(end + 1);
    }
    return path;
}

}  // namespace anybpf::verdicts

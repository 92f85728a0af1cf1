// SPDX-License-Identifier: Apache-2.0
// The one place that knows the words: findings as sentences, with what a person needs to see beside them.
#include <fmt/format.h>

#include <algorithm>

#include "anybpf/abi/helper.hpp"
#include "anybpf/base/text.hpp"
#include "anybpf/btf/btf.hpp"
#include "anybpf/isa/text.hpp"
#include "walker.hpp"

namespace anybpf::verifier {
namespace {

// Of each finding its name, the sentence, and the advice.
constexpr auto words = texts<[] {
    return std::to_array<std::string_view>({
        "none",
        "",
        "",
#define ANYBPF_FINDING(name, sentence, advice) #name, sentence, advice,
#include "anybpf/verifier/findings.def"
    });
}>();
enum class Word : u8 { name, sentence, advice };

std::string_view word(Finding finding, Word which) {
    const std::size_t at = 3 * static_cast<std::size_t>(finding);
    return words[(at < words.size() ? at : 0) + static_cast<std::size_t>(which)];
}

std::string_view describe(abi::ArgKind kind) {
    switch (kind) {
        case abi::ArgKind::none:
            return "nothing";
        case abi::ArgKind::anything:
        case abi::ArgKind::variadic:
            return "a value";
        case abi::ArgKind::const_map:
            return "a map";
        case abi::ArgKind::map_key:
            return "the address of a key of the map";
        case abi::ArgKind::map_value_out:
            return "the address of memory for a value of the map";
        case abi::ArgKind::long_out:
            return "the address of 8 bytes to write";
        case abi::ArgKind::mem_update:
            return "the address of memory to read and write";
        case abi::ArgKind::map_value:
            return "the address of a value for the map";
        case abi::ArgKind::mem_read:
            return "the address of memory to read";
        case abi::ArgKind::mem_read_or_null:
            return "the address of memory to read, or zero";
        case abi::ArgKind::mem_write:
            return "the address of memory to write";
        case abi::ArgKind::mem_write_or_null:
            return "the address of memory to write, or zero";
        case abi::ArgKind::size:
        case abi::ArgKind::size_or_zero:
            return "the size of that memory";
        case abi::ArgKind::alloc_size:
            return "a constant size";
        case abi::ArgKind::context:
            return "the program's context";
        case abi::ArgKind::ringbuf_record:
            return "a record that bpf_ringbuf_reserve() gave";
        case abi::ArgKind::const_string:
            return "the address of a constant string";
        case abi::ArgKind::callback:
            return "a function of the program";
        case abi::ArgKind::stack_or_null:
            return "a pointer to the stack, or zero";
        case abi::ArgKind::map_value_or_null:
            return "the address of a value for the map, or zero";
        case abi::ArgKind::btf_task:
            return "a pointer to a task_struct";
        case abi::ArgKind::btf_task_or_null:
            return "a pointer to a task_struct, or zero";
        case abi::ArgKind::btf_cgroup_or_null:
            return "a pointer to a cgroup, or zero";
        case abi::ArgKind::btf_file:
            return "a pointer to a file";
        case abi::ArgKind::btf_path:
            return "a pointer to a path";
        case abi::ArgKind::btf_inode_or_null:
            return "a pointer to an inode, or zero";
        case abi::ArgKind::btf_seq_file:
            return "a pointer to a seq_file";
        case abi::ArgKind::btf_skb:
            return "a pointer to an sk_buff";
        case abi::ArgKind::btf_xdp:
            return "a pointer to an xdp_buff";
        case abi::ArgKind::percpu_object:
            return "a variable of each CPU";
        case abi::ArgKind::dynptr:
            return "the address of a dynptr";
        case abi::ArgKind::dynptr_ring:
            return "the address of a dynptr over a ring buffer record";
        case abi::ArgKind::dynptr_out:
        case abi::ArgKind::dynptr_ring_out:
            return "the address of a local struct bpf_dynptr";
    }
    return "something else";
}

// "struct task_struct", of a type in the kernel's BTF or the program's.
std::string describe_type(i64 argument, const program::Program& program) {
    const auto& btf = (argument & own_type_argument) != 0 ? program.btf : program.kernel_btf;
    const auto id = static_cast<u32>(argument);
    if (btf == nullptr || !btf->contains(id)) return fmt::format("type {}", id);
    const btf::Type type = btf->type(id);
    const std::string_view kind = type.kind == btf::Kind::struct_  ? "struct "
                                  : type.kind == btf::Kind::union_ ? "union "
                                                                   : "";
    return fmt::format("{}{}", kind, type.name.empty() ? "(anonymous)" : type.name);
}

// Replaces {n0} and the like by the arguments.
std::string fill(std::string_view sentence, const Diagnostic& diagnostic, const program::Program& program) {
    std::string text;
    while (!sentence.empty()) {
        const std::size_t open = sentence.find('{');
        text += sentence.substr(0, open);
        if (open == std::string_view::npos) break;
        const char kind = sentence[open + 1];
        const i64 value = diagnostic.args[static_cast<std::size_t>(sentence[open + 2] - '0')];
        sentence.remove_prefix(open + 4);
        if (kind == 'r')
            text += fmt::format("r{}", value);
        else if (kind == 'h')
            text += fmt::format("{}#{}", abi::helper_name(static_cast<u32>(value)), value);
        else if (kind == 't')
            text += describe(static_cast<Type>(value));
        else if (kind == 'a')
            text += describe(static_cast<abi::ArgKind>(value));
        else if (kind == 'm')
            text += fmt::format("'{}'", static_cast<u64>(value) < program.maps.size()
                                            ? program.maps[static_cast<std::size_t>(value)].name
                                            : std::string("?"));
        else if (kind == 'b')
            text += describe_type(value, program);
        else if (kind == 'p')
            text += abi::to_string(static_cast<abi::ProgType>(value));
        else if (kind == 'd')
            text += isa::to_string(static_cast<isa::DefectKind>(value));
        else if (kind == 'x')
            text += fmt::format("0x{:02x}", value);
        else if (kind == 's')
            text += fmt::format("{:+}", value);
        else
            text += fmt::format("{}", value);
    }
    return text;
}

// The row of line info that holds for the instruction.
const program::LineInfo* line_of(const program::Program& program, u32 pc) {
    const auto after = std::upper_bound(program.lines.begin(), program.lines.end(), pc,
                                        [](u32 at, const program::LineInfo& info) { return at < info.insn; });
    return after == program.lines.begin() ? nullptr : &*(after - 1);
}

}  // namespace

std::string_view to_string(Finding finding) { return word(finding, Word::name); }

std::string message(const Diagnostic& diagnostic, const program::Program& program) {
    return fill(word(diagnostic.what, Word::sentence), diagnostic, program);
}

std::string explain(const Report& report, const program::Program& program) {
    const Diagnostic& diagnostic = report.diagnostic;
    if (diagnostic.what == Finding::none) return {};
    std::string text = fmt::format("{} ({})\n", message(diagnostic, program), to_string(diagnostic.what));
    const u32 pc = diagnostic.pc.v;
    if (pc < program.insns.size())
        text += fmt::format("  instruction {}: {}\n", pc,
                            isa::print(std::span(program.insns).subspan(pc), isa::Style::kernel,
                                       [](u32 id) { return abi::helper_name(id); }));
    if (const program::LineInfo* line = line_of(program, pc); line != nullptr && program.btf != nullptr) {
        std::string_view source = program.btf->string(line->line_off);
        source.remove_prefix(std::min(source.find_first_not_of(" \t"), source.size()));
        text += fmt::format("  source: {}:{}:{}: {}\n", program.btf->string(line->file_name_off), line->line(),
                            line->column(), source);
    }
    if (!report.state.empty()) text += fmt::format("  known here: {}\n", report.state);
    text += fmt::format("  what would do: {}\n", fill(word(diagnostic.what, Word::advice), diagnostic, program));
    return text;
}

Report verify(const program::Program& program, const Options& options) {
    Report report;
    Structure structure;
    if (const auto bad = analyse(program, structure)) {
        report.diagnostic = *bad;
        if (options.log_level != 0)
            report.log = message(*bad, program) + "\nprocessed 0 insns (limit " + std::to_string(options.max_insns) +
                         ") max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n";
        return report;
    }
    Walker(program, options, structure, report).run();
    return report;
}

}  // namespace anybpf::verifier

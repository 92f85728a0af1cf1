// SPDX-License-Identifier: Apache-2.0
// The one place that knows the words: findings as sentences, with what a person needs to see beside them.
#include <fmt/format.h>

#include <algorithm>

#include "anybpf/abi/context.hpp"
#include "anybpf/abi/helper.hpp"
#include "anybpf/base/text.hpp"
#include "anybpf/btf/btf.hpp"
#include "anybpf/program/exception.hpp"
#include "cause.hpp"
#include "extension.hpp"
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

constexpr auto links = texts<[] {
    return std::to_array<std::string_view>({
#define ANYBPF_LINK(name, sentence) sentence,
#include "links.def"
    });
}>();

// Of each mend its text and its advice.
constexpr auto mends = texts<[] {
    return std::to_array<std::string_view>({
#define ANYBPF_MEND(name, text, advice) text, advice,
#include "mends.def"
    });
}>();

// What was required, in the order of wants.def.
constexpr Finding wanting[] = {
#define ANYBPF_WANT(name, text) Finding::name,
#include "wants.def"
};
constexpr auto wants = texts<[] {
    return std::to_array<std::string_view>({
#define ANYBPF_WANT(name, text) text,
#include "wants.def"
    });
}>();

std::string_view want(Finding what) {
    const auto at = std::find(std::begin(wanting), std::end(wanting), what);
    return at == std::end(wanting) ? std::string_view() : wants[static_cast<std::size_t>(at - std::begin(wanting))];
}

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
        case abi::ArgKind::int_update:
            return "the address of an int to read and write";
        case abi::ArgKind::ipv4_header:
            return "the address of an IPv4 header";
        case abi::ArgKind::ipv6_header:
            return "the address of an IPv6 header";
        case abi::ArgKind::tcp_header:
            return "the address of a TCP header";
        case abi::ArgKind::context_or_null:
            return "the program's context, or zero";
        case abi::ArgKind::sock_common:
        case abi::ArgKind::any_sock:
            return "a socket";
        case abi::ArgKind::any_sock_or_null:
            return "a socket, or zero";
        case abi::ArgKind::socket_or_null:
            return "a full socket, or zero";
        case abi::ArgKind::released_sock:
            return "a socket to release";
        case abi::ArgKind::spin_lock:
            return "the address of a struct bpf_spin_lock in a map's value";
        case abi::ArgKind::timer:
            return "the address of a struct bpf_timer in a map's value";
        case abi::ArgKind::kernel_object:
            return "a kernel structure";
        case abi::ArgKind::kernel_object_or_null:
            return "a kernel structure, or zero";
        case abi::ArgKind::kptr_slot:
            return "the address of a kernel pointer in a map's value";
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

std::string bytes(i64 count) { return fmt::format("{} byte{}", count, count == 1 ? "" : "s"); }

// "0 to 15", for a number of which the least and the greatest value are known.
std::string range(i64 low, i64 high) {
    constexpr i64 huge = i64{1} << 40;
    const bool below = low > -huge, above = high < huge;
    if (low == high) return std::to_string(low);
    if (below && above) return fmt::format("{} to {}", low, high);
    if (low == 0 && !above) return "any number from 0 on, without an upper limit";
    if (below) return fmt::format("{} or more, without an upper limit", low);
    if (above) return fmt::format("at most {}, and may be negative", high);
    return "any number";
}

std::string list(const std::vector<std::string_view>& names) {
    constexpr std::size_t shown = 8;
    std::string text;
    for (std::size_t i = 0; i < std::min(names.size(), shown); ++i)
        text += fmt::format("{}{}", i == 0 ? "" : i + 1 == names.size() ? " or " : ", ", names[i]);
    return names.size() > shown ? text + " and others" : names.empty() ? "no type" : text;
}

// Numbers of the uapi's enumerations that have a name.
template <class T>
std::vector<T> all() {
    std::vector<T> values;
    for (u32 i = 1; i < 64; ++i)
        if (abi::to_string(static_cast<T>(i)) != "unknown") values.push_back(static_cast<T>(i));
    return values;
}

std::string callers(u32 helper) {
    std::vector<std::string_view> names;
    const auto* proto = abi::find_helper(helper);
    for (const auto type : all<abi::ProgType>())
        if (proto != nullptr && abi::may_call(proto->who, type)) names.push_back(abi::to_string(type));
    return list(names);
}

std::vector<abi::MapType> maps_for(u32 helper, const program::Program& program) {
    std::vector<abi::MapType> types;
    for (const auto type : all<abi::MapType>())
        if (map_fits(static_cast<abi::HelperId>(helper), type, program.type, program.expected_attach_type))
            types.push_back(type);
    return types;
}

std::string context_reads(const program::Program& program, i64 offset) {
    std::string sizes;
    i64 at = offset;
    const auto find = [&] {
        for (const u32 size : {1U, 2U, 4U, 8U})
            if (abi::context_load(program.type, program.expected_attach_type, at, size))
                sizes += fmt::format("{}{}", sizes.empty() ? "" : " or ", size);
    };
    find();
    if (sizes.empty()) at = offset & ~i64{3}, find();
    if (sizes.empty()) at = offset & ~i64{7}, find();
    if (sizes.empty()) return fmt::format("a field that programs of type {} may read", abi::to_string(program.type));
    return fmt::format("a read of {} byte{} at offset {}", sizes, sizes == "1" ? "" : "s", at);
}

// The row of line info that holds for the instruction.
const program::LineInfo* line_of(const program::Program& program, u32 pc) {
    const auto after = std::upper_bound(program.lines.begin(), program.lines.end(), pc,
                                        [](u32 at, const program::LineInfo& info) { return at < info.insn; });
    return after == program.lines.begin() ? nullptr : &*(after - 1);
}

std::string_view trim(std::string_view text) {
    text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
    return text;
}

std::optional<Told::Place> place(const program::Program& program, const program::LineInfo* line) {
    if (line == nullptr || program.btf == nullptr) return std::nullopt;
    return Told::Place{std::string(program.btf->string(line->file_name_off)),
                       std::string(trim(program.btf->string(line->line_off))), line->line(), line->column()};
}

std::string_view function_name(const program::Program& program, u32 pc) {
    if (program.btf == nullptr) return {};
    for (const program::FuncInfo& func : program.funcs)
        if (func.insn == pc && program.btf->contains(func.type_id)) return program.btf->type(func.type_id).name;
    return {};
}

std::string position(const program::Program& program, u32 pc) {
    const program::LineInfo* line = program.btf != nullptr ? line_of(program, pc) : nullptr;
    return line != nullptr ? fmt::format("line {}", line->line()) : fmt::format("instruction {}", pc);
}

// "a pointer to a value of 'counts', or null"
std::string object_of(Type type, u32 map, const program::Program& program, bool sized = false) {
    const bool value = type == Type::map_value || type == Type::map_value_or_null;
    if (map >= program.maps.size() || (!value && type != Type::map)) return std::string(describe(type));
    const auto& info = program.maps[map];
    if (!value)
        return fmt::format("the map '{}'{}", info.name,
                           sized ? fmt::format(", of type {}", abi::to_string(info.type)) : std::string());
    return fmt::format("a pointer to a value of '{}'{}{}", info.name,
                       sized ? fmt::format(" ({})", bytes(info.value_size)) : std::string(),
                       may_be_null(type) ? ", or null" : "");
}

std::string_view describe(Flaw flaw) {
    switch (flaw) {
        case Flaw::none:
            break;
        case Flaw::too_many:
            return "there are more than 11 of them";
        case Flaw::twice:
            return "of locks, timers, work queues and counts there may be only one";
        case Flaw::no_lock:
            return "a list or a tree has no lock beside it";
        case Flaw::no_contents:
            return "nothing says what a list or a tree consists of, or the struct that __contains() names is not in "
                   "the "
                   "object's BTF (which leaves out what no program allocates), or it has no such member";
        case Flaw::no_refcount:
            return "an object that may be in a list and a tree has no struct bpf_refcount";
        case Flaw::no_struct:
            return "a tagged pointer does not point to a struct that BTF has";
        case Flaw::nested:
            return "the elements of a list in an element have lists again";
    }
    return "";
}

std::string_view describe(program::ExceptionFlaw flaw) {
    switch (flaw) {
        case program::ExceptionFlaw::none:
            break;
        case program::ExceptionFlaw::missing:
            return "the program does not have it";
        case program::ExceptionFlaw::local:
            return "it is static";
        case program::ExceptionFlaw::twice:
            return "two are named";
        case program::ExceptionFlaw::type:
            return "it does not take one number and return one";
        case program::ExceptionFlaw::called:
            return "the program calls it";
    }
    return "";
}

// One placeholder: its kind, and the arguments from the one it names on.
std::string placeholder(char kind, std::span<const i64> args, const program::Program& program) {
    const i64 value = args[0];
    const auto number = static_cast<u32>(value);
    switch (kind) {
        case 'r':
            return fmt::format("r{}", value);
        case 'h':
            return fmt::format("bpf_{}()", abi::helper_name(number));
        case 't':
            return std::string(describe(static_cast<Type>(value)));
        case 'a':
            return std::string(describe(static_cast<abi::ArgKind>(value)));
        case 'm':
            return fmt::format("{}'{}'", number < program.maps.size() ? "" : "in ",
                               map_of(program, static_cast<u32>(number)).name);
        case 'T':
            return describe_type(value, program);
        case 'p':
            return std::string(abi::to_string(static_cast<abi::ProgType>(value)));
        case 'd':
            return std::string(isa::to_string(static_cast<isa::DefectKind>(value)));
        case 'x':
            return fmt::format("0x{:02x}", value);
        case 's':
            return fmt::format("{:+}", value);
        case 'w':
            return object_of(static_cast<Type>(value), args.size() > 1 ? static_cast<u32>(args[1]) : 0, program);
        case 'b':
            return bytes(value);
        case 'k':
            return fmt::format("fp{:+}", value);
        case 'v':
            return args.size() > 1 ? range(value, args[1]) : std::to_string(value);
        case 'l':
            return position(program, number);
        case 'f': {
            const std::string_view name = function_name(program, number);
            return name.empty() ? fmt::format("the function at instruction {}", number) : fmt::format("{}()", name);
        }
        case 'F':
            return std::string(describe(static_cast<FieldKind>(value)));
        case 'L':
            return std::string(describe(static_cast<Flaw>(value)));
        case 'E':
            return std::string(describe(static_cast<program::ExceptionFlaw>(value)));
        case 'X':
            return std::string(describe(static_cast<ExtensionFlaw>(value)));
        case 'y':
            return callers(number);
        case 'z': {
            std::vector<std::string_view> names;
            for (const auto type : maps_for(number, program)) names.push_back(abi::to_string(type));
            return list(names);
        }
        case 'c':
            return context_reads(program, value);
    }
    return std::to_string(value);
}

// Replaces {n0} and the like by the arguments.
std::string fill(std::string_view sentence, std::span<const i64> args, const program::Program& program) {
    std::string text;
    while (!sentence.empty()) {
        const std::size_t open = sentence.find('{');
        text += sentence.substr(0, open);
        if (open == std::string_view::npos) break;
        const auto index = static_cast<std::size_t>(sentence[open + 2] - '0');
        text += placeholder(sentence[open + 1], args.subspan(index), program);
        sentence.remove_prefix(open + 4);
    }
    return text;
}

std::string what_is(const Reg& reg, const program::Program& program) {
    const auto [low, high] = bounds(reg.value);
    if (reg.type == Type::uninit) return "without a value";
    if (reg.is_constant()) return fmt::format("the number {}", low);
    if (reg.is_scalar()) {
        const std::string values = range(low, high);
        return values.starts_with("any number") ? values : "a number, " + values;
    }
    std::string text = object_of(reg.type, reg.object, program, true);
    if (reg.type == Type::btf)
        text = fmt::format("a pointer to {}{}",
                           describe_type(i64{reg.object} | (reg.has(flag::own) ? own_type_argument : 0), program),
                           may_be_null(reg) ? ", or null" : "");
    if (reg.type == Type::record || reg.type == Type::record_or_null) text += fmt::format(" ({})", bytes(reg.object));
    if (is_packet(reg.type)) {
        if (reg.id != 0) text += fmt::format(", moved by a number: {}", range(low, high));
        if (reg.off != 0) text += fmt::format(", {} on", bytes(reg.off));
        return text + (reg.object == 0 ? ", where no byte is known to be there"
                                       : fmt::format(", where {} are known to be there", bytes(reg.object)));
    }
    return reg.value.is_constant(0) ? text : text + fmt::format(", at offset {}", range(low, high));
}

// ------------------------------------------------------------------------------------------------- names of the source

bool in_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

// The last word of a text: "__u64 *value " has "value".
std::string_view last_word(std::string_view text) {
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    std::size_t from = text.size();
    while (from > 0 && in_word(text[from - 1])) --from;
    const std::string_view word = text.substr(from);
    return word.empty() || (word[0] >= '0' && word[0] <= '9') ? std::string_view() : word;
}

// What the line assigns to, where it is a plain variable.
std::string_view assigned(std::string_view line) {
    for (std::size_t i = 1; i + 1 < line.size(); ++i) {
        if (line[i] != '=' || line[i + 1] == '=' || std::string_view("=!<>+-*/%&|^").find(line[i - 1]) != line.npos)
            continue;
        const std::string_view word = last_word(line.substr(0, i));
        const std::size_t before = word.empty() ? 0 : static_cast<std::size_t>(word.data() - line.data());
        // A member is no variable.
        if (before > 0 && (line[before - 1] == '.' || line[before - 1] == '>')) return {};
        return word;
    }
    return {};
}

// The argument of the call in the line: "&key" of "bpf_map_lookup_elem(&counts, &key)". Empty where the line does not
// have the whole of it.
std::string_view call_argument(std::string_view line, std::string_view function, u32 index) {
    const std::size_t at = line.find(function);
    if (at == line.npos) return {};
    std::size_t from = line.find('(', at);
    if (from == line.npos) return {};
    u32 argument = 1, depth = 0;
    for (std::size_t i = ++from; i < line.size(); ++i) {
        const char c = line[i];
        if (depth == 0 && (c == ',' || c == ')')) {
            if (argument == index) return trim(line.substr(from, i - from));
            if (c == ')') return {};
            ++argument, from = i + 1;
        } else if (c == '(' || c == '[') {
            ++depth;
        } else if (c == ')' || c == ']') {
            --depth;
        }
    }
    return {};
}

bool assignable(std::string_view expression) {
    return !expression.empty() && !(expression[0] >= '0' && expression[0] <= '9') &&
           std::all_of(expression.begin(), expression.end(),
                       [](char c) { return in_word(c) || c == '.' || c == '-' || c == '>'; });
}

struct Names {
    std::string variable, end = "data_end", context = "ctx";
    bool is_void_pointer = false;
};

std::string_view line_text(const program::Program& program, u32 pc) {
    const program::LineInfo* line = program.btf != nullptr ? line_of(program, pc) : nullptr;
    return line != nullptr ? trim(program.btf->string(line->line_off)) : std::string_view();
}

Names find_names(const Explanation& why, const Diagnostic& diagnostic, const program::Program& program) {
    Names names;
    if (why.argument != 0 && diagnostic.pc.v < program.insns.size()) {
        const std::string function =
            fmt::format("bpf_{}", abi::helper_name(static_cast<u32>(program.insns[diagnostic.pc.v].imm)));
        std::string_view argument = call_argument(line_text(program, diagnostic.pc.v), function, why.argument);
        if (why.mend == Mend::clear && argument.starts_with('&')) argument.remove_prefix(1);
        if (assignable(argument)) names.variable = argument;
    }
    for (const u32 pc : why.names) {
        if (!names.variable.empty()) break;
        const std::string_view line = line_text(program, pc);
        if (why.mend == Mend::unlock) {
            names.variable = call_argument(line, "bpf_spin_lock", 1);
            continue;
        }
        names.variable = assigned(line);
        names.is_void_pointer = line.find("void *" + names.variable) != line.npos;
    }
    if (names.variable.empty()) {
        const bool pointer = why.mend == Mend::null_check || why.mend == Mend::discard;
        names.variable = why.mend == Mend::packet_check || why.mend == Mend::packet_again ? "data"
                         : pointer                                                        ? "ptr"
                         : why.mend == Mend::clear                                        ? "object"
                         : why.mend == Mend::unlock                                       ? "&value->lock"
                                                                                          : "value";
    }
    if (why.end_name) {
        const std::string_view line = line_text(program, *why.end_name);
        if (const auto name = assigned(line); !name.empty()) names.end = name;
        if (const auto at = line.find("->data_end"); at != line.npos && at > 0)
            if (const auto context = last_word(line.substr(0, at)); !context.empty()) names.context = context;
    }
    return names;
}

std::string_view leave(abi::ProgType type, bool function) {
    if (function) return "return 0;";
    if (type == abi::ProgType::xdp) return "return XDP_PASS;";
    if (type == abi::ProgType::sched_cls || type == abi::ProgType::sched_act) return "return TC_ACT_OK;";
    if (type == abi::ProgType::cgroup_skb) return "return 1;";
    return "return 0;";
}

void replace_all(std::string& text, std::string_view what, std::string_view by) {
    for (std::size_t at = text.find(what); at != text.npos; at = text.find(what, at + by.size()))
        text.replace(at, what.size(), by);
}

std::string mend_text(const Explanation& why, const Diagnostic& diagnostic, const program::Program& program) {
    std::string text(mends[2 * static_cast<std::size_t>(why.mend)]);
    if (text.empty()) return text;
    if (why.mend == Mend::loop_helper && why.numbers[0] == 0) replace_all(text, "{0}", "ROUNDS");
    const Names names = find_names(why, diagnostic, program);
    if (names.is_void_pointer) replace_all(text, "(void *){N}", "{N}");
    replace_all(text, "{N}", names.variable);
    replace_all(text, "{E}", names.end);
    replace_all(text, "{C}", names.context);
    replace_all(text, "{L}", leave(program.type, why.in_function));
    replace_all(text, "{0}", std::to_string(why.numbers[0]));
    if (why.mend == Mend::map_type) {
        const auto types = maps_for(static_cast<u32>(diagnostic.args[1]), program);
        std::string name(types.empty() ? std::string_view("HASH") : abi::to_string(types.front()));
        std::transform(name.begin(), name.end(), name.begin(),
                       [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
        replace_all(text, "{G0}", name);
    }
    return text;
}

// Lines that BTF has of the file, at most two before and after.
std::vector<Told::Place> lines_around(const program::Program& program, const program::LineInfo& line) {
    std::vector<Told::Place> found;
    for (const program::LineInfo& other : program.lines) {
        const bool near = other.line() + 2 >= line.line() && other.line() <= line.line() + 2;
        if (!near || other.line() == line.line() || other.file_name_off != line.file_name_off) continue;
        if (auto at = place(program, &other)) found.push_back(std::move(*at));
    }
    std::stable_sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.line < b.line; });
    found.erase(std::unique(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.line == b.line; }),
                found.end());
    return found;
}

}  // namespace

std::string_view to_string(Finding finding) { return word(finding, Word::name); }

bool names_register(Finding finding) { return word(finding, Word::sentence).find("{r0}") != std::string_view::npos; }

std::string message(const Diagnostic& diagnostic, const program::Program& program) {
    return fill(word(diagnostic.what, Word::sentence), diagnostic.args, program);
}

Told tell(const Report& report, const program::Program& program) {
    Told told;
    const Diagnostic& diagnostic = report.diagnostic;
    if (diagnostic.what == Finding::none) return told;
    const Explanation why = trace(report, program);
    told.finding = to_string(diagnostic.what);
    told.message = message(diagnostic, program);
    told.insn = diagnostic.pc.v;
    told.state = report.state;
    if (told.insn < program.insns.size()) told.code = print_insn(program, told.insn);
    if (const auto* line = line_of(program, told.insn); line != nullptr && program.btf != nullptr) {
        told.source = place(program, line);
        told.around = lines_around(program, *line);
    }
    told.required = fill(want(diagnostic.what), diagnostic.args, program);
    if (why.reg) told.known = fmt::format("r{} is {}", *why.reg, what_is(why.known, program));
    for (const Cause& cause : why.causes) {
        Told::Link link{cause.pc, {}, {}, fill(links[static_cast<std::size_t>(cause.what)], cause.args, program)};
        if (cause.pc && *cause.pc < program.insns.size()) {
            link.code = print_insn(program, *cause.pc);
            link.source = place(program, line_of(program, *cause.pc));
        }
        told.causes.push_back(std::move(link));
    }
    const std::string_view advice = mends[2 * static_cast<std::size_t>(why.mend) + 1];
    told.advice = advice.empty() ? fill(word(diagnostic.what, Word::advice), diagnostic.args, program) : advice;
    told.mend = mend_text(why, diagnostic, program);
    return told;
}

std::string explain(const Report& report, const program::Program& program) {
    return show(tell(report, program), {.colour = false, .state = true, .name = {}, .line = {}});
}

namespace {

// Lays a refusal out on a screen.
class Page {
  public:
    Page(const Told& told, const Style& style) : told_(told), style_(style) {}

    std::string print() {
        heading();
        if (told_.source) source();
        if (!told_.code.empty()) text_ += fmt::format("  instruction {}: {}\n", told_.insn, told_.code);
        if (!told_.required.empty()) item("required", told_.required);
        if (!told_.known.empty()) item("known", told_.known);
        if (style_.state && !told_.state.empty()) item("known here", told_.state);
        if (!told_.causes.empty()) causes();
        item("what would do", told_.advice);
        if (!told_.mend.empty()) mend();
        return std::move(text_);
    }

  private:
    enum class Paint : u8 { bad, good, label, faint };
    std::string paint(Paint how, std::string_view text) const {
        if (!style_.colour) return std::string(text);
        constexpr std::string_view codes[] = {"1;31", "32", "36", "2"};
        return fmt::format("\033[{}m{}\033[0m", codes[static_cast<std::size_t>(how)], text);
    }
    std::string name(const std::string& file) const { return style_.name ? style_.name(file) : file; }

    void heading() {
        std::string where;
        if (told_.source)
            where = fmt::format("{}:{}:{}: ", name(told_.source->file), told_.source->line, told_.source->column);
        text_ += fmt::format("{}{} ({})\n", where, paint(Paint::bad, told_.message), told_.finding);
    }
    void item(std::string_view label, std::string_view text) {
        text_ += fmt::format("  {} {}\n", paint(Paint::label, fmt::format("{}:", label)), text);
    }

    static std::string untabbed(std::string_view text) {
        std::string out;
        for (const char c : text) out += c == '\t' ? std::string(8 - out.size() % 8, ' ') : std::string(1, c);
        return out;
    }
    // The file's own line, where it still is the one that was compiled.
    std::optional<std::string> line(u32 number) const {
        if (!style_.line) return std::nullopt;
        auto here = style_.line(told_.source->file, told_.source->line);
        if (!here || trim(*here) != told_.source->text) return std::nullopt;
        return number == told_.source->line ? here : style_.line(told_.source->file, number);
    }
    void numbered(u32 number, std::string_view text, bool marked) {
        const std::string row = fmt::format("{:>6} | {}", number, text);
        if (marked)
            text_ += paint(Paint::bad, ">") + row.substr(1) + '\n';
        else
            text_ += paint(Paint::faint, row) + '\n';
    }
    void source() {
        const u32 at = told_.source->line;
        std::string own = told_.source->text;
        if (const auto whole = line(at)) {
            own = *whole;
            for (u32 number = at > 2 ? at - 2 : 1; number < at; ++number)
                if (const auto text = line(number)) numbered(number, untabbed(*text), false);
        } else {
            for (const Told::Place& near : told_.around)
                if (near.line < at) numbered(near.line, near.text, false);
        }
        numbered(at, untabbed(own), true);
        const std::size_t indent = own.size() - trim(own).size();
        const bool whole = own.size() != told_.source->text.size() || indent != 0 || line(at).has_value();
        if (whole && told_.source->column > 0 && told_.source->column <= own.size()) {
            const std::string before = untabbed(std::string_view(own).substr(0, told_.source->column - 1));
            text_ += fmt::format("       | {}{}\n", std::string(before.size(), ' '), paint(Paint::bad, "^"));
        }
        if (whole) {
            for (u32 number = at + 1; number <= at + 2; ++number)
                if (const auto text = line(number)) numbered(number, untabbed(*text), false);
        } else {
            for (const Told::Place& near : told_.around)
                if (near.line > at) numbered(near.line, near.text, false);
        }
    }

    void causes() {
        text_ += fmt::format("  {}\n", paint(Paint::label, "how it came to that:"));
        std::string last;
        std::optional<u32> insn;
        for (const Told::Link& link : told_.causes) {
            if (link.source) {
                std::string where = fmt::format("{}:{}", name(link.source->file), link.source->line);
                if (where != last) text_ += fmt::format("    {}  {}\n", paint(Paint::label, where), link.source->text);
                last = std::move(where);
            }
            if (link.insn && link.insn != insn)
                text_ += fmt::format("      {:>4}: {}\n", *link.insn, paint(Paint::faint, link.code));
            insn = link.insn;
            text_ +=
                fmt::format("{}{}\n", insn ? "            " : "    ", insn ? link.text : paint(Paint::bad, link.text));
        }
    }
    void mend() {
        std::string_view rest = told_.mend;
        while (!rest.empty()) {
            const std::size_t end = std::min(rest.find('\n'), rest.size());
            text_ += fmt::format("    {}\n", paint(Paint::good, rest.substr(0, end)));
            rest.remove_prefix(std::min(end + 1, rest.size()));
        }
    }

    const Told& told_;
    const Style& style_;
    std::string text_;
};

}  // namespace

std::string show(const Told& told, const Style& style) {
    return told.finding.empty() ? std::string() : Page(told, style).print();
}

Report verify(const program::Program& program, const Options& options) {
    Report report;
    report.options = options;
    Structure structure;
    if (const auto bad = analyse(program, structure)) {
        report.diagnostic = *bad;
        if (options.log_level != 0)
            report.log = message(*bad, program) + "\nprocessed 0 insns (limit " + std::to_string(options.max_insns) +
                         ") max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n";
        return report;
    }
    Arena own;
    Arena& arena = options.arena != nullptr ? *options.arena : own;
    arena.rewind();
    Walker(program, options, structure, arena, report).run();
    report.peak_bytes = arena.peak();
    return report;
}

}  // namespace anybpf::verifier

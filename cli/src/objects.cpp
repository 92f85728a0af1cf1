// SPDX-License-Identifier: Apache-2.0
// anybpf prog, map, link, btf: what is loaded, in bpftool's words and with its JSON names.
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstdarg>
#include <cstring>
#include <ctime>
#include <functional>

#include "anybpf/abi/helper.hpp"
#include "anybpf/abi/types.hpp"
#include "anybpf/base/fd.hpp"
#include "anybpf/isa/text.hpp"
#include "commands.hpp"
#include "machine.hpp"
#include "report.hpp"

namespace anybpf::cli {

namespace {

std::string link_type(u32 type) {
    constexpr std::string_view names[] = {
        "unspec",     "raw_tracepoint", "tracing",    "cgroup",    "iter", "netns",        "xdp",
        "perf_event", "kprobe_multi",   "struct_ops", "netfilter", "tcx",  "uprobe_multi", "netkit"};
    return type < std::size(names) ? std::string(names[type]) : fmt::format("type {}", type);
}

template <class Info>
bool get_info(int fd, Info& info) {
    u32 size = sizeof(info);
    return bpf_obj_get_info_by_fd(fd, &info, &size) == 0;
}

// The time on the clock at which nanoseconds since boot passed.
i64 wall_seconds(u64 boot_ns) {
    timespec now{}, boot{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    ::clock_gettime(CLOCK_BOOTTIME, &boot);
    return now.tv_sec - boot.tv_sec + static_cast<i64>(boot_ns / 1'000'000'000);
}

Json describe_prog(int fd) {
    bpf_prog_info info{};
    if (!get_info(fd, info)) return {};
    const u32 maps = info.nr_map_ids;
    std::vector<u32> ids(maps);
    bpf_prog_info again{};
    again.nr_map_ids = maps;
    again.map_ids = static_cast<u64>(std::bit_cast<uintptr_t>(ids.data()));
    if (!get_info(fd, again)) ids.clear();
    ids.resize(std::min<std::size_t>(ids.size(), again.nr_map_ids));
    Json row{{"id", info.id},
             {"type", std::string(abi::to_string(static_cast<abi::ProgType>(info.type)))},
             {"name", std::string(info.name)},
             {"tag", hex(std::as_bytes(std::span(info.tag)))},
             {"gpl_compatible", info.gpl_compatible != 0},
             {"loaded_at", wall_seconds(info.load_time)},
             {"uid", info.created_by_uid},
             {"bytes_xlated", info.xlated_prog_len},
             {"jited", info.jited_prog_len != 0}};
    if (info.jited_prog_len) row["bytes_jited"] = info.jited_prog_len;
    row["map_ids"] = ids;
    if (info.btf_id) row["btf_id"] = info.btf_id;
    row["verified_insns"] = info.verified_insns;
    return row;
}

Json describe_map(int fd) {
    bpf_map_info info{};
    if (!get_info(fd, info)) return {};
    Json row{{"id", info.id},
             {"type", std::string(abi::to_string(static_cast<abi::MapType>(info.type)))},
             {"name", std::string(info.name)},
             {"flags", info.map_flags},
             {"bytes_key", info.key_size},
             {"bytes_value", info.value_size},
             {"max_entries", info.max_entries}};
    if (info.btf_id) row["btf_id"] = info.btf_id;
    return row;
}

Json describe_link(int fd) {
    bpf_link_info info{};
    std::array<char, 128> name{};
    if (!get_info(fd, info)) return {};
    Json row{{"id", info.id}, {"type", link_type(info.type)}, {"prog_id", info.prog_id}};
    if (info.type == BPF_LINK_TYPE_RAW_TRACEPOINT) {
        bpf_link_info again{};
        again.raw_tracepoint.tp_name = static_cast<u64>(std::bit_cast<uintptr_t>(name.data()));
        again.raw_tracepoint.tp_name_len = name.size();
        if (get_info(fd, again)) row["tp_name"] = std::string(name.data());
    }
    return row;
}

Json describe_btf(int fd) {
    bpf_btf_info info{};
    std::array<char, 64> name{};
    info.name = static_cast<u64>(std::bit_cast<uintptr_t>(name.data()));
    info.name_len = name.size();
    if (!get_info(fd, info)) return {};
    return Json{
        {"id", info.id}, {"name", std::string(name.data())}, {"size", info.btf_size}, {"kernel", info.kernel_btf != 0}};
}

struct ObjectKind {
    std::string_view name;
    int (*next)(u32 after, u32* id);
    int (*open)(u32 id);
    Json (*describe)(int fd);
};
constexpr ObjectKind object_kinds[] = {
    {"prog", bpf_prog_get_next_id, bpf_prog_get_fd_by_id, describe_prog},
    {"map", bpf_map_get_next_id, bpf_map_get_fd_by_id, describe_map},
    {"link", bpf_link_get_next_id, bpf_link_get_fd_by_id, describe_link},
    {"btf", bpf_btf_get_next_id, bpf_btf_get_fd_by_id, describe_btf},
};

struct Selection {
    bool all = true;
    std::string by, value;  // "id" 3, "name" counts, "pinned" /sys/fs/bpf/x
};

// "id 3", "name counts", "pinned PATH"; a number alone is an id, a word a name.
Outcome<Selection> parse_selection(std::vector<std::string> words) {
    if (words.empty()) return Selection{};
    if (words.size() == 1)
        words.insert(words.begin(), words[0].find_first_not_of("0123456789") == std::string::npos ? "id" : "name");
    if (words.size() != 2 || (words[0] != "id" && words[0] != "name" && words[0] != "pinned"))
        return stop(Exit::usage,
                    fmt::format("'{}': an object is named by: id N, name NAME, or pinned PATH", fmt::join(words, " ")));
    return Selection{.all = false, .by = words[0], .value = words[1]};
}

struct Object {
    Fd fd;
    Json description;
};

Outcome<std::vector<Object>> select(const ObjectKind& kind, const Selection& selection) {
    std::vector<Object> found;
    const auto take = [&](int number) {
        Object object{Fd(number), {}};
        if (!object.fd.valid()) return;
        object.description = kind.describe(object.fd.get());
        if (object.description.is_null()) return;
        if (selection.by == "name" && object.description.value("name", "") != selection.value) return;
        found.push_back(std::move(object));
    };
    if (selection.by == "pinned") {
        take(bpf_obj_get(selection.value.c_str()));
    } else if (selection.by == "id") {
        take(kind.open(static_cast<u32>(std::strtoul(selection.value.c_str(), nullptr, 10))));
    } else {
        u32 id = 0;
        while (kind.next(id, &id) == 0) take(kind.open(id));
        if (errno != ENOENT)
            return stop(errno == EPERM ? Exit::not_permitted : Exit::failed,
                        fmt::format("listing: {}", std::strerror(errno)));
    }
    if (found.empty() && !selection.all)
        return stop(Exit::failed, fmt::format("no {} with {} {}", kind.name, selection.by, selection.value));
    return found;
}

// "12: kprobe  name count  tag 0011223344556677" and what else there is below it, as bpftool prints it.
void print_object(const Json& row) {
    std::string text = fmt::format("{}: {}", to_text(row["id"]), row.contains("type") ? to_text(row["type"]) : "");
    for (const auto& [name, value] : row.items())
        if (name != "id" && name != "type" && !(value.is_string() && value.get<std::string>().empty()))
            text += fmt::format("  {} {}", name, to_text(value));
    fmt::print("{}\n", text);
}

Outcome<> dump_map(const Object& object, bool json) {
    bpf_map_info info{};
    if (!get_info(object.fd.get(), info)) return stop(Exit::failed, fmt::format("map info: {}", std::strerror(errno)));
    std::shared_ptr<const btf::Btf> types;
    if (info.btf_id) {
        const std::unique_ptr<::btf, decltype(&btf__free)> loaded(btf__load_from_kernel_by_id(info.btf_id), btf__free);
        u32 size = 0;
        const void* raw = loaded ? btf__raw_data(loaded.get(), &size) : nullptr;
        if (raw)
            if (auto parsed = btf::Btf::parse(std::span(static_cast<const std::byte*>(raw), size))) types = *parsed;
    }
    const auto value_of = [&](u32 type, Bytes bytes) {
        return types && type ? to_json(*types, type, bytes) : to_json_untyped(bytes);
    };
    const bool per_cpu = info.type == BPF_MAP_TYPE_PERCPU_HASH || info.type == BPF_MAP_TYPE_PERCPU_ARRAY ||
                         info.type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
    const std::size_t one = per_cpu ? (info.value_size + 7) / 8 * 8 : info.value_size;
    std::vector<std::byte> key(info.key_size), next(info.key_size),
        value(one * (per_cpu ? static_cast<std::size_t>(libbpf_num_possible_cpus()) : 1));
    Json list = Json::array();
    for (const void* from = nullptr;
         list.size() < info.max_entries && bpf_map_get_next_key(object.fd.get(), from, next.data()) == 0;
         from = key.data()) {
        key = next;
        if (bpf_map_lookup_elem(object.fd.get(), key.data(), value.data()) != 0) continue;
        Json row{{"key", value_of(info.btf_key_type_id, key)}};
        if (per_cpu) {
            Json values = Json::array();
            for (std::size_t cpu = 0; (cpu + 1) * one <= value.size(); ++cpu)
                values.push_back(Json{
                    {"cpu", cpu},
                    {"value", value_of(info.btf_value_type_id, Bytes(value).subspan(cpu * one, info.value_size))}});
            row["values"] = std::move(values);
        } else {
            row["value"] = value_of(info.btf_value_type_id, value);
        }
        list.push_back(std::move(row));
    }
    if (json) {
        fmt::print("{}\n", dump(list));
        return {};
    }
    for (const Json& row : list) {
        if (!per_cpu) {
            fmt::print("{}: {}\n", to_text(row["key"]), to_text(row["value"]));
            continue;
        }
        fmt::print("{}:\n", to_text(row["key"]));
        for (const Json& part : row["values"])
            fmt::print("  cpu {}: {}\n", to_text(part["cpu"]), to_text(part["value"]));
    }
    return {};
}

Outcome<> dump_prog(const Object& object, bool json) {
    bpf_prog_info info{};
    if (!get_info(object.fd.get(), info))
        return stop(Exit::failed, fmt::format("program info: {}", std::strerror(errno)));
    std::vector<std::byte> code(info.xlated_prog_len);
    bpf_prog_info again{};
    again.xlated_prog_len = info.xlated_prog_len;
    again.xlated_prog_insns = static_cast<u64>(std::bit_cast<uintptr_t>(code.data()));
    if (!get_info(object.fd.get(), again) || !again.xlated_prog_insns)
        return stop(Exit::not_permitted, "the program's instructions may not be read");
    const auto insns = isa::from_bytes(code);
    if (!insns) return stop(Exit::failed, insns.error().message);
    const isa::HelperName names = [](u32 id) {
        return id < abi::helper_count ? abi::helper_name(id) : std::string_view();
    };
    if (!json) {
        fmt::print("{}",
                   isa::listing(*insns, {.bytes = false, .style = isa::Style::kernel, .helper = names, .before = {}}));
        return {};
    }
    Json rows = Json::array();
    for (const isa::Line& line : isa::disassemble(*insns, isa::Style::kernel, names))
        rows.push_back(Json{{"pc", line.pc.v}, {"disasm", line.text}});
    fmt::print("{}\n", dump(rows));
    return {};
}

Outcome<> dump_btf(const Object& object) {
    const std::unique_ptr<::btf, decltype(&btf__free)> types(
        btf__load_from_kernel_by_id(object.description["id"].get<u32>()), btf__free);
    if (!types) return stop(Exit::failed, fmt::format("reading BTF: {}", std::strerror(errno)));
    const auto print = [](void*, const char* format, va_list arguments) { std::vprintf(format, arguments); };
    const std::unique_ptr<btf_dump, decltype(&btf_dump__free)> dump(btf_dump__new(types.get(), print, nullptr, nullptr),
                                                                    btf_dump__free);
    for (u32 id = 1; dump && id < btf__type_cnt(types.get()); ++id) btf_dump__dump_type(dump.get(), id);
    return {};
}

}  // namespace

Outcome<int> objects(const ObjectsOptions& options) {
    std::vector<std::string> words = options.words;
    std::string verb = "show";
    if (!words.empty() && (words[0] == "show" || words[0] == "list" || words[0] == "dump")) {
        verb = words[0];
        words.erase(words.begin());
    }
    // bpftool says "prog dump xlated id 3" and "btf dump id 3 format c".
    if (verb == "dump" && options.kind == "prog" && !words.empty() && words[0] == "xlated") words.erase(words.begin());
    if (verb == "dump" && options.kind == "btf" && words.size() == 4 && words[2] == "format" && words[3] == "c")
        words.resize(2);
    const Selection selection = CLI_TRY(parse_selection(words));
    if (verb == "dump" && selection.all)
        return stop(Exit::usage, fmt::format("{} dump: which one? id N, name NAME, or pinned PATH", options.kind));
    if (verb == "dump" && options.kind == "link") return stop(Exit::usage, "a link has nothing to dump; see link show");

    const auto machine = CLI_TRY(Machine::open(options.where));
    const ObjectKind* kind = nullptr;
    for (const ObjectKind& candidate : object_kinds)
        if (candidate.name == options.kind) kind = &candidate;
    const auto found = CLI_TRY(select(*kind, selection));
    if (verb != "dump") {
        Json list = Json::array();
        for (const Object& object : found) list.push_back(object.description);
        if (options.json) fmt::print("{}\n", dump(selection.all || list.size() != 1 ? list : list[0]));
        if (!options.json)
            for (const Json& row : list) print_object(row);
        return 0;
    }
    for (const Object& object : found) {
        if (options.kind == "map") CLI_TRY(dump_map(object, options.json));
        if (options.kind == "prog") CLI_TRY(dump_prog(object, options.json));
        if (options.kind == "btf") CLI_TRY(dump_btf(object));
    }
    return 0;
}

}  // namespace anybpf::cli

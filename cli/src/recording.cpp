// SPDX-License-Identifier: Apache-2.0
#include "recording.hpp"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>
#include <memory>

#include "anybpf/base/fd.hpp"
#include "value.hpp"

namespace anybpf::cli {

namespace {

constexpr std::string_view beginning = R"({"recording":)";
constexpr u32 version = 1;
constexpr std::size_t insn_size = 8;
constexpr u32 log_size = 4U << 20;

// Reads the fields of one object. The first wrong one is kept, and what is read after it is nothing.
class Fields {
  public:
    Fields(const Json& object, std::string place, std::string& wrong)
        : object_(object), place_(std::move(place)), wrong_(wrong) {}

    template <class Number>
    void number(const char* key, Number& to, bool required = true) {
        const Json* value = find(key, required);
        if (value == nullptr) return;
        if (!value->is_number_unsigned() || value->get<u64>() > std::numeric_limits<Number>::max())
            return complain(key, fmt::format("is not a number of {} bits", 8 * sizeof(Number)));
        to = static_cast<Number>(value->get<u64>());
    }
    void text(const char* key, std::string& to, bool required = true) {
        const Json* value = find(key, required);
        if (value == nullptr) return;
        if (!value->is_string()) return complain(key, "is not text");
        to = value->get<std::string>();
        if (to.find('\0') != to.npos) complain(key, "has a NUL in it");
    }
    void bytes(const char* key, std::vector<std::byte>& to, bool required = true) {
        std::string digits;
        text(key, digits, required);
        if (digits.size() % 2 != 0 || digits.find_first_not_of("0123456789abcdef") != digits.npos)
            return complain(key, "is not bytes in hex");
        const auto half = [](char c) { return static_cast<unsigned>(c <= '9' ? c - '0' : c - 'a' + 10); };
        for (std::size_t i = 0; i < digits.size(); i += 2)
            to.push_back(static_cast<std::byte>(half(digits[i]) << 4U | half(digits[i + 1])));
    }
    const Json* find(const char* key, bool required) {
        if (!wrong_.empty()) return nullptr;
        const auto at = object_.find(key);
        if (at != object_.end()) return &*at;
        if (required) complain(key, "is missing");
        return nullptr;
    }
    void complain(std::string_view key, std::string_view what) {
        if (wrong_.empty()) wrong_ = fmt::format("'{}{}' {}", place_, key, what);
    }

  private:
    const Json& object_;
    std::string place_;
    std::string& wrong_;
};

RecordedMap read_map(const Json& object, const std::string& place, bool may_have_inner, std::string& wrong) {
    RecordedMap map;
    Fields fields(object, place + ".", wrong);
    if (!object.is_object()) {
        Fields(object, {}, wrong).complain(place, "is not an object");
        return map;
    }
    fields.text("name", map.name);
    fields.number("type", map.type);
    fields.number("key_size", map.key_size);
    fields.number("value_size", map.value_size);
    fields.number("max_entries", map.max_entries);
    fields.number("flags", map.flags);
    fields.number("extra", map.extra, false);
    fields.number("btf_key", map.btf_key, false);
    fields.number("btf_value", map.btf_value, false);
    fields.bytes("btf", map.btf, false);
    fields.bytes("frozen", map.frozen, false);
    if (!map.frozen.empty() && map.frozen.size() != map.value_size)
        fields.complain("frozen", fmt::format("has {} bytes, and a value {}", map.frozen.size(), map.value_size));
    if (const Json* inner = fields.find("inner", false)) {
        if (!may_have_inner)
            fields.complain("inner", "is within an inner map");
        else
            map.inner.push_back(read_map(*inner, place + ".inner", false, wrong));
    }
    return map;
}

RecordedProgram read_program(const Json& object, std::string& wrong) {
    RecordedProgram program;
    Fields fields(object, {}, wrong);
    u32 format = 0;
    fields.number("recording", format);
    if (format != version) fields.complain("recording", fmt::format("is {}; {} is known", format, version));
    fields.text("name", program.name);
    fields.number("type", program.type);
    fields.number("attach_type", program.attach_type);
    fields.number("attach_btf_id", program.attach_btf_id, false);
    fields.number("flags", program.flags, false);
    fields.text("license", program.license);
    fields.text("lacks", program.lacks, false);
    fields.bytes("btf", program.btf, false);
    fields.number("func_info_size", program.func_info_size, false);
    fields.bytes("func_info", program.func_info, false);
    fields.number("line_info_size", program.line_info_size, false);
    fields.bytes("line_info", program.line_info, false);
    fields.bytes("insns", program.insns);
    if (program.insns.empty() || program.insns.size() % insn_size != 0)
        fields.complain("insns", fmt::format("has {} bytes, which are no instructions", program.insns.size()));
    for (const auto& [key, size, bytes] : {std::tuple{"func_info", program.func_info_size, &program.func_info},
                                           std::tuple{"line_info", program.line_info_size, &program.line_info}})
        if (!bytes->empty() && (size == 0 || bytes->size() % size != 0))
            fields.complain(key, fmt::format("has {} bytes in records of {}", bytes->size(), size));
    if (const Json* maps = fields.find("maps", true)) {
        if (!maps->is_array()) fields.complain("maps", "is not an array");
        for (std::size_t i = 0; wrong.empty() && i < maps->size(); ++i)
            program.maps.push_back(read_map((*maps)[i], fmt::format("maps[{}]", i), true, wrong));
    }
    return program;
}

// --- loading

Fd load_types(const std::vector<std::byte>& types) {
    if (types.empty()) return {};
    return Fd(::bpf_btf_load(types.data(), types.size(), nullptr));
}

Fd create_map(const RecordedMap& map, std::string& trouble) {
    const auto stop = [&](std::string_view what) {
        trouble = fmt::format("map '{}' {} ({})", map.name, what, std::strerror(errno));
        return Fd();
    };
    Fd inner;
    if (!map.inner.empty() && !(inner = create_map(map.inner.front(), trouble)).valid()) return {};
    const Fd types = load_types(map.btf);
    if (!map.btf.empty() && !types.valid()) return stop("has types that are not accepted");
    LIBBPF_OPTS(bpf_map_create_opts, options);
    options.map_flags = map.flags;
    options.map_extra = map.extra;
    if (types.valid()) {
        options.btf_fd = static_cast<u32>(types.get());
        options.btf_key_type_id = map.btf_key;
        options.btf_value_type_id = map.btf_value;
    }
    if (inner.valid()) options.inner_map_fd = static_cast<u32>(inner.get());
    Fd made(::bpf_map_create(static_cast<bpf_map_type>(map.type), map.name.c_str(), map.key_size, map.value_size,
                             map.max_entries, &options));
    if (!made.valid()) return stop("cannot be created");
    const u32 first = 0;
    if (!map.frozen.empty() &&
        (::bpf_map_update_elem(made.get(), &first, map.frozen.data(), 0) != 0 || ::bpf_map_freeze(made.get()) != 0))
        return stop("cannot be frozen");
    return made;
}

}  // namespace

bool is_recording(const std::string& path) {
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    std::array<char, beginning.size()> bytes{};
    return file.valid() && ::read(file.get(), bytes.data(), bytes.size()) == std::ssize(bytes) &&
           std::string_view(bytes.data(), bytes.size()) == beginning;
}

Outcome<std::vector<RecordedProgram>> read_recording(const std::string& path, std::string_view text) {
    std::vector<RecordedProgram> programs;
    for (u32 line = 1; !text.empty(); ++line) {
        const auto end = std::min(text.find('\n'), text.size());
        const std::string_view row = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        const Json object = Json::parse(row, nullptr, false);
        std::string wrong;
        if (object.is_object())
            programs.push_back(read_program(object, wrong));
        else
            wrong = "no JSON object; a recording has one a line";
        if (!wrong.empty()) return stop(Exit::truncated, fmt::format("{}:{}: {}", path, line, wrong));
    }
    if (programs.empty()) return stop(Exit::truncated, fmt::format("{}: no program is in it", path));
    return programs;
}

RecordedLoad load_recorded(const RecordedProgram& program, u32 log_level) {
    RecordedLoad result;
    if (!program.lacks.empty()) {
        result.error = EINVAL;
        result.trouble = fmt::format("it was not recorded whole: {}", program.lacks);
        return result;
    }
    std::vector<Fd> maps;
    std::vector<int> places;
    for (const RecordedMap& map : program.maps) {
        maps.push_back(create_map(map, result.trouble));
        if (!maps.back().valid()) {
            result.error = errno;
            return result;
        }
        places.push_back(maps.back().get());
    }
    const Fd types = load_types(program.btf);
    if (!program.btf.empty() && !types.valid()) {
        result.error = errno;
        result.trouble = fmt::format("its types are not accepted ({})", std::strerror(errno));
        return result;
    }
    const auto log = std::make_unique_for_overwrite<char[]>(log_size);
    log[0] = '\0';
    LIBBPF_OPTS(bpf_prog_load_opts, options);
    options.expected_attach_type = static_cast<bpf_attach_type>(program.attach_type);
    options.attach_btf_id = program.attach_btf_id;
    options.prog_flags = program.flags;
    options.fd_array = places.data();
    options.log_level = log_level;
    options.log_size = log_size;
    options.log_buf = log.get();
    if (types.valid()) {
        options.prog_btf_fd = static_cast<u32>(types.get());
        options.func_info = program.func_info.data();
        options.func_info_rec_size = program.func_info_size;
        options.func_info_cnt =
            program.func_info.empty() ? 0 : static_cast<u32>(program.func_info.size()) / program.func_info_size;
        options.line_info = program.line_info.data();
        options.line_info_rec_size = program.line_info_size;
        options.line_info_cnt =
            program.line_info.empty() ? 0 : static_cast<u32>(program.line_info.size()) / program.line_info_size;
    }
    std::vector<bpf_insn> insns(program.insns.size() / insn_size);
    std::memcpy(insns.data(), program.insns.data(), program.insns.size());
    const Fd loaded(::bpf_prog_load(static_cast<bpf_prog_type>(program.type), program.name.c_str(),
                                    program.license.c_str(), insns.data(), insns.size(), &options));
    result.error = loaded.valid() ? 0 : errno;
    result.log = log.get();
    return result;
}

}  // namespace anybpf::cli

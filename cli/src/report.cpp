// SPDX-License-Identifier: Apache-2.0
#include "report.hpp"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <numeric>

#include "anybpf/abi/types.hpp"

namespace anybpf::cli {

namespace {

constexpr std::string_view event_prefix = "anybpf_event_", map_prefix = "anybpf_map_";

std::size_t round8(std::size_t size) { return (size + 7) / 8 * 8; }

std::string_view text(Bytes bytes) {
    const std::string_view all(static_cast<const char*>(static_cast<const void*>(bytes.data())), bytes.size());
    return all.substr(0, all.find('\0'));
}

std::string map_type_name(const bpf_map* map) {
    return std::string(abi::to_string(static_cast<abi::MapType>(bpf_map__type(map))));
}

// Numbers are added, members of structs one by one; what is no number is the first one's.
Json sum(const Json& left, const Json& right) {
    if (left.is_number() && right.is_number()) {
        if (left.is_number_float() || right.is_number_float()) return left.get<double>() + right.get<double>();
        if (left.is_number_unsigned() && right.is_number_unsigned()) return left.get<u64>() + right.get<u64>();
        return left.get<i64>() + right.get<i64>();
    }
    if (left.is_structured() && left.type() == right.type() && left.size() == right.size()) {
        Json result = left;
        auto from = right.begin();
        for (Json& member : result) member = sum(member, *from++);
        return result;
    }
    return left;
}

bool all_zero(Bytes bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte == std::byte{}; });
}

// A path of members through a value: "args.path"; null where it leads nowhere.
const Json* walk(const Json& value, std::string_view path) {
    const Json* at = &value;
    while (!path.empty()) {
        const auto dot = path.find('.');
        const std::string name(path.substr(0, dot));
        if (!at->is_object() || !at->contains(name)) return nullptr;
        at = &(*at)[name];
        path = dot == path.npos ? std::string_view() : path.substr(dot + 1);
    }
    return at;
}

// The bytes of a field, where it starts at a byte; for kinds that look at bytes.
Bytes field_bytes(const btf::Btf& btf, u32 type, std::string_view path, Bytes bytes) {
    if (path.empty()) return bytes;
    const auto field = btf.find_member(type, path);
    if (!field || field->bit_offset % 8 != 0 || field->bit_offset / 8 > bytes.size()) return {};
    const std::size_t start = field->bit_offset / 8;
    return bytes.subspan(start, std::min<std::size_t>(btf.size(field->type).value_or(0), bytes.size() - start));
}

}  // namespace

std::string map_name(const bpf_map* map) {
    const std::string name = bpf_map__name(map);
    return bpf_map__is_internal(map) && name.find('.') != name.npos ? name.substr(name.find('.')) : name;
}

bool is_per_cpu(const bpf_map* map) {
    const auto type = bpf_map__type(map);
    return type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_PERCPU_HASH ||
           type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

bool holds_values(const bpf_map* map) {
    constexpr abi::MapType types[] = {abi::MapType::hash,         abi::MapType::array,    abi::MapType::percpu_hash,
                                      abi::MapType::percpu_array, abi::MapType::lru_hash, abi::MapType::lru_percpu_hash,
                                      abi::MapType::lpm_trie};
    if (std::find(std::begin(types), std::end(types), static_cast<abi::MapType>(bpf_map__type(map))) == std::end(types))
        return false;
    const std::string name = map_name(map);
    return !name.starts_with(".rodata") && name != ".kconfig";
}

Outcome<Report> Report::open(const ObjectFile& file, const Loaded& loaded, std::FILE* out, bool json) {
    Report report(loaded, out, json);
    for (const Symbol& symbol : file.symbols()) {
        const bool event = symbol.name.starts_with(event_prefix);
        if (file.sections()[symbol.section].name != ".anybpf.output" ||
            (!event && !symbol.name.starts_with(map_prefix)) || !report.btf_)
            continue;
        const btf::Btf& btf = *report.btf_;
        const auto variable = btf.find(symbol.name, btf::Kind::var);
        if (!variable) continue;
        const btf::Type type = btf.type(btf.skip_modifiers(btf.type(*variable).target()));
        const auto bytes = file.variable(symbol.name);
        const auto format = btf.find_member(type.id, "format");
        if (!format || format->bit_offset / 8 > bytes.size()) continue;
        MapOutput output;
        if (const auto member = btf.find_member(type.id, "event"); event && member)
            output.event_type = btf.array_info(btf.type(btf.skip_modifiers(member->type))).element;
        auto parsed = OutputFormat::parse(text(bytes.subspan(format->bit_offset / 8)));
        if (!parsed)
            return stop(Exit::not_bpf, fmt::format("{}: the output format of '{}': {}", file.path(),
                                                   symbol.name.substr(event ? event_prefix.size() : map_prefix.size()),
                                                   parsed.error().message));
        output.format = std::move(*parsed);
        for (const Column& column : output.format.columns)
            if (event && !btf.find_member(output.event_type, column.field))
                return stop(Exit::not_bpf,
                            fmt::format("{}: the output format of '{}': its records have no member '{}'", file.path(),
                                        symbol.name.substr(event_prefix.size()), column.field));
        if (event)
            report.events_[symbol.name.substr(event_prefix.size())] = std::move(output);
        else
            report.maps_[symbol.name.substr(map_prefix.size())] = std::move(output);
    }
    return report;
}

void Report::print(const std::string& line) {
    ++printed_;
    std::fwrite(line.data(), 1, line.size(), out_);
    std::fputc('\n', out_);
}

// A record whose program says nothing of it: the one struct of the object that is called event, event_t or
// something_event and is as large.
u32 Report::guess_event_type(std::size_t size, bool padded) const {
    u32 found = 0;
    if (!btf_) return 0;
    for (u32 id = 1; id < btf_->count(); ++id) {
        const btf::Type type = btf_->type(id);
        if (type.kind != btf::Kind::struct_ ||
            !(type.name == "event" || type.name == "event_t" || type.name.ends_with("_event")))
            continue;
        const std::size_t wanted = btf_->size(id).value_or(0);
        if (wanted > size || (padded ? size - wanted >= 8 : size != wanted)) continue;
        if (found) return 0;
        found = id;
    }
    return found;
}

void Report::event(const std::string& map, Bytes record, bool padded) {
    MapOutput& output = events_[map];
    if (!output.event_type) {
        output.event_type = guess_event_type(record.size(), padded);
        if (output.event_type) output.format = OutputFormat::of_members(*btf_, output.event_type);
    }
    if (!output.event_type) {
        if (json_)
            print(dump(Json{{"buffer", map}, {"bytes", hex(record)}}));
        else
            print(fmt::format("{}: {}", map, hex(record)));
        return;
    }
    Json value = to_json(*btf_, output.event_type, record);
    if (json_) {
        print(dump(Json{{"buffer", map}, {"event", std::move(value)}}));
        return;
    }
    if (!std::exchange(output.heading_printed, true))
        if (const auto heading = output.format.heading()) print(*heading);
    std::vector<std::string> cells;
    for (const Column& column : output.format.columns) {
        const Json* field = walk(value, column.field);
        cells.push_back(
            show(column.kind, field ? *field : Json(), field_bytes(*btf_, output.event_type, column.field, record)));
    }
    print(output.format.line(cells));
}

void Report::printk(std::string_view comm, u32 pid, std::string_view line) {
    if (json_)
        print(dump(Json{{"printk", std::string(line)}, {"comm", std::string(comm)}, {"pid", pid}}));
    else
        print(fmt::format("{}-{}: {}", comm, pid, line));
}

void Report::lost(const std::string& map, u64 count) {
    if (json_)
        print(dump(Json{{"buffer", map}, {"lost", count}}));
    else
        fmt::print(stderr, "anybpf: {}: {} records lost\n", map, count);
}

Json Report::value_json(u32 type, Bytes bytes) const {
    return btf_ && type ? to_json(*btf_, type, bytes) : to_json_untyped(bytes);
}

Outcome<> Report::map(const bpf_map* map) {
    const int fd = bpf_map__fd(map);
    const int cpus = is_per_cpu(map) ? libbpf_num_possible_cpus() : 1;
    const std::size_t value_size = is_per_cpu(map)
                                       ? round8(bpf_map__value_size(map)) * static_cast<std::size_t>(std::max(cpus, 1))
                                       : bpf_map__value_size(map);
    std::vector<Entry> entries;
    std::vector<std::byte> key(bpf_map__key_size(map)), next(key.size());
    // Bounded, for others may go on writing: more keys than the map holds mean that the walk started again.
    for (const void* from = nullptr;
         entries.size() < bpf_map__max_entries(map) && bpf_map_get_next_key(fd, from, next.data()) == 0;
         from = key.data()) {
        key = next;
        Entry entry{key, std::vector<std::byte>(value_size)};
        if (bpf_map_lookup_elem(fd, key.data(), entry.value.data()) == 0) entries.push_back(std::move(entry));
    }
    if (const auto output = maps_.find(bpf_map__name(map)); output != maps_.end() && !json_)
        print_by_format(map, entries, output->second);
    else
        print_all(map, entries);
    return {};
}

void Report::print_by_format(const bpf_map* map, const std::vector<Entry>& entries, MapOutput& output) {
    struct Row {
        double rank = 0;
        std::vector<std::string> cells;
    };
    const u32 key_type = bpf_map__btf_key_type_id(map), value_type = bpf_map__btf_value_type_id(map);
    const std::size_t one = is_per_cpu(map) ? round8(bpf_map__value_size(map)) : bpf_map__value_size(map);
    const bool array = bpf_map__type(map) == BPF_MAP_TYPE_ARRAY || bpf_map__type(map) == BPF_MAP_TYPE_PERCPU_ARRAY;
    std::vector<Row> rows;
    for (const Entry& entry : entries) {
        if (array && all_zero(entry.value)) continue;  // never written
        const Json key = value_json(key_type, entry.key);
        Json value;
        for (std::size_t at = 0; at + one <= entry.value.size(); at += one) {
            Json part = value_json(value_type, Bytes(entry.value).subspan(at, bpf_map__value_size(map)));
            value = at == 0 ? std::move(part) : sum(value, part);
        }
        Row row;
        bool ranked = false;
        for (const Column& column : output.format.columns) {
            std::string_view path = column.field;
            const bool of_key = path == "key" || path.starts_with("key."),
                       of_value = path == "value" || path.starts_with("value.");
            if (of_key || of_value)
                path.remove_prefix(
                    std::min(path.size(), path.find('.') == path.npos ? path.size() : path.find('.') + 1));
            const Json* field = of_key ? walk(key, path) : walk(value, path);
            bool from_key = of_key;
            if (!field && !of_key && !of_value) {
                field = walk(key, path);
                from_key = true;
            }
            if (field && field->is_number() && !from_key && !ranked) {
                row.rank = field->get<double>();
                ranked = true;
            }
            const u32 type = from_key ? key_type : value_type;
            const Bytes bytes = from_key ? Bytes(entry.key) : Bytes(entry.value).first(one);
            row.cells.push_back(show(column.kind, field ? *field : Json(),
                                     btf_ && type ? field_bytes(*btf_, type, path, bytes) : bytes));
        }
        rows.push_back(std::move(row));
    }
    if (!array) std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.rank > b.rank; });
    if (printed_) print("");
    if (const auto heading = output.format.heading()) print(*heading);
    for (const Row& row : rows) print(output.format.line(row.cells));
}

void Report::print_all(const bpf_map* map, const std::vector<Entry>& entries) {
    const u32 key_type = bpf_map__btf_key_type_id(map), value_type = bpf_map__btf_value_type_id(map);
    const std::size_t size = bpf_map__value_size(map), one = is_per_cpu(map) ? round8(size) : size;
    Json list = Json::array();
    for (const Entry& entry : entries) {
        Json row{{"key", value_json(key_type, entry.key)}};
        if (is_per_cpu(map)) {
            Json values = Json::array();
            for (std::size_t at = 0; at + one <= entry.value.size(); at += one)
                values.push_back(value_json(value_type, Bytes(entry.value).subspan(at, size)));
            const Json total = std::accumulate(values.begin() + 1, values.end(), values.front(), sum);
            row["values"] = std::move(values);
            if (total.is_number() || !json_) row["sum"] = total;
        } else {
            row["value"] = value_json(value_type, entry.value);
        }
        list.push_back(std::move(row));
    }
    if (json_) {
        print(dump(Json{{"map", map_name(map)}, {"type", map_type_name(map)}, {"entries", std::move(list)}}));
        return;
    }
    if (printed_) print("");
    print(fmt::format("map {} ({}, {} of at most {})", map_name(map), map_type_name(map), entries.size(),
                      bpf_map__max_entries(map)));
    for (const Json& row : list)
        print(fmt::format("  {}: {}", to_text(row["key"]), to_text(row.contains("sum") ? row["sum"] : row["value"])));
}

}  // namespace anybpf::cli

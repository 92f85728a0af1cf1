// SPDX-License-Identifier: Apache-2.0
// What a run prints: records of ring and perf buffers as they come, lines of bpf_printk, maps at the end.
#pragma once

#include <cstdio>
#include <map>
#include <string>

#include "loader.hpp"
#include "output_format.hpp"

namespace anybpf::cli {

// What an object says of the output of one map.
struct MapOutput {
    u32 event_type = 0;  // of its records, in the object's BTF; 0: not known
    OutputFormat format;
    bool heading_printed = false;
};

class Report {
  public:
    // Reads what the object says (ANYBPF_EVENT, ANYBPF_MAP); a malformed format is an error with the variable's name.
    static Outcome<Report> open(const ObjectFile& file, const Loaded& loaded, std::FILE* out, bool json);

    void event(const std::string& map, Bytes record, bool padded);  // padded: a perf record, with up to 7 bytes more
    void printk(std::string_view comm, u32 pid, std::string_view text);
    void lost(const std::string& map, u64 count);
    // A map's contents: by its format where it has one, otherwise all of it; each key and value by BTF.
    Outcome<> map(const bpf_map* map);

    bool has_map_format(const std::string& map) const { return maps_.contains(map); }
    u64 printed() const { return printed_; }
    void flush() { std::fflush(out_); }
    bool broken() const { return std::ferror(out_) != 0; }

  private:
    struct Entry {
        std::vector<std::byte> key, value;  // value: of one CPU after the other, each rounded up to 8
    };
    Report(const Loaded& loaded, std::FILE* out, bool json) : btf_(loaded.btf()), out_(out), json_(json) {}
    void print(const std::string& line);
    u32 guess_event_type(std::size_t size, bool padded) const;
    void print_by_format(const bpf_map* map, const std::vector<Entry>& entries, MapOutput& output);
    void print_all(const bpf_map* map, const std::vector<Entry>& entries);
    Json value_json(u32 type, Bytes bytes) const;

    std::shared_ptr<const btf::Btf> btf_;
    std::FILE* out_;
    bool json_;
    std::map<std::string, MapOutput> events_, maps_;
    u64 printed_ = 0;
};

std::string map_name(const bpf_map* map);  // ".bss" where libbpf says "object.bss"
bool is_per_cpu(const bpf_map* map);
bool holds_values(const bpf_map* map);  // not a ring buffer, a perf event array, a table of programs...

}  // namespace anybpf::cli

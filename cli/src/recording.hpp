// SPDX-License-Identifier: Apache-2.0
// Programs as a tool handed them to bpf(2), kept in a file of ours: docs/formats/recording.md. Reading checks every
// field, so that a damaged file gets a message with its line and the field's name; what the fields mean to BPF is the
// kernel's to judge.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "failure.hpp"

namespace anybpf::cli {

struct RecordedMap {
    std::string name;
    u32 type = 0, key_size = 0, value_size = 0, max_entries = 0, flags = 0, btf_key = 0, btf_value = 0;
    u64 extra = 0;
    std::vector<std::byte> btf;      // empty: without types
    std::vector<std::byte> frozen;   // the only value of a frozen array; empty: not frozen
    std::vector<RecordedMap> inner;  // of a map of maps: what its maps are like
};

struct RecordedProgram {
    std::string name, license;
    std::string lacks;  // why it cannot be loaded again; empty: it can
    u32 type = 0, attach_type = 0, attach_btf_id = 0, flags = 0, func_info_size = 0, line_info_size = 0;
    std::vector<std::byte> insns;  // maps by their place in `maps`
    std::vector<std::byte> btf, func_info, line_info;
    std::vector<RecordedMap> maps;
};

// Whether a file begins like one.
bool is_recording(const std::string& path);
// Exit::truncated, with the line and the field. path: for messages.
Outcome<std::vector<RecordedProgram>> read_recording(const std::string& path, std::string_view text);

struct RecordedLoad {
    int error = 0;        // errno; 0: it was loaded
    std::string log;      // the verifier's
    std::string trouble;  // what failed before the program was loaded: a map, its types
};
// Its maps and the program, by bpf(2); nothing of it is left.
RecordedLoad load_recorded(const RecordedProgram& program, u32 log_level);

}  // namespace anybpf::cli

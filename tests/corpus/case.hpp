// SPDX-License-Identifier: Apache-2.0
// A case of the corpus: a text file of sections, each a line `-- key: value` or `-- key` and the lines after it.
//
//   -- about: what it shows         -- asm      eBPF assembler          -- classic  classic assembler
//   -- raw    hex bytes             -- mem: hex bytes that r1 points to, r2 long
//   -- type: program type           -- map: TYPE KEY VALUE ENTRIES, one line a map, for the verifier
//   -- stack: bytes that the program may have, instead of the kernel's 512
//   -- verdict: accept | reject FINDING    of the verifier; without it the program runs unverified
//   -- defect: NAME     of isa::check       -- error: part of the assembler's or the lowering's message
//   -- result: r0       -- kernel: no, why  (the live kernel is not asked)
//   -- seed: of the inputs of a case of tests/differential
//   -- disasm, -- log   golden text, rewritten by `anybpf-corpus --bless`
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "anybpf/base/result.hpp"

namespace anybpf::corpus {

struct Section {
    std::string key, value;  // value: behind the colon, or the lines, each with its newline
    bool lines = false;
};

struct Case {
    std::filesystem::path path;
    std::string area, name;
    std::vector<Section> sections;

    const std::string* find(std::string_view key) const;
    std::vector<std::string> all(std::string_view key) const;
    // Replaces the value; false when there is no such section.
    bool set(std::string_view key, std::string value);
    Result<> write() const;
};

Result<Case> read_case(const std::filesystem::path& path);
Result<std::vector<std::byte>> parse_hex(std::string_view text);
Result<u64> parse_number(std::string_view text);

}  // namespace anybpf::corpus

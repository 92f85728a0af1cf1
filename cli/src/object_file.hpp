// SPDX-License-Identifier: Apache-2.0
// A BPF object as we see it before libbpf does: sections, symbols and programs, read with every offset checked, so that
// a damaged file or a misspelt section gets a message of ours. Loading and relocation are libbpf's.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "failure.hpp"

namespace anybpf::cli {

struct Section {
    std::string name;
    u32 type = 0;
    u64 flags = 0;
    std::span<const std::byte> bytes;  // of the object's own copy of the file; empty for SHT_NOBITS
};

struct Symbol {
    std::string name;
    u32 section = 0;  // index into sections()
    u64 offset = 0;   // in its section
    u64 size = 0;
    bool function = false, global = false, weak = false;
};

// A function that libbpf takes for a program.
struct ProgramSymbol {
    std::string section, name;
    std::span<const std::byte> code;
};

class ObjectFile {
  public:
    static Outcome<ObjectFile> open(const std::string& path);
    // A PROG as run, verify and exec take it: an object, C that is compiled first, or the name of a program that ships.
    static Outcome<ObjectFile> of_program(const std::string& program, const std::vector<std::string>& clang);
    // What libbpf should call it: the file's name without folder and endings.
    std::string name() const;

    const std::string& path() const { return path_; }
    const std::vector<std::byte>& bytes() const { return bytes_; }
    const std::vector<Section>& sections() const { return sections_; }
    const std::vector<Symbol>& symbols() const { return symbols_; }
    const Section* section(std::string_view name) const;
    std::vector<ProgramSymbol> programs() const;
    // The bytes of a variable, by name; empty when it is not there.
    std::span<const std::byte> variable(std::string_view name) const;

  private:
    static Outcome<ObjectFile> from_bytes(const std::string& path, std::vector<std::byte> bytes);
    Result<> read();
    std::string path_;
    std::vector<std::byte> bytes_;
    std::vector<Section> sections_;
    std::vector<Symbol> symbols_;
};

// The whole of a file, or why not (Exit::missing).
Outcome<std::vector<std::byte>> read_file(const std::string& path);

}  // namespace anybpf::cli

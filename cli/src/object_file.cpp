// SPDX-License-Identifier: Apache-2.0
#include "object_file.hpp"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "anybpf/base/bytes.hpp"
#include "anybpf/base/fd.hpp"
#include "compile.hpp"
#include "paths.hpp"

namespace anybpf::cli {

Outcome<std::vector<std::byte>> read_file(const std::string& path) {
    const Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    struct stat info{};
    if (!file.valid() || ::fstat(file.get(), &info) != 0)
        return stop(Exit::missing, fmt::format("{}: {}", path, std::strerror(errno)));
    if (S_ISDIR(info.st_mode)) return stop(Exit::missing, fmt::format("{}: is a directory", path));
    std::vector<std::byte> bytes;
    std::array<std::byte, 65536> part;
    for (ssize_t got; (got = ::read(file.get(), part.data(), part.size())) != 0;) {
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return stop(Exit::missing, fmt::format("{}: {}", path, std::strerror(errno)));
        bytes.insert(bytes.end(), part.begin(), part.begin() + got);
    }
    return bytes;
}

Outcome<ObjectFile> ObjectFile::open(const std::string& path) { return from_bytes(path, CLI_TRY(read_file(path))); }

Outcome<ObjectFile> ObjectFile::of_program(const std::string& program, const std::vector<std::string>& clang) {
    std::string file = program;
    if (::access(program.c_str(), F_OK) != 0)
        if (const std::string shipped = shipped_program(program); !shipped.empty()) file = shipped;
    if (!file.ends_with(".c")) return open(file);
    return from_bytes(
        file,
        CLI_TRY(compile_to_memory({.source = file, .output = {}, .includes = {}, .defines = {}, .clang = clang})));
}

std::string ObjectFile::name() const {
    const std::string file = path_.substr(path_.rfind('/') + 1);
    return file.substr(0, file.find('.'));
}

Outcome<ObjectFile> ObjectFile::from_bytes(const std::string& path, std::vector<std::byte> contents) {
    ObjectFile object;
    object.path_ = path;
    object.bytes_ = std::move(contents);
    const auto& bytes = object.bytes_;
    const std::size_t magic_size = std::min<std::size_t>(bytes.size(), SELFMAG);
    if (magic_size == 0 || std::memcmp(bytes.data(), ELFMAG, magic_size) != 0)
        return stop(Exit::not_bpf, fmt::format("{}: not an ELF object{}", path,
                                               path.ends_with(".c") ? " (a C program's name ends in .bpf.c)" : ""));
    if (bytes.size() >= sizeof(Elf64_Ehdr)) {
        Elf64_Ehdr header;
        std::memcpy(&header, bytes.data(), sizeof(header));
        if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_BPF || header.e_type != ET_REL)
            return stop(
                Exit::not_bpf,
                fmt::format(
                    "{}: an ELF file, but not a BPF object (machine {}, wanted {}); compile with anybpf compile", path,
                    header.e_machine, EM_BPF));
        if (header.e_ident[EI_DATA] != ELFDATA2LSB)
            return stop(Exit::not_bpf, fmt::format("{}: a big-endian BPF object; this machine is little-endian", path));
    }
    if (auto read = object.read(); !read)
        return stop(Exit::truncated, fmt::format("{}: damaged BPF object: {}", path, read.error().message));
    return object;
}

Result<> ObjectFile::read() {
    const ByteReader file(bytes_);
    const auto table = [&](u64 offset, u64 size) { return file.slice(offset, size); };
    ByteReader head(bytes_);
    const auto header = ANYBPF_TRY(head.take<Elf64_Ehdr>());
    if (header.e_shentsize != sizeof(Elf64_Shdr) || header.e_shnum == 0)
        return fail(Errc::malformed, "no section headers");

    std::vector<Elf64_Shdr> headers;
    ByteReader rows(ANYBPF_TRY(table(header.e_shoff, u64{header.e_shnum} * sizeof(Elf64_Shdr))));
    for (unsigned i = 0; i < header.e_shnum; ++i) headers.push_back(ANYBPF_TRY(rows.take<Elf64_Shdr>()));
    if (header.e_shstrndx >= headers.size()) return fail(Errc::malformed, "no section names");

    const auto names = ANYBPF_TRY(table(headers[header.e_shstrndx].sh_offset, headers[header.e_shstrndx].sh_size));
    for (const Elf64_Shdr& row : headers) {
        Section section{.name = std::string(ANYBPF_TRY(ByteReader(names).text_at(row.sh_name))),
                        .type = row.sh_type,
                        .flags = row.sh_flags,
                        .bytes = {}};
        if (row.sh_type != SHT_NOBITS && row.sh_type != SHT_NULL) {
            auto bytes = table(row.sh_offset, row.sh_size);
            if (!bytes)
                return fail(Errc::truncated, fmt::format("section '{}' ends at {}, the file at {}", section.name,
                                                         row.sh_offset + row.sh_size, bytes_.size()));
            section.bytes = *bytes;
        }
        sections_.push_back(std::move(section));
    }
    for (std::size_t i = 0; i < headers.size(); ++i) {
        if (headers[i].sh_type != SHT_SYMTAB) continue;
        if (headers[i].sh_link >= sections_.size()) return fail(Errc::malformed, "the symbol table has no names");
        const ByteReader text(sections_[headers[i].sh_link].bytes);
        ByteReader rest(sections_[i].bytes);
        while (rest.remaining() >= sizeof(Elf64_Sym)) {
            const auto row = ANYBPF_TRY(rest.take<Elf64_Sym>());
            if (row.st_shndx >= sections_.size()) continue;  // absolute; undefined ones have section 0
            symbols_.push_back({.name = std::string(ANYBPF_TRY(text.text_at(row.st_name))),
                                .section = row.st_shndx,
                                .offset = row.st_value,
                                .size = row.st_size,
                                .function = ELF64_ST_TYPE(row.st_info) == STT_FUNC,
                                .global = ELF64_ST_BIND(row.st_info) != STB_LOCAL,
                                .weak = ELF64_ST_BIND(row.st_info) == STB_WEAK});
        }
    }
    return {};
}

const Section* ObjectFile::section(std::string_view name) const {
    for (const Section& section : sections_)
        if (section.name == name) return &section;
    return nullptr;
}

std::vector<ProgramSymbol> ObjectFile::programs() const {
    std::vector<ProgramSymbol> programs;
    for (const Symbol& symbol : symbols_) {
        const Section& section = sections_[symbol.section];
        if (!symbol.function || !symbol.global || !(section.flags & SHF_EXECINSTR) || section.name == ".text") continue;
        if (symbol.offset > section.bytes.size() || symbol.size > section.bytes.size() - symbol.offset) continue;
        programs.push_back({section.name, symbol.name, section.bytes.subspan(symbol.offset, symbol.size)});
    }
    return programs;
}

std::span<const std::byte> ObjectFile::variable(std::string_view name) const {
    for (const Symbol& symbol : symbols_) {
        const auto bytes = sections_[symbol.section].bytes;
        if (symbol.name == name && symbol.offset <= bytes.size() && symbol.size <= bytes.size() - symbol.offset)
            return bytes.subspan(symbol.offset, symbol.size);
    }
    return {};
}

}  // namespace anybpf::cli

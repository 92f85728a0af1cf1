// SPDX-License-Identifier: Apache-2.0
// anybpf asm and disasm: text to bytes and back, for objects and for raw instructions.
#include <elf.h>
#include <fmt/format.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iterator>

#include "anybpf/abi/helper.hpp"
#include "anybpf/isa/text.hpp"
#include "commands.hpp"
#include "object_file.hpp"
#include "value.hpp"

namespace anybpf::cli {

namespace {

struct Function {
    std::string section, name;
    Bytes code;
};

// All functions of an object, or the file's bytes as one without a name.
Outcome<std::vector<Function>> functions(const std::vector<std::byte>& bytes, const ObjectFile* object,
                                         const std::string& path) {
    std::vector<Function> found;
    if (!object) {
        if (bytes.empty() || bytes.size() % sizeof(isa::Insn) != 0)
            return stop(Exit::not_bpf,
                        fmt::format("{}: neither an object nor a whole number of 8-byte instructions ({} bytes)", path,
                                    bytes.size()));
        found.push_back({"", "", bytes});
        return found;
    }
    for (const Symbol& symbol : object->symbols()) {
        const Section& section = object->sections()[symbol.section];
        if (!symbol.function || !(section.flags & SHF_EXECINSTR) || symbol.offset > section.bytes.size() ||
            symbol.size > section.bytes.size() - symbol.offset)
            continue;
        found.push_back({section.name, symbol.name, section.bytes.subspan(symbol.offset, symbol.size)});
    }
    if (found.empty()) return stop(Exit::not_bpf, fmt::format("{}: there is no function in it", path));
    return found;
}

std::string_view helper_name(u32 id) { return id < abi::helper_count ? abi::helper_name(id) : std::string_view(); }

std::optional<u32> helper_number(std::string_view name) {
    if (name.starts_with("bpf_")) name.remove_prefix(4);
    const auto id = abi::helper_by_name(name);
    return id ? std::optional(static_cast<u32>(*id)) : std::nullopt;
}

// An object with one program and a licence, as libbpf wants it: section headers, two names a section, one symbol.
class ObjectWriter {
  public:
    std::vector<std::byte> write(const AsmOptions& options, Bytes code) {
        bytes_.resize(sizeof(Elf64_Ehdr));
        const u32 program = add(options.section, SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, code, 8);
        const std::string license = options.license + '\0';
        add("license", SHT_PROGBITS, SHF_ALLOC | SHF_WRITE, std::as_bytes(std::span(license)), 1);
        std::string symbol_names{'\0'};
        Elf64_Sym symbols[2]{};
        symbols[1].st_name = static_cast<u32>(symbol_names.size());
        symbol_names += options.name + '\0';
        symbols[1].st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC);
        symbols[1].st_shndx = static_cast<u16>(program);
        symbols[1].st_size = code.size();
        const u32 names = add(".strtab", SHT_STRTAB, 0, std::as_bytes(std::span(symbol_names)), 1);
        const u32 table = add(".symtab", SHT_SYMTAB, 0, std::as_bytes(std::span(symbols)), 8);
        headers_[table].sh_link = names;
        headers_[table].sh_info = 1;  // the first symbol that is not local
        headers_[table].sh_entsize = sizeof(Elf64_Sym);
        const u32 last = add(".shstrtab", SHT_STRTAB, 0, {}, 1);
        headers_[last].sh_size = section_names_.size();
        append(std::as_bytes(std::span(section_names_)), 1);

        Elf64_Ehdr header{};
        std::memcpy(header.e_ident, ELFMAG, SELFMAG);
        header.e_ident[EI_CLASS] = ELFCLASS64;
        header.e_ident[EI_DATA] = ELFDATA2LSB;
        header.e_ident[EI_VERSION] = EV_CURRENT;
        header.e_type = ET_REL;
        header.e_machine = EM_BPF;
        header.e_version = EV_CURRENT;
        header.e_ehsize = sizeof(Elf64_Ehdr);
        header.e_shentsize = sizeof(Elf64_Shdr);
        header.e_shnum = static_cast<u16>(headers_.size());
        header.e_shstrndx = static_cast<u16>(last);
        header.e_shoff = append(std::as_bytes(std::span(headers_)), 8);
        std::memcpy(bytes_.data(), &header, sizeof(header));
        return std::move(bytes_);
    }

  private:
    u64 append(Bytes part, std::size_t alignment) {
        bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment);
        bytes_.insert(bytes_.end(), part.begin(), part.end());
        return bytes_.size() - part.size();
    }
    u32 add(const std::string& name, u32 type, u64 flags, Bytes contents, std::size_t alignment) {
        Elf64_Shdr header{};
        header.sh_name = static_cast<u32>(section_names_.size());
        header.sh_type = type;
        header.sh_flags = flags;
        header.sh_offset = append(contents, alignment);
        header.sh_size = contents.size();
        header.sh_addralign = alignment;
        section_names_ += name + '\0';
        headers_.push_back(header);
        return static_cast<u32>(headers_.size() - 1);
    }
    std::vector<std::byte> bytes_;
    std::vector<Elf64_Shdr> headers_{Elf64_Shdr{}};
    std::string section_names_{'\0'};
};

Outcome<> write_file(const std::string& path, Bytes bytes) {
    const bool standard = path == "-";
    std::FILE* out = standard ? stdout : std::fopen(path.c_str(), "wbe");
    if (!out) return stop(Exit::failed, fmt::format("{}: {}", path, std::strerror(errno)));
    const bool good = std::fwrite(bytes.data(), 1, bytes.size(), out) == bytes.size() && std::fflush(out) == 0;
    if (!standard) std::fclose(out);
    if (good) return {};
    return stop(Exit::failed, fmt::format("{}: {}", path, std::strerror(errno)));
}

}  // namespace

Outcome<int> disasm(const DisasmOptions& options) {
    const auto bytes = CLI_TRY(read_file(options.file == "-" ? "/dev/stdin" : options.file));
    const bool is_object = bytes.size() >= SELFMAG && std::memcmp(bytes.data(), ELFMAG, SELFMAG) == 0;
    std::optional<ObjectFile> object;
    if (is_object) object = CLI_TRY(ObjectFile::open(options.file));
    const isa::Style style = options.kernel_style ? isa::Style::kernel : isa::Style::objdump;
    const isa::HelperName names = options.kernel_style ? isa::HelperName(helper_name) : isa::HelperName();
    Json list = Json::array();
    bool found = false;
    for (const Function& function : CLI_TRY(functions(bytes, object ? &*object : nullptr, options.file))) {
        if (!options.only.empty() && function.name != options.only) continue;
        const auto insns = isa::from_bytes(function.code);
        if (!insns)
            return stop(Exit::truncated, fmt::format("{}: {}: {}", options.file, function.name, insns.error().message));
        if (options.json) {
            Json rows = Json::array();
            for (const isa::Line& line : isa::disassemble(*insns, style, names))
                rows.push_back(Json{{"pc", line.pc.v},
                                    {"bytes", hex(function.code.subspan(line.pc.v * sizeof(isa::Insn),
                                                                        line.slots * sizeof(isa::Insn)))},
                                    {"text", line.text}});
            list.push_back(
                Json{{"section", function.section}, {"function", function.name}, {"insns", std::move(rows)}});
        } else {
            if (!function.name.empty()) fmt::print("{}; {}: {}\n", found ? "\n" : "", function.section, function.name);
            fmt::print("{}", isa::listing(*insns,
                                          {.bytes = !options.no_bytes, .style = style, .helper = names, .before = {}}));
        }
        found = true;
    }
    if (!found) return stop(Exit::usage, fmt::format("{}: no function '{}'", options.file, options.only));
    if (options.json) fmt::print("{}\n", dump(list));
    return 0;
}

Outcome<int> assemble(const AsmOptions& options) {
    const auto text = CLI_TRY(read_file(options.file == "-" ? "/dev/stdin" : options.file));
    const auto insns = isa::assemble(
        std::string_view(static_cast<const char*>(static_cast<const void*>(text.data())), text.size()), helper_number);
    if (!insns) return stop(Exit::compile_error, fmt::format("{}: {}", options.file, insns.error().message));
    const auto code = isa::to_bytes(*insns);
    CLI_TRY(write_file(options.output, options.section.empty() ? code : ObjectWriter().write(options, code)));
    return 0;
}

}  // namespace anybpf::cli

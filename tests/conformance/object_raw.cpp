// SPDX-License-Identifier: Apache-2.0
// Reading an object: main is moved to the front, the rest of .text and the sections that are called follow, and every
// reference is computed anew.
//
//   .text of the object          the program                 block   where an instruction of a section went
//   [ twice | main | third ]     [ main | twice | third ]            is looked up in the list of blocks
//
// Raw because addresses of data become numbers in instructions. It is safe because the data outlive the instructions,
// by one struct, and what the program does with the addresses is not safe by nature.
#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "anybpf/base/bytes.hpp"
#include "anybpf/isa/decode.hpp"
#include "anybpf/isa/text.hpp"
#include "object.hpp"

namespace anybpf::conformance {
namespace {

using isa::Insn;

// Relocation types (linux Documentation/bpf/llvm_reloc.rst).
constexpr u32 relocation_lddw = 1, relocation_abs64 = 2, relocation_call = 10;

tl::unexpected<Error> bad(std::string what) { return fail(Errc::malformed, "object: " + what); }

struct Section {
    std::string name;
    Elf64_Shdr header{};
    std::span<const std::byte> bytes;
    std::vector<Elf64_Rel> relocations;  // of its contents
};

// A run of instructions that lies in the program as it lay in its section.
struct Block {
    u32 section = 0, first = 0, count = 0;  // in the section, in instructions
    u32 at = 0;                             // in the program
};

class Reader {
  public:
    explicit Reader(std::span<const std::byte> file) : file_(file) {}
    Result<Object> read();

  private:
    Result<> read_sections();
    Result<> read_symbols();
    Result<> read_relocations();
    Result<> lay_out();
    Result<> add(u32 section, u64 first, u64 last);
    Result<u32> place(u32 section, i64 insn);
    Result<> resolve(const Block& block);
    Result<> resolve_relative(const Block& block, u32 old_at, u32 at);
    Result<> relocate(u32 at, const Elf64_Rel& relocation);
    Result<u64> address(u32 section);
    Result<const Elf64_Sym*> symbol(const Elf64_Rel& relocation) const;
    bool is_code(u32 section) const { return (sections_[section].header.sh_flags & SHF_EXECINSTR) != 0; }

    std::span<const std::byte> file_;
    std::vector<Section> sections_;
    std::vector<Elf64_Sym> symbols_;
    std::vector<std::string> symbol_names_;
    std::vector<Block> blocks_;
    Object out_;
};

Result<> Reader::read_sections() {
    ByteReader in(file_);
    const auto header = ANYBPF_TRY(in.take<Elf64_Ehdr>());
    if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return bad("not an ELF file");
    if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
        header.e_machine != EM_BPF || header.e_type != ET_REL)
        return bad("not a relocatable little-endian 64-bit BPF object");
    if (header.e_shentsize != sizeof(Elf64_Shdr) || header.e_shstrndx >= header.e_shnum)
        return bad("the section headers make no sense");
    ANYBPF_TRY(in.seek(header.e_shoff));
    for (u32 i = 0; i < header.e_shnum; ++i)
        sections_.push_back({.name = {}, .header = ANYBPF_TRY(in.take<Elf64_Shdr>()), .bytes = {}, .relocations = {}});
    for (Section& section : sections_)
        if (section.header.sh_type != SHT_NOBITS && section.header.sh_type != SHT_NULL)
            section.bytes = ANYBPF_TRY(in.slice(section.header.sh_offset, section.header.sh_size));
    const ByteReader names(sections_[header.e_shstrndx].bytes);
    for (Section& section : sections_) section.name = ANYBPF_TRY(names.text_at(section.header.sh_name));
    return {};
}

Result<> Reader::read_symbols() {
    for (const Section& section : sections_) {
        if (section.header.sh_type != SHT_SYMTAB) continue;
        if (section.header.sh_link >= sections_.size()) return bad("the symbols have no names");
        const ByteReader names(sections_[section.header.sh_link].bytes);
        for (ByteReader in(section.bytes); in.remaining() >= sizeof(Elf64_Sym);) {
            symbols_.push_back(ANYBPF_TRY(in.take<Elf64_Sym>()));
            symbol_names_.emplace_back(ANYBPF_TRY(names.text_at(symbols_.back().st_name)));
        }
        return {};  // a relocatable object has one
    }
    return bad("there are no symbols");
}

Result<> Reader::read_relocations() {
    for (const Section& section : sections_) {
        if (section.header.sh_type != SHT_REL) continue;
        if (section.header.sh_info >= sections_.size()) return bad("relocations of a section that is not there");
        auto& list = sections_[section.header.sh_info].relocations;
        for (ByteReader in(section.bytes); in.remaining() >= sizeof(Elf64_Rel);)
            list.push_back(ANYBPF_TRY(in.take<Elf64_Rel>()));
    }
    return {};
}

Result<const Elf64_Sym*> Reader::symbol(const Elf64_Rel& relocation) const {
    const u64 index = ELF64_R_SYM(relocation.r_info);
    if (index >= symbols_.size()) return bad("a relocation to a symbol that is not there");
    if (symbols_[index].st_shndx == SHN_UNDEF || symbols_[index].st_shndx >= sections_.size())
        return bad(fmt::format("'{}' is not defined in it", symbol_names_[index]));
    return &symbols_[index];
}

// Instructions first to last of the section become the program's next block.
Result<> Reader::add(u32 section, u64 first, u64 last) {
    constexpr u64 size = sizeof(Insn);
    if (first == last) return {};
    const auto bytes = sections_[section].bytes;
    if (first > last || last > bytes.size() / size) return bad("a function reaches out of its section");
    blocks_.push_back({.section = section,
                       .first = static_cast<u32>(first),
                       .count = static_cast<u32>(last - first),
                       .at = static_cast<u32>(out_.insns.size())});
    const auto code = ANYBPF_TRY(isa::from_bytes(bytes.subspan(first * size, (last - first) * size)));
    out_.insns.insert(out_.insns.end(), code.begin(), code.end());
    return {};
}

Result<> Reader::lay_out() {
    for (std::size_t i = 0; i < symbols_.size(); ++i) {
        const Elf64_Sym& main = symbols_[i];
        if (symbol_names_[i] != "main" || main.st_shndx >= sections_.size()) continue;
        if (sections_[main.st_shndx].name != ".text") continue;
        const u64 whole = sections_[main.st_shndx].bytes.size();
        if (whole % sizeof(Insn) != 0 || main.st_value % sizeof(Insn) != 0 || main.st_size % sizeof(Insn) != 0)
            return bad(".text is no whole number of instructions");
        const u64 first = main.st_value / sizeof(Insn), all = whole / sizeof(Insn);
        if (first >= all || main.st_size > whole - main.st_value) return bad("main reaches out of .text");
        const u64 last = main.st_size != 0 ? first + main.st_size / sizeof(Insn) : all;
        ANYBPF_TRY(add(main.st_shndx, first, last));
        ANYBPF_TRY(add(main.st_shndx, 0, first));
        return add(main.st_shndx, last, all);
    }
    return bad("there is no main in .text");
}

// Where an instruction of a section lies in the program. A section that is called for the first time joins it.
Result<u32> Reader::place(u32 section, i64 insn) {
    const auto find = [&]() -> std::optional<u32> {
        for (const Block& block : blocks_)
            if (block.section == section && insn >= block.first && insn < i64{block.first} + block.count)
                return static_cast<u32>(block.at + (insn - block.first));
        return std::nullopt;
    };
    if (const auto found = find()) return *found;
    const bool known = std::ranges::find(blocks_, section, &Block::section) != blocks_.end();
    if (!known && is_code(section)) ANYBPF_TRY(add(section, 0, sections_[section].bytes.size() / sizeof(Insn)));
    if (const auto found = find()) return *found;
    return bad(fmt::format("a reference to instruction {} of {}, where none is", insn, sections_[section].name));
}

// The address of a copy of a data section, with its own references resolved.
Result<u64> Reader::address(u32 index) {
    const Section& section = sections_[index];
    const auto known = out_.data.find(index);
    if (known != out_.data.end()) return reinterpret_cast<u64>(known->second.get());
    const u64 size = section.header.sh_size;
    constexpr u64 most = u64{1} << 28;
    if ((section.header.sh_flags & SHF_ALLOC) == 0 || size > most || section.name.ends_with("maps"))
        return bad(fmt::format("a reference to {}: there are no maps, only code and data", section.name));
    auto copy = std::make_unique<std::byte[]>(size);
    std::ranges::copy(section.bytes, copy.get());
    std::byte* const bytes = copy.get();
    out_.data.emplace(index, std::move(copy));  // before its references: they may lead back here
    for (const Elf64_Rel& relocation : section.relocations) {
        const Elf64_Sym& to = *ANYBPF_TRY(symbol(relocation));
        if (ELF64_R_TYPE(relocation.r_info) != relocation_abs64 || is_code(to.st_shndx) || relocation.r_offset > size ||
            size - relocation.r_offset < sizeof(u64))
            return bad(fmt::format("a relocation in {} is not supported", section.name));
        u64 value = 0;
        std::memcpy(&value, bytes + relocation.r_offset, sizeof(value));
        value += ANYBPF_TRY(address(to.st_shndx)) + to.st_value;
        std::memcpy(bytes + relocation.r_offset, &value, sizeof(value));
    }
    return reinterpret_cast<u64>(bytes);
}

Result<> Reader::relocate(u32 at, const Elf64_Rel& relocation) {
    const Elf64_Sym& to = *ANYBPF_TRY(symbol(relocation));
    const auto type = ELF64_R_TYPE(relocation.r_info);
    const bool wide = out_.insns[at].code == isa::code_wide;
    const i64 value = static_cast<i64>(to.st_value);
    if (type == relocation_lddw && wide && at + 1 < out_.insns.size()) {
        const i32 addend = out_.insns[at].imm;
        if (!is_code(to.st_shndx)) {
            const u64 address = ANYBPF_TRY(this->address(to.st_shndx)) + to.st_value + static_cast<u64>(i64{addend});
            out_.insns[at].imm = static_cast<i32>(static_cast<u32>(address));
            out_.insns[at + 1].imm = static_cast<i32>(static_cast<u32>(address >> 32));
            return {};
        }
        const u32 target = ANYBPF_TRY(place(to.st_shndx, (value + addend) / i64{sizeof(Insn)}));
        out_.insns[at].src = static_cast<u8>(isa::Pseudo::func) & 0xf;
        out_.insns[at].imm = static_cast<i32>(target) - static_cast<i32>(at) - 1;
        out_.insns[at + 1].imm = 0;
        return {};
    }
    if (type == relocation_call && !wide && is_code(to.st_shndx)) {
        // The distance that the assembler left counts from the symbol: -1 is the symbol itself.
        const i64 insn = value / i64{sizeof(Insn)} + out_.insns[at].imm + 1;
        const u32 target = ANYBPF_TRY(place(to.st_shndx, insn));
        out_.insns[at].src = static_cast<u8>(isa::CallKind::subprogram) & 0xf;
        out_.insns[at].imm = static_cast<i32>(target) - static_cast<i32>(at) - 1;
        return {};
    }
    return bad(fmt::format("relocation {} at instruction {} is not supported", type, at));
}

// A jump, call or function reference without relocation counts from its place in the section.
Result<> Reader::resolve_relative(const Block& block, u32 old_at, u32 at) {
    Insn& insn = out_.insns[at];
    const auto [form, defect] = isa::decode(insn);
    if (defect) return {};  // lowering names it
    const bool far = form.kind == isa::Kind::gotol ||
                     (form.kind == isa::Kind::call && form.call == isa::CallKind::subprogram) ||
                     (form.kind == isa::Kind::wide && form.pseudo == isa::Pseudo::func);
    const bool near = form.kind == isa::Kind::jump || form.kind == isa::Kind::ja || form.kind == isa::Kind::may_goto;
    if (!far && !near) return {};
    const i64 target = i64{old_at} + 1 + (far ? insn.imm : insn.off);
    if (target >= block.first && target < i64{block.first} + block.count) return {};
    const i64 distance = i64{ANYBPF_TRY(place(block.section, target))} - at - 1;
    if (far) {
        out_.insns[at].imm = static_cast<i32>(distance);
        return {};
    }
    if (distance != static_cast<i16>(distance)) return bad("a jump between functions is too far");
    out_.insns[at].off = static_cast<i16>(distance);
    return {};
}

Result<> Reader::resolve(const Block& block) {
    std::vector<bool> relocated(block.count);
    const u64 first = u64{block.first} * sizeof(Insn), last = first + u64{block.count} * sizeof(Insn);
    for (const Elf64_Rel& relocation : sections_[block.section].relocations) {
        if (relocation.r_offset < first || relocation.r_offset >= last) continue;
        if (relocation.r_offset % sizeof(Insn) != 0) return bad("a relocation inside an instruction");
        const auto index = static_cast<u32>((relocation.r_offset - first) / sizeof(Insn));
        relocated[index] = true;
        ANYBPF_TRY(relocate(block.at + index, relocation));
    }
    for (u32 i = 0; i < block.count; i += isa::slots(out_.insns[block.at + i]))
        if (!relocated[i]) ANYBPF_TRY(resolve_relative(block, block.first + i, block.at + i));
    return {};
}

Result<Object> Reader::read() {
    ANYBPF_TRY(read_sections());
    ANYBPF_TRY(read_symbols());
    ANYBPF_TRY(read_relocations());
    ANYBPF_TRY(lay_out());
    for (std::size_t i = 0; i < blocks_.size(); ++i) ANYBPF_TRY(resolve(Block(blocks_[i])));  // the list grows
    return std::move(out_);
}

}  // namespace

Result<Object> read_object(std::span<const std::byte> file) { return Reader(file).read(); }

}  // namespace anybpf::conformance

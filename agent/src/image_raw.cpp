// SPDX-License-Identifier: Apache-2.0
// The agent as an image that no loader has loaded: it puts its own addresses in place, and finds what the kernel gives
// every process, the auxiliary vector and the vDSO. Safe because the tables are the linker's and the kernel's, and are
// read as they lie.
#include <elf.h>
#include <link.h>
#include <sys/auxv.h>

#include <string_view>

#include "state.hpp"

extern "C" {
extern const char __ehdr_start[] __attribute__((visibility("hidden")));
// <link.h> declares it as a symbol that may be another module's.
extern const ElfW(Dyn) dynamic_section[] asm("_DYNAMIC") __attribute__((visibility("hidden")));
extern const char etext[] __attribute__((visibility("hidden")));
}

namespace anybpf::agent {
namespace {

// Of the auxiliary vector, what is asked for later: the guest may write over its own.
u64 secure = 0, features = 0, vdso = 0, loader = 0, program_segments = 0, segment_count = 0;
std::atomic<u64> clock_of_vdso{0};

std::string_view text_at(u64 at) { return {reinterpret_cast<const char*>(at)}; }

// 0: there is none.
u64 vdso_function(const char* name) {
    if (vdso == 0) return 0;
    const auto& header = *reinterpret_cast<const ElfW(Ehdr)*>(vdso);
    const auto* segments = reinterpret_cast<const ElfW(Phdr)*>(vdso + header.e_phoff);
    u64 bias = vdso;
    const ElfW(Dyn)* dynamic = nullptr;
    for (u32 i = 0; i < header.e_phnum; ++i) {
        if (segments[i].p_type == PT_LOAD && segments[i].p_offset == 0) bias = vdso - segments[i].p_vaddr;
        if (segments[i].p_type == PT_DYNAMIC) dynamic = reinterpret_cast<const ElfW(Dyn)*>(vdso + segments[i].p_offset);
    }
    if (dynamic == nullptr) return 0;
    u64 texts = 0, symbols = 0;
    for (; dynamic->d_tag != DT_NULL; ++dynamic) {
        if (dynamic->d_tag == DT_STRTAB) texts = bias + dynamic->d_un.d_ptr;
        if (dynamic->d_tag == DT_SYMTAB) symbols = bias + dynamic->d_un.d_ptr;
    }
    if (texts <= symbols || symbols == 0) return 0;
    // The table of symbols ends where that of their names begins, as every linker lays them out.
    for (auto* symbol = reinterpret_cast<const ElfW(Sym)*>(symbols); reinterpret_cast<u64>(symbol + 1) <= texts;
         ++symbol)
        if (symbol->st_value != 0 && text_at(texts + symbol->st_name) == name) return bias + symbol->st_value;
    return 0;
}

}  // namespace

void read_auxiliary(const u64* vector) {
    for (; vector[0] != AT_NULL; vector += 2) {
        if (vector[0] == AT_SECURE) secure = vector[1];
        if (vector[0] == AT_HWCAP2) features = vector[1];
        if (vector[0] == AT_SYSINFO_EHDR) vdso = vector[1];
        if (vector[0] == AT_BASE) loader = vector[1];
        if (vector[0] == AT_PHDR) program_segments = vector[1];
        if (vector[0] == AT_PHNUM) segment_count = vector[1];
    }
}

u64 auxiliary(u64 type) {
    if (type == AT_SECURE) return secure;
    if (type == AT_HWCAP2) return features;
    if (type == AT_SYSINFO_EHDR) return vdso;
    if (type == AT_BASE) return loader;
    if (type == AT_PHDR) return program_segments;
    if (type == AT_PHNUM) return segment_count;
    return 0;
}

u64 vdso_clock() {
    u64 at = clock_of_vdso.load(std::memory_order_relaxed);
    if (at == 0 && (at = vdso_function("__vdso_clock_gettime")) != 0)
        clock_of_vdso.store(at, std::memory_order_relaxed);
    return at;
}

void vdso_leaves(u64 begin, u64 size) {
    constexpr u64 text_size = 2 * 4096;
    if (vdso == 0 || begin >= vdso + text_size || begin + size <= vdso) return;
    vdso = 0;
    clock_of_vdso.store(0, std::memory_order_relaxed);
}

void find_self() {
    process.text_begin = reinterpret_cast<u64>(__ehdr_start);
    process.text_end = reinterpret_cast<u64>(etext);
}

void relocate_self() {
    const auto base = reinterpret_cast<u64>(__ehdr_start);
    u64 table = 0, size = 0;
    for (const auto* entry = dynamic_section; entry->d_tag != DT_NULL; ++entry) {
        if (entry->d_tag == DT_RELA) table = base + entry->d_un.d_ptr;
        if (entry->d_tag == DT_RELASZ) size = entry->d_un.d_val;
    }
    for (u64 at = table; at < table + size; at += sizeof(ElfW(Rela))) {
        const auto& relocation = *reinterpret_cast<const ElfW(Rela)*>(at);
        if (ELF64_R_TYPE(relocation.r_info) == R_X86_64_RELATIVE)
            *reinterpret_cast<u64*>(base + relocation.r_offset) = base + static_cast<u64>(relocation.r_addend);
    }
}

}  // namespace anybpf::agent

// SPDX-License-Identifier: Apache-2.0
// Sites and their stubs, and the patching of sites so that they need no signal. A site is patched only in the one
// instruction of five bytes before it (`mov $nr,%eax` becomes `jmp stub`); the system call instruction itself stays, so
// whoever jumps to it directly still gets there, and is dispatched.
//
// Safe because patching happens while the process has one thread, which is ours and runs no code of the pages that it
// changes (nor any C library code at all: copies and system calls are the agent's own); a page is writable or
// executable, never both; and only bytes are changed that still read as the instruction they replace.
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <cstring>
#include <string_view>

#include "sites.hpp"
#include "state.hpp"

namespace anybpf::agent {
namespace {

constexpr u64 page = 4096;
constexpr u32 index_size = 4096;
// Where slots are by (address, number): open addressing, entries are published last. Global because signal handlers
// have no parameter to carry it.
std::array<std::atomic<u16>, index_size> slot_index;
std::atomic<u32> next_slot{1};  // slot 0 is libc's syscall()
constexpr u32 last_slot = slot_count - 8;

u32 hash(u64 after, u32 nr) {
    return static_cast<u32>((after * 0x9e3779b97f4a7c15ULL + nr * 0x85ebca6bULL) >> 40) % index_size;
}

void fill(Slot& slot, u64 after, u32 nr, u64 start) {
    const u64 number = static_cast<u64>(&slot - anybpf_slots);
    slot.go = reinterpret_cast<u64>(anybpf_stubs) + number * stub_size + stub_syscall;
    slot.after = after;
    slot.nr = nr;
    slot.start = start;
    slot.filled = 1;
}

Slot* find(u64 after, u32 nr, u32& at) {
    for (at = hash(after, nr);; at = (at + 1) % index_size) {
        const u16 number = slot_index[at].load(std::memory_order_acquire);
        if (number == 0) return nullptr;
        Slot& slot = anybpf_slots[number];
        if (slot.after == after && slot.nr == nr) return &slot;
    }
}

// With the lock held, or alone.
Slot* add(u64 after, u32 nr, u64 start) {
    u32 at = 0;
    if (Slot* known = find(after, nr, at)) return known;
    const u32 number = next_slot.load();
    if (number >= last_slot) return nullptr;
    next_slot.store(number + 1);
    fill(anybpf_slots[number], after, nr, start);
    slot_index[at].store(static_cast<u16>(number), std::memory_order_release);
    return &anybpf_slots[number];
}

u32 load32(const u8* at) {
    u32 value = 0;
    __builtin_memcpy(&value, at, 4);
    return value;
}

bool within_reach(u64 from, u64 to) {
    const auto distance = static_cast<i64>(to - from);
    return distance > -0x7fff0000LL && distance < 0x7fff0000LL;
}

void write_jump(u8* at, u64 target) {
    const auto distance = static_cast<u32>(target - (reinterpret_cast<u64>(at) + 5));
    at[0] = 0xe9;
    __builtin_memcpy(at + 1, &distance, 4);
}

// mov $nr,%eax; syscall, seven bytes at `at`.
void patch(u8* at) {
    const u32 nr = load32(at + 1);
    const u64 start = reinterpret_cast<u64>(at);
    if (at[0] != 0xb8 || at[5] != 0x0f || at[6] != 0x05 || nr >= 512 || nr == SYS_rt_sigreturn) return;
    const Slot* slot = add(start + 7, nr, start);
    if (slot != nullptr) write_jump(at, slot->go - stub_syscall);
}

// libc's syscall(): mov 8(%rsp),%r9; syscall.
constexpr std::array<u8, 7> generic_call = {0x4c, 0x8b, 0x4c, 0x24, 0x08, 0x0f, 0x05};

void patch_generic(u8* at) {
    if (std::memcmp(at, generic_call.data(), generic_call.size()) != 0 || anybpf_slots[0].filled != 0) return;
    const u64 start = reinterpret_cast<u64>(at);
    fill(anybpf_slots[0], start + 7, any_number, start);
    write_jump(at, reinterpret_cast<u64>(anybpf_stub_r9));
}

struct Library {
    u64 base = 0, text = 0, size = 0;
    std::string_view name;
    std::array<u8, 20> build_id{};
};

// Puts the file's own text back, where the pages that were changed cannot be made executable again (SELinux execmod).
void restore_text(const Library& library, u64 file_offset) {
    const long fd = raw(SYS_open, library.name.data(), O_RDONLY | O_CLOEXEC);
    raw(SYS_mmap, library.text, library.size, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd, file_offset);
    raw(SYS_close, fd);
}

// Makes the pages that hold the sites private in one go instead of one fault each.
void populate(u64 from, u64 to) {
    constexpr long populate_write = 23;
    raw(SYS_madvise, from & ~(page - 1), ((to + page - 1) & ~(page - 1)) - (from & ~(page - 1)), populate_write);
}

template <class F>
void for_each_site(const Library& library, F&& body) {
    for (const auto& known : known_libraries) {
        if (known.build_id != library.build_id) continue;
        for (const u32 offset : known.sites) body(reinterpret_cast<u8*>(library.base + offset));
        return;
    }
    // Not the library that this agent was built beside: read its text.
    auto* const text = reinterpret_cast<u8*>(library.text);
    for (u64 i = 5; i + 1 < library.size; ++i) {
        if (text[i] != 0x0f || text[i + 1] != 0x05) continue;
        const bool direct = text[i - 5] == 0xb8 && load32(text + i - 4) < 512;
        if (direct && (i < 6 || (text[i - 6] & 0xf0) != 0x40)) body(text + i - 5);  // not the tail of a REX form
        if (std::memcmp(text + i - 5, generic_call.data(), 5) == 0) body(text + i - 5);
    }
}

void patch_library(const Library& library, u64 file_offset) {
    if (!within_reach(library.text, reinterpret_cast<u64>(anybpf_arena_begin)) ||
        !within_reach(library.text + library.size, reinterpret_cast<u64>(anybpf_arena_end)))
        return;
    if (raw(SYS_mprotect, library.text, library.size, PROT_READ | PROT_WRITE) != 0) return;
    u64 from = 0, to = 0;
    for_each_site(library, [&](const u8* at) {
        const auto start = reinterpret_cast<u64>(at);
        if (from != 0 && start > to + 2 * page) {
            populate(from, to);
            from = 0;
        }
        if (from == 0) from = start;
        to = start + 7;
    });
    if (from != 0) populate(from, to);
    for_each_site(library, [&](u8* at) {
        patch(at);
        patch_generic(at);
    });
    if (raw(SYS_mprotect, library.text, library.size, PROT_READ | PROT_EXEC) != 0) restore_text(library, file_offset);
}

void read_build_id(const dl_phdr_info& info, const ElfW(Phdr) & segment, Library& library) {
    auto at = info.dlpi_addr + segment.p_vaddr;
    const auto end = at + segment.p_memsz;
    while (at + sizeof(ElfW(Nhdr)) <= end) {
        ElfW(Nhdr) note;
        __builtin_memcpy(&note, reinterpret_cast<const void*>(at), sizeof(note));
        const auto text = at + sizeof(note) + ((note.n_namesz + 3U) & ~3U);
        if (note.n_type == NT_GNU_BUILD_ID && note.n_descsz == 20)
            __builtin_memcpy(library.build_id.data(), reinterpret_cast<const void*>(text), 20);
        at = text + ((note.n_descsz + 3U) & ~3U);
    }
}

int visit(dl_phdr_info* info, std::size_t, void* unused) {
    (void)unused;
    const std::string_view name(info->dlpi_name);
    if (!name.ends_with("/libc.so.6") && !name.ends_with("/ld-linux-x86-64.so.2")) return 0;
    Library library;
    library.base = info->dlpi_addr;
    library.name = name;
    u64 file_offset = 0;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
        const auto& segment = info->dlpi_phdr[i];
        if (segment.p_type == PT_NOTE) read_build_id(*info, segment, library);
        if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) continue;
        const u64 begin = library.base + segment.p_vaddr;
        library.text = begin & ~(page - 1);
        library.size = ((begin + segment.p_memsz + page - 1) & ~(page - 1)) - library.text;
        file_offset = segment.p_offset & ~(page - 1);
    }
    if (library.text != 0) patch_library(library, file_offset);
    return 0;
}

}  // namespace

Slot* slot_for(u64 after, u32 nr) {
    u32 at = 0;
    if (Slot* known = find(after, nr, at)) return known;
    lock(process.slot_lock);
    Slot* slot = add(after, nr, 0);
    unlock(process.slot_lock);
    return slot;
}

void patch_libraries() { dl_iterate_phdr(visit, nullptr); }

// A site that was found at run time stays with the dispatcher: its text may be running on another thread.
void patch_lazily(u64 after) { (void)after; }

}  // namespace anybpf::agent

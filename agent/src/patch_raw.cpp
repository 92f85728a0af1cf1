// SPDX-License-Identifier: Apache-2.0
// Sites and their stubs, and the patching of sites so that they need no signal. A site is patched only in the one
// instruction of five bytes before it (`mov $nr,%eax` becomes `jmp stub`); the system call instruction itself stays, so
// whoever jumps to it directly still gets there, and is dispatched.
//
// To patch a page makes it private to the process, which costs as much as several signals: a program that runs shortly
// would pay for sites that it never comes to. So a page of the C library is patched when its sites have cost so many
// signals (worthwhile), and all of them before the process gets a second thread.
//
// Safe because patching happens while the process has one thread, which is in the agent and so runs no code of the
// pages that change (nor any C library code at all: copies and system calls are the agent's own), and whose frames
// below may stand before or behind the one instruction that is replaced, never inside; a page is writable or
// executable, never both; and only bytes are changed that still read as the instruction they replace.
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/platform/x86.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "sites.hpp"
#include "state.hpp"

#pragma weak __x86_get_cpuid_feature_leaf  // since glibc 2.33

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

// crc32 (SSE 4.2) is how entry_raw.S compares without touching the flags. Asked of the dynamic loader, which knows:
// under a hypervisor each CPUID instruction costs microseconds, and the compiler's own test makes twenty of them at
// every exec.
bool can_pass = false;
bool loader_knows_crc32() { return &__x86_get_cpuid_feature_leaf != nullptr && CPU_FEATURE_ACTIVE(SSE4_2); }

void mark(Slot& slot) {
    slot.special = slot.nr >= 512 || is_special(slot.nr);
    const bool watched = !can_pass || slot.special;
    slot.entry_busy = watched || process.hooks->wants_entry(slot.nr);
    slot.exit_busy = watched || process.hooks->wants_exit(slot.nr);
}

void fill(Slot& slot, u64 after, u32 nr, u64 start) {
    const u64 number = static_cast<u64>(&slot - anybpf_slots);
    slot.go = reinterpret_cast<u64>(anybpf_stubs) + number * stub_size + stub_syscall;
    slot.after = after;
    slot.nr = nr;
    slot.start = start;
    slot.filled = true;
    mark(slot);
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

// Into `at`, which is the instruction at `start` or a copy of it.
void write_jump(u8* at, u64 start, u64 target) {
    const auto distance = static_cast<u32>(target - (start + 5));
    at[0] = 0xe9;
    __builtin_memcpy(at + 1, &distance, 4);
}

constexpr u64 site_size = 7;  // an instruction of five bytes and the call

// mov $nr,%eax; syscall, at `at`.
void patch_direct(u8* at, u64 start) {
    const u32 nr = load32(at + 1);
    if (at[0] != 0xb8 || at[5] != 0x0f || at[6] != 0x05 || nr >= 512 || nr == SYS_rt_sigreturn) return;
    const Slot* slot = add(start + site_size, nr, start);
    if (slot != nullptr) write_jump(at, start, slot->go - stub_syscall);
}

// libc's syscall(): mov 8(%rsp),%r9; syscall.
constexpr std::array<u8, 7> generic_call = {0x4c, 0x8b, 0x4c, 0x24, 0x08, 0x0f, 0x05};

void patch_generic(u8* at, u64 start) {
    if (std::memcmp(at, generic_call.data(), generic_call.size()) != 0 ||
        (anybpf_slots[0].filled && anybpf_slots[0].after != start + site_size))
        return;
    fill(anybpf_slots[0], start + site_size, any_number, start);
    write_jump(at, start, reinterpret_cast<u64>(anybpf_stub_r9));
}

void patch(u8* at, u64 start) {
    patch_direct(at, start);
    patch_generic(at, start);
}

struct Library {
    u64 base = 0, text = 0, size = 0, file_offset = 0;
    std::array<char, 256> name{};
    std::array<u8, 20> build_id{};
    const KnownLibrary* known = nullptr;
};
std::array<Library, 2> libraries;
u32 library_count = 0;

// Signals that the sites of each page of the first library, the C library itself, have cost.
constexpr u8 worthwhile = 3;
std::array<u8, 512> heat;

bool make_executable(u64 begin, u64 size) { return raw(SYS_mprotect, begin, size, PROT_READ | PROT_EXEC) == 0; }

// Puts the file's own text back, where pages that were changed cannot be made executable again (SELinux execmod).
void restore_text(const Library& library) {
    const long fd = raw(SYS_open, library.name.data(), O_RDONLY | O_CLOEXEC);
    raw(SYS_mmap, library.text, library.size, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd, library.file_offset);
    raw(SYS_close, fd);
}

void populate(u64 begin, u64 size) {
    const u64 first = begin & ~(page - 1);
    raw(SYS_madvise, first, ((begin + size + page - 1) & ~(page - 1)) - first, madvise_populate_write);
}

// Sites come in order, so those of neighbouring pages are patched together. The way in is /proc/self/mem, which writes
// a page that stays executable and not writable: no change of protection, after which every page around would have to
// be faulted in again. Where it cannot be had: one change of protection there and one back, and the pages made private
// in one call instead of by a fault each.
class Patcher {
  public:
    explicit Patcher(const Library& library) : library_(library) {}
    ~Patcher() {
        finish();
        if (memory_ >= 0) raw(SYS_close, memory_);
    }
    Patcher(const Patcher&) = delete;
    Patcher& operator=(const Patcher&) = delete;
    void site(u64 at) {
        if (count_ == sites_.size() || (count_ != 0 && at > sites_[count_ - 1] + near)) finish();
        sites_[count_++] = at;
    }

  private:
    static constexpr u64 near = 64 * page;
    void finish() {
        if (count_ != 0 && !write_through_memory()) change_protection();
        count_ = 0;
    }

    // A page (two, where a site lies across their border) is copied, changed in the copy, and written whole.
    bool write_through_memory() {
        if (memory_ < 0) memory_ = raw(SYS_open, "/proc/self/mem", O_RDWR | O_CLOEXEC);
        if (memory_ < 0) return false;
        std::array<u8, 2 * page> copy;
        for (u32 i = 0; i < count_;) {
            const u64 begin = sites_[i] & ~(page - 1);
            u64 size = page;
            u32 last = i;
            while (last < count_ && sites_[last] < begin + page) ++last;
            if (sites_[last - 1] + site_size > begin + page) size = 2 * page;
            while (last < count_ && sites_[last] + site_size <= begin + size) ++last;
            __builtin_memcpy(copy.data(), reinterpret_cast<const u8*>(begin), size);
            for (; i < last; ++i) patch(copy.data() + (sites_[i] - begin), sites_[i]);
            // The first write shows whether it is allowed; a stub of a site that stays unpatched serves its signal.
            if (raw(SYS_pwrite64, memory_, copy.data(), size, begin) != static_cast<long>(size)) return false;
        }
        return true;
    }

    void change_protection() {
        const u64 begin = sites_[0] & ~(page - 1);
        const u64 size = ((sites_[count_ - 1] + site_size + page - 1) & ~(page - 1)) - begin;
        if (raw(SYS_mprotect, begin, size, PROT_READ | PROT_WRITE) == 0) {
            u64 from = sites_[0];
            for (u32 i = 0; i < count_; ++i) {
                const u64 end = sites_[i] + 6;
                if (i + 1 < count_ && sites_[i + 1] / page <= end / page + 1) continue;
                populate(from, end + 1 - from);
                if (i + 1 < count_) from = sites_[i + 1];
            }
            for (u32 i = 0; i < count_; ++i) patch(reinterpret_cast<u8*>(sites_[i]), sites_[i]);
            if (!make_executable(begin, size)) restore_text(library_);
        }
    }

    const Library& library_;
    long memory_ = -1;
    u32 count_ = 0;
    std::array<u64, 512> sites_;
};

bool in_reach(const Library& library) {
    return within_reach(library.text, reinterpret_cast<u64>(anybpf_arena_begin)) &&
           within_reach(library.text + library.size, reinterpret_cast<u64>(anybpf_arena_end));
}

// Reads the text for sites that start in [begin, end), offsets into it.
void patch_found(const Library& library, u64 begin, u64 end) {
    const auto* const text = reinterpret_cast<const u8*>(library.text);
    Patcher patcher(library);
    for (u64 i = std::max<u64>(begin, 1); i < end && i + site_size <= library.size; ++i) {
        if (text[i + 5] != 0x0f || text[i + 6] != 0x05) continue;
        const bool direct = text[i] == 0xb8 && load32(text + i + 1) < 512 &&
                            (text[i - 1] & 0xf0) != 0x40;  // not the tail of a REX form
        if (direct || std::memcmp(text + i, generic_call.data(), 5) == 0) patcher.site(library.text + i);
    }
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
    const bool is_libc = name.ends_with("/libc.so.6");
    if (!is_libc && !name.ends_with("/ld-linux-x86-64.so.2")) return 0;
    Library library;
    if (library_count == libraries.size() || name.size() >= library.name.size()) return 0;
    library.base = info->dlpi_addr;
    __builtin_memcpy(library.name.data(), name.data(), name.size());
    for (int i = 0; i < info->dlpi_phnum; ++i) {
        const auto& segment = info->dlpi_phdr[i];
        if (segment.p_type == PT_NOTE) read_build_id(*info, segment, library);
        if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) continue;
        const u64 begin = library.base + segment.p_vaddr;
        library.text = begin & ~(page - 1);
        library.size = ((begin + segment.p_memsz + page - 1) & ~(page - 1)) - library.text;
        library.file_offset = segment.p_offset & ~(page - 1);
    }
    for (const auto& known : known_libraries)
        if (known.build_id == library.build_id) library.known = &known;
    if (library.text == 0) return 0;
    libraries[library_count++] = library;
    if (is_libc) std::swap(libraries[0], libraries[library_count - 1]);
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

void mark_quiet() {
    for (u32 i = 0; i < next_slot.load(); ++i)
        if (anybpf_slots[i].filled) mark(anybpf_slots[i]);
    anybpf_epoch = &process.hooks->epoch();
    __atomic_store_n(&anybpf_seen, process.hooks->seen() & 0xffffffff, __ATOMIC_RELEASE);
}

void find_libraries() {
    can_pass = loader_knows_crc32();
    dl_iterate_phdr(visit, nullptr);
}

void warm(u64 after) {
    if (process.threaded || process.sealed || library_count == 0) return;
    const Library& library = libraries[0];
    const u64 offset = after - site_size - library.text;
    if (offset >= library.size || offset / page >= heat.size() || !in_reach(library)) return;
    u8& signals = heat[offset / page];
    if (signals == worthwhile) return;
    ++signals;
    if (signals < worthwhile) return;
    const u64 begin = offset & ~(page - 1);
    patch_found(library, begin, begin + page);
}

void patch_libraries() {
    for (u32 i = 0; i < library_count; ++i) {
        const Library& library = libraries[i];
        if (!in_reach(library)) continue;
        if (library.known == nullptr) {  // not the library that this agent was built beside
            patch_found(library, 0, library.size);
            continue;
        }
        Patcher patcher(library);
        for (const u32 offset : library.known->sites) patcher.site(library.base + offset);
    }
    library_count = 0;
}

}  // namespace anybpf::agent

// SPDX-License-Identifier: Apache-2.0
// The patching of sites so that they need no signal. A site is patched only in the one instruction of five bytes before
// it (`mov $nr,%eax` becomes `jmp stub`); the system call instruction itself stays, so whoever jumps to it directly
// still gets there, and is dispatched.
//
// To patch a page makes it private to the process, which costs as much as several signals: a program that runs shortly
// would pay for sites that it never comes to. So a page is patched when its sites have cost so many signals
// (worthwhile). A page is written through /proc/self/mem, which leaves it executable and not writable.
//
// Safe while other threads run the code that changes, because one instruction is replaced, inside which no thread can
// stand, in the order in which the kernel patches its own text: a breakpoint on the first byte, the other bytes, the
// first byte; after each all cores are made to forget what they have read ahead. A thread that meets the breakpoint is
// sent to the stub. Only bytes are changed that read as the instruction they replace; the copies and system calls made
// here are the agent's own.
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <linux/membarrier.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>

#include "state.hpp"

namespace anybpf::agent {
namespace {

constexpr u64 page = 4096;
constexpr u64 site_size = 7;  // an instruction of five bytes and the call
constexpr u8 breakpoint = 0xcc, jump = 0xe9;

// Executable memory, as it was mapped. Bytes are looked at before they are changed, so what is no longer true here does
// no harm.
struct Text {
    u64 begin = 0, end = 0;
};
std::array<Text, 512> texts;
u32 text_count = 0;

// Signals that the sites of a page have cost.
struct Heat {
    u64 page = 0;
    u32 signals = 0;
};
constexpr u32 worthwhile = 3;
std::array<Heat, 1024> heat;

u32 load32(const u8* at) {
    u32 value = 0;
    __builtin_memcpy(&value, at, 4);
    return value;
}

bool within_reach(u64 from, u64 to) {
    const auto distance = static_cast<i64>(to - from);
    return distance > -0x7fff0000LL && distance < 0x7fff0000LL;
}
bool in_reach(u64 begin, u64 end) {
    return within_reach(begin, reinterpret_cast<u64>(anybpf_arena_begin)) &&
           within_reach(end, reinterpret_cast<u64>(anybpf_arena_end));
}

// libc's syscall(): mov 8(%rsp),%r9; syscall.
constexpr std::array<u8, 7> generic_call = {0x4c, 0x8b, 0x4c, 0x24, 0x08, 0x0f, 0x05};

// mov $nr,%eax; syscall
bool is_direct(const u8* at) {
    const u32 nr = load32(at + 1);
    return at[0] == 0xb8 && at[5] == 0x0f && at[6] == 0x05 && nr < 512 && nr != SYS_rt_sigreturn;
}
bool is_generic(const u8* at) { return std::memcmp(at, generic_call.data(), generic_call.size()) == 0; }

// Where the site's jump goes; 0 where it stays as it is. at: a copy of the instruction at start.
u64 target_of(const u8* at, u64 start) {
    if (is_direct(at)) {
        const Slot* slot = add_slot(start + site_size, load32(at + 1), start);
        return slot != nullptr ? slot->go - stub_syscall : 0;
    }
    Slot& generic = anybpf_slots[0];
    if (!is_generic(at) || (generic.filled && generic.after != start + site_size)) return 0;
    fill_generic_slot(start + site_size, start);
    return reinterpret_cast<u64>(anybpf_stub_r9);
}

// The way into pages that stay executable and not writable; where it cannot be had, their protection is changed, which
// only a process of one thread can bear.
class Memory {
  public:
    Memory() : file_(raw(SYS_open, "/proc/self/mem", O_RDWR | O_CLOEXEC)) {}
    ~Memory() {
        if (file_ >= 0) raw(SYS_close, file_);
    }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;

    bool write(u64 at, const u8* bytes, u64 size) const {
        if (file_ >= 0 && raw(SYS_pwrite64, file_, bytes, size, at) == static_cast<long>(size)) return true;
        if (process.threaded) return false;
        const u64 begin = at & ~(page - 1), length = ((at + size + page - 1) & ~(page - 1)) - begin;
        if (raw(SYS_mprotect, begin, length, PROT_READ | PROT_WRITE) != 0) return false;
        __builtin_memcpy(reinterpret_cast<void*>(at), bytes, size);
        // Where changed pages cannot be made executable (SELinux execmod) the bytes go back, which makes no difference
        // to that: such a process is not patched from the start, as its /proc/self/mem cannot be written.
        return raw(SYS_mprotect, begin, length, PROT_READ | PROT_EXEC) == 0;
    }

  private:
    long file_;
};

// All cores run what memory says now.
bool synchronize() {
    static std::atomic<bool> registered{false};
    if (!registered.load(std::memory_order_relaxed)) {
        if (raw(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0) != 0) return false;
        registered.store(true, std::memory_order_relaxed);
    }
    return raw(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0) == 0;
}

// The sites that begin in one page, and its bytes with those of the next that the last site may reach into.
class Page {
  public:
    explicit Page(u64 begin) : begin_(begin) {
        size_ =
            copy(bytes_.data() + 1, reinterpret_cast<const void*>(begin), page + site_size) ? page + site_size : page;
        if (size_ == page && !copy(bytes_.data() + 1, reinterpret_cast<const void*>(begin), page)) size_ = 0;
        copy(bytes_.data(), reinterpret_cast<const void*>(begin - 1), 1);
    }
    void patch(const Memory& memory) {
        find();
        if (count_ == 0) return;
        if (!process.threaded) {
            for (u32 i = 0; i < count_; ++i) write_jump(i, jump);
            memory.write(begin_, at(0), extent());
            return;
        }
        if (!synchronize()) return;  // not on this machine: these sites keep their signal
        for (u32 i = 0; i < count_; ++i) *at(sites_[i]) = breakpoint;
        if (!memory.write(begin_, at(0), extent())) return;
        synchronize();
        for (u32 i = 0; i < count_; ++i) write_jump(i, breakpoint);
        memory.write(begin_, at(0), extent());
        synchronize();
        for (u32 i = 0; i < count_; ++i) *at(sites_[i]) = jump;
        memory.write(begin_, at(0), extent());
        synchronize();
    }

  private:
    u8* at(u64 offset) { return bytes_.data() + 1 + offset; }
    u64 extent() const { return std::max<u64>(page, u64{sites_[count_ - 1]} + 5); }
    void find() {
        for (u32 i = 0; i + site_size <= size_ && i < page && count_ < sites_.size(); ++i) {
            const u8* const here = at(i);
            if (here[5] != 0x0f || here[6] != 0x05) continue;
            const bool tail_of_rex = (here[-1] & 0xf0) == 0x40;
            if (!is_generic(here) && (!is_direct(here) || tail_of_rex)) continue;
            const u64 target = target_of(here, begin_ + i);
            if (target == 0) continue;
            targets_[count_] = target;
            sites_[count_++] = i;
        }
    }
    void write_jump(u32 number, u8 first) {
        const u32 site = sites_[number];
        const auto distance = static_cast<u32>(targets_[number] - (begin_ + site + 5));
        *at(site) = first;
        __builtin_memcpy(at(site) + 1, &distance, 4);
    }

    u64 begin_, size_;
    u32 count_ = 0;
    std::array<u32, 128> sites_;
    std::array<u64, 128> targets_;
    std::array<u8, 1 + page + site_size> bytes_;
};

void add_text(u64 begin, u64 end) {
    for (u32 i = 0; i < text_count; ++i)
        if (texts[i].begin < end && begin < texts[i].end) texts[i] = {};
    for (u32 i = 0; i < text_count; ++i) {
        if (texts[i].end != 0) continue;
        texts[i] = {begin, end};
        return;
    }
    if (text_count < texts.size()) texts[text_count++] = {begin, end};
}

void add_segments(const ElfW(Phdr) * segments, u64 count, u64 bias) {
    for (u64 i = 0; i < count; ++i)
        if (segments[i].p_type == PT_LOAD && (segments[i].p_flags & PF_X) != 0)
            add_text((bias + segments[i].p_vaddr) & ~(page - 1), bias + segments[i].p_vaddr + segments[i].p_memsz);
}

}  // namespace

void find_first_text() {
    const auto* const program = reinterpret_cast<const ElfW(Phdr)*>(auxiliary(AT_PHDR));
    const u64 count = auxiliary(AT_PHNUM);
    for (u64 i = 0; program != nullptr && i < count; ++i)  // the headers follow the file's own in every linker's output
        if (program[i].p_type == PT_LOAD && program[i].p_offset == 0)
            add_segments(program, count, auxiliary(AT_PHDR) - sizeof(ElfW(Ehdr)) - program[i].p_vaddr);
    if (const u64 loader = auxiliary(AT_BASE); loader != 0) {
        const auto& header = *reinterpret_cast<const ElfW(Ehdr)*>(loader);
        add_segments(reinterpret_cast<const ElfW(Phdr)*>(loader + header.e_phoff), header.e_phnum, loader);
    }
}

void text_mapped(u64 begin, u64 size) {
    lock(process.slot_lock);
    add_text(begin, begin + size);
    unlock(process.slot_lock);
}

void warm(u64 after) {
    const u64 begin = (after - site_size) & ~(page - 1);
    Heat& here = heat[(begin / page * 0x9e3779b1U >> 8) % heat.size()];
    if (here.page != begin) here = {begin, 0};
    if (here.signals == worthwhile || ++here.signals < worthwhile || process.sealed || !in_reach(begin, begin + page))
        return;
    if (!try_lock(process.slot_lock)) return;
    Page(begin).patch(Memory());
    unlock(process.slot_lock);
}

bool write_text(u64 at, const u8* bytes, u64 size) { return Memory().write(at, bytes, size); }

void give_back_text() {
    const Memory memory;
    for (const Slot& slot : anybpf_slots) {
        if (slot.start == 0) continue;
        std::array<u8, 5> bytes{0xb8};
        __builtin_memcpy(bytes.data() + 1, &slot.nr, 4);
        if (&slot == anybpf_slots) std::copy_n(generic_call.begin(), 5, bytes.begin());
        u8 first = 0;
        if (copy(&first, reinterpret_cast<const void*>(slot.start), 1) && first == jump)
            memory.write(slot.start, bytes.data(), 5);
    }
}

void patch_all() {
    lock(process.slot_lock);
    const Memory memory;
    for (u32 i = 0; i < text_count; ++i) {
        if (texts[i].end == 0 || !in_reach(texts[i].begin, texts[i].end)) continue;
        for (u64 begin = texts[i].begin; begin < texts[i].end; begin += page) Page(begin).patch(memory);
    }
    unlock(process.slot_lock);
}

}  // namespace anybpf::agent

// SPDX-License-Identifier: Apache-2.0
// The patching of sites so that they need no signal. Most are patched in the one instruction of five bytes before them
// (`mov $nr,%eax` becomes `jmp stub`); the system call instruction itself stays, so whoever jumps to it directly still
// gets there, and is dispatched.
//
// Where no such instruction stands before it, the jump takes the place of the system call and of the first three bytes
// behind it. What was behind it is done elsewhere (Pun), and so that whoever comes to its old place meets a breakpoint,
// and is sent there, the place is chosen by the distance: its second byte is a breakpoint.
//
//     before     0f 05      48 3d 00 f0 ff ff   syscall; cmp $-4096,%rax
//     after      e9 XX      cc XX XX f0 ff ff   jmp pun ──▶ pun: jmp stub; cmp $-4096,%rax; jmp behind
//                                                stub ──▶ the pun's second instruction
//
// To patch a page makes it private to the process, which costs as much as several signals: a program that runs shortly
// would pay for sites that it never comes to. So a page is patched when its sites have cost so many signals
// (worthwhile). A page is written through /proc/self/mem, which leaves it executable and not writable.
//
// Where the kernel hands no system calls to the agent, there is no first signal, and a page is patched when it is
// mapped: at the agent's start those that are there already, later each file's before its code can run. Sites that no
// jump fits in at all get a breakpoint on the system call instruction (trap), which costs a signal each time; which
// bytes are such an instruction, code_scan.cpp decides. What is no private mapping of a file is left alone: whoever
// makes code may move it.
//
// Safe while other threads run the code that changes, because no thread can stand inside an instruction, and because of
// the order, which is that in which the kernel patches its own text: a breakpoint on the first byte of each instruction
// that goes, the other bytes, the first byte of the jump; after each all cores are made to forget what they have read
// ahead. A thread that meets a breakpoint is sent to the stub, or on. Only bytes are changed that read as the
// instruction they replace; the copies and system calls made here are the agent's own.
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <linux/membarrier.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>
#include <span>

#include "code_scan.hpp"
#include "state.hpp"

namespace anybpf::agent {
namespace {

constexpr u64 page = 4096;
constexpr u64 jump_size = 5, site_size = jump_size + call_size;
constexpr u8 breakpoint = 0xcc, jump = 0xe9;

// Executable memory, as it was mapped. Bytes are looked at before they are changed, so what is no longer true here does
// no harm.
struct Text {
    u64 begin = 0, end = 0;
};
ANYBPF_TABLE std::array<Text, 512> texts;
u32 text_count = 0;

// Signals that the sites of a page have cost.
struct Heat {
    u32 page = 0, signals = 0;
};
// A page costs as much as five signals; so a program pays at most twice for what it could not know. And again at each
// doubling, for sites that were not known before.
constexpr u32 worthwhile = 4;
std::array<Heat, 512> heat;  // neighbours side by side, on one page

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

// mov $15,%rax; syscall
bool is_handlers_return(const u8* at) { return at[0] == 0xc0 && load32(at + 1) == SYS_rt_sigreturn; }

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
    if (!in_reach(start, start)) return 0;
    if (is_direct(at)) {
        const Slot* slot = add_slot(start + site_size, load32(at + 1), start);
        return slot != nullptr ? slot->go - stub_syscall : 0;
    }
    Slot& generic = anybpf_slots[0];
    if (!is_generic(at) || (generic.filled() && generic.after != start + site_size)) return 0;
    fill_generic_slot(start + site_size, start);
    return reinterpret_cast<u64>(anybpf_stub_r9);
}

i64 distance_of(u64 from, u64 to) { return static_cast<i64>(to - (from + jump_size)); }
void write_jump(u8* bytes, u64 from, u64 to) {
    const auto distance = static_cast<u32>(distance_of(from, to));
    bytes[0] = jump;
    __builtin_memcpy(bytes + 1, &distance, 4);
}

const Pun* pun_of(const Slot& slot) { return reinterpret_cast<const Pun*>(slot.resume - Pun::copied_at); }

// A free pun to which a jump from start has a breakpoint as the second byte of its distance; null: there is none.
const Pun* free_pun(u64 start) {
    for (const Pun* pun = anybpf_puns; pun != anybpf_puns_end; ++pun) {
        const u64 distance = reinterpret_cast<u64>(pun) - (start + jump_size);
        if ((distance >> 8 & 0xff) == breakpoint && (pun->slot == 0 || pun_of(anybpf_slots[pun->slot]) != pun))
            return pun;
    }
    return nullptr;
}

// Whether a site's jump is still there: other text may have come in the place of what was patched.
bool stands(const Slot& slot) {
    const u64 start = slot.after - slot.patched;
    std::array<u8, jump_size> now{}, wanted{};
    if (!fetch(now, start) || now[0] != jump) return false;
    if (!slot.is_pun()) return true;
    write_jump(wanted.data(), start, reinterpret_cast<u64>(pun_of(slot)));
    return now == wanted;
}

// In text that was mapped, or made executable, just now.
void forget_puns(u64 begin, u64 end) {
    for (Slot& slot : used_slots()) {
        if (!slot.filled() || !slot.is_pun() || slot.after <= begin || slot.after > end || stands(slot)) continue;
        __atomic_store_n(&slot.resume, slot.after, __ATOMIC_RELEASE);
        slot.patched = 0;
    }
}

// For a site and what stands behind it.
Pun composed(const Pun* place, u64 start, std::span<const u8> behind, const Slot& slot) {
    Pun pun;
    const auto at = reinterpret_cast<u64>(place);
    write_jump(pun.code.data(), at, slot.go - stub_syscall + stub_call);
    std::copy(behind.begin(), behind.end(), pun.code.begin() + Pun::copied_at);
    const u64 tail = Pun::copied_at + behind.size();
    write_jump(pun.code.data() + tail, at + tail, start + call_size + behind.size());
    pun.slot = static_cast<u32>(&slot - anybpf_slots);
    return pun;
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

    // alone: no other thread can run what is written.
    bool write(u64 at, const u8* bytes, u64 size, bool alone) const {
        if (file_ >= 0 && raw(SYS_pwrite64, file_, bytes, size, at) == static_cast<long>(size)) return true;
        if (!alone) return false;
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

bool can_synchronize() {
    static std::atomic<bool> registered{false};
    if (registered.load(std::memory_order_relaxed)) return true;
    if (raw(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0) != 0) return false;
    registered.store(true, std::memory_order_relaxed);
    return true;
}

// All cores run what memory says now.
void synchronize() { raw(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0); }

// What may be made of them; each kind with those before it.
enum class Sites : u8 { jumps, puns, traps };
enum class Kind : u8 { before, in_place, trap };  // where the jump stands

// The sites that begin in one page, and its bytes with those around it that tell what they are.
class Page {
  public:
    explicit Page(u64 begin) : begin_(begin) {
        const auto take = [&](u64 offset, u64 from, u64 size) {
            return copy(bytes_.data() + offset, reinterpret_cast<const void*>(from), size);
        };
        if (take(scan_before, begin, page + scan_after))
            end_ = bytes_.size();
        else if (take(scan_before, begin, page))
            end_ = scan_before + page;
        else
            return;
        if (!take(0, begin - scan_before, scan_before)) first_ = scan_before;
    }
    // alone: no other thread can run this page.
    void patch(const Memory& memory, Sites which, bool alone) {
        if (!alone && !can_synchronize()) return;  // not on this machine: these sites stay as they are
        find(memory, which, alone);
        if (count_ == 0) return;
        if (alone) {
            write(memory, jump, true);
            return;
        }
        for (u32 i = 0; i < count_; ++i) {
            *at(sites_[i].at) = breakpoint;
            if (sites_[i].kind == Kind::in_place) *at(sites_[i].at + call_size) = breakpoint;
        }
        if (!memory.write(begin_, at(0), extent(), false)) return;
        synchronize();
        for (const u8 first : {breakpoint, jump}) {
            write(memory, first, false);
            synchronize();
        }
    }

  private:
    struct Site {
        u32 at;
        Kind kind;
        u64 target;
    };
    u8* at(u64 offset) { return bytes_.data() + scan_before + offset; }
    u64 extent() const {
        u64 end = page;
        for (u32 i = 0; i < count_; ++i)
            end = std::max<u64>(end, u64{sites_[i].at} + (sites_[i].kind != Kind::trap ? jump_size : 1));
        return end;
    }
    void find(const Memory& memory, Sites which, bool alone) {
        const std::span<const u8> code(bytes_.data() + first_, end_ - first_);
        const u64 before = scan_before - first_;
        for (u64 call = next_candidate(code, before); call < code.size() && count_ < sites_.size();
             call = next_candidate(code, call + 1)) {
            const u64 offset = call - before;
            if (offset >= jump_size && offset < page + jump_size && add_jump(offset - jump_size)) continue;
            if (offset >= page) continue;
            const u8* const number = at(offset) - jump_size;
            if (number[0] == jump || is_handlers_return(number)) continue;  // it has its jump; or never runs
            const bool scanned = which == Sites::traps && is_system_call(code, call);
            const bool sure = scanned || compares_with_errors(code, call + call_size) ||
                              slot_at(begin_ + offset + call_size) != nullptr;
            if (sure && which >= Sites::puns && add_pun(memory, code, call, offset, alone)) continue;
            if (scanned) add_trap(offset);
        }
    }
    bool add_jump(u64 offset) {
        const u8* const here = at(offset);
        const bool tail_of_rex = (here[-1] & 0xf0) == 0x40;
        if (!is_generic(here) && (!is_direct(here) || tail_of_rex)) return false;
        const u64 target = target_of(here, begin_ + offset);
        if (target != 0) sites_[count_++] = {static_cast<u32>(offset), Kind::before, target};
        return target != 0;
    }
    // Not where the next instruction is the number of another call, which may be patched itself.
    bool add_pun(const Memory& memory, std::span<const u8> code, u64 call, u64 offset, bool alone) {
        const u64 start = begin_ + offset, behind = call + call_size;
        const u32 length = movable_length(code.subspan(behind));
        if (length < jump_size - call_size || !in_reach(start, start) || may_branch_to(code, behind)) return false;
        const u8* const next = code.data() + behind + length;
        if (behind + length + call_size > code.size() || (next[0] == 0x0f && next[1] == 0x05)) return false;
        const Pun* const place = free_pun(start);
        Slot* const slot = place != nullptr ? add_slot(start + call_size, any_number, start) : nullptr;
        if (slot == nullptr) return false;
        const Pun pun = composed(place, start, code.subspan(behind, length), *slot);
        const auto target = reinterpret_cast<u64>(place);
        if (!memory.write(target, reinterpret_cast<const u8*>(&pun), sizeof(pun), alone)) return false;
        slot->patched = call_size;
        resume_slots_at(slot->after, target + Pun::copied_at);
        sites_[count_++] = {static_cast<u32>(offset), Kind::in_place, target};
        return true;
    }
    void add_trap(u64 offset) {
        const u64 start = begin_ + offset;
        if (Slot* slot = add_slot(start + call_size, any_number, start)) {
            slot->patched = call_size;
            sites_[count_++] = {static_cast<u32>(offset), Kind::trap, 0};
        }
    }
    void write(const Memory& memory, u8 first, bool alone) {
        for (u32 i = 0; i < count_; ++i) {
            const auto& [site, kind, target] = sites_[i];
            if (kind != Kind::trap) write_jump(at(site), begin_ + site, target);
            if (kind == Kind::trap || first == breakpoint) *at(site) = breakpoint;
        }
        memory.write(begin_, at(0), extent(), alone);
    }

    u64 begin_, first_ = 0, end_ = scan_before;
    u32 count_ = 0;
    std::array<Site, 128> sites_;
    std::array<u8, scan_before + page + scan_after> bytes_;
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

void add_image(u64 at) {
    ElfW(Ehdr) header{};
    if (!fetch(header, at) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return;
    add_segments(reinterpret_cast<const ElfW(Phdr)*>(at + header.e_phoff), header.e_phnum, at);
}

// What the dynamic loader has mapped already, when it is that which brings the agent. The program names its list.
void add_loaded(const ElfW(Phdr) * program, u64 count, u64 bias) {
    u64 known = 0;
    for (u64 i = 0; i < count; ++i) {
        if (program[i].p_type != PT_DYNAMIC) continue;
        for (auto* entry = reinterpret_cast<const ElfW(Dyn)*>(bias + program[i].p_vaddr); entry->d_tag != DT_NULL;
             ++entry)
            if (entry->d_tag == DT_DEBUG) known = entry->d_un.d_ptr;
    }
    r_debug list{};
    if (known == 0 || !fetch(list, known)) return;
    link_map image{};
    for (auto* at = list.r_map; at != nullptr && fetch(image, reinterpret_cast<u64>(at)); at = image.l_next) {
        const bool itself = image.l_addr == process.text_begin;
        if (image.l_addr != 0 && image.l_addr != bias && !itself && image.l_addr != auxiliary(AT_SYSINFO_EHDR))
            add_image(image.l_addr);
    }
}

void patch_text(const Text& text, const Memory& memory, Sites which, bool alone) {
    if (!process.scans && !in_reach(text.begin, text.end)) return;
    for (u64 begin = text.begin; begin < text.end; begin += page) Page(begin).patch(memory, which, alone);
}

// What stood in place of a site's jump.
std::array<u8, jump_size> original_of(const Slot& slot) {
    std::array<u8, jump_size> bytes{0xb8};
    if (&slot == anybpf_slots) {
        std::copy_n(generic_call.begin(), bytes.size(), bytes.begin());
    } else if (slot.is_pun()) {
        bytes = {0x0f, 0x05};
        std::memcpy(bytes.data() + call_size, reinterpret_cast<const void*>(slot.resume), bytes.size() - call_size);
    } else {
        __builtin_memcpy(bytes.data() + 1, &slot.nr, 4);
    }
    return bytes;
}

}  // namespace

void find_first_text() {
    const auto* const program = reinterpret_cast<const ElfW(Phdr)*>(auxiliary(AT_PHDR));
    const u64 count = auxiliary(AT_PHNUM);
    for (u64 i = 0; program != nullptr && i < count;
         ++i) {  // the headers follow the file's own in every linker's output
        if (program[i].p_type != PT_LOAD || program[i].p_offset != 0) continue;
        const u64 bias = auxiliary(AT_PHDR) - sizeof(ElfW(Ehdr)) - program[i].p_vaddr;
        add_segments(program, count, bias);
        add_loaded(program, count, bias);
    }
    if (const u64 loader = auxiliary(AT_BASE); loader != 0) add_image(loader);
}

void text_mapped(u64 begin, u64 size, bool of_file) {
    lock(process.slot_lock);
    forget_puns(begin, begin + size);
    add_text(begin, begin + size);
    if (of_file && process.scans && !process.sealed) patch_text({begin, begin + size}, Memory(), Sites::traps, true);
    unlock(process.slot_lock);
}

void warm(u64 after) {
    const u64 begin = (after - call_size) & ~(page - 1);
    const auto number = static_cast<u32>(begin / page);
    Heat& here = heat[number % heat.size()];
    if (here.page != number) here = {number, 0};
    ++here.signals;
    const u32 times = here.signals / worthwhile;
    if (here.signals % worthwhile != 0 || (times & (times - 1)) != 0 || process.sealed ||
        !in_reach(begin, begin + page))
        return;
    if (!try_lock(process.slot_lock)) return;
    // To compose what stands in place costs as much as many signals; most programs of few calls end before.
    const Sites which = times == 1 ? Sites::jumps : Sites::puns;
    const Memory memory;
    if (after - site_size < begin) Page(begin - page).patch(memory, which, !process.threaded);
    Page(begin).patch(memory, which, !process.threaded);
    unlock(process.slot_lock);
}

bool write_text(u64 at, const u8* bytes, u64 size) { return Memory().write(at, bytes, size, true); }

bool is_loader_text(u64 at) {
    const u64 loader = auxiliary(AT_BASE);
    ElfW(Ehdr) header{};
    if (loader == 0 || !fetch(header, loader)) return false;
    const auto segments = std::span(reinterpret_cast<const ElfW(Phdr)*>(loader + header.e_phoff), header.e_phnum);
    return std::ranges::any_of(segments, [&](const ElfW(Phdr) & segment) {
        const u64 begin = loader + segment.p_vaddr;
        return segment.p_type == PT_LOAD && (segment.p_flags & PF_W) == 0 && at >= begin &&
               at < begin + segment.p_filesz;
    });
}

void remove_traps() {
    lock(process.slot_lock);
    const Memory memory;
    constexpr u8 call = 0x0f;
    for (const Slot& slot : used_slots())
        if (slot.filled() && slot.nr == any_number && slot.patched == call_size && !slot.is_pun())
            memory.write(slot.after - call_size, &call, 1, !process.threaded);
    unlock(process.slot_lock);
}

void give_back_text() {
    const Memory memory;
    for (const Slot& slot : anybpf_slots) {
        if (slot.patched == 0 || !stands(slot)) continue;
        const auto bytes = original_of(slot);
        memory.write(slot.after - slot.patched, bytes.data(), bytes.size(), true);
    }
}

void patch_all(bool puns) {
    const Sites which = process.scans ? Sites::traps : puns ? Sites::puns : Sites::jumps;
    lock(process.slot_lock);
    const Memory memory;
    for (u32 i = 0; i < text_count; ++i)
        if (texts[i].end != 0) patch_text(texts[i], memory, which, !process.threaded);
    unlock(process.slot_lock);
}

}  // namespace anybpf::agent

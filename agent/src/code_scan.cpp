// SPDX-License-Identifier: Apache-2.0
// Where an instruction begins cannot be read from the bytes at one place. But decoding falls into step: begun anywhere,
// after a few instructions it meets the true boundaries and stays on them. So decoding is begun at each of the bytes
// before a candidate; where most of the ways come to stand on it, it is an instruction of this code. Data that is taken
// for code gives no such agreement, or no sense: a system call wants its number in eax before, and something that
// compilers put behind it.
#include "code_scan.hpp"

#include <array>
#include <cstring>

namespace anybpf::agent {
namespace {

// What follows an opcode.
enum Form : u8 {
    x = 0,   // no instruction
    n = 1,   // nothing
    m = 2,   // ModRM
    b = 4,   // a byte
    w = 8,   // two bytes
    z = 16,  // four bytes, or two with an operand size prefix
    v = 32,  // an address of eight bytes, or an immediate of eight with REX.W
    mb = m | b,
    mz = m | z,
    wb = w | b,
};

// One row for sixteen opcodes. Prefixes are not among them; what faults in user space, or is never compiled, is none.
constexpr u8 one_byte[256] = {
    m,  m,  m, m,  b, z, x,  x,  m, m,  m, m,  b, z, x, x,  // 00: add, or
    m,  m,  m, m,  b, z, x,  x,  m, m,  m, m,  b, z, x, x,  // 10: adc, sbb
    m,  m,  m, m,  b, z, x,  x,  m, m,  m, m,  b, z, x, x,  // 20: and, sub
    m,  m,  m, m,  b, z, x,  x,  m, m,  m, m,  b, z, x, x,  // 30: xor, cmp
    x,  x,  x, x,  x, x, x,  x,  x, x,  x, x,  x, x, x, x,  // 40: REX
    n,  n,  n, n,  n, n, n,  n,  n, n,  n, n,  n, n, n, n,  // 50: push, pop
    x,  x,  x, m,  x, x, x,  x,  z, mz, b, mb, x, x, x, x,  // 60
    b,  b,  b, b,  b, b, b,  b,  b, b,  b, b,  b, b, b, b,  // 70: jcc
    mb, mz, x, mb, m, m, m,  m,  m, m,  m, m,  x, m, x, m,  // 80
    n,  n,  n, n,  n, n, n,  n,  n, n,  x, n,  n, n, n, n,  // 90
    x,  x,  x, x,  n, n, n,  n,  b, z,  n, n,  n, n, n, n,  // a0
    b,  b,  b, b,  b, b, b,  b,  v, v,  v, v,  v, v, v, v,  // b0: mov
    mb, mb, w, n,  x, x, mb, mz, x, n,  x, x,  n, b, x, x,  // c0
    m,  m,  m, m,  x, x, x,  x,  m, m,  m, m,  m, m, m, m,  // d0
    b,  b,  b, b,  x, x, x,  x,  z, z,  x, b,  x, x, x, x,  // e0
    x,  x,  x, x,  n, n, m,  m,  n, n,  x, x,  n, n, m, m,  // f0: group 3 at f6 and f7
};
constexpr u8 two_byte[256] = {
    m,  m,  m,  m,  x,  n,  x,  x, x, x, x,  n, x,  m, x, x,  // 00
    m,  m,  m,  m,  m,  m,  m,  m, m, m, m,  m, m,  m, m, m,  // 10
    x,  x,  x,  x,  x,  x,  x,  x, m, m, m,  m, m,  m, m, m,  // 20
    x,  n,  x,  x,  x,  x,  x,  x, x, x, x,  x, x,  x, x, x,  // 30
    m,  m,  m,  m,  m,  m,  m,  m, m, m, m,  m, m,  m, m, m,  // 40: cmov
    m,  m,  m,  m,  m,  m,  m,  m, m, m, m,  m, m,  m, m, m,  // 50
    m,  m,  m,  m,  m,  m,  m,  m, m, m, m,  m, m,  m, m, m,  // 60
    mb, mb, mb, mb, m,  m,  m,  n, x, x, x,  x, m,  m, m, m,  // 70
    z,  z,  z,  z,  z,  z,  z,  z, z, z, z,  z, z,  z, z, z,  // 80: jcc
    m,  m,  m,  m,  m,  m,  m,  m, m, m, m,  m, m,  m, m, m,  // 90: setcc
    x,  x,  n,  m,  mb, m,  x,  x, x, x, x,  m, mb, m, m, m,  // a0
    m,  m,  x,  m,  x,  x,  m,  m, m, x, mb, m, m,  m, m, m,  // b0
    m,  m,  mb, m,  mb, mb, mb, m, n, n, n,  n, n,  n, n, n,  // c0
    m,  m,  m,  m,  m,  m,  m,  m, m, m, m,  m, m,  m, m, m,  // d0
    m,  m,  m,  m,  m,  m,  m,  m, m, m, m,  m, m,  m, m, m,  // e0
    m,  m,  m,  m,  m,  m,  m,  m, m, m, m,  m, m,  m, m, x,  // f0
};

bool is_prefix(u8 byte) {
    return byte == 0x66 || byte == 0x67 || byte == 0xf0 || byte == 0xf2 || byte == 0xf3 || byte == 0x2e ||
           byte == 0x36 || byte == 0x3e || byte == 0x26 || byte == 0x64 || byte == 0x65;
}

// ModRM, SIB and displacement at code[at]; 0: cut off.
u32 memory_length(std::span<const u8> code, u32 at) {
    if (at >= code.size()) return 0;
    const u32 mode = code[at] >> 6, base = code[at] & 7;
    u32 length = 1;
    u32 index_base = base;
    if (mode != 3 && base == 4) {
        if (at + 1 >= code.size()) return 0;
        index_base = code[at + 1] & 7;
        ++length;
    }
    if (mode == 1) length += 1;
    if (mode == 2 || (mode == 0 && index_base == 5)) length += 4;
    return length;
}

u32 load32(std::span<const u8> code, u64 at) {
    u32 value = 0;
    std::memcpy(&value, code.data() + at, 4);
    return value;
}

// An instruction taken apart as far as is asked for here.
struct Instruction {
    u32 length = 0;
    u32 opcode_at = 0;
    u32 modrm_at = 0;  // 0: it has none
    u8 rex = 0;
    u8 map = 0;  // 0: one byte, 1: 0f, else another
};

Instruction decode(std::span<const u8> code) {
    Instruction found;
    u32 at = 0;
    bool operand_size = false;
    while (at < code.size() && at < 6 && is_prefix(code[at])) operand_size |= code[at++] == 0x66;
    if (at < code.size() && (code[at] & 0xf0) == 0x40) found.rex = code[at++];
    if (at >= code.size()) return {};
    u8 opcode = code[at];
    u8 form = 0;
    if (opcode == 0xc4 || opcode == 0xc5 || opcode == 0x62) {  // VEX, EVEX
        const u32 length = opcode == 0xc5 ? 2 : opcode == 0xc4 ? 3 : 4;
        if (found.rex != 0 || at + length >= code.size()) return {};
        found.map = opcode == 0xc5 ? 1 : code[at + 1] & (opcode == 0xc4 ? 0x1f : 0x07);
        if (found.map < 1 || found.map > 3) return {};
        at += length;
        opcode = code[at];
        form = found.map == 1 ? two_byte[opcode] : found.map == 2 ? u8{m} : u8{mb};
        found.map = 4;
    } else if (opcode == 0x0f) {
        if (++at >= code.size()) return {};
        opcode = code[at];
        found.map = 1;
        form = two_byte[opcode];
        if (opcode == 0x38 || opcode == 0x3a) {
            if (++at >= code.size()) return {};
            form = opcode == 0x38 ? u8{m} : u8{mb};
            found.map = 2;
        }
    } else {
        form = one_byte[opcode];
    }
    if (form == x) return {};
    found.opcode_at = at++;
    if ((form & m) != 0) {
        if (found.map == 0 && (opcode == 0xf6 || opcode == 0xf7) && at < code.size() && (code[at] & 0x30) == 0)
            form |= opcode == 0xf6 ? b : z;  // test
        const u32 length = memory_length(code, at);
        if (length == 0) return {};
        found.modrm_at = at;
        at += length;
    }
    if ((form & b) != 0) at += 1;
    if ((form & w) != 0) at += 2;
    const bool branch =
        (found.map == 0 && (opcode == 0xe8 || opcode == 0xe9)) || (found.map == 1 && (opcode & 0xf0) == 0x80);
    if ((form & z) != 0) at += operand_size && !branch ? 2 : 4;
    if ((form & v) != 0) at += (found.rex & 8) != 0 ? 8 : operand_size ? 2 : 4;
    if (at > code.size() || at > 15) return {};
    found.length = at;
    return found;
}

// Whether the instruction writes eax, as code does that is about to make a system call.
bool writes_number(std::span<const u8> code, const Instruction& at) {
    const u8 opcode = code[at.opcode_at];
    const bool extended_base = (at.rex & 1) != 0, extended_register = (at.rex & 4) != 0;
    if (at.map == 0 && (opcode == 0xb8 || opcode == 0x58 || opcode == 0xb0)) return !extended_base;
    if (at.opcode_at + 1 >= at.length) return false;
    const u8 modrm = code[at.opcode_at + 1];
    const bool base_is_eax = (modrm & 0xc7) == 0xc0 && !extended_base;
    const bool register_is_eax = (modrm & 0x38) == 0 && !extended_register;
    if (at.map == 0) {
        if (opcode == 0x89 || opcode == 0x31 || opcode == 0x29 || opcode == 0xc7 || opcode == 0x83 || opcode == 0x81)
            return base_is_eax;
        return (opcode == 0x8b || opcode == 0x33 || opcode == 0x8d || opcode == 0x63) && register_is_eax;
    }
    return at.map == 1 && ((opcode & 0xf0) == 0x40 || (opcode & 0xf6) == 0xb6) && register_is_eax;
}

// What compilers put behind a system call: a result that is looked at, kept or returned, or code that ends here.
bool goes_on_with_result(std::span<const u8> code, u64 at) {
    if (compares_with_errors(code, at)) return true;
    if (at + 4 > code.size()) return false;
    const u8* c = code.data() + at;
    if (c[0] == 0xc3 || c[0] == 0xf4 || c[0] == 0xeb || c[0] == 0xe9 || (c[0] == 0x0f && c[1] == 0x0b)) return true;
    if ((c[0] & 0xf8) == 0x48)
        ++c;  // REX.W
    else if ((c[0] & 0xf0) == 0x40)
        ++c;
    if (c[0] == 0x85 && c[1] == 0xc0) return true;           // test %eax,%eax
    if (c[0] == 0x83 && (c[1] & 0xc7) == 0xc0) return true;  // cmp, add … $n,%eax
    if (c[0] == 0x3d || c[0] == 0x98) return true;           // cmp $n,%eax; cltq
    if (c[0] == 0xf7 && c[1] == 0xd8) return true;           // neg %eax
    return c[0] == 0x89 && (c[1] & 0x38) == 0;               // mov %eax,…
}

// How a way makes the number of a call, in its last instructions.
enum class Number : u8 { none, made, copied, constant };

Number number_of(std::span<const u8> code, const Instruction& at) {
    if (!writes_number(code, at)) return Number::none;
    const u8 opcode = code[at.opcode_at];
    if (at.map != 0) return Number::made;
    if (opcode == 0xb8 && at.length == at.opcode_at + 5 && load32(code, at.opcode_at + 1) < 512)
        return Number::constant;
    const bool copies = (opcode == 0x89 || opcode == 0x8b || opcode == 0x31) && (at.rex & 8) == 0;
    return copies && code[at.opcode_at + 1] >= 0xc0 ? Number::copied : Number::made;
}

struct Ways {
    u32 begun = 0, met = 0;
    std::array<u32, 4> numbers{};  // of those that met
};

constexpr u64 number_within = 32;  // bytes before the call

// Backwards, so that each place is decoded once: where it leads is known by then.
Ways ways_to(std::span<const u8> code, u64 site) {
    enum class End : u8 { no_code, missed, met };
    struct Way {
        End end = End::no_code;
        Number number = Number::none;  // the last that is made
    };
    std::array<Way, scan_before> ways{};  // by distance from the site, less one
    Ways found;
    for (u64 distance = 1; distance <= scan_before && distance <= site; ++distance) {
        const auto rest = code.subspan(site - distance);
        const Instruction first = decode(rest);
        if (first.length == 0) continue;
        Way& way = ways[distance - 1];
        if (first.length < distance)
            way = ways[distance - first.length - 1];
        else
            way.end = first.length == distance ? End::met : End::missed;
        if (way.end == End::no_code) continue;
        if (way.number == Number::none && distance <= number_within) way.number = number_of(rest, first);
        ++found.begun;
        if (way.end != End::met) continue;
        ++found.met;
        ++found.numbers[static_cast<u32>(way.number)];
    }
    return found;
}

}  // namespace

u32 instruction_length(std::span<const u8> code) { return decode(code).length; }

bool compares_with_errors(std::span<const u8> code, u64 at) {
    if (at + 6 > code.size()) return false;
    if (code[at] == 0x48) ++at;
    if (at + 5 > code.size() || code[at] != 0x3d) return false;
    const u32 value = load32(code, at + 1);
    return value == 0xfffff000 || value == 0xfffff001;
}

u32 movable_length(std::span<const u8> code) {
    const Instruction at = decode(code);
    if (at.length == 0) return 0;
    const u8 opcode = code[at.opcode_at];
    const bool relative_address = at.modrm_at != 0 && (code[at.modrm_at] & 0xc7) == 0x05;
    const bool branches = (at.map == 0 && ((opcode & 0xf0) == 0x70 || (opcode & 0xf0) == 0xe0)) ||
                          (at.map == 1 && (opcode & 0xf0) == 0x80);
    const bool calls = at.map == 0 && opcode == 0xff && (code[at.modrm_at] & 0x30) == 0x10;
    const bool is_call = at.map == 1 && opcode == 0x05;
    return relative_address || branches || calls || is_call ? 0 : at.length;
}

bool may_branch_to(std::span<const u8> code, u64 target) {
    for (u64 at = 0; at + 2 <= code.size(); ++at) {
        const u8 opcode = code[at];
        const bool is_short = opcode == 0xeb || (opcode & 0xf0) == 0x70;
        if (is_short && at + 2 + static_cast<u64>(static_cast<i8>(code[at + 1])) == target) return true;
        const bool is_near = opcode == 0xe8 || opcode == 0xe9 || (opcode == 0x0f && (code[at + 1] & 0xf0) == 0x80);
        const u64 address = opcode == 0x0f ? at + 2 : at + 1;
        if (!is_near || address + 4 > code.size()) continue;
        if (address + 4 + static_cast<u64>(static_cast<i32>(load32(code, address))) == target) return true;
    }
    return false;
}

bool is_system_call(std::span<const u8> code, u64 at) {
    if (at + 2 > code.size() || code[at] != 0x0f || code[at + 1] != 0x05) return false;
    const Ways ways = ways_to(code, at);
    constexpr u32 enough = 8;
    if (ways.begun < enough || ways.met * 4 < ways.begun * 3) return false;
    const auto& [none, made, copied, constant] = ways.numbers;
    return compares_with_errors(code, at + 2) || (constant + copied) * 2 > ways.met ||
           (none * 2 < ways.met && goes_on_with_result(code, at + 2));
}

u64 next_candidate(std::span<const u8> code, u64 from) {
    constexpr u64 ones = 0x0101010101010101, highs = 0x8080808080808080;
    u64 at = from;
    while (at + 9 <= code.size()) {
        u64 word = 0;
        std::memcpy(&word, code.data() + at + 1, 8);  // of the second bytes
        word ^= 0x05 * ones;
        if (((word - ones) & ~word & highs) == 0) {
            at += 8;
            continue;
        }
        for (const u64 end = at + 8; at < end; ++at)
            if (code[at] == 0x0f && code[at + 1] == 0x05) return at;
    }
    for (; at + 2 <= code.size(); ++at)
        if (code[at] == 0x0f && code[at + 1] == 0x05) return at;
    return code.size();
}

}  // namespace anybpf::agent

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What every instruction means, computed here a second time, from RFC 9669: many operands in one program, whose results are
folded into one number; where that number is wrong, each pair of operands is run alone, to say which."""
from plugin import *

EDGES = [0, 1, 2, 3, 7, 31, 32, 33, 63, 64, 65, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fffffff, 0x80000000, 0x80000001,
         0xfffffffe, 0xffffffff, 0x100000000, 0x100000001, 0x123456789abcdef0, 0x7fffffffffffffff, 0x8000000000000000,
         0x8000000080000000, 0xffffffff00000000, 0xffffffff7fffffff, 0xffffffff80000000, 0xfffffffffffffffe, 0xffffffffffffffff]
IMMEDIATES = [0, 1, -1, 2, -2, 3, 7, 31, 32, 63, 64, 127, 0x7fffffff, -0x80000000, -0x7fffffff, 0x12345678, -0x12345678]
if ENGINES == ["--llvm"]:  # it takes seconds to optimize a program of all of them
    EDGES, IMMEDIATES = EDGES[::4] + EDGES[-1:], IMMEDIATES[::2]


def signed(value, bits):
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def quotient(a, b):
    """Towards zero."""
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


def alu(name, a, b, bits):
    a &= (1 << bits) - 1
    b &= (1 << bits) - 1
    sa, sb = signed(a, bits), signed(b, bits)
    count = b & (bits - 1)
    return {
        "add": lambda: a + b, "sub": lambda: a - b, "mul": lambda: a * b, "or": lambda: a | b, "and": lambda: a & b,
        "xor": lambda: a ^ b, "mov": lambda: b, "lsh": lambda: a << count, "rsh": lambda: a >> count,
        "arsh": lambda: sa >> count, "div": lambda: a // b if b else 0, "mod": lambda: a % b if b else a,
        "sdiv": lambda: quotient(sa, sb) if b else 0, "smod": lambda: sa - quotient(sa, sb) * sb if b else a,
    }[name]() & ((1 << bits) - 1)


# name, operation, off
ALU = [("add", 0x00, 0), ("sub", 0x10, 0), ("mul", 0x20, 0), ("div", 0x30, 0), ("sdiv", 0x30, 1), ("or", 0x40, 0), ("and", 0x50, 0),
       ("lsh", 0x60, 0), ("rsh", 0x70, 0), ("mod", 0x90, 0), ("smod", 0x90, 1), ("xor", 0xa0, 0), ("mov", 0xb0, 0), ("arsh", 0xc0, 0)]
JUMPS = {0x10: lambda a, b, s: a == b, 0x20: lambda a, b, s: a > b, 0x30: lambda a, b, s: a >= b, 0x40: lambda a, b, s: a & b != 0,
         0x50: lambda a, b, s: a != b, 0x60: lambda a, b, s: s(a) > s(b), 0x70: lambda a, b, s: s(a) >= s(b), 0xa0: lambda a, b, s: a < b,
         0xb0: lambda a, b, s: a <= b, 0xc0: lambda a, b, s: s(a) < s(b), 0xd0: lambda a, b, s: s(a) <= s(b)}

FACTOR = 0x9e3779b1 - (1 << 32)  # a sign-extended immediate


def fold_code(total, value):
    return insn(0x27, total, imm=FACTOR) + insn(0x0f, total, value)


def fold_value(total, value):
    return (total * FACTOR + value) & MASK


def run_all(name, cases, memory=b""):
    """cases: (label, code that leaves its result in r0, the result). r9 collects."""
    program, total = [mov(9, 0)], 0
    for _, body, result in cases:
        program += [body, fold_code(9, 0)]
        total = fold_value(total, result)
    folded = code(*program, movr(0, 9), EXIT)
    for option in ENGINES:
        done = call(folded, memory, option)
        if done.stdout == f"{total:x}\n":
            continue
        alone = sum(not expect(f"{name} {label}", body + EXIT, result, memory) for label, body, result in cases)
        if not alone:
            check(False, f"{name} {option}: each operand alone is right, all together are not: {done}")


# --- arithmetic: both widths, register and immediate, dst = src, several registers
for op, number, off in ALU:
    for bits, klass in ((64, 7), (32, 4)):
        for dst, src in ((1, 2), (0, 4), (4, 0), (4, 3), (3, 4), (6, 8)):
            if (dst, src) == (1, 2):
                pairs = [(a, b) for a in EDGES for b in EDGES]
            else:
                pairs = [(a, b) for a in EDGES[::5] for b in (1, 33, 64, 0xffffffff, MASK, 0)]
            run_all(f"{op}{bits} r{dst}, r{src}", [
                (f"{a:#x}, {b:#x}", lddw(dst, a) + lddw(src, b) + insn(number | klass | 8, dst, src, off) + movr(0, dst), alu(op, a, b, bits))
                for a, b in pairs])
        run_all(f"{op}{bits} immediate", [
            (f"{a:#x}, {b:#x}", lddw(0, a) + insn(number | klass, 0, 0, off, b), alu(op, a, b, bits)) for a in EDGES for b in IMMEDIATES])
        for reg in (0, 4, 7):
            run_all(f"{op}{bits} r{reg} by itself", [
                (f"{a:#x}", lddw(reg, a) + insn(number | klass | 8, reg, reg, off) + movr(0, reg), alu(op, a, a, bits)) for a in EDGES])
for bits, klass in ((64, 7), (32, 4)):
    run_all(f"neg{bits}", [(f"{a:#x}", lddw(0, a) + insn(0x80 | klass, 0), -a & ((1 << bits) - 1)) for a in EDGES])

# --- sign extension: movsx of 8, 16 and 32 bits
for bits, klass, widths in ((64, 7, (8, 16, 32)), (32, 4, (8, 16))):
    for width in widths:
        for dst, src in ((0, 1), (0, 0), (3, 4)):
            run_all(f"movsx{width}_{bits} r{dst}, r{src}", [
                (f"{a:#x}", lddw(src, a) + insn(0xb8 | klass, dst, src, width) + movr(0, dst), signed(a, width) & ((1 << bits) - 1))
                for a in EDGES])


# --- byte order
def swapped(value, bits):
    return int.from_bytes((value & ((1 << bits) - 1)).to_bytes(bits // 8, "little"), "big")


for width in (16, 32, 64):
    cases = {0xd4: lambda a: a & ((1 << width) - 1), 0xdc: lambda a: swapped(a, width), 0xd7: lambda a: swapped(a, width)}
    for number, meaning in cases.items():
        for reg in (0, 3, 9):
            body = [(f"{a:#x}", lddw(reg, a) + insn(number, reg, imm=width) + movr(0, reg), meaning(a)) for a in EDGES]
            if reg == 9:  # collects the others: one by one
                for label, part, result in body[::6]:
                    expect(f"{number:#x} r9 {label}", part + EXIT, result)
            else:
                run_all(f"{number:#x} {width} r{reg}", body)

# --- conditional jumps: an immediate is sign-extended, and 32-bit jumps look at the low halves only
for number, taken in JUMPS.items():
    for bits, klass in ((64, 5), (32, 6)):
        mask = (1 << bits) - 1
        sign = lambda value: signed(value, bits)
        jump = lambda how, dst, src, imm: code(insn(number | klass | how, dst, src, 2, imm), mov(0, 0), insn(0x05, off=1), mov(0, 1))
        for dst, src in ((1, 2), (5, 4), (7, 8)):
            run_all(f"jump {number:#x} {bits} r{dst}, r{src}", [
                (f"{a:#x}, {b:#x}", lddw(dst, a) + lddw(src, b) + jump(8, dst, src, 0), int(taken(a & mask, b & mask, sign)))
                for a in EDGES for b in EDGES[:: 1 if dst == 1 else 4]])
        run_all(f"jump {number:#x} {bits} immediate", [
            (f"{a:#x}, {b:#x}", lddw(1, a) + jump(0, 1, 0, b), int(taken(a & mask, b & mask, sign))) for a in EDGES for b in IMMEDIATES])
        run_all(f"jump {number:#x} {bits} with itself", [
            (f"{a:#x}", lddw(1, a) + jump(8, 1, 1, 0), int(taken(a & mask, a & mask, sign))) for a in EDGES])
for opcode, field in ((0x05, "off"), (0x06, "imm")):
    expect(f"{opcode:#x} backwards", code(insn(opcode, **{field: 2}), mov(0, 8), EXIT, insn(opcode, **{field: -3})), 8)
    expect(f"{opcode:#x} by nothing", code(mov(0, 3), insn(opcode, **{field: 0}), EXIT), 3)

# --- loads, stores and their signs, at every offset of a word, aligned or not
MEMORY = bytes((0x81 + 37 * i) & 0xff for i in range(32))
WIDTHS = {1: 0x10, 2: 0x08, 4: 0x00, 8: 0x18}
for size, width in WIDTHS.items():
    for at in range(0, 9):
        raw = int.from_bytes(MEMORY[at:at + size], "little")
        for dst, src in ((0, 1), (1, 1), (4, 1)):
            expect(f"load {size} at {at} r{dst}", insn(0x61 | width, dst, src, at) + movr(0, dst) + EXIT, raw, MEMORY)
        if size < 8:
            expect(f"signed load {size} at {at}", insn(0x81 | width, 0, 1, at) + EXIT, signed(raw, 8 * size), MEMORY)
        value = 0x8877665544332211
        written = bytearray(MEMORY)
        written[at:at + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        both = lambda memory: (int.from_bytes(memory[:8], "little") ^ int.from_bytes(memory[8:16], "little") * 3) & MASK
        read_back = code(insn(0x79, 0, 1, 0), insn(0x79, 2, 1, 8), insn(0x27, 2, imm=3), insn(0xaf, 0, 2), EXIT)
        expect(f"store {size} at {at}", lddw(7, value) + insn(0x63 | width, 1, 7, at) + read_back, both(written), MEMORY)
        written[at:at + size] = (-2 & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        expect(f"store immediate {size} at {at}", insn(0x62 | width, 1, 0, at, -2) + read_back, both(written), MEMORY)
expect("negative offsets", movr(2, 1) + insn(0x07, 2, imm=16) + insn(0x71, 0, 2, -16) + EXIT, MEMORY[0], MEMORY)
expect("the farthest offsets", code(movr(2, 1), insn(0x07, 2, imm=-0x7fff), insn(0x71, 0, 2, 0x7fff), insn(0x07, 2, imm=0x7fff + 0x8000),
                                   insn(0x71, 3, 2, -0x8000), insn(0x0f, 0, 3), EXIT), 2 * MEMORY[0], MEMORY)

# --- atomics: every operation, width and assignment of registers, r0 and the address itself among them
RMW = {"add": (0x00, lambda m, v: m + v), "or": (0x40, lambda m, v: m | v), "and": (0x50, lambda m, v: m & v), "xor": (0xa0, lambda m, v: m ^ v),
       "xchg": (0xe0, lambda m, v: v)}
INITIAL = bytes.fromhex("efcdab8967452301fedcba9876543210")


def registers_and_memory(regs):
    """Folds the given registers and 16 bytes at r6 into r9; r6 and r9 are kept free by the cases."""
    body = b"".join(fold_code(9, r) for r in regs)
    return body + insn(0x79, 8, 6, 0) + fold_code(9, 8) + insn(0x79, 8, 6, 8) + fold_code(9, 8) + movr(0, 9) + EXIT


def atomic_case(name, opcode, imm, dst, src, off, set_up, after):
    """set_up: register values but for dst, which is the address; after(regs, memory) changes both as it should be. Addresses
    are folded as their distance from r6."""
    values = {r: 0x1111111111111111 * (r + 1) for r in (0, 2, 3, 4, 5, 7)}
    values.update(set_up)
    values.pop(dst, None)
    program = movr(6, 1) + mov(9, 0) + b"".join(lddw(r, v) for r, v in values.items()) + movr(dst, 6) + insn(opcode, dst, src, off, imm)
    memory = bytearray(INITIAL)
    after(values, memory)
    if dst not in values:
        program += insn(0x1f, dst, 6)
        values[dst] = 0
    total = 0
    for r in sorted(values):
        total = fold_value(total, values[r])
    for at in (0, 8):
        total = fold_value(total, int.from_bytes(memory[at:at + 8], "little"))
    expect(name, program + registers_and_memory(sorted(values)), total, INITIAL)


for opcode, size in ((0xdb, 8), (0xc3, 4)):
    mask = (1 << 8 * size) - 1
    for off in (0, 8, 4) if size == 4 else (0, 8):
        for dst, src in ((2, 3), (0, 3), (2, 0), (3, 4), (4, 3), (5, 7), (4, 0), (0, 4)):
            for value in (0x00ff00ff12345678, 0xfedcba98ffffffff, 1):
                for name, (number, operation) in RMW.items():
                    for fetch in (1,) if name == "xchg" else (0, 1):
                        def after(regs, memory, src=src, fetch=fetch, operation=operation, off=off):
                            old = int.from_bytes(memory[off:off + size], "little")
                            memory[off:off + size] = (operation(old, regs[src]) & mask).to_bytes(size, "little")
                            if fetch:
                                regs[src] = old
                        if (off, value) != (0, 1) and (dst, src) not in ((2, 3), (0, 3), (2, 0)):
                            continue
                        atomic_case(f"atomic {name} fetch={fetch} size {size} at {off} [r{dst}], r{src} {value:#x}", opcode, number | fetch, dst, src, off,
                                    {src: value}, after)
        old = int.from_bytes(INITIAL[off:off + size], "little")
        for dst, src in ((2, 3), (3, 2), (5, 7), (2, 0), (4, 3), (3, 4)):
            for compared in {old, old ^ 1, old | 0xabcd << 48, (old + (1 << 63)) & MASK}:
                def after(regs, memory, src=src, off=off):
                    if regs[0] & mask == old:
                        memory[off:off + size] = (regs[src] & mask).to_bytes(size, "little")
                    regs[0] = old
                atomic_case(f"cmpxchg size {size} at {off} [r{dst}], r{src} against {compared:#x}", opcode, 0xf1, dst, src, off,
                            {**({src: 0x5a5a5a5a87654321} if src else {}), 0: compared}, after)
# The address in r0 is the value compared with, so it differs; r0 becomes what was there.
expect("cmpxchg at r0", code(movr(0, 1), mov(3, 5), insn(0xdb, 0, 3, 0, 0xf1), insn(0x79, 2, 1, 0), insn(0x1f, 0, 2), EXIT), 0, INITIAL)
# dst = src: the address is the value, and a fetch overwrites it.
expect("xchg of an address", code(movr(2, 1), insn(0xdb, 2, 2, 0, 0xe1), movr(0, 2), insn(0x79, 3, 1, 0), insn(0x1f, 3, 1), insn(0x0f, 0, 3), EXIT),
       int.from_bytes(INITIAL[:8], "little"), INITIAL)
expect("add of an address", code(movr(2, 1), insn(0xdb, 2, 2, 0, 0x00), insn(0x79, 0, 1, 0), insn(0x1f, 0, 1), EXIT),
       int.from_bytes(INITIAL[:8], "little"), INITIAL)
for off in (1, 3, 5):  # x86 does them anyway
    old = int.from_bytes(INITIAL[off:off + 4], "little")
    expect(f"misaligned fetch_add at {off}", code(mov(2, 7), insn(0xc3, 1, 2, off, 0x01), insn(0x61, 0, 1, off), insn(0x1f, 0, 2), EXIT),
           ((old + 7) & 0xffffffff) - old, INITIAL)

# --- load-acquire and store-release
for size, opcode in {1: 0xd3, 2: 0xcb, 4: 0xc3, 8: 0xdb}.items():
    for dst, src in ((0, 1), (1, 1), (4, 1)):
        expect(f"load_acquire {size} r{dst}", insn(opcode, dst, src, 8, 0x100) + movr(0, dst) + EXIT, int.from_bytes(INITIAL[8:8 + size], "little"), INITIAL)
    expect(f"store_release {size}", lddw(3, 0x8899aabbccddeeff) + insn(opcode, 1, 3, 0, 0x110) + insn(0x79, 0, 1) + EXIT,
           int.from_bytes((0x8899aabbccddeeff).to_bytes(8, "little")[:size] + INITIAL[size:8], "little"), INITIAL)

# --- calls: registers kept, frames of their own, through registers, helper 5, callbacks' values
KEEP = b"".join(mov(r, r) for r in (6, 7, 8, 9))
SUM = b"".join(insn(0x0f, 0, r) for r in (6, 7, 8, 9))
CHILD = code(mov(6, 100), mov(7, 100), mov(8, 100), mov(9, 100), insn(0x7a, 10, 0, -8, 77), insn(0x7a, 10, 0, -512, 78),
             mov(0, 0), *(insn(0x0f, 0, r) for r in (1, 2, 3, 4, 5)), EXIT)
ARGUMENTS = b"".join(mov(r, 10 ** r) for r in (1, 2, 3, 4, 5))
FRAME = insn(0x7a, 10, 0, -8, 1_000_000) + insn(0x7a, 10, 0, -512, 2_000_000)
BACK = insn(0x79, 1, 10, -8) + insn(0x0f, 0, 1) + insn(0x79, 1, 10, -512) + insn(0x0f, 0, 1)
for name, kind in (("call", None), ("callx", 3)):
    head = KEEP + FRAME
    tail = SUM + BACK + EXIT
    if kind is None:
        program = head + ARGUMENTS + insn(0x85, src=1, imm=len(tail) // 8) + tail + CHILD
    else:
        middle = ARGUMENTS + movr(0, 9) + insn(0x8d, 0)
        # r9 names the function; 9 is put back for the sum.
        between = mov(2, 9) + insn(0x1f, 9, 9) + mov(9, 9)
        program = head + insn(0x18, 9, 4, 0, (len(middle) + len(between) + len(tail)) // 8 + 1) + insn(0) + middle + between + tail + CHILD
    expect(name, program, 111110 + 30 + 3_000_000)
expect("callx of helper 5", mov(1, -1) + mov(2, 5) + insn(0x8d, 2) + mov(0, 2) + EXIT, 2)
for reg in (0, 2, 6, 9):
    expect(f"callx r{reg}", mov(1, -9) + mov(reg, 5) + insn(0x8d, reg) + EXIT, -9)
expect("eight frames", code(mov(1, 6), insn(0x85, src=1, imm=1), EXIT, mov(0, 1), insn(0x15, 1, 0, 4, 0), insn(0x07, 1, imm=-1),
                            insn(0x7a, 10, 0, -512, -1), insn(0x85, src=1, imm=-5), insn(0x07, 0, imm=1), EXIT), 7)
expect("a callee's stack is its own", code(insn(0x7a, 10, 0, -16, 5), movr(1, 10), insn(0x07, 1, imm=-16), insn(0x85, src=1, imm=2),
                                          insn(0x79, 0, 10, -16), EXIT, insn(0x7a, 10, 0, -16, 1), insn(0x7a, 1, 0, 0, 6), EXIT), 6)
expect("exit in a callee only returns", code(insn(0x85, src=1, imm=2), insn(0x07, 0, imm=1), EXIT, mov(0, 5), EXIT), 6)

# --- wide immediates, may_goto, packets
expect("lddw", lddw(0, 0x1122334455667788) + EXIT, 0x1122334455667788)
expect("lddw is not sign-extended", lddw(0, 0x80000000) + EXIT, 0x80000000)
expect("lddw of ones", lddw(0, 0xffffffff) + EXIT, 0xffffffff)
expect("may_goto goes on", code(mov(0, 0), insn(0x07, 0, imm=1), insn(0x25, 0, 0, 2, 1000), insn(0xe5, off=1), insn(0x05, off=-4), EXIT), 1001)
expect("may_goto ends what does not end", code(mov(0, 5), insn(0xe5, off=1), insn(0x05, off=-2), EXIT), 5)
PACKET = bytes(range(0xf0, 0x100)) + bytes(range(16))
for size, width in ((1, 0x10), (2, 0x08), (4, 0x00)):
    for at in (0, 1, 13, 28):
        expect(f"packet {size} at {at}", movr(6, 1) + insn(0x20 | width, imm=at) + EXIT, int.from_bytes(PACKET[at:at + size], "big"), PACKET)
        expect(f"packet {size} at r7 + 3 = {at}", code(movr(6, 1), mov(7, at - 3), insn(0x40 | width, src=7, imm=3), EXIT),
               int.from_bytes(PACKET[at:at + size], "big"), PACKET)
    last = len(PACKET) - size
    expect(f"packet {size} at its end", movr(6, 1) + insn(0x20 | width, imm=last) + insn(0x07, 0, imm=1) + EXIT,
           int.from_bytes(PACKET[last:], "big") + 1, PACKET)
    expect(f"packet {size} beyond its end", movr(6, 1) + insn(0x20 | width, imm=last + 1) + mov(0, 9) + EXIT, 0, PACKET)
    expect(f"packet {size} before it", movr(6, 1) + mov(0, 4) + insn(0x20 | width, imm=-1) + mov(0, 9) + EXIT, 0, PACKET)
    expect(f"packet {size} far beyond", code(movr(6, 1), lddw(7, 0x7fffffff), insn(0x40 | width, src=7, imm=0x7fffffff), mov(0, 9), EXIT), 0, PACKET)
    expect(f"packet {size} offset is 32 bits", code(movr(6, 1), lddw(7, 1 << 32), insn(0x40 | width, src=7, imm=2), EXIT),
           int.from_bytes(PACKET[2:2 + size], "big"), PACKET)
expect("no packet", insn(0x20, imm=0) + mov(0, 9) + EXIT, 0)
expect("a packet's end returns from a callee only", code(movr(6, 1), insn(0x85, src=1, imm=2), insn(0x07, 0, imm=3), EXIT, insn(0x30, imm=99), mov(0, 50),
                                                        EXIT), 3, PACKET)

finish()

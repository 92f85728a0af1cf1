#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""anybpf-conformance --elf: objects as the suite's runner writes them, objects of a compiler, and damaged ones."""
import shutil
import tempfile

from plugin import *


def elf(text, symbols, relocations=(), name=".text", machine=247):
    """One code section, its relocations (offset, symbol, type), and the symbols (name, section, value, size)."""
    names = b"\0" + b"".join(part.encode() + b"\0" for part in (".strtab", ".symtab", ".rel" + name, name))
    where = {part: names.index(part.encode() + b"\0") for part in (".strtab", ".symtab", ".rel" + name)}
    where[name] = names.index(b"\0" + name.encode() + b"\0") + 1
    table = bytes(24)
    for label, section, value, size in symbols:
        table += struct.pack("<IBBHQQ", len(names), 0x12, 0, section, value, size)
        names += label.encode() + b"\0"
    rows = b"".join(struct.pack("<QQ", offset, symbol << 32 | kind) for offset, symbol, kind in relocations)
    parts, at, headers = [], 64, [bytes(64)]
    for label, kind, flags, contents, link, info, entry in (
            (name, 1, 6, text, 0, 0, 0), (".symtab", 2, 0, table, 4, 1, 24), (".rel" + name, 9, 0, rows, 2, 1, 16),
            (".strtab", 3, 0, names, 0, 0, 0)):
        headers.append(struct.pack("<IIQQQQIIQQ", where[label], kind, flags, 0, at, len(contents), link, info, 4, entry))
        parts.append(contents)
        at += len(contents)
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1" + bytes(9), 1, machine, 1, 0, 0, at, 0, 64, 0, 0, 64, len(headers), 4)
    return header + b"".join(parts) + b"".join(headers)


def run(name, file, result, memory=b""):
    for option in ENGINES:
        for order in ((option, "--elf"), ("--elf", option)):
            done = call(file, memory, *order)
            check(done.returncode == 0 and done.stdout == f"{result & MASK:x}\n", f"{name} {order}: wanted {result:#x}, got {done}")


def refused(name, file, words):
    refuse(name, file, words, options=("--elf",))


SIMPLE = code(insn(0x71, 0, 1, 1), insn(0x0f, 0, 2), EXIT)
run("the suite's form", elf(SIMPLE, [("main", 1, 0, len(SIMPLE))]), 7, b"\4\5")
run("without a size", elf(SIMPLE, [("main", 1, 0, 0)]), 7, b"\4\5")
CALL = code(mov(1, 5), insn(0x85, src=1, imm=1), EXIT, movr(0, 1), insn(0x0f, 0, 1), EXIT)
run("a call without relocation", elf(CALL, [("main", 1, 0, 24)]), 10)
# main is the second function and calls the first and the third.
MIXED = code(mov(0, 1), EXIT, insn(0x85, src=1, imm=-1), movr(6, 0), insn(0x85, src=1, imm=-1), insn(0x0f, 0, 6), EXIT, mov(0, 20), EXIT)
run("main in the middle", elf(MIXED, [("one", 1, 0, 16), ("main", 1, 16, 40), ("twenty", 1, 56, 16)], [(16, 1, 10), (32, 3, 10)]), 21)
BY_SECTION = code(insn(0x85, src=1, imm=2), EXIT, mov(0, 1), mov(0, 2), EXIT)
run("a call relative to the section's symbol", elf(BY_SECTION, [("main", 1, 0, 16), ("", 1, 0, 0)], [(0, 2, 10)]), 2)
POINTER = code(lddw(6, 0), mov(1, 3), insn(0x8d, 6), EXIT, movr(0, 1), insn(0x27, 0, imm=11), EXIT)
run("a function's address", elf(POINTER, [("main", 1, 0, 40), ("eleven", 1, 40, 24)], [(0, 2, 1)]), 33)

refused("no ELF", b"\x7fELG" + bytes(100), "not an ELF file")
refused("another machine", elf(SIMPLE, [("main", 1, 0, 24)], machine=62), "BPF object")
refused("no main", elf(SIMPLE, [("start", 1, 0, 24)]), "no main in .text")
refused("main elsewhere", elf(SIMPLE, [("main", 1, 0, 24)], name="xdp"), "no main in .text")
refused("main too long", elf(SIMPLE, [("main", 1, 8, 24)]), "main reaches out")
refused("main behind the end", elf(SIMPLE, [("main", 1, 24, 0)]), "main reaches out")
refused("main inside an instruction", elf(SIMPLE, [("main", 1, 4, 8)]), "whole number of instructions")
refused("half an instruction", elf(SIMPLE[:-4], [("main", 1, 0, 0)]), "whole number of instructions")
refused("bad opcode", elf(insn(0xff) + EXIT, [("main", 1, 0, 16)]), "instruction 0: opcode does not exist")
refused("undefined function", elf(CALL, [("main", 1, 0, 24), ("far", 0, 0, 0)], [(8, 2, 10)]), "'far' is not defined")
refused("unknown symbol", elf(CALL, [("main", 1, 0, 24)], [(8, 9, 10)]), "symbol that is not there")
refused("unknown relocation", elf(CALL, [("main", 1, 0, 24)], [(8, 1, 77)]), "relocation 77")
refused("relocation inside", elf(CALL, [("main", 1, 0, 24)], [(4, 1, 10)]), "inside an instruction")
refused("call to nowhere", elf(CALL, [("main", 1, 0, 24), ("far", 1, 4000, 0)], [(8, 2, 10)]), "where none is")
whole = elf(MIXED, [("one", 1, 0, 16), ("main", 1, 16, 40), ("twenty", 1, 56, 16)], [(16, 1, 10), (32, 3, 10)])
for size in range(0, len(whole), 7):
    done = call(whole[:size], b"", "--elf")
    check(done.returncode == 1 and done.stderr and not done.stdout, f"cut to {size} bytes: {done}")

C = """
typedef unsigned long u64;
struct pair { u64 a, b; };
static const u64 primes[] = {2, 3, 5, 7, 11};
static u64 counter = 40;
static struct pair zeros[4];
static const char *const words[] = {"one", "three"};
__attribute__((section("far"), noinline)) u64 far_away(u64 x) { return x * 2; }
__attribute__((noinline)) static u64 length(const char *text) { u64 n = 0; while (text[n]) ++n; return n; }
__attribute__((noinline)) u64 add(u64 a, u64 b) { return a + b; }
u64 main(unsigned char *memory, u64 size) {
    volatile u64 *count = &counter;
    u64 sum = 0;
    for (u64 i = 0; i < size; ++i) sum += primes[memory[i] % 5];
    *count += 1;
    zeros[2].b = sum;
    return add(add(zeros[2].b + zeros[3].a, *count), far_away(length(words[size & 1])));
}
"""
clang = shutil.which("clang-19") or shutil.which("clang")
if clang:
    with tempfile.TemporaryDirectory() as folder:
        source, out = os.path.join(folder, "a.c"), os.path.join(folder, "a.o")
        with open(source, "w") as file:
            file.write(C)
        for cpu in ("v1", "v2", "v3", "v4"):
            for level in ("-O1", "-O2"):
                subprocess.run([clang, "-target", "bpf", f"-mcpu={cpu}", level, "-ffreestanding", "-c", source, "-o", out], check=True)
                with open(out, "rb") as file:
                    run(f"clang {cpu} {level}", file.read(), 2 + 5 + 11 + 41 + 2 * 5, bytes([0, 2, 4]))
else:
    print("no clang: compiled objects are not tried")

finish()

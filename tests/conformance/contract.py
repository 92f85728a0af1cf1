#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The contract of anybpf-conformance: its arguments, its input, what it prints, what it refuses; large programs."""
from plugin import *

# --- arguments and registers at entry
expect("r2 is the length", movr(0, 2) + EXIT, 6, memory=b"\1\2\3\4\5\6")
expect("r1 is the memory", insn(0x71, 0, 1, 5) + EXIT, 6, memory=b"\1\2\3\4\5\6")
expect("the memory can be written", insn(0x62, 1, 0, 0, 0x01020304) + insn(0x79, 0, 1, 0) + EXIT, 0x0808080801020304, memory=b"\x08" * 8)
expect("no memory", movr(0, 1) + insn(0x4f, 0, 2) + EXIT, 0)
expect("r10 is the end of a frame", insn(0x7a, 10, 0, -8, 17) + insn(0x7a, 10, 0, -512, 5) + insn(0x79, 0, 10, -8) +
       insn(0x79, 1, 10, -512) + insn(0x0f, 0, 1) + EXIT, 22)
expect("r0 was never set", EXIT, 0)
expect("helper 5", mov(1, -3) + insn(0x85, imm=5) + EXIT, -3)
expect("64 bits are printed", lddw(0, 0xfedcba9876543210) + EXIT, 0xfedcba9876543210)

done = call(mov(0, 7) + EXIT)
check((done.returncode, done.stdout) == (0, "7\n"), f"without an engine's option: {done}")
done = subprocess.run([PLUGIN, "", "", "--interpret"], input=hex_pairs(mov(0, 7) + EXIT) + "\n", text=True, capture_output=True)
check((done.returncode, done.stdout) == (0, "7\n"), f"with empty words: {done}")
for words in (["--fast"], ["--interpret", "01  02  "], ["-h"]):
    done = subprocess.run([PLUGIN, *words], input="", text=True, capture_output=True)
    check(done.returncode != 0 and "usage" in done.stderr and not done.stdout, f"{words}: {done}")

# --- the text
good = hex_pairs(mov(0, 7) + EXIT)
for name, line in {"one blank": good.replace("  ", " "), "no blank": good.replace(" ", ""), "upper case": good.upper(),
                   "end of line of DOS": good + "\r", "lines behind it": good + "\nzz"}.items():
    done = call(b"", line=line)
    check((done.returncode, done.stdout) == (0, "7\n"), f"{name}: {done}")
refuse("no program", b"", "program")
refuse("blanks only", b"", "program", line="    ")
refuse("no hex", b"", "'zz' is no pair", line="b7  zz  ")
refuse("sign", b"", "'-1' is no pair", line="-1  ")
refuse("prefix", b"", "'0x' is no pair", line="0xb7  ")
refuse("half a pair", b"", "'b' is no pair", line="b7  b")
refuse("split pair", b"", "character 1", line="b 7  ")
refuse("not in eights", mov(0, 7)[:7], "8")
refuse("NUL", b"", "is no pair", line="b7\0\0b7")
done = subprocess.run([PLUGIN, "aa  b"], input=good + "\n", text=True, capture_output=True)
check(done.returncode != 0 and "memory" in done.stderr and not done.stdout, f"bad memory: {done}")

# --- programs that are refused name the instruction
refuse("opcode", mov(0, 0) + insn(0xff) + EXIT, "instruction 1: opcode does not exist")
refuse("register 11", mov(0, 0) + mov(11, 0) + EXIT, "instruction 1: register number")
refuse("register 12 as source", mov(0, 0) + movr(0, 12) + EXIT, "instruction 1: register number")
refuse("half a wide one", mov(0, 0) + insn(0x18), "instruction 1: second half")
refuse("second half alone", insn(0) + EXIT, "instruction 0: second half")
refuse("jump out", insn(0x05, off=5) + EXIT, "instruction 0: 6 is no instruction")
refuse("jump before", mov(0, 0) + insn(0x05, off=-3) + EXIT, "instruction 1: -1 is no instruction")
refuse("jump into a wide one", insn(0x15, off=1) + lddw(0, 0) + EXIT, "instruction 0: 2 is no instruction")
refuse("no end", mov(0, 0), "last instruction")
refuse("call out", insn(0x85, src=1, imm=7) + EXIT, "instruction 0: 8 is no instruction")
refuse("kernel function", insn(0x85, src=2, imm=7) + EXIT, "instruction 0: kernel functions")
refuse("map", lddw(1, 3, src=1) + EXIT, "instruction 0: a map")
refuse("no such helper", insn(0x85, imm=4711) + EXIT, "4711")
refuse("helper that is not here", insn(0x85, imm=1) + EXIT, "helper map_lookup_elem is not available")
refuse("cast", insn(0xbf, 1, 1, 1, 1) + EXIT, "instruction 0: address space casts")
refuse("gotox", insn(0x0d, 1) + EXIT, "instruction 0: indirect jumps")
# --- and so do runs that go wrong
refuse("address 0", mov(1, 0) + insn(0x79, 0, 1) + EXIT, "memory that is not there")
refuse("the ninth frame", insn(0x85, src=1, imm=0) + insn(0x85, src=1, imm=-1) + EXIT, "too deep")
refuse("call of no function", mov(3, 4000) + insn(0x8d, 3) + EXIT, "no function")

# --- large programs
MILLION = 1_000_000
expect("a million instructions", mov(0, 0) + insn(0x07, 0, imm=1) * (MILLION - 2) + EXIT, MILLION - 2)
far = MILLION - 5
expect("gotol over them, and back", code(mov(0, 1), insn(0x06, imm=far), insn(0x07, 0, imm=4), EXIT, insn(0x07, 0, imm=1000) * (far - 2),
                                         insn(0x07, 0, imm=2), insn(0x06, imm=-far - 2)), 7)
expect("a call over them", code(insn(0x85, src=1, imm=far), EXIT, insn(0x07, 0, imm=1) * (far - 1), mov(0, 9), EXIT), 9)
wide = 300_000
expect("wide instructions", lddw(0, 1) + lddw(1, 1 << 40) * wide + insn(0x0f, 0, 1) + EXIT, (1 << 40) + 1)
# Every second instruction jumps to the next: as many targets as can be.
expect("half a million jumps", mov(0, 0) + code(insn(0x07, 0, imm=1), insn(0x05, off=0)) * 400_000 + EXIT, 400_000)
# Hops of which each goes beyond what 16 bits reach.
hops, span = 20, 40_000
hop = code(insn(0x07, 0, imm=1), insn(0x06, imm=span), insn(0x07, 0, imm=1_000_000) * span)
expect("hops beyond 16 bits", mov(0, 0) + hop * hops + EXIT, hops)
refuse("more than can be", insn(0x07, 0, imm=1) * (1 << 20) + EXIT, "1048577 instructions")
count = 20_000
expect("many subprograms", mov(0, 0) + code(*(insn(0x85, src=1, imm=count + i) for i in range(count))) + EXIT +
       code(insn(0x07, 0, imm=1), EXIT) * count, count)

finish()

# SPDX-License-Identifier: Apache-2.0
"""Calls anybpf-conformance as the suite's runner does, and encodes instructions from the numbers of RFC 9669: nothing here
knows the project's assembler or its tables."""
import os
import struct
import subprocess
import sys

PLUGIN = os.environ["ANYBPF_CONFORMANCE"]
OPTIONS = os.environ.get("ANYBPF_CONFORMANCE_ENGINE", "--interpret --jit --llvm").split()
MASK = (1 << 64) - 1
R = range(11)

failures = 0


def check(good, what):
    global failures
    if not good:
        failures += 1
        print(f"FAILED: {what}", flush=True)
    return good


def finish():
    print("failed" if failures else "all good")
    sys.exit(1 if failures else 0)


def hex_pairs(data):
    return data.hex(" ").replace(" ", "  ") + "  " if data else ""


def call(program, memory=b"", *options, line=None):
    words = ([hex_pairs(memory)] if memory else []) + list(options)
    text = (hex_pairs(program) if line is None else line) + "\n"
    return subprocess.run([PLUGIN, *words], input=text, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)


def insn(code, dst=0, src=0, off=0, imm=0):
    imm &= 0xffffffff
    return struct.pack("<BBhI", code, src << 4 | dst, off, imm)


def lddw(dst, value, src=0):
    value &= MASK
    return insn(0x18, dst, src, 0, value & 0xffffffff) + insn(0, 0, 0, 0, value >> 32)


def mov(dst, imm):
    return insn(0xb7, dst, 0, 0, imm)


def movr(dst, src):
    return insn(0xbf, dst, src)


def code(*parts):
    return b"".join(parts)


EXIT = insn(0x95)


def engines():
    """The options whose engine this build has; the others must say so."""
    found = []
    for option in OPTIONS:
        done = call(mov(0, 7) + EXIT, b"", option)
        if done.returncode == 0:
            check(done.stdout == "7\n", f"{option}: {done.stdout!r}")
            found.append(option)
        else:
            check(option in done.stderr and not done.stdout, f"{option}: {done}")
    if not found:
        print(f"skipped: this build has no engine for {OPTIONS}")
        sys.exit(77)
    check(OPTIONS[0] in found, f"there is no {OPTIONS[0]}")
    return found


ENGINES = engines()


def expect(name, program, result, memory=b""):
    """The program returns the result, on every engine, on nothing but standard output."""
    good = True
    for option in ENGINES:
        done = call(program, memory, option)
        good &= check(done.returncode == 0 and done.stdout == f"{result & MASK:x}\n" and not done.stderr,
                      f"{name} {option}: wanted {result & MASK:#x}, got exit {done.returncode}, {done.stdout!r}, {done.stderr!r}")
    return good


def refuse(name, program, words, memory=b"", line=None, options=()):
    """Non-zero exit, the words in the message, nothing on standard output."""
    for option in ENGINES:
        done = call(program, memory, option, *options, line=line)
        check(done.returncode != 0 and not done.stdout and words in done.stderr,
              f"{name} {option}: wanted '{words}', got exit {done.returncode}, {done.stdout!r}, {done.stderr!r}")

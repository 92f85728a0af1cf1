#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the table of system call sites (src/sites.hpp) of the given ELF libraries."""
import re
import struct
import sys


def segments(data):
    offset, = struct.unpack_from("<Q", data, 0x20)
    size, count = struct.unpack_from("<HH", data, 0x36)
    for i in range(count):
        yield struct.unpack_from("<IIQQ8xQ", data, offset + i * size)


def build_id(data):
    for kind, _, offset, _, size in segments(data):
        if kind != 4:  # PT_NOTE
            continue
        at = offset
        while at + 12 <= offset + size:
            name, length, note = struct.unpack_from("<III", data, at)
            text = at + 12 + (name + 3 & ~3)
            if note == 3 and length == 20:
                return data[text:text + 20]
            at = text + (length + 3 & ~3)
    return None


def sites(data):
    for kind, flags, offset, address, size in segments(data):
        if kind != 1 or not flags & 1:  # PT_LOAD, PF_X
            continue
        text = data[offset:offset + size]
        for match in re.finditer(b"\x0f\x05", text):
            i = match.start()
            if i < 6:
                continue
            direct = text[i - 5] == 0xB8 and struct.unpack_from("<I", text, i - 4)[0] < 512
            if direct and text[i - 6] & 0xF0 != 0x40 or text[i - 5:i] == b"\x4c\x8b\x4c\x24\x08":
                yield address + i - 5


print("// Written by find_sites.py\n#include \"sites.hpp\"\nnamespace anybpf::agent {\nnamespace {")
rows = []
for number, path in enumerate(sys.argv[1:]):
    with open(path, "rb") as file:
        data = file.read()
    identity = build_id(data)
    found = sorted(sites(data))
    if identity is None or not found:
        continue
    print(f"constexpr std::array<u32, {len(found)}> sites_{number} = {{{','.join(hex(at) for at in found)}}};")
    rows.append(f"{{{{{','.join(str(byte) for byte in identity)}}}, sites_{number}}}")
print(f"constexpr std::array<KnownLibrary, {len(rows)}> libraries = {{{{{','.join(rows)}}}}};")
print("}\nconst std::span<const KnownLibrary> known_libraries = libraries;\n}")

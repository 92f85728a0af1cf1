#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the table of system call sites (src/sites.hpp) of the given ELF libraries.

To patch a site makes its page private to the process, which costs more than the signal that a patched site saves once:
so only pages of the first library with calls that nearly every program makes are patched at its start, the rest when it
becomes threaded.
"""
import re
import struct
import sys


# read write open mmap munmap brk sigaction lseek stat fstat ioctl fcntl getppid wait4 execve pipe dup2 poll getdents64
# epoll_wait sendto recvfrom writev unlink readlink
COMMON = {0, 1, 2, 257, 9, 11, 12, 13, 8, 262, 4, 5, 16, 72, 110, 61, 59, 22, 33, 7, 217, 232, 44, 45, 20, 87, 89}


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
                number = struct.unpack_from("<I", text, i - 4)[0] if direct else -1
                yield address + i - 5, number


print("// Written by find_sites.py\n#include \"sites.hpp\"\nnamespace anybpf::agent {\nnamespace {")
rows = []
for number, path in enumerate(sys.argv[1:]):
    with open(path, "rb") as file:
        data = file.read()
    identity = build_id(data)
    found = sorted(sites(data))
    if identity is None or not found:
        continue
    common_pages = {site >> 12 for site, call in found if number == 0 and (call in COMMON or call == -1)}
    first = [site for site, _ in found if site >> 12 in common_pages]
    rest = [site for site, _ in found if site >> 12 not in common_pages]
    for kind, offsets in (("first", first), ("rest", rest)):
        print(f"constexpr std::array<u32, {len(offsets)}> {kind}_{number} = {{{','.join(hex(at) for at in offsets)}}};")
    rows.append(f"{{{{{','.join(str(byte) for byte in identity)}}}, first_{number}, rest_{number}}}")
print(f"constexpr std::array<KnownLibrary, {len(rows)}> libraries = {{{{{','.join(rows)}}}}};")
print("}\nconst std::span<const KnownLibrary> known_libraries = libraries;\n}")

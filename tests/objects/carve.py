# SPDX-License-Identifier: Apache-2.0
"""BPF objects inside of other files: an installed tool holds the object that its skeleton was made of, byte for byte.

An object begins with an ELF header of 64 bits for BPF, and ends behind the last of its sections and of the table that lists them."""
import struct

MAGIC = b"\x7fELF\x02\x01\x01"  # 64 bits, little-endian, version 1
HEADER, ROW = 64, 64
RELOCATABLE, BPF = 1, 247
NO_BITS = 8  # a section that takes no room in the file


def size_of_object(data, at):
    """How long the object at that place is; None where there is none, or where its parts lie beyond the data."""
    if len(data) - at < HEADER:
        return None
    kind, machine = struct.unpack_from("<HH", data, at + 16)
    table, = struct.unpack_from("<Q", data, at + 40)
    row_size, rows = struct.unpack_from("<HH", data, at + 58)
    if (kind, machine, row_size) != (RELOCATABLE, BPF, ROW) or rows == 0:
        return None
    end = table + rows * ROW
    if table < HEADER or end > len(data) - at:
        return None
    for row in range(rows):
        what, = struct.unpack_from("<I", data, at + table + row * ROW + 4)
        offset, size = struct.unpack_from("<QQ", data, at + table + row * ROW + 24)
        if what != NO_BITS:
            end = max(end, offset + size)
    return end if end <= len(data) - at else None


def objects_in(data):
    """Each object, as bytes, in the order of their places."""
    at = data.find(MAGIC)
    while at >= 0:
        size = size_of_object(data, at)
        if size:
            yield data[at:at + size]
        at = data.find(MAGIC, at + (size or len(MAGIC)))

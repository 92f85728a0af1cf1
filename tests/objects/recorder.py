# SPDX-License-Identifier: Apache-2.0
"""The recorder: what a process loads by bpf(2) stands in the recording as it was loaded, attaches nothing, and is judged as when it was loaded."""
import ctypes
import json
import os
import struct
import subprocess
import sys
import tempfile

import carve
from compare import verdicts
from objects import bpf_works

BPF, MAP_CREATE, UPDATE, PROG_LOAD, TRACEPOINT_OPEN, FREEZE = 321, 0, 2, 5, 17, 22


def insns(*rows):
    return b"".join(struct.pack("<BBhi", code, dst | src << 4, off, imm) for code, dst, src, off, imm in rows)


def load_some():
    """A frozen array, a program that looks at its value and one that reads beyond it; and a tracepoint that nobody is asked for."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    kept = []

    def bpf(command, *words):
        attr = ctypes.create_string_buffer(b"".join(words).ljust(128, b"\0"))
        return call(BPF, command, attr, 128)

    def address(data):
        kept.append(ctypes.create_string_buffer(data))
        return struct.pack("<Q", ctypes.addressof(kept[-1]))

    def load(kind, name, code):
        return bpf(PROG_LOAD, struct.pack("<II", kind, len(code) // 8), address(code), address(b"GPL"), bytes(24), name.ljust(16, b"\0"))

    array = bpf(MAP_CREATE, struct.pack("<IIIII", 2, 4, 8, 1, 128), bytes(8), b"numbers")
    zero = bytes(4)
    assert bpf(UPDATE, struct.pack("<II", array, 0), address(zero), address(b"\7" + bytes(7)), bytes(8)) == 0
    assert bpf(FREEZE, struct.pack("<I", array)) == 0
    value = [(0x18, 1, 2, 0, array), (0, 0, 0, 0, 0)]
    good = load(17, b"good", insns(*value, (0x79, 0, 1, 0, 0), (0x15, 0, 0, 1, 7), (0x79, 0, 1, 8, 0), (0x95, 0, 0, 0, 0)))
    assert good >= 0, ctypes.get_errno()
    assert load(17, b"beyond", insns(*value, (0x79, 0, 1, 8, 0), (0x95, 0, 0, 0, 0))) == -1
    assert bpf(TRACEPOINT_OPEN, address(b"there is no tracepoint of this name"), struct.pack("<I", good)) >= 0


def carving(sources):
    """Two objects in a file come out as they were; what only begins like one, or is cut, does not."""
    first, second = sources
    filled = b"\x7fELF\x02\x01\x01" + b"no object" + first + bytes(3) + second + first[:-1]
    assert list(carve.objects_in(filled)) == [first, second]
    for length in range(len(first)):
        assert list(carve.objects_in(first[:length])) == []


def main():
    if sys.argv[1:] == ["load"]:
        return load_some()
    with tempfile.TemporaryDirectory() as folder:
        objects = []
        for name in ("comm_count", "killsnoop"):
            out = os.path.join(folder, name)
            subprocess.run([os.environ["ANYBPF"], "compile", f"{os.environ['ANYBPF_SOURCE']}/programs/{name}.bpf.c", "-o", out], check=True)
            with open(out, "rb") as file:
                objects.append(file.read())
        carving(objects)
        if not bpf_works():
            print("skipped: bpf(2) does not load programs here")
            return 77
        path = os.path.join(folder, "one.rec")
        subprocess.run([sys.executable, __file__, "load"], env={**os.environ, "LD_PRELOAD": os.environ["ANYBPF_RECORDER"], "ANYBPF_RECORD": path}, check=True)
        with open(path) as file:
            programs = [json.loads(line) for line in file]
        assert [(program["name"], program["answer"]) for program in programs] == [("good", 0), ("beyond", 13)], programs
        numbers = programs[0]["maps"][0]
        assert (numbers["name"], numbers["type"], numbers["frozen"]) == ("numbers", 2, "07" + "00" * 7), numbers
        for options in ([], ["--on", "kernel"]):
            rows, error = verdicts(path, *options)
            assert [row["verdict"] for row in rows] == ["accept", "reject"], (rows, error)
    print("all good")


if __name__ == "__main__":
    sys.exit(main())

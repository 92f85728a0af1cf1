# SPDX-License-Identifier: Apache-2.0
"""Recordings: verified program by program, and refused by line and field."""
import copy
import json
import struct

from cli import Place, check, finish


def insns(*rows):
    return b"".join(struct.pack("<BBhi", code, dst | src << 4, off, imm) for code, dst, src, off, imm in rows).hex()


ARRAY = {"name": "numbers", "type": 2, "key_size": 4, "value_size": 8, "max_entries": 1, "flags": 0}
ZERO = (0xB7, 0, 0, 0, 0)
EXIT = (0x95, 0, 0, 0, 0)
DIRECT = [(0x18, 1, 6, 0, 0), (0, 0, 0, 0, 0)]  # r1: the value of the first map
GOOD = {"recording": 1, "name": "good", "type": 1, "attach_type": 0, "license": "GPL", "insns": insns(ZERO, EXIT), "maps": []}
MAPPED = {**GOOD, "name": "mapped", "insns": insns(*DIRECT, (0x79, 0, 1, 0, 0), EXIT), "maps": [ARRAY]}
BEYOND = {**GOOD, "name": "beyond", "insns": insns(*DIRECT, (0x79, 0, 1, 8, 0), EXIT), "maps": [ARRAY]}
# The frozen value decides that the load beyond it is never reached.
FROZEN = {**GOOD, "name": "frozen", "maps": [{**ARRAY, "flags": 128, "frozen": "01" + 7 * "00"}],
          "insns": insns(*DIRECT, (0x79, 0, 1, 0, 0), (0x55, 0, 0, 1, 0), (0x79, 0, 1, 8, 0), EXIT)}
OUTER = {**GOOD, "name": "outer", "maps": [{**ARRAY, "type": 12, "value_size": 4, "inner": ARRAY}],
         "insns": insns((0x18, 1, 5, 0, 0), (0, 0, 0, 0, 0), (0x62, 10, 0, -4, 0), (0xBF, 2, 10, 0, 0), (0x07, 2, 0, 0, -4), (0x85, 0, 0, 0, 1),
                        ZERO, EXIT)}
NO_MAP = {**GOOD, "name": "no_map", "maps": [{**ARRAY, "key_size": 0}], "insns": MAPPED["insns"]}
HALF = {**GOOD, "name": "half", "lacks": "of a reason"}

WRONG = [
    ({"recording": 2}, "'recording' is 2; 1 is known"), ({"name": 3}, "'name' is not text"), ({"name": "a\0b"}, "'name' has a NUL in it"),
    ({"type": None}, "'type' is missing"), ({"type": -1}, "'type' is not a number of 32 bits"), ({"type": 1 << 32}, "'type' is not a number of 32 bits"),
    ({"insns": "zz"}, "'insns' is not bytes in hex"), ({"insns": "b70"}, "'insns' is not bytes in hex"), ({"insns": "b700"}, "'insns' has 2 bytes"),
    ({"insns": ""}, "'insns' has 0 bytes"), ({"maps": None}, "'maps' is missing"), ({"maps": 1}, "'maps' is not an array"),
    ({"maps": [1]}, "'maps[0]' is not an object"), ({"maps": [ARRAY, {}]}, "'maps[1].name' is missing"),
    ({"maps": [{**ARRAY, "frozen": "00"}]}, "'maps[0].frozen' has 1 bytes, and a value 8"),
    ({"maps": [{**ARRAY, "inner": {**ARRAY, "inner": ARRAY}}]}, "'maps[0].inner.inner' is within an inner map"),
    ({"line_info": "00"}, "'line_info' has 1 bytes in records of 0"), ({"func_info": "00", "func_info_size": 8}, "'func_info' has 1 bytes in records of 8"),
    ({"btf": []}, "'btf' is not text"), ({"license": None}, "'license' is missing"),
]

with Place() as place:
    def written(*programs):
        place.write("one.rec", "".join(json.dumps(program, separators=(",", ":")) + "\n" for program in programs))
        return "one.rec"

    done = place.run("verify", "--json", written(GOOD, MAPPED, BEYOND, FROZEN, OUTER, NO_MAP, HALF))
    rows = {row["program"]: row for row in json.loads(done.stdout)}
    check(done.returncode == 1 and list(rows) == ["good", "mapped", "beyond", "frozen", "outer", "no_map", "half"], f"{done.stdout}{done.stderr}")
    check([row["verdict"] for row in rows.values()] == ["accept"] * 2 + ["reject"] + ["accept"] * 2 + ["reject"] * 2, f"{rows}")
    check(rows["good"]["type"] == "socket_filter" and rows["good"]["insns"] == rows["good"]["processed"] == 2, f"{rows['good']}")
    check("refusal" in rows["beyond"] and rows["beyond"]["refusal"]["insn"] == 2, f"{rows['beyond']}")
    check("map 'numbers' cannot be created" in rows["no_map"]["message"], f"{rows['no_map']}")
    check("not recorded whole: of a reason" in rows["half"]["message"], f"{rows['half']}")
    done = place.run("verify", "--prog", "mapped", "one.rec")
    check(done.returncode == 0 and done.stdout.startswith("accept  mapped"), f"--prog: {done.stdout}{done.stderr}")
    place.expect(2, ["no program 'nobody'; there are: good, mapped"], "verify", "--prog", "nobody", "one.rec")
    place.expect(2, ["recording", "--kernel"], "verify", "--kernel", "6.1", "one.rec")

    for change, message in WRONG:
        program = {key: value for key, value in {**copy.deepcopy(GOOD), **change}.items() if value is not None}
        place.expect(112, [f"one.rec:2: {message}"], "verify", written(GOOD, program))
    place.write("cut.rec", json.dumps(GOOD, separators=(",", ":"))[:-5])
    place.expect(112, ["cut.rec:1: no JSON object"], "verify", "cut.rec")
    place.write("cut.rec", json.dumps(GOOD, separators=(",", ":")) + "\n\n")
    place.expect(112, ["cut.rec:2: no JSON object"], "verify", "cut.rec")
    place.write("deep.rec", '{"recording":' + "[" * 100000)
    place.expect(112, ["deep.rec:1: no JSON object"], "verify", "deep.rec")

finish()

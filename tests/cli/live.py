# SPDX-License-Identifier: Apache-2.0
"""The same objects are accepted by the machine's own kernel, loaded by plain libbpf (bpftool)."""
import json
import os
import shutil

from cli import PROGRAMS, Place, check, finish

with Place() as place:
    done = place.run("verify", "--on", "kernel", os.path.join(PROGRAMS, "comm_count.bpf.c"))
    if done.returncode == 118 or "permitted" in done.stderr:
        print(f"skipped: the kernel's bpf(2) is not for this user: {done.stderr.strip()}")
        raise SystemExit(77)
    for name in sorted(os.listdir(PROGRAMS)):
        if not name.endswith(".bpf.c"):
            continue
        check(place.run("compile", os.path.join(PROGRAMS, name), "-o", "p.o").returncode == 0, f"compile {name}")
        done = place.run("verify", "--on", "kernel", "--json", "p.o")
        check(done.returncode == 0 and all(row["verdict"] == "accept" for row in json.loads(done.stdout)), f"{name}: {done.stdout}{done.stderr}")
finish()

# SPDX-License-Identifier: Apache-2.0
"""Each command on good input: what it prints, as text and as JSON."""
import json
import os
import subprocess

from cli import ANYBPF, HEAD, PROGRAMS, Place, check, finish

with Place() as place:
    # compile: every header without a flag, everything it can emit.
    source = place.write("all.bpf.c", '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\n#include <bpf/bpf_tracing.h>\n#include <bpf/bpf_core_read.h>\n'
                         '#include <bpf/usdt.bpf.h>\n#include <anybpf/output.h>\nSEC("kprobe/__x64_sys_getppid") int BPF_KPROBE(on_getppid) { return 0; }\n'
                         'char LICENSE[] SEC("license") = "GPL";\n')
    for emit, name, word in (("obj", "all.bpf.o", b"\x7fELF"), ("llvm", "all.bpf.ll", b"target triple"), ("asm", "all.bpf.s", b"exit")):
        done = place.run("compile", source, "--emit", emit)
        check(done.returncode == 0 and word in open(os.path.join(place.path, name), "rb").read(), f"--emit {emit}: {done.stderr}")
    place.write("inc.h", "#define N 3\n")
    place.write("includes.bpf.c", HEAD + '#include "inc.h"\nSEC("socket") int prog(void *ctx) { return N + M; }\n')
    check(place.run("compile", "includes.bpf.c", "-I", ".", "-D", "M=4").returncode == 0, "-I and -D")

    # verify: every program that ships is accepted.
    for name in sorted(os.listdir(PROGRAMS)):
        if not name.endswith(".bpf.c"):
            continue
        done = place.run("verify", "--json", os.path.join(PROGRAMS, name))
        check(done.returncode == 0, f"verify {name}: {done.stderr}{done.stdout}")
        for row in json.loads(done.stdout or "[]"):
            check(row["verdict"] == "accept" and row["insns"] > 0 and row["processed"] > 0, f"{name}: {row}")
            check({"file", "section", "program", "type", "verdict", "message", "line", "insns", "processed", "states", "peak_states", "time_us"} == set(row), f"fields: {row}")
    done = place.run("verify", "--log", "includes.bpf.o")
    check(done.returncode == 0 and "processed" in done.stdout, f"--log: {done.stdout}")

    # exec, asm and disasm.
    done = place.run("exec", "--json", "includes.bpf.o", "--prog", "prog")
    check(done.returncode == 0 and json.loads(done.stdout)["retval"] == 7 and json.loads(done.stdout)["engine"] == "jit", f"exec: {done.stdout}{done.stderr}")
    check(place.run("asm", "-", "-o", "raw.bin", stdin="r0 = 0x7\nif r0 == 0x7 goto +0x1\nr0 = 0x1\nexit\n").returncode == 0, "asm")
    check(len(open(os.path.join(place.path, "raw.bin"), "rb").read()) == 32, "four instructions")
    text = place.run("disasm", "raw.bin").stdout
    check("if r0 == 0x7 goto +0x1" in text, f"disasm: {text}")
    check(place.run("asm", place.write("again.s", text), "-o", "again.bin").returncode == 0, "a listing assembles")
    check(open(os.path.join(place.path, "again.bin"), "rb").read() == open(os.path.join(place.path, "raw.bin"), "rb").read(), "round trip")
    check(place.run("asm", "again.s", "-o", "made.o", "--section", "socket", "--name", "seven").returncode == 0, "asm to an object")
    done = place.run("exec", "--json", "made.o", "--prog", "seven", "--repeat", "10")
    check(done.returncode == 0 and json.loads(done.stdout)["retval"] == 7 and json.loads(done.stdout)["repeat"] == 10, f"exec of the made object: {done.stdout}{done.stderr}")
    rows = json.loads(place.run("disasm", "--json", "made.o", "--prog", "seven").stdout)
    check(rows[0]["section"] == "socket" and len(rows[0]["insns"]) == 4 and rows[0]["insns"][3]["text"] == "exit", f"disasm --json: {rows}")
    place.expect(113, ["bad.s", "1"], "asm", place.write("bad.s", "r0 = what\n"), "-o", "bad.bin")

    # Limits: a local array of 40 KiB, on every engine; a byte less is refused by the option's name.
    place.write("deep.bpf.c", HEAD + """
SEC("socket") int deep(struct __sk_buff *skb) { volatile char big[40960]; __u32 at = skb->len & 8191; for (int i = 0; i < 40960; i += 8192) big[i + at] = i >> 13; return big[8192 + at] + big[32768 + at] + 100; }
static long add(__u32 i, long *sum) { volatile long mine[2048]; mine[i & 1] = i; *sum += mine[i & 1]; return 0; }
SEC("socket") int back(struct __sk_buff *skb) { volatile long mine[2000]; long sum = 0; mine[0] = 7; bpf_loop(2, add, &sum, 0); return sum + mine[0]; }
SEC("kprobe") int rounds(void *ctx) { int sum = 0; for (volatile long i = 0; i < 100; i++) sum += i; return sum; }
""")
    limits = ("--stack", "41000", "--max-insns", "2000000")
    check(place.run("verify", *limits, "deep.bpf.c").returncode == 0, "verify --stack")
    for engine in ("interp", "jit", "llvm"):
        done = place.run("exec", "--json", *limits, "deep.bpf.c", "--prog", "deep", "--engine", engine)
        if engine == "llvm" and "LLVM" in done.stderr and done.returncode != 0:
            continue
        check(done.returncode == 0 and json.loads(done.stdout)["retval"] == 105, f"exec --stack by {engine}: {done.stdout}{done.stderr}")
        done = place.run("exec", "--json", *limits, "deep.bpf.c", "--prog", "back", "--engine", engine)
        check(done.returncode == 0 and json.loads(done.stdout)["retval"] == 8, f"a callback with stack by {engine}: {done.stdout}{done.stderr}")
    for few in ((), ("--stack", "40000")):
        done = place.run("verify", *few, "deep.bpf.c", "--prog", "deep")
        check(done.returncode != 0 and "--stack BYTES" in done.stdout, f"verify {few}: {done.stdout}{done.stderr}")
        check(place.run("exec", *few, "deep.bpf.c", "--prog", "deep").returncode != 0, f"exec {few}")
    done = place.run("verify", "--max-insns", "50", "deep.bpf.c", "--prog", "rounds")
    check(done.returncode != 0 and "--max-insns N" in done.stdout, f"verify --max-insns: {done.stdout}{done.stderr}")
    check(place.run("verify", "--stack", "65537", "deep.bpf.c").returncode == 2, "more than there can be")
    check(place.run("run", *limits, "deep.bpf.c", "--", "true").returncode != 2, "run takes the limits")
    check(place.run("verify", "--on", "kernel", "--stack", "1024", "deep.bpf.c").returncode == 2, "the kernel's limits are its own")
    place.write("unaligned.bpf.c", HEAD + """struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u64[2]); } words SEC(".maps");
SEC("socket") int between(struct __sk_buff *skb) { __u32 k = 0; char *v = bpf_map_lookup_elem(&words, &k); return v ? *(volatile __u32 *)(v + 2) : 0; }
""")
    check(place.run("verify", "unaligned.bpf.c").returncode == 0, "unaligned")
    done = place.run("verify", "--strict-alignment", "unaligned.bpf.c")
    check(done.returncode != 0 and "misaligned" in done.stdout, f"--strict-alignment: {done.stdout}{done.stderr}")

    # prog, map, link: what another process of the root has loaded.
    place.write("held.bpf.c", HEAD + """struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, __u32); __type(value, __u64); } held SEC(".maps");
SEC("tracepoint/syscalls/sys_enter_getpgid") int count(void *ctx) { __u32 k = 3; __u64 v = 5; bpf_map_update_elem(&held, &k, &v, 0); return 0; }
""")
    holder = subprocess.Popen([ANYBPF, "run", "held.bpf.c", "--", "sh", "-c", "read x; echo $PPID; read x"], cwd=place.path, env=place.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def listing(*words):
        done = subprocess.run([ANYBPF, *words, "--json"], env=place.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        check(done.returncode == 0, f"{words}: {done.stderr}")
        return json.loads(done.stdout or "null")

    for _ in range(200):
        links = listing("link", "list")
        if links:
            break
    progs, maps = listing("prog", "list"), listing("map", "list")
    check(len(links) == 1 and links[0]["type"] == "perf_event", f"link list: {links}")
    check([row["name"] for row in progs] == ["count"] and progs[0]["type"] == "tracepoint" and len(progs[0]["tag"]) == 16, f"prog list: {progs}")
    held = [row for row in maps if row["name"] == "held"]
    check(len(held) == 1 and held[0]["type"] == "hash" and held[0]["bytes_value"] == 8 and held[0]["max_entries"] == 8, f"map list: {maps}")
    check(links[0]["prog_id"] == progs[0]["id"] and held[0]["id"] in progs[0]["map_ids"], "ids agree")
    check(listing("map", "show", "id", str(held[0]["id"]))["name"] == "held", "map show id")
    check(listing("map", "dump", "name", "held") == [], "nothing in the map yet")
    check(len(listing("prog", "dump", "xlated", "id", str(progs[0]["id"]))) > 5, "prog dump")
    check("held" in subprocess.run([ANYBPF, "map", "list"], env=place.environment(), stdout=subprocess.PIPE, text=True).stdout, "as text")
    holder.communicate("\n\n")
    check(holder.returncode == 0 and not os.listdir(place.root), f"nothing is left: {os.listdir(place.root)}")

    # doctor and version.
    rows = json.loads(place.run("doctor", "--json").stdout)
    check({"Syscall User Dispatch", "root directory", "clang", "agent"} <= {row["check"] for row in rows}, f"doctor: {rows}")
    check(place.run("version").stdout.startswith("anybpf "), "version")
finish()

# SPDX-License-Identifier: Apache-2.0
"""verify --kernel: would an object load on another version of Linux?"""
import json
import os

from cli import HEAD, PROGRAMS, Place, check, finish

RING = HEAD + """struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } stream SEC(".maps");
SEC("kprobe/__x64_sys_getppid") int ring(void *ctx) { int *e = bpf_ringbuf_reserve(&stream, 4, 0); if (!e) return 0; *e = 1; bpf_ringbuf_submit(e, 0); return 0; }
"""
LOOP = HEAD + """static long add(unsigned i, long *sum) { *sum += i; return 0; }
SEC("kprobe/__x64_sys_getppid")
int looped(void *ctx) { long sum = 0;
    bpf_loop(10, add, &sum, 0);
    return sum; }
"""
MIXED = HEAD + """long counter;
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 8); __type(key, int); __type(value, long); } counts SEC(".maps");
SEC("kprobe/__x64_sys_getppid") int fetches(void *ctx) { return __sync_fetch_and_add(&counter, 1) == 7; }
SEC("xdp") int plain(void *ctx) { int k = 0; return bpf_map_lookup_elem(&counts, &k) ? XDP_DROP : XDP_PASS; }
SEC("kprobe/__x64_sys_getpid") int rounds(void *ctx) { long s = 0; for (int i = 0; i < 100; i++) s += bpf_get_prandom_u32(); return s; }
"""
# What user space has no place for is judged as it stands in the object.
ELSEWHERE = HEAD + """extern int bpf_task_acquire_of_nobody(void *task) __ksym;
struct { __uint(type, BPF_MAP_TYPE_SOCKMAP); __uint(max_entries, 4); __type(key, int); __type(value, int); } socks SEC(".maps");
SEC("fentry/do_unlinkat") int on_unlink(void *ctx) { bpf_get_current_task_btf(); return 0; }
SEC("uprobe.multi//bin/true:main") int on_main(void *ctx) { return 0; }
"""
KFUNC = HEAD + """struct task_struct;
extern struct task_struct *bpf_task_acquire(struct task_struct *p) __ksym;
extern void bpf_task_release(struct task_struct *p) __ksym;
SEC("tp_btf/sched_switch") int on_switch(unsigned long long *ctx) {
    struct task_struct *held = bpf_task_acquire((void *)ctx[1]);
    if (held) bpf_task_release(held);
    return 0; }
"""
# The object asks the kernel by CO-RE, so that what it calls depends on where it is loaded.
ASKS = HEAD + """#include <bpf/bpf_core_read.h>
enum bpf_func_id___x { BPF_FUNC_get_attach_cookie___x = 42 };
SEC("kprobe/__x64_sys_getppid") int asks(void *ctx) {
    if (bpf_core_enum_value_exists(enum bpf_func_id___x, BPF_FUNC_get_attach_cookie___x)) return 0;
    return bpf_get_attach_cookie(ctx) == 1; }
"""
REFUSED = HEAD + """SEC("kprobe/__x64_sys_getppid") int bad(void *ctx) { return *(int *)bpf_get_current_pid_tgid(); }
"""
LONG_TERM = ["5.4", "5.10", "5.15", "6.1", "6.6", "6.12", "6.18"]
FIELDS = {"file", "section", "program", "type", "kernel", "answer", "cause", "reason", "since", "insn", "line", "btf"}

with Place() as place:
    def compiled(name, text, *more):
        source = place.write(f"{name}.bpf.c", text)
        done = place.run("compile", source, *more)
        check(done.returncode == 0, f"compile {name}: {done.stderr}")
        return f"{name}.bpf.o"

    def rows(status, *args):
        done = place.run("verify", "--json", *args)
        check(done.returncode == status, f"{args}: exit {done.returncode}, wanted {status}: {done.stdout}{done.stderr}")
        listed = json.loads(done.stdout or "[]")
        check(all(set(row) == FIELDS for row in listed), f"fields: {listed[:1]}")
        return listed

    def answers(listed, program):
        return [row["answer"] for row in listed if row["program"] == program]

    ring, loop, mixed = compiled("ring", RING), compiled("loop", LOOP), compiled("mixed", MIXED, "--clang", "-mcpu=v3")

    # One version: exit status 1 for a no, 0 for a yes; unknown is no failure unless asked for.
    found = rows(1, "--kernel", "5.4", ring)
    check(len(found) == 1 and found[0]["answer"] == "no" and found[0]["cause"] == "map_type" and found[0]["since"] == "5.8", f"ring on 5.4: {found}")
    check(found[0]["reason"] == "map 'stream' is of type ringbuf, which exists since 5.8", f"reason: {found}")
    found = rows(0, "--kernel", "5.10", ring)
    check(found[0]["answer"] == "yes" and found[0]["cause"] == "none" and found[0]["reason"] == "" and found[0]["since"] is None, f"ring on 5.10: {found}")
    check(rows(0, "--kernel", "6.1", loop)[0]["answer"] == "unknown", "callbacks of an older verifier")
    check(rows(1, "--kernel", "6.1", "--strict", loop)[0]["cause"] == "rounds", "--strict")
    check(rows(0, "--kernel", "6.18", "--strict", loop)[0]["answer"] == "yes", "of this verifier")
    found = rows(1, "--kernel", "5.15", loop)
    check(found[0]["cause"] == "helper" and found[0]["since"] == "5.17" and found[0]["insn"] is not None and "bpf_loop(10, add" in found[0]["line"], f"loop on 5.15: {found}")

    # All of them.
    found = rows(1, "--kernel", "all", mixed)
    check([row["kernel"] for row in found[:7]] == LONG_TERM, f"versions: {found}")
    check(answers(found, "fetches") == ["no"] * 2 + ["yes"] * 5, f"fetches: {found}")
    check(answers(found, "plain") == ["yes"] * 7, f"plain: {found}")
    check(answers(found, "rounds") == ["unknown"] * 6 + ["yes"], f"rounds: {found}")
    check({row["cause"] for row in found if row["program"] == "fetches" and row["answer"] == "no"} == {"feature"}, f"fetches: {found}")
    check([row["kernel"] for row in rows(0, "--kernel", "6.1,5.13,6.1", "--prog", "plain", mixed)] == ["5.13", "6.1"], "a list of versions, sorted")

    # Several files, a folder, C; the matrix as text.
    done = place.run("verify", "--kernel", "5.4,6.18", ring, mixed)
    lines = done.stdout.splitlines()
    check(done.returncode == 1 and lines[0].split() == ["FILE", "PROGRAM", "TYPE", "5.4", "6.18"], f"matrix: {done.stdout}")
    check(["ring.bpf.o", "ring", "kprobe", "no", "yes"] in [line.split() for line in lines], f"matrix: {done.stdout}")
    check("ring.bpf.o: ring: 5.4: no: map 'stream' is of type ringbuf, which exists since 5.8" in lines, f"reasons: {done.stdout}")
    os.mkdir(os.path.join(place.path, "out"))
    os.mkdir(os.path.join(place.path, "out", "deeper"))
    for name, to in ((ring, "out"), (mixed, "out/deeper")):
        os.rename(os.path.join(place.path, name), os.path.join(place.path, to, name))
    place.write("out/not_bpf.o", b"no object at all")
    done = place.run("verify", "--json", "--kernel", "6.18", "out")
    check(done.returncode == 0 and "skipped" in done.stderr and "not_bpf.o" in done.stderr, f"folder: {done.stderr}")
    check([row["file"] for row in json.loads(done.stdout)] == ["out/deeper/mixed.bpf.o"] * 3 + ["out/ring.bpf.o"], f"folder: {done.stdout}")
    with open(os.path.join(place.path, "out", "ring.bpf.o"), "rb") as good:
        place.write("out/cut.o", good.read()[:300])
    done = place.run("verify", "--json", "--kernel", "6.18", "out")
    check(done.returncode == 1 and len(json.loads(done.stdout)) == 4, f"a damaged object fails and hides no other: {done.stdout}{done.stderr}")
    check(rows(1, "--kernel", "5.4", "ring.bpf.c")[0]["cause"] == "map_type", "C is compiled first")

    # What does not reach the verifier here.
    found = rows(1, "--kernel", "all", compiled("elsewhere", ELSEWHERE))
    check(answers(found, "on_unlink")[0] == "no" and [row["cause"] for row in found if row["program"] == "on_unlink"][:2] == ["program_type", "helper"], f"fentry: {found}")
    check(set(answers(found, "on_unlink")[2:]) in ({"yes"}, {"unknown"}), f"fentry, where the kernel's types are known or not: {found}")
    check(answers(found, "on_main") == ["no"] * 4 + ["yes"] * 3, f"uprobe.multi: {found}")
    found = rows(1, "--kernel", "6.1,6.6", compiled("kfunc", KFUNC))
    check(found[0]["cause"] == "kfunc" and found[0]["since"] == "6.2" and found[1]["answer"] in ("yes", "unknown"), f"kfunc: {found}")
    found = rows(0, "--kernel", "5.10", compiled("asks", ASKS))
    check(found[0]["answer"] == "unknown" and found[0]["cause"] == "perhaps_unused" and found[0]["since"] == "5.15", f"CO-RE: {found}")
    found = rows(1, "--kernel", "all", compiled("refused", REFUSED))
    check({row["cause"] for row in found} == {"refused"}, f"refused by 6.18: {found}")

    # Every program that ships is accepted by the reference.
    check(all(row["answer"] == "yes" for row in rows(0, "--kernel", "6.18", *[os.path.join(PROGRAMS, name) for name in sorted(os.listdir(PROGRAMS)) if name.endswith(".bpf.c")])), "programs that ship")

    # Errors.
    place.expect(2, ["5.4", "6.18", "4.19"], "verify", "--kernel", "4.19", "loop.bpf.o")
    place.expect(2, ["--kernel"], "verify", "--kernel", "6.1", "--on", "kernel", "loop.bpf.o")
    place.expect(2, ["one FILE"], "verify", "loop.bpf.o", "loop.bpf.o")
    place.expect(2, ["--strict"], "verify", "--strict", "loop.bpf.o")
    place.expect(2, ["looped"], "verify", "--kernel", "6.1", "--prog", "nobody", "loop.bpf.o")
    place.expect(110, ["absent"], "verify", "--kernel", "6.1", "absent.o")
    os.mkdir(os.path.join(place.path, "empty"))
    place.expect(110, ["no object"], "verify", "--kernel", "6.1", "empty")

finish()

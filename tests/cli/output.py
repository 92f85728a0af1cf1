# SPDX-License-Identifier: Apache-2.0
"""run: events, printk and maps, as text and as JSON; programs that ship over real commands; Ctrl-C."""
import json
import os
import re
import signal
import subprocess
import sys
import time

from cli import ANYBPF, HEAD, PROGRAMS, Place, check, finish

ALL = HEAD + """
struct event { __u64 time; __u32 pid; char comm[16]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } ring SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4); __uint(value_size, 4); } perf SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); __uint(max_entries, 64); __type(key, __u32); __type(value, __u64); } per_cpu SEC(".maps");
struct pair { int a; char name[8]; };
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, __u32); __type(value, struct pair); } pairs SEC(".maps");
ANYBPF_EVENT(ring, struct event, "{time:clock} {pid:>7} {comm}");
__u64 total;
SEC("tracepoint/syscalls/sys_enter_getppid") int prog(void *ctx) {
    struct event e = {}; struct pair p = {.a = -5, .name = "five"}; __u32 k = 1; __u64 one = 1, *v;
    e.time = bpf_ktime_get_boot_ns(); e.pid = bpf_get_current_pid_tgid() >> 32; bpf_get_current_comm(e.comm, sizeof(e.comm));
    bpf_ringbuf_output(&ring, &e, sizeof(e), 0);
    bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU, &e, sizeof(e));
    bpf_map_update_elem(&pairs, &k, &p, 0);
    v = bpf_map_lookup_elem(&per_cpu, &k); if (v) ++*v; else bpf_map_update_elem(&per_cpu, &k, &one, 0);
    __sync_fetch_and_add(&total, 1);
    bpf_printk("hello %d", k);
    return 0;
}
"""
CALLS = ["perl", "-e", "getppid for 1..3; print qq(done\\n); exit 4"]


def lines(done):
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


with Place() as place:
    check(place.run("compile", place.write("all.bpf.c", ALL), "-o", "all.o").returncode == 0, "compile")
    done = place.run("run", "--map-dump", "--json", "all.o", "--", *CALLS)
    rows = lines(done)
    check(done.returncode == 4 and "done" in done.stdout, f"exit {done.returncode}: {done.stderr}")
    for buffer in ("ring", "perf"):
        events = [row["event"] for row in rows if row.get("buffer") == buffer]
        check(len(events) == 3 and all(event["comm"] == "perl" and event["pid"] > 1 for event in events), f"{buffer}: {done.stdout}{done.stderr}")
        check(all(abs(time.clock_gettime(time.CLOCK_BOOTTIME) - event["time"] / 1e9) < 60 for event in events), "times")
    check([row["printk"] for row in rows if "printk" in row] == ["hello 1"] * 3, f"printk: {done.stdout}")
    found = {row["map"]: row for row in rows if "map" in row}
    check(found["pairs"]["entries"] == [{"key": 1, "value": {"a": -5, "name": "five"}}] and found["pairs"]["type"] == "hash", f"pairs: {found}")
    check(found["per_cpu"]["entries"][0]["sum"] == 3 and sum(found["per_cpu"]["entries"][0]["values"]) == 3, f"per_cpu: {found}")
    check(found[".bss"]["entries"][0]["value"]["total"] == 3, f".bss: {found}")

    done = place.run("run", "all.o", "--", *CALLS)
    check(len(re.findall(r"^\d\d:\d\d:\d\d +\d+ perl$", done.stdout, re.M)) == 3 and re.search(r"^TIME +PID COMM$", done.stdout, re.M), f"table: {done.stdout}")
    check("map pairs" not in done.stdout, "maps are not printed unasked where events are")
    done = place.run("run", "-o", "report.txt", "all.o", "--", *CALLS)
    check(done.stdout == "done\n" and open(os.path.join(place.path, "report.txt")).read().count("perl") > 3, f"-o: {done.stdout}")

    # The programs that ship.
    done = place.run("run", "execsnoop", "--", "sh", "-c", "ls / >/dev/null; date >/dev/null; exit 3")
    check(done.returncode == 3, f"execsnoop: exit {done.returncode} {done.stderr}")
    for pattern in (r"^TIME +PID +PPID COMM +RET ARGS$", r"^\d\d:\d\d:\d\d +\d+ +\d+ sh +0 sh -c 'ls ", r"^\d\d:\d\d:\d\d +\d+ +\d+ ls +0 ls /$", r"^\d\d:\d\d:\d\d +\d+ +\d+ date +0 date$"):
        check(re.search(pattern, done.stdout, re.M), f"execsnoop, {pattern}: {done.stdout}")
    done = place.run("run", "opensnoop", "--", "cat", "/etc/hostname", "/no/such/file")
    check(re.search(r" cat +\d+ .* /etc/hostname$", done.stdout, re.M) and re.search(r" cat +ENOENT .* /no/such/file$", done.stdout, re.M), f"opensnoop: {done.stdout}{done.stderr}")
    done = place.run("run", "killsnoop", "--", "sh", "-c", "kill -0 $$; kill -WINCH $$")
    check(re.search(r" sh +SIGWINCH +\d+ +0$", done.stdout, re.M), f"killsnoop: {done.stdout}{done.stderr}")
    done = place.run("run", "syscount", "--", "sh", "-c", "cat /etc/hostname; cat /etc/hostname >/dev/null")
    check(re.search(r"^openat +\d+ +\d+ +[\d.]+$", done.stdout, re.M) and re.search(r"^cat +\d+ +\d+ +[\d.]+$", done.stdout, re.M), f"syscount: {done.stdout}{done.stderr}")
    done = place.run("run", "comm_count", "--", "sh", "-c", "ls >/dev/null; true")
    check(re.search(r"^@\[ls\]: \d+$", done.stdout, re.M), f"comm_count: {done.stdout}{done.stderr}")

    # Ctrl-C, as a terminal sends it to the whole group, once the command runs: it ends of it, the maps are printed, nothing is left.
    def interrupted(script, times):
        started = subprocess.Popen([ANYBPF, "run", "syscount", "--", "sh", "-c", f"{script}"], cwd=place.path, env=place.environment(), stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, start_new_session=True)
        check(started.stdout.readline() == "ready\n", f"{script}: no start")
        for _ in range(times):
            time.sleep(0.5)
            os.killpg(started.pid, signal.SIGINT)
        try:
            out, err = started.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            out, err = started.communicate()
        check(re.search(r"^SYSCALL +CALLS", out, re.M), f"Ctrl-C on {script}: no maps: {out}{err}")
        check(not os.listdir(place.root), f"Ctrl-C leaves {os.listdir(place.root)}")
        return started.returncode

    check(interrupted("echo ready; exec sleep 100", 1) == 130, "a command that ends of it")
    check(interrupted("trap 'exit 9' INT; echo ready; while :; do sleep 0.05; done", 1) == 9, "a command that has its own idea")
    check(interrupted("trap '' INT; echo ready; exec sleep 100", 2) == 137, "a command that will not listen: the second ends it")
    # Without a command: until SIGTERM, or so many seconds.
    done = place.run("run", "syscount", "--duration", "0.3")
    check(done.returncode == 0, f"--duration: {done.returncode} {done.stderr}")

    # A static program is traced like any other; where nobody may trace it by ptrace it is named as not traced, and runs.
    static = os.path.join(place.path, "static")
    if subprocess.run(["cc", "-static", "-o", static, "-x", "c", "-"], input="int main(void){return 6;}", text=True, stderr=subprocess.DEVNULL).returncode == 0:
        for command, status in (([static], 6), (["sh", "-c", f"{static}; exit 7"], 7)):
            done = place.run("run", "comm_count", "--", *command)
            check(done.returncode == status and "@[static]: " in done.stdout and not done.stderr, f"{command}: {done.returncode} {done.stdout}{done.stderr}")
        refused = [sys.executable, os.path.join(os.path.dirname(__file__), "..", "sandboxes", "sandbox.py"), "no_ptrace", "--"]
        for command in ([static], ["sh", "-c", f"{static}; exit 7"]):
            done = subprocess.run([*refused, ANYBPF, "run", "comm_count", "--", *command], env=place.environment(), text=True, capture_output=True)
            check("not traced" in done.stderr and "static" in done.stderr and "@[static]" not in done.stdout, f"{command}: {done.stdout}{done.stderr}")
finish()

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""For deterministic programs anybpf counts exactly what strace counts: by process and system call, from the first
instruction.

    exact.py [--after-loader | --on kernel] [--rounds N] [--keep FOLDER] WORKLOAD...      exact.py --list

Each workload runs twice under strace, which must agree, and then under `anybpf run counts.bpf.c`. Processes are matched
by their place in the tree. Calls that were entered and calls that came back (those that strace -c counts) are both
compared; an interrupted call that the kernel makes again counts once. --after-loader leaves out what an agent that the
dynamic loader brings in cannot see: the loader's own calls before it, and images without glibc's loader. --on kernel lets
the kernel's tracepoints count, at the speed of the untraced program: whether a workload is deterministic, and whether
strace is read right (the kernel shows its own codes for calls that are interrupted, and so differs in them).
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import process
import strace_log
from workloads import HERE, WORKLOADS, Missing

# The kernel sees what anybpf's child does before the command, too: there the command is a child of a shell, which is left out.
AS_CHILD = ["sh", "-c", '"$0" "$@"; exit $?']
TRACEFS = ["unshare", "-m", "sh", "-c", 'mount -t tracefs tracefs /sys/kernel/tracing && exec "$@"', "tracefs"]
SETARCH = ["setarch", "-R"]  # no address space randomization: brk and mmap depend on addresses
CALL_NAMES = {}


def call_names():
    if not CALL_NAMES:
        text = subprocess.run(["gcc", "-E", "-dM", "-include", "asm/unistd_64.h", "-x", "c", "/dev/null"], text=True, check=True,
                              stdout=subprocess.PIPE).stdout
        CALL_NAMES.update({int(number): name for name, number in re.findall(r"#define __NR_(\w+) (\d+)", text)})
        CALL_NAMES[2**32 - 1] = "rt_sigreturn"  # the number that its exit has
    return CALL_NAMES


def environment(folder):
    return {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": folder, "LANG": "C.UTF-8", "TZ": "UTC", "PYTHONHASHSEED": "0",
            "PERL_HASH_SEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "GIT_CONFIG_NOSYSTEM": "1", "MALLOC_ARENA_MAX": "1", "USER": "root", "LOGNAME": "root",
            "SHELL": "/bin/sh"}


class Wrong(Exception):
    """A run that did not end as it must."""


class Bench:
    """Runs a workload again and again in the same folder, each time as it was at first."""

    def __init__(self, name, scratch, on):
        self.workload, self.scratch, self.on = WORKLOADS[name], scratch, on
        self.prepared, self.folder = os.path.join(scratch, "prepared"), os.path.join(scratch, "work")
        os.makedirs(self.prepared)
        self.workload.prepare(self.prepared)

    def run(self, prefix, what):
        shutil.rmtree(self.folder, ignore_errors=True)
        subprocess.run(["cp", "-a", self.prepared, self.folder], check=True)
        command = [*(AS_CHILD if self.on == "kernel" else []), *(part.replace("@", self.folder) for part in self.workload.command)]
        # The root is named under strace, too: the guest's environment is the same.
        root = os.path.join("/dev/shm", os.path.basename(self.scratch) + "-root")
        os.mkdir(root, 0o700)
        try:
            done = subprocess.Popen([*SETARCH, *prefix, *command], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, text=True,
                                    env={**environment(self.folder), **self.workload.environment, "ANYBPF_ROOT": root})
            try:
                done.output, done.errors = done.communicate(timeout=120)
            except subprocess.TimeoutExpired:
                done.kill()
                raise Wrong(f"{what}: not over after 120 s") from None
            left = [os.path.join(where, name) for where, folders, files in os.walk(root) for name in folders + files]
        finally:
            shutil.rmtree(root, ignore_errors=True)
        if done.returncode != self.workload.status:
            raise Wrong(f"{what}: exit status {done.returncode}, not {self.workload.status}\n{done.output}\n{done.errors}")
        if left:
            raise Wrong(f"{what}: left in the root: {left}")
        return done

    def strace(self, number, after_loader):
        prefix = os.path.join(self.scratch, f"strace-{number}")
        self.run(["strace", "-ff", "-i", "-ttt", "-q", "-o", prefix, "--"], f"strace {number}")
        return self.below_shell(strace_log.processes(prefix, self.folder, after_loader))

    def anybpf(self, number):
        output = os.path.join(self.scratch, f"anybpf-{number}.json")
        kernel = self.on == "kernel"
        done = self.run([*(TRACEFS if kernel else []), os.environ["ANYBPF"], "run", "--on", self.on, "--map-dump", "--json", "--output", output,
                         os.path.join(HERE, "counts.bpf.c"), "--"], f"anybpf {number}")
        found = counted(output)
        if kernel:
            below, found = {done.pid}, dict(sorted(found.items(), key=lambda pair: pair[1].born))
            for pid, one in found.items():
                if one.parent in below:
                    below.add(pid)
            found = {pid: one for pid, one in found.items() if pid in below and pid != done.pid}
        return self.below_shell(found), done.errors

    def below_shell(self, found):
        if self.on == "kernel":
            found = {pid: one for pid, one in found.items() if one.parent in found}
        return found


def counted(path):
    """The processes that counts.bpf.c saw."""
    maps = {record["map"]: record["entries"] for record in map(json.loads, open(path)) if "map" in record}
    found = {}
    for entry in maps["calls"]:
        pid, name, times = entry["key"]["tgid"], call_names().get(nr := entry["key"]["nr"], f"number {nr}"), entry["value"]
        one = found.setdefault(pid, process.Process(pid))
        one.entered[name], one.left[name] = times["entered"] - times["restarted"], times["left"]
    for entry in maps["births"]:
        if entry["key"] in found:
            one = found[entry["key"]]
            one.parent, one.born = entry["value"]["parent"], entry["value"]["time"]
    return found


def check(name, options, scratch):
    """Lines that say what is wrong, or a reason to skip."""
    try:
        bench = Bench(name, scratch, options.on)
    except Missing as missing:
        return [], f"{missing} is not installed"
    if options.after_loader and bench.workload.untraced:
        return [], f"{bench.workload.untraced} programs are not traced by an agent that the loader brings in"
    # On a busy machine a program may do otherwise once: the first two of a few runs that agree are what it does.
    expected = bench.strace(0, options.after_loader)
    for number in range(1, 5):
        again = bench.strace(number, options.after_loader)
        bad = process.differences(expected, again, process.EXCLUDED | bench.workload.excluded)
        if not bad:
            break
        expected = again
    else:
        return [f"not deterministic under strace: {line}" for line in bad], None
    lines = []
    for number in range(1, options.rounds + 1):
        for _ in range(bench.workload.attempts):
            found, stderr = bench.anybpf(number)
            bad = process.differences(expected, found, process.EXCLUDED | bench.workload.excluded)
            if not bad:
                break
        lines += [f"run {number}: {line}" for line in bad]
        if bad and stderr:
            lines.append(f"run {number}: stderr: {stderr[-1000:]}")
    calls = sum(sum(one.left.values()) for one in expected.values())
    print(f"{name}: {len(expected)} processes, {calls} calls, {options.rounds} runs")
    return lines, None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="WORKLOAD")
    parser.add_argument("--list", action="store_true", help="the names of the workloads")
    parser.add_argument("--after-loader", action="store_true", help="compare what is seen from the agent's start on")
    parser.add_argument("--on", choices=["user", "kernel"], default="user", help="whose tracepoints count (user)")
    parser.add_argument("--rounds", type=int, default=3, help="runs under anybpf (3)")
    parser.add_argument("--keep", help="leave what was written there, in a folder for each workload")
    options = parser.parse_args()
    if options.list:
        print("\n".join(WORKLOADS))
        return 0
    if absent := [tool for tool in ("strace", "setarch", "gcc") if not shutil.which(tool)]:
        print(f"skipped: {absent[0]} is not installed")
        return 77
    failed, skipped = False, 0
    for name in options.names or WORKLOADS:
        scratch = os.path.join(options.keep, name) if options.keep else tempfile.mkdtemp(prefix="anybpf-exact-")
        try:
            shutil.rmtree(scratch, ignore_errors=True)
            os.makedirs(scratch)
            lines, reason = check(name, options, scratch)
        except Wrong as wrong:
            lines, reason = [str(wrong)], None
        finally:
            if not options.keep:
                shutil.rmtree(scratch, ignore_errors=True)
        if reason:
            skipped += 1
            print(f"skipped: {name}: {reason}")
        for line in lines:
            print(f"FAILED: {name}: {line}")
        failed = failed or bool(lines)
    return 1 if failed else 77 if skipped == len(options.names or WORKLOADS) else 0


if __name__ == "__main__":
    sys.exit(main())

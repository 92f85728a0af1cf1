#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Programs of the real world before the verifier and before the live kernel: objects.py [--keep DIR] [-v] GROUP...

Groups: programs (those of programs/, by each clang and -mcpu), sources (every other C source of the repository, too), packages (objects inside of
Debian's libbpf-tools, xdp-tools and systemd), bpftrace, bcc, systemd (what tools make while they run; of systemd its tests), all. Exit status: 0 where all verdicts are equal (but
for the kernel's limit), 1 where one differs, 77 where nothing could be compared, with the reason. docs/conformance.md has the results."""
import argparse
import ctypes
import glob
import os
import shutil
import subprocess
import sys
import tempfile

import capture
import carve
from compare import ANYBPF, BOTH_ACCEPT, DIFFERENT, LIMIT, Group, table

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.environ.get("ANYBPF_SOURCE", os.path.dirname(os.path.dirname(HERE)))
CLANGS, CPUS = ("clang-14", "clang-19"), ("v2", "v3", "v4")
CAPTURED = ("bpftrace", "bcc", "systemd")
PACKAGES = ("libbpf-tools", "xdp-tools", "libxdp1", "systemd")
# Sources whose headers are made by the build, or that are written for one compiler.
FLAGS = {"bench/programs/": ["-fno-builtin"], "bench/programs.bpf.c": ["-fno-builtin"]}


def say(text):
    print(text, flush=True)


def bpf_works():
    """Whether the kernel verifies programs here: the smallest one, of a socket filter."""
    insns = (ctypes.c_uint64 * 2)(0xB7, 0x95)
    licence = ctypes.create_string_buffer(b"GPL")
    attr = (ctypes.c_uint64 * 16)()
    attr[0] = 1 | 2 << 32
    attr[1], attr[2] = ctypes.addressof(insns), ctypes.addressof(licence)
    fd = ctypes.CDLL(None, use_errno=True).syscall(321, 5, ctypes.byref(attr), 128)
    if fd >= 0:
        os.close(fd)
    return fd >= 0


def knows(clang, cpu):
    done = subprocess.run([clang, "-target", "bpf", f"-mcpu={cpu}", "-x", "c", "-c", "-", "-o", os.devnull], input="", text=True, stderr=subprocess.PIPE)
    return done.returncode == 0


def compiled(sources, folder, skipped):
    """A group for each compiler and machine, of all that compiles."""
    for clang in CLANGS:
        if not shutil.which(clang):
            skipped.append(f"{clang} is not installed")
            continue
        for cpu in CPUS:
            if not knows(clang, cpu):
                skipped.append(f"{clang} has no -mcpu={cpu}")
                continue
            group = Group(f"sources, {clang} -mcpu={cpu}")
            for source in sources:
                out = os.path.join(folder, f"{source.replace('/', '_').removesuffix('.bpf.c')}.{clang}.{cpu}.o")
                more = [flag for prefix, flags in FLAGS.items() if source.startswith(prefix) for flag in flags]
                done = subprocess.run([ANYBPF, "compile", os.path.join(SOURCE, source), "-o", out, "--clang", f"-mcpu={cpu}", *more],
                                      env={**os.environ, "ANYBPF_CLANG": clang}, stderr=subprocess.PIPE, text=True)
                if done.returncode == 0:
                    group.compare(out)
                else:
                    first = next((line for line in done.stderr.splitlines() if "error:" in line), done.stderr.strip())
                    skipped.append(f"{source} by {clang} -mcpu={cpu}: {first}")
            yield group


def sources(only_programs):
    found = subprocess.run(["git", "-C", SOURCE, "ls-files", "*.bpf.c"], stdout=subprocess.PIPE, text=True).stdout.split()
    found = found or [os.path.relpath(path, SOURCE) for path in glob.glob(f"{SOURCE}/*/**/*.bpf.c", recursive=True) if "/build/" not in path]
    return sorted(path for path in found if path.startswith("programs/") or not only_programs)


def carved(folder, skipped):
    seen = set()
    for package in PACKAGES:
        listed = subprocess.run(["dpkg", "-L", package], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if listed.returncode != 0:
            skipped.append(f"{package} is not installed (scripts/setup objects)")
            continue
        group = Group(package)
        for path in listed.stdout.splitlines():
            if not os.path.isfile(path) or os.path.islink(path):
                continue
            with open(path, "rb") as file:
                data = file.read()
            for number, one in enumerate(carve.objects_in(data)):
                if one in seen:
                    continue
                seen.add(one)
                out = os.path.join(folder, f"{package}.{os.path.basename(path)}.{number}.o")
                with open(out, "wb") as file:
                    file.write(one)
                group.compare(out)
        if group.files:
            yield group
        else:
            skipped.append(f"{package}: no BPF object is in it")


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("groups", nargs="+", choices=["programs", "sources", "packages", *CAPTURED, "all"])
    options.add_argument("--keep", help="leave objects and recordings there")
    options.add_argument("--only", default="", help="tools whose name contains it")
    options.add_argument("-v", "--verbose", action="store_true", help="say why, of each program that is not accepted by both")
    options = options.parse_args()
    if not bpf_works():
        say("skipped: bpf(2) does not load programs here")
        return 77
    wanted = {"programs", "sources", "packages", *CAPTURED} if "all" in options.groups else set(options.groups)
    folder = options.keep or tempfile.mkdtemp(prefix="anybpf-objects-")
    os.makedirs(folder, exist_ok=True)
    groups, skipped = [], []

    def judge(found):
        for group in found:
            groups.append(group)
            for name, program, what, text in group.remarks:
                if what in (DIFFERENT, LIMIT) or options.verbose:
                    say(f"{group.name}: {name}: {program}: {what}: {text}")

    try:
        if wanted & {"programs", "sources"}:
            judge(compiled(sources("sources" not in wanted), folder, skipped))
        if "packages" in wanted:
            judge(carved(folder, skipped))
        for kind in CAPTURED:
            if kind in wanted:
                judge(capture.groups(kind, folder, options.only, skipped))
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    for reason in skipped:
        say(f"skipped: {reason}")
    if not any(group.programs for group in groups):
        return 77
    say(table(groups))
    if not any(group.counts[BOTH_ACCEPT] for group in groups):
        say("failed: no program was accepted, so that nothing was compared")
        return 1
    return 1 if any(group.counts[DIFFERENT] for group in groups) else 0


if __name__ == "__main__":
    sys.exit(main())

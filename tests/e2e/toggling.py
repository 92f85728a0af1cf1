# SPDX-License-Identifier: Apache-2.0
"""A link is attached and detached again and again while eight threads make system calls: in each round the program counts
what they made, and nothing of it stays behind in them. The same with children, some of them killed. ANYBPF_FULL=1: 10,000 times."""
import os
import statistics
import struct
import subprocess

from e2e import ANYBPF, FULL, HELPERS, Scratch, check, program

THREADS, ROUNDS, ROUNDS_WITH_CHILDREN = 8, 10000 if FULL else 400, 2000 if FULL else 300
SETTLED = 120  # rounds until machine code has come and the agent's heap has its size
# Between the medians of both halves. At a single look there may be more: while a thread that was interrupted inside of a
# program does not go on, all that came after stays.
SOME_KIB, SOME_MAPPINGS = 128, 3


def middle(samples):
    return tuple(statistics.median_low(column) for column in zip(*samples))


def toggle(rounds, *options):
    with Scratch() as scratch:
        counters = os.path.join(scratch.path, "counters")
        with open(counters, "wb") as file:
            file.write(bytes((THREADS + 3) * 64))
        tree = subprocess.Popen([ANYBPF, "run", "-o", "report", program("idle.bpf.c"), "--", os.path.join(HELPERS, "callers"), counters, str(THREADS), *options],
                                cwd=scratch.path, env=scratch.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        pid = tree.stdout.readline().strip()
        try:
            tracer = subprocess.run([os.path.join(HELPERS, "toggle"), scratch.root, counters, pid, str(THREADS), str(rounds)],
                                    stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=3000)
        finally:
            with open(counters, "r+b") as file:
                words = struct.unpack(f"<{(THREADS + 3) * 8}Q", file.read())
                made = sum(words[8::8])
                file.seek(0)
                file.write(struct.pack("<Q", 1))
        check(tree.wait(60) == 0, f"the program that was traced ended with {tree.returncode}")
        check(tracer.returncode == 0, f"toggle ended with {tracer.returncode}")
        check(not scratch.left_in_root(), f"left in the root: {scratch.left_in_root()}")
        samples = [tuple(map(int, line.split())) for line in tracer.stdout.splitlines()]
        settled = [sample[1:] for sample in samples if sample[0] > SETTLED]
        check(len(settled) >= 50, f"only {len(settled)} looks at the memory")
        half = len(settled) // 2
        (early_kib, early_mappings), (late_kib, late_mappings) = middle(settled[:half]), middle(settled[half:])
        print(f"{' '.join([str(rounds), 'rounds', *options])}: {made} calls; {early_kib} KiB and {early_mappings} mappings in the first half, {late_kib} and {late_mappings} in the "
              f"second, {samples[-1][1]} and {samples[-1][2]} at the end, at most {max(s[0] for s in settled)} and {max(s[1] for s in settled)}")
        check(late_kib <= early_kib + SOME_KIB, f"memory grew: {samples}")
        check(late_mappings <= early_mappings + SOME_MAPPINGS, f"mappings grew: {samples}")


toggle(ROUNDS)
toggle(ROUNDS_WITH_CHILDREN, "children")

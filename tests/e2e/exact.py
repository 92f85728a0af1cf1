# SPDX-License-Identifier: Apache-2.0
"""Counts are exact: T threads x N calls through a tracepoint, in a per-CPU array and in a shared hash map."""
import os

from e2e import FULL, HELPERS, Scratch, check, maps, program

threads, calls = 8, 1_000_000 if FULL else 100_000
with Scratch() as scratch:
    done = scratch.anybpf("run", "--map-dump", "--json", program("exact.bpf.c"), "--", os.path.join(HELPERS, "storm"), str(threads), str(calls))
    check(done.returncode == 0, f"exit status {done.returncode}: {done.stderr}")
    found = maps(done.stdout)
    per_cpu, shared = found["per_cpu"][0]["sum"], found["shared"][0]["value"]
    print(f"{threads} threads x {calls} calls: per-CPU array {per_cpu}, shared hash {shared}")
    check(per_cpu == threads * calls, "the per-CPU count is not exact")
    check(shared == threads * calls, "the atomic count is not exact")
    check(not scratch.left_in_root(), f"left in the root: {scratch.left_in_root()}")

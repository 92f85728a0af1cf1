# SPDX-License-Identifier: Apache-2.0
"""What the verifier and the live kernel say of every program of an object or a recording, and the table of all that."""
import collections
import json
import os
import subprocess

ANYBPF = os.environ.get("ANYBPF", "anybpf")
TIME_LIMIT = 300

# What can come of a program, in the table's order.
BOTH_ACCEPT, BOTH_REFUSE, EPERM, NOT_LOADED, LIMIT, DIFFERENT = OUTCOMES = "both accept", "both refuse", "EPERM", "not loaded", "limit", "different"
MAX_INSNS = 1000000  # that the kernel walks


def verdicts(path, *options):
    """The rows of verify --json; or what it complained of."""
    try:
        done = subprocess.run([ANYBPF, "verify", "--json", *options, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              stdin=subprocess.DEVNULL, timeout=TIME_LIMIT)
    except subprocess.TimeoutExpired:
        return None, f"no answer within {TIME_LIMIT} s"
    if done.returncode < 0:
        return None, f"killed by signal {-done.returncode}"
    try:
        return json.loads(done.stdout), ""
    except json.JSONDecodeError:
        return None, done.stderr.strip().replace("anybpf: ", "", 1) or f"exit status {done.returncode}, and no JSON"


def outcome(ours, kernels):
    if kernels["verdict"] == "reject" and (": not permitted: " in kernels["message"] or "Operation not permitted" in kernels["message"]):
        return EPERM  # the kernel did not verify it
    # That libbpf finds no function to attach to, or no such field, is nobody's verdict.
    if ours["verdict"] == kernels["verdict"] == "reject" and not ours.get("refusal") and ours["message"] == kernels["message"]:
        return NOT_LOADED
    # docs/differences.md, `limit`: the kernel gave up, and ours came to the end.
    if ours["verdict"] == "accept" and kernels["verdict"] == "reject" and kernels["processed"] > MAX_INSNS:
        return LIMIT
    if ours["verdict"] != kernels["verdict"]:
        return DIFFERENT
    return BOTH_ACCEPT if ours["verdict"] == "accept" else BOTH_REFUSE


class Group:
    """One line of the table: a package, or the sources with one compiler."""

    def __init__(self, name):
        self.name = name
        self.files = 0
        self.programs = 0
        self.counts = collections.Counter()
        self.remarks = []  # (file, program, outcome, text)

    def compare(self, path):
        self.files += 1
        ours, our_error = verdicts(path)
        kernels, kernel_error = verdicts(path, "--on", "kernel")
        name = os.path.basename(path)
        if ours is None or kernels is None:
            # Both fail in one way: a map that cannot be created, an object that libbpf does not take.
            what = NOT_LOADED if ours is None and kernels is None else DIFFERENT
            self.note(name, "*", what, our_error if our_error == kernel_error else f"ours: {our_error or 'loads'}; kernel's: {kernel_error or 'loads'}")
            return
        if [row["program"] for row in ours] != [row["program"] for row in kernels]:
            self.note(name, "*", DIFFERENT, "not the same programs were judged")
            return
        for mine, other in zip(ours, kernels):
            what = outcome(mine, other)
            text = ""
            if what == DIFFERENT:
                text = f"{mine['type']}: ours {mine['verdict']}s, the kernel's {other['verdict']}s: {mine['message'] if mine['verdict'] == 'reject' else other['message']}"
            elif what == LIMIT:
                text = f"{mine['type']}: the kernel gives up after {other['processed']:,} instructions, ours walks {mine['processed']:,}"
            elif what != BOTH_ACCEPT:
                text = f"{mine['type']}: {mine['message'] or other['message']}"
            self.note(name, mine["program"], what, text)

    def note(self, name, program, what, text):
        self.programs += 1
        self.counts[what] += 1
        if text:
            self.remarks.append((name, program, what, text))


def table(groups):
    """As docs/conformance.md has it."""
    lines = ["| | files | programs | " + " | ".join(OUTCOMES) + " |", "|---|" + "---|" * (len(OUTCOMES) + 2)]
    total = Group("all")
    for group in groups:
        total.files += group.files
        total.programs += group.programs
        total.counts.update(group.counts)
    for group in [*groups, *([total] if len(groups) > 1 else [])]:
        cells = [group.name, group.files, group.programs, *[group.counts[what] for what in OUTCOMES]]
        lines.append("| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else cell for cell in cells) + " |")
    return "\n".join(lines)

# SPDX-License-Identifier: Apache-2.0
"""Programs that own objects: ours gives each the finding that stands before it, and the machine's kernel the same verdict."""
import json
import os
import re
import subprocess
import sys
import tempfile

ANYBPF = os.environ["ANYBPF"]
HERE = os.path.dirname(os.path.abspath(__file__))
ANNOTATED = re.compile(r'// (?:accepted|refused: (\w+))[^\n]*\nSEC\("[^"]+"\) int (\w+)\(')
wrong = 0


def run(*words):
    return subprocess.run([ANYBPF, *words], capture_output=True, text=True, check=False)


def verdicts(*words):
    done = run("verify", "--json", *words)
    try:
        return {row["program"]: row for row in json.loads(done.stdout)}
    except ValueError:
        sys.exit(f"anybpf verify {' '.join(words)}: {done.stdout}{done.stderr}")


def check(good, what):
    global wrong
    if not good:
        wrong += 1
        print(what)


def finding(row):
    return (row.get("refusal") or {}).get("finding") if row["verdict"] == "reject" else None


def kernel_answers(program):
    done = run("verify", "--on", "kernel", "--json", program)
    return done.returncode in (0, 1) and "permitted" not in done.stderr


if not os.access("/sys/kernel/btf/vmlinux", os.R_OK):
    print("skipped: the kernel has no BTF here")
    sys.exit(77)
with tempfile.TemporaryDirectory() as folder:
    live = None
    for name in sorted(os.listdir(HERE)):
        if not name.endswith(".bpf.c"):
            continue
        source, program = os.path.join(HERE, name), os.path.join(folder, name[:-2] + ".o")
        with open(source, encoding="utf-8") as file:
            expected = {match[2]: match[1] for match in ANNOTATED.finditer(file.read())}
        done = run("compile", source, "-o", program)
        check(done.returncode == 0, f"{name}: {done.stderr}")
        if done.returncode != 0:
            continue
        if live is None:
            live = kernel_answers(program)
            if not live:
                print("the machine's kernel is not asked: its bpf(2) is not for this user")
        ours = verdicts(program)
        theirs = verdicts("--on", "kernel", program) if live else {}
        check(set(ours) == set(expected), f"{name}: not annotated: {set(ours) ^ set(expected)}")
        for function, wanted in expected.items():
            said = ours[function]
            check(finding(said) == wanted, f"{name}: {function}: wanted {wanted}, is {finding(said)}: {said['message']}")
            if live:
                check((theirs[function]["verdict"] == "accept") == (wanted is None),
                      f"{name}: {function}: wanted {wanted}, the kernel says {theirs[function]['message']}")
        # What is accepted cannot run here, and says so.
        done = run("run", program, "--", "true")
        check(done.returncode not in (0, -6, -11), f"{name}: run: {done.returncode} {done.stderr}")
sys.exit(1 if wrong else 0)

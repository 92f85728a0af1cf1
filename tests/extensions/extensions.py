# SPDX-License-Identifier: Apache-2.0
"""Extensions (freplace) against their target: the finding that stands before each, and what the options say."""
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


def check(good, what):
    global wrong
    if not good:
        wrong += 1
        print(what)


def verdicts(*words):
    done = run("verify", "--json", *words)
    try:
        return {row["program"]: row for row in json.loads(done.stdout)}
    except ValueError:
        sys.exit(f"anybpf verify {' '.join(words)}: {done.stdout}{done.stderr}")


def finding(row):
    return (row.get("refusal") or {}).get("finding") if row["verdict"] == "reject" else None


with tempfile.TemporaryDirectory() as folder:
    objects = {}
    for name in ("target", "extension"):
        objects[name] = os.path.join(folder, name + ".o")
        done = run("compile", os.path.join(HERE, name + ".bpf.c"), "-o", objects[name])
        if done.returncode != 0:
            sys.exit(f"{name}: {done.stderr}")
    with open(os.path.join(HERE, "extension.bpf.c"), encoding="utf-8") as file:
        expected = {match[2]: match[1] for match in ANNOTATED.finditer(file.read())}
    said = verdicts("--target", objects["target"], objects["extension"])
    check(set(said) == set(expected), f"not annotated: {set(said) ^ set(expected)}")
    for program, wanted in expected.items():
        row = said[program]
        check(finding(row) == wanted, f"{program}: wanted {wanted}, is {finding(row)}: {row['message']}")
        check(row["type"] == "ext", f"{program}: of type {row['type']}")
    # Without a target nothing can be said of them.
    for program, row in verdicts(objects["extension"]).items():
        check(finding(row) == "extension_target", f"{program} without a target: {row['message']}")
    # The function is in two programs; the type of the chosen one says what it may return.
    words = ("--prog", "product", "--target", objects["target"])
    check(finding(verdicts(*words, objects["extension"])["product"]) is None, "product of the first program")
    row = verdicts(*words, "--target-prog", "admit", objects["extension"])["product"]
    check(finding(row) == "return_range", f"product of admit: {row['message']}")
    # Source files are targets, too.
    row = verdicts("--prog", "mark", "--target", os.path.join(HERE, "target.bpf.c"), objects["extension"])["mark"]
    check(row["verdict"] == "accept", f"mark of a source: {row['message']}")
    for options, text in ((("--target", objects["target"], "--target-prog", "absent"), "no program 'absent'"),
                          (("--target", os.path.join(folder, "absent.o")), "absent.o"),
                          (("--target", objects["extension"]), "no program that can be extended"),
                          (("--target", objects["target"], "--on", "kernel"), "--target")):
        done = run("verify", *options, objects["extension"])
        check(done.returncode != 0 and not done.stdout, f"{options}: {done.returncode} {done.stdout}")
        check(text in done.stderr, f"{options}: {done.stderr}")
    # They are judged, and not loaded.
    done = run("run", objects["extension"], "--", "true")
    check(done.returncode not in (0, -6, -11), f"run: {done.returncode} {done.stderr}")
sys.exit(1 if wrong else 0)

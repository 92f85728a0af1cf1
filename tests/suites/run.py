#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Test suites that others wrote, of Debian's source packages: they must give the same results traced as alone.

    tests/suites/run.py NAME...      tests/suites/run.py --all      tests/suites/run.py --list

Each suite runs alone, under `anybpf run syscount`, and alone again, and its results are compared test by test. A test
that differs between the two runs alone is flaky: it is named, and says nothing. Every other difference must be one of
known.txt, which says why; exit status 1 otherwise. Sources are fetched and built once, in --cache. Root hands
the work to nobody. A suite takes from one to ten minutes, three times: this is no part of ctest.
"""
import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import sources
from suites import SUITES

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
DEFAULT_SIGNALS = ["env", "--default-signal"]  # whoever started this in the background ignores some


def known_differences():
    """known.txt: SUITE TEST-PATTERN: why. An empty line or # between."""
    found = []
    for line in open(os.path.join(HERE, "known.txt")):
        if line.strip() and not line.startswith("#"):
            suite, rest = line.split(None, 1)
            pattern, reason = rest.split(": ", 1)
            found.append((suite, re.compile(pattern), reason.strip()))
    return found


class Tracer:
    """The command where whoever runs the suites can read it; the build folder may be closed to him."""

    def __init__(self, build, cache):
        self.prefix = tempfile.mkdtemp(prefix="anybpf-", dir=cache)
        os.chmod(self.prefix, 0o755)
        self.anybpf, self.program = os.path.join(self.prefix, "bin", "anybpf"), os.path.join(self.prefix, "syscount.bpf.o")
        for file, folder in (("cli/anybpf", "bin"), ("agent/libanybpf-agent.so", "lib")):
            os.makedirs(os.path.join(self.prefix, folder))
            shutil.copy(os.path.join(build, file), os.path.join(self.prefix, folder))
        subprocess.run([os.path.join(build, "cli", "anybpf"), "compile", os.path.join(SOURCE, "programs", "syscount.bpf.c"), "-o", self.program], check=True)
        self.root = tempfile.mkdtemp(prefix="anybpf-suites-", dir="/dev/shm")
        sources.give_away(self.prefix)
        sources.give_away(self.root)

    def command(self, log):
        return ["env", f"ANYBPF_ROOT={self.root}", self.anybpf, "run", "--map-dump", "--output", log, self.program, "--", "env", "-u", "ANYBPF_ROOT"]

    def left(self):
        return sorted(os.path.join(where, name) for where, folders, files in os.walk(self.root) for name in folders + files)

    def close(self):
        shutil.rmtree(self.prefix, ignore_errors=True)
        shutil.rmtree(self.root, ignore_errors=True)


def run_once(name, suite, tree, how, prefix):
    """Results by test. They and the log of the run stay in the cache."""
    log = os.path.join(os.path.dirname(tree), how + ".log")
    started = time.time()
    with open(log, "w") as out:
        # A session of its own: what a test leaves running can be ended with it.
        process = subprocess.Popen([*sources.as_ordinary_user(), *DEFAULT_SIGNALS, *prefix, "bash", "-c", suite.test], cwd=tree, env=sources.environment(tree),
                                   stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            process.wait(timeout=60 * suite.minutes)
        except subprocess.TimeoutExpired:
            print(f"{name}: {how}: not over after {suite.minutes} minutes; ended")
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            process.wait()
    results = suite.read(tree, open(log, errors="replace").read())
    with open(log.removesuffix("log") + "results", "w") as out:
        out.writelines(f"{test}: {result}\n" for test, result in sorted(results.items()))
    counts = {}
    for result in results.values():
        counts[result] = counts.get(result, 0) + 1
    shown = ", ".join(f"{count} {result}" for result, count in sorted(counts.items(), key=lambda pair: -pair[1])[:4])
    print(f"{name}: {how}: {len(results)} tests in {time.time() - started:.0f} s: {shown}", flush=True)
    return results


def compare(name, suite, tree, tracer, rounds):
    """The differences that nothing explains."""
    log = os.path.join(os.path.dirname(tree), "counts.txt")
    if os.path.exists(log):
        os.unlink(log)
    alone = [run_once(name, suite, tree, "alone-1", [])]
    traced = [run_once(name, suite, tree, f"traced-{number}", tracer.command(log)) for number in range(1, rounds + 1)]
    alone.append(run_once(name, suite, tree, "alone-2", []))
    most = max(len(run) for run in alone)
    if most == 0 or min(len(run) for run in alone) < most * 0.9:
        return [f"{name}: runs alone gave {' and '.join(str(len(run)) for run in alone)} results: nothing to compare with"]
    if not os.path.exists(log) or "SYSCALL" not in open(log, errors="replace").read():
        return [f"{name}: the tracer counted nothing"]
    known = [entry for entry in known_differences() if entry[0] == name]
    bad, flaky = [], []
    for test in sorted(set().union(*alone, *traced)):
        without, within = [run.get(test, "no result") for run in alone], [run.get(test, "no result") for run in traced]
        if len(set(without)) > 1:
            flaky.append(test)
        elif set(within) != set(without):
            line = f"{name} {test}: alone {without[0]}, traced {', '.join(within)}"
            reason = next((reason for _, pattern, reason in known if pattern.fullmatch(test)), None)
            print(f"{'known: ' if reason else 'DIFFERS: '}{line}{f' ({reason})' if reason else ''}")
            if not reason:
                bad.append(line)
    for test in flaky:
        print(f"flaky: {name} {test}: alone {', then '.join(run.get(test, 'no result') for run in alone)}")
    if tracer.left():
        bad.append(f"{name}: left in the root: {tracer.left()[:5]}")
    return bad


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("names", nargs="*", metavar="NAME")
    options.add_argument("--all", action="store_true", help="every suite")
    options.add_argument("--list", action="store_true", help="the names of the suites")
    options.add_argument("--build-only", action="store_true", help="fetch and build, run nothing")
    options.add_argument("--rounds", type=int, default=1, help="traced runs of each (1)")
    options.add_argument("--build", default=os.path.join(SOURCE, "build", "dev"), help="the build folder of anybpf")
    options.add_argument("--cache", default=sources.default_cache(), help="where sources are kept and built (%(default)s)")
    chosen = options.parse_args()
    if chosen.list:
        print("\n".join(SUITES))
        return 0
    names = list(SUITES) if chosen.all else chosen.names
    if not names or set(names) - set(SUITES):
        options.error(f"a NAME is one of: {' '.join(SUITES)}")
    os.makedirs(chosen.cache, exist_ok=True)
    os.chmod(chosen.cache, 0o755)
    trees = {name: sources.prepare(name, SUITES[name], chosen.cache) for name in names}
    if chosen.build_only:
        return 0
    bad = []
    tracer = Tracer(chosen.build, chosen.cache)
    try:
        for name in names:
            bad += compare(name, SUITES[name], trees[name], tracer, chosen.rounds)
    finally:
        tracer.close()
    for line in bad:
        print(f"FAILED: {line}")
    print(f"{len(names)} suites, {len(bad)} differences that nothing explains")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

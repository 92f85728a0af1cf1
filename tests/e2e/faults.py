# SPDX-License-Identifier: Apache-2.0
"""The tracer or traced processes are killed at random: the rest goes on, maps stay right, the root is empty afterwards."""
import json
import os
import random
import signal
import subprocess
import sys
import time

from e2e import ANYBPF, FULL, HELPERS, Scratch, check, maps, program

BUILD = r"""mkdir -p b && cd b && for n in 1 2 3 4 5 6 7 8; do echo "int f$n(void){return $n;}" > f$n.c; done
printf 'all: f1.o f2.o f3.o f4.o f5.o f6.o f7.o f8.o\n\techo built $^ > done\n%%.o: %%.c\n\tcc -O2 -c -o $@ $<; sleep 0.05\n' > Makefile
"""


def tracer_killed():
    """kill -9 of the tracer in the middle of make -j2: the build ends as it would have, and the root is empty afterwards."""
    with Scratch() as scratch:
        subprocess.run(["sh", "-ec", BUILD], cwd=scratch.path, check=True)
        folder = os.path.join(scratch.path, "b")
        tracer = subprocess.Popen([ANYBPF, "run", program("syscount.bpf.c"), "--", "sh", "-c", "make -s -j2 >log 2>&1; echo $? > status"], cwd=folder,
                                  env=scratch.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        started = time.time()
        while not os.path.exists(os.path.join(folder, "f1.o")) and time.time() - started < 30:
            time.sleep(0.01)
        tracer.send_signal(signal.SIGKILL)
        tracer.wait()
        check(not os.path.exists(os.path.join(folder, "status")), "the build was over before the tracer was killed")
        while not os.path.exists(os.path.join(folder, "status")) and time.time() - started < 60:
            time.sleep(0.02)
        while scratch.left_in_root() and time.time() - started < 60:
            time.sleep(0.02)
        check(open(os.path.join(folder, "status")).read() == "0\n", "make failed: " + open(os.path.join(folder, "log")).read())
        check(open(os.path.join(folder, "done")).read().startswith("built f1.o"), "the build is not complete")
        check(not scratch.left_in_root(), f"left in the root: {scratch.left_in_root()}")
    print("tracer killed: the build went on, the root is empty")


def traced_killed(kills):
    """Traced processes are killed at random with a shared hash map in use."""
    worker = "while :; do getent hosts localhost >/dev/null 2>&1 || true; read -r x < /proc/self/stat; done"
    with Scratch() as scratch:
        stop = os.path.join(scratch.path, "stop")
        # Six workers that are started again when they die, until the file `stop` is there.
        keep = f"for w in 1 2 3 4 5 6; do (while [ ! -e {stop} ]; do bash -c '{worker}' killme-{os.getpid()}; done) & done; wait"
        tracer = subprocess.Popen([ANYBPF, "run", "--map-dump", "--json", program("pidcount.bpf.c"), "--", "bash", "-c", keep], cwd=scratch.path,
                                  env=scratch.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        dice, done = random.Random(1), 0
        started = time.time()

        def victims():
            found = []
            for pid in filter(str.isdigit, os.listdir("/proc")):
                try:
                    if f"killme-{os.getpid()}" in open(f"/proc/{pid}/cmdline").read().split("\0"):
                        found.append(int(pid))
                except OSError:
                    pass
            return found

        while done < kills and time.time() - started < 120:
            for pid in dice.sample(alive := victims(), min(1, len(alive))):
                try:
                    os.kill(pid, signal.SIGKILL)
                    done += 1
                except ProcessLookupError:
                    pass
            time.sleep(dice.uniform(0.002, 0.04))
        check(tracer.poll() is None, "the tracer ended early")
        open(stop, "w").close()
        while tracer.poll() is None and time.time() - started < 180:
            for pid in victims():
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.05)
        out, err = tracer.communicate(timeout=30)
        check(tracer.returncode == 0, f"exit status {tracer.returncode}: {err}")
        entries = maps(out)["calls"]
        keys = [entry["key"] for entry in entries]
        check(done == kills, f"only {done} of {kills} kills done")
        check(len(keys) == len(set(map(json.dumps, keys))), "a key stands twice")
        check(len(keys) > 6, f"only {len(keys)} processes counted")
        for entry in entries:
            value = entry["value"]
            check(value["number"] ^ value["complement"] == (1 << 64) - 1, f"torn value: {entry}")
        check(not scratch.left_in_root(), f"left in the root: {scratch.left_in_root()}")
    print(f"{done} traced processes killed: {len(keys)} counters, none torn, none twice; the root is empty")


tracer_killed()
traced_killed(100 if FULL else 30)

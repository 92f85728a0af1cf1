# SPDX-License-Identifier: Apache-2.0
"""A program that is detached leaves nothing in a process that goes on: the same mappings as before, again and again."""
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
ANYBPF = os.environ["ANYBPF"]
ROUNDS = 12


def mappings(pid):
    return [line.split(maxsplit=5)[-1].strip() for line in open(f"/proc/{pid}/maps")]


folder, root = tempfile.mkdtemp(prefix="anybpf-soak-"), tempfile.mkdtemp(prefix="anybpf-soak-", dir="/dev/shm")
environment = {**os.environ, "ANYBPF_ROOT": root}
stop = os.path.join(folder, "stop")
try:
    program = os.path.join(folder, "program.o")
    subprocess.run([ANYBPF, "compile", os.path.join(SOURCE, "programs", "syscount.bpf.c"), "-o", program], check=True)
    tree = subprocess.Popen([ANYBPF, "run", program, "--", "sh", "-c", f"echo $$; while [ ! -e {stop} ]; do sleep 0.02; done"], env=environment,
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    pid = int(tree.stdout.readline())
    counts = []
    for _ in range(ROUNDS):
        subprocess.run([ANYBPF, "run", "--duration", "0.3", program], env=environment, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        time.sleep(0.1)  # it notices at its next call
        counts.append(len(mappings(pid)))
    last = mappings(pid)
    open(stop, "w").close()
    tree.communicate(timeout=30)
finally:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(root, ignore_errors=True)
print(f"mappings after each of {ROUNDS} programs came and went: {counts}")
if counts[-1] > counts[ROUNDS // 2]:  # the first ones may take memory that is used again, and machine code comes with the thousandth call
    print("FAILED: they grow; all of them now: ", *last, sep="\n  ")
    sys.exit(1)

# SPDX-License-Identifier: Apache-2.0
"""Everything works as an ordinary user with no capability, with bpf(2) refused by seccomp, and without tracefs."""
import os
import shutil
import subprocess
import sys

from e2e import HELPERS, HERE, SOURCE, Scratch, check, maps, program, skip

if os.geteuid() != 0:
    prefix = []  # already an ordinary user
elif not shutil.which("setpriv"):
    skip("setpriv is not installed")
else:
    prefix = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]

with Scratch() as scratch:
    # The build folder may not be open to that user: run what would be installed.
    prefix_dir = os.path.join(scratch.path, "prefix")
    subprocess.run(["cmake", "--install", os.environ["ANYBPF_BUILD"], "--prefix", prefix_dir], check=True, stdout=subprocess.DEVNULL)
    for name in ("storm", "no_bpf"):
        shutil.copy(os.path.join(HELPERS, name), scratch.path)
    for name in ("exact.bpf.c", "execsnoop.bpf.c"):
        shutil.copy(program(name), scratch.path)
    shutil.copytree(HERE, os.path.join(scratch.path, "tests", "e2e"))
    shutil.copytree(os.path.join(SOURCE, "programs"), os.path.join(scratch.path, "programs"))
    if os.geteuid() == 0:
        for where, folders, files in os.walk(scratch.path):
            for name in folders + files:
                os.chown(os.path.join(where, name), 65534, 65534)
        os.chown(scratch.path, 65534, 65534)
        os.chown(scratch.root, 65534, 65534)
    anybpf = os.path.join(prefix_dir, "bin", "anybpf")

    def run(*args):
        environment = scratch.environment(HOME=scratch.path, XDG_CACHE_HOME=os.path.join(scratch.path, "cache"))
        return subprocess.run([*prefix, os.path.join(scratch.path, "no_bpf"), anybpf, *args], env=environment, cwd=scratch.path, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)

    done = run("run", "execsnoop.bpf.c", "--", "sh", "-c", "id -u; uname; exit 3")
    print(done.stdout, done.stderr)
    check(done.returncode == 3, f"exit status {done.returncode}: {done.stderr}")
    check("uname" in done.stdout and "65534" in done.stdout or os.geteuid() != 0, "execsnoop did not see uname")
    done = run("run", "--map-dump", "--json", "exact.bpf.c", "--", os.path.join(scratch.path, "storm"), "4", "20000")
    check(done.returncode == 0, f"exit status {done.returncode}: {done.stderr}")
    found = maps(done.stdout)
    check(found["per_cpu"][0]["sum"] == 80000, f"per-CPU count is {found['per_cpu'][0]['sum']}")
    check(found["shared"][0]["value"] == 80000, f"shared count is {found['shared'][0]['value']}")
    check(not scratch.left_in_root(), f"left in the root: {scratch.left_in_root()}")
    print("ordinary user, bpf(2) refused: execsnoop and exact counts work")

    # The other end-to-end tests, as that user. The interpreter is the system's: one in root's home is closed to him.
    python = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable
    environment = {**os.environ, "HOME": scratch.path, "XDG_CACHE_HOME": os.path.join(scratch.path, "cache"), "ANYBPF": anybpf, "E2E_HELPERS": scratch.path}
    for test in ("exact", "faults", "workloads"):
        done = subprocess.run([*prefix, os.path.join(scratch.path, "no_bpf"), python, os.path.join(scratch.path, "tests", "e2e", test + ".py")],
                              env=environment, cwd=scratch.path, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=400)
        print(done.stdout, end="")
        check(done.returncode == 0, f"{test} as an ordinary user: exit status {done.returncode}")

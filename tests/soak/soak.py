#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A mixed load, traced by four programs that come and go at random, beside one that stays.

    soak.py [--seconds N] [--seed N] [--keep FOLDER]

The load is a web server under load, builds, python and node programs, and meters: programs that number their calls. What must
hold: nothing of the load fails; no tracer fails; within each window in which a program was attached no numbered call was
missed or seen twice; the program that stays has counted exactly what the meters say that they made; memory of processes that
live long stays flat; the root is empty at the end. One tracer in six is killed instead of ended.
"""
import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
ANYBPF = os.environ.get("ANYBPF") or os.path.join(SOURCE, "build", "dev", "cli", "anybpf")
VISITORS = ["sequence", "syscount", "execsnoop", "opensnoop"]
# How much memory may grow, in KiB, and as a part of what it was: the heaps of python and node breathe.
# In a short run it depends on how many programs are attached in the few moments that are looked at: four times as much.
GROWTH = {"meter": (512, 0), "nginx": (1024, 0), "python": (2048, 0.1), "node": (16384, 0.25), "tracer": (2048, 0.05)}
NGINX = """daemon off; pid nginx.pid; error_log nginx-error.log; worker_processes 2; {user}
events {{ worker_connections 64; }}
http {{ access_log off; root {folder}/www; keepalive_requests 50; client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2;
  fastcgi_temp_path {folder}/t3; uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{ listen 127.0.0.1:{port}; }} }}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def prepare(folder):
    """The files of the load, and the programs as objects."""
    for part in ("www", "project", "programs", "visits"):
        os.makedirs(os.path.join(folder, part))
    with open(os.path.join(folder, "www", "file"), "w") as out:
        out.write("x" * 10000)
    subprocess.run(["gcc", "-O2", "-pthread", "-o", os.path.join(folder, "meter"), os.path.join(HERE, "meter.c")], check=True)
    names = [f"f{n}" for n in range(1, 7)]
    for number, name in enumerate(names, 1):
        with open(os.path.join(folder, "project", name + ".c"), "w") as out:
            out.write(f"int {name}(void) {{ return {number}; }}\n")
    with open(os.path.join(folder, "project", "main.c"), "w") as out:
        out.write("#include <stdio.h>\n" + "".join(f"int {name}(void);\n" for name in names))
        out.write(f'int main(void) {{ printf("%d\\n", {" + ".join(name + "()" for name in names)}); return 0; }}\n')
    objects = " ".join(f"{name}.o" for name in ["main", *names])
    with open(os.path.join(folder, "project", "Makefile"), "w") as out:
        out.write(f"prog: {objects}\n\tgcc -o $@ $^\n%.o: %.c\n\tgcc -O1 -c -o $@ $<\nclean:\n\trm -f *.o prog\n")
    tools = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin") and shutil.which("wrk")
    if not tools:
        print("nginx or wrk is not installed: without the web server under load (scripts/setup soak)")
    port = free_port() if tools else ""
    with open(os.path.join(folder, "port"), "w") as out:
        out.write(str(port))
    with open(os.path.join(folder, "nginx.conf"), "w") as out:
        out.write(NGINX.format(folder=folder, port=port, user="user root;" if os.geteuid() == 0 else ""))
    for name in VISITORS:
        own = os.path.join(HERE, name + ".bpf.c")
        source = own if os.path.exists(own) else os.path.join(SOURCE, "programs", name + ".bpf.c")
        subprocess.run([ANYBPF, "compile", source, "-o", os.path.join(folder, "programs", name + ".bpf.o")], check=True)


def sequences(path):
    for line in open(path):
        record = json.loads(line)
        if record.get("map") == "sequences":
            return {entry["key"]: entry["value"] for entry in record["entries"]}
    return {}


class Visitor(threading.Thread):
    """One program, attached and detached again and again."""

    def __init__(self, name, soak, seed):
        super().__init__()
        self.name, self.soak, self.dice = name, soak, random.Random(seed)
        self.visits = self.killed = self.early = self.events = 0

    def run(self):
        while not self.soak.over.wait(self.dice.uniform(0, 2)):
            try:
                self.visit()
            except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
                self.soak.wrong(f"{self.name}, visit {self.visits}: {error!r}")

    def visit(self):
        self.visits += 1
        output = os.path.join(self.soak.folder, "visits", f"{self.name}-{self.visits}.json")
        tracer = subprocess.Popen([ANYBPF, "run", "--map-dump", "--json", "--output", output, self.soak.object(self.name)],
                                  env=self.soak.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.soak.over.wait(self.dice.choice([0.3, 1, 3]) * self.dice.uniform(0.5, 1.5))
        kill = self.dice.randrange(6) == 0
        tracer.send_signal(signal.SIGKILL if kill else signal.SIGINT)
        _, errors = tracer.communicate(timeout=300)
        if kill:
            self.killed += 1
        elif tracer.returncode == -signal.SIGINT:
            self.early += 1  # before it had anything to take down
        elif tracer.returncode != 0:
            self.soak.wrong(f"{self.name}, visit {self.visits}: exit status {tracer.returncode}: {errors[-1000:]}")
        elif self.name == "sequence":
            for identity, seen in sequences(output).items():
                self.events += seen["count"]
                once = seen["last"] - seen["first"] + 1 if identity < 1000 else seen["count"]  # 1000: begins anew with each process
                if seen["gaps"] or seen["count"] != once:
                    self.soak.wrong(f"visit {self.visits}: meter {identity} missed or doubled: {seen}")
        else:
            self.events += sum(1 for line in open(output) if json.loads(line))
        if not self.soak.keep and os.path.exists(output):
            os.unlink(output)


class Soak:
    def __init__(self, folder, root, options):
        self.folder, self.root, self.keep = folder, root, bool(options.keep)
        self.seconds, self.seed = options.seconds, options.seed
        self.environment = {**os.environ, "ANYBPF_ROOT": root, "PATH": os.environ["PATH"] + ":/usr/sbin"}
        self.over = threading.Event()
        self.complaints, self.memory = [], {}

    def wrong(self, text):
        print(f"FAILED: {text}", flush=True)
        self.complaints.append(text)

    def object(self, name):
        return os.path.join(self.folder, "programs", name + ".bpf.o")

    def sample(self):
        """Memory of what lives long, now."""
        try:
            lines = open(os.path.join(self.folder, "pids")).read().split("\n")
        except OSError:
            return
        for line in [*lines, f"tracer {self.tracer.pid}"]:
            if line:
                kind, pid = line.split()
                try:
                    text = open(f"/proc/{pid}/status").read()
                    self.memory.setdefault((kind, int(pid)), []).append(int(text.partition("VmRSS:")[2].split()[0]))
                except (OSError, IndexError):
                    if not self.over.is_set():
                        self.wrong(f"{kind} ({pid}) is gone")

    def run(self):
        base = os.path.join(self.folder, "base.json")
        self.tracer = subprocess.Popen([ANYBPF, "run", "--map-dump", "--json", "--output", base, self.object("sequence"), "--",
                                        "sh", os.path.join(HERE, "load.sh"), self.folder, HERE], env=self.environment, cwd=self.folder,
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        visitors = [Visitor(name, self, f"{self.seed}-{name}") for name in VISITORS]
        end = time.monotonic() + self.seconds
        for visitor in visitors:
            visitor.start()
        while time.monotonic() < end and self.tracer.poll() is None and len(self.complaints) < 20:
            time.sleep(max(0.5, self.seconds / 1000))
            self.sample()
        if self.tracer.poll() is not None:
            self.wrong("the tracer that stays ended early")
        self.over.set()
        for visitor in visitors:
            visitor.join()
            print(f"{visitor.name}: {visitor.visits} visits, {visitor.killed} killed, {visitor.early} ended before they began, {visitor.events} events")
            if visitor.visits > 5 and visitor.events == 0:
                self.wrong(f"{visitor.name} saw nothing in {visitor.visits} visits")
        open(os.path.join(self.folder, "stop"), "w").close()
        try:
            _, errors = self.tracer.communicate(timeout=300)
            if self.tracer.returncode != 0:
                self.wrong(f"the tracer that stays: exit status {self.tracer.returncode}: {errors[-2000:]}")
            self.check_counts(base)
        except subprocess.TimeoutExpired:
            self.wrong("the load does not end")
            self.end_all()
        self.check_load()
        self.check_memory()

    def end_all(self):
        """What is left of the load, by the folder that it works in."""
        self.tracer.kill()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                if os.readlink(f"/proc/{pid}/cwd").startswith(self.folder):
                    os.kill(int(pid), signal.SIGKILL)
            except OSError:
                pass

    def check_counts(self, base):
        made = {}
        for line in open(os.path.join(self.folder, "report")):
            identity, calls = map(int, line.split())
            made[identity] = made.get(identity, 0) + calls
        seen = {identity: one["count"] for identity, one in sequences(base).items()}
        print(f"meters: {len(made)} identities, {sum(made.values())} calls made, {sum(seen.values())} seen by the tracer that stayed")
        if made != seen:
            self.wrong(f"not the same: made {made}, seen {seen}")
        for identity, one in sequences(base).items():
            if one["gaps"]:
                self.wrong(f"meter {identity}: {one}")

    def check_load(self):
        failures = os.path.join(self.folder, "failures")
        if os.path.exists(failures):
            self.wrong("the load: " + open(failures).read()[:3000])
        for name in sorted(os.listdir(self.folder)):
            if name.endswith(".rounds"):
                print(f"{name.removesuffix('.rounds')}: {open(os.path.join(self.folder, name)).read().strip()} rounds")
        errors = os.path.join(self.folder, "nginx-error.log")
        if os.path.exists(errors) and (bad := [line for line in open(errors) if "[alert]" in line or "[crit]" in line or "signal" in line and "exited" in line]):
            self.wrong(f"nginx: {bad[:5]}")
        deadline = time.monotonic() + 20
        while (left := [os.path.join(where, name) for where, folders, files in os.walk(self.root) for name in folders + files]) and time.monotonic() < deadline:
            time.sleep(0.2)
        if left:
            self.wrong(f"left in the root: {left[:10]}")

    def check_memory(self):
        for (kind, pid), sizes in sorted(self.memory.items()):
            if len(sizes) < 10:
                continue
            tenth = len(sizes) // 5
            early, late = sorted(sizes[tenth:2 * tenth])[tenth // 2], sorted(sizes[-tenth:])[tenth // 2]
            print(f"memory of {kind} ({pid}): {early} KiB early, {late} KiB late")
            fixed, part = GROWTH[kind]
            if late - early > max(fixed, part * early) * (4 if self.seconds < 600 else 1):
                self.wrong(f"memory of {kind} ({pid}) grew from {early} to {late} KiB")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", help="leave everything that was written in this new folder")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever starts this in the background ignores it, and so would the tracers
    folder = os.path.abspath(options.keep) if options.keep else tempfile.mkdtemp(prefix="anybpf-soak-")
    os.makedirs(folder, exist_ok=not options.keep)
    root = tempfile.mkdtemp(prefix="anybpf-soak-", dir="/dev/shm")
    soak = Soak(folder, root, options)
    try:
        prepare(folder)
        soak.run()
    finally:
        shutil.rmtree(root, ignore_errors=True)
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{options.seconds:.0f} s: {len(soak.complaints)} complaints")
    return 1 if soak.complaints else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""Attach to a running program and let it go again: what it does meanwhile is counted exactly, and nothing is left in it."""
import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import time

from e2e import ANYBPF, FULL, HELPERS, Scratch, check, maps, program

WORKERS, GETPPID = 3, 110


class Guest:
    def __init__(self, scratch):
        self.process = subprocess.Popen([os.path.join(HELPERS, "attached")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=scratch.environment())
        check(self.process.stdout.readline() == "ready\n", "the guest did not start")
        self.made = 0

    def calls(self, count):
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        self.made += WORKERS * count
        line = self.process.stdout.readline()
        check(line == f"{self.made} right\n", f"the guest says {line!r}, not {self.made}")

    def looks(self):
        """What anybody can see of it: mappings, descriptors, threads, signals, and the text of its libraries."""
        proc = f"/proc/{self.process.pid}"
        mappings = open(f"{proc}/maps").read()
        text = hashlib.sha256()
        with open(f"{proc}/mem", "rb") as memory:
            for begin, end in re.findall(r"^(\w+)-(\w+) r-xp \w+ \S+ [1-9]", mappings, re.M):
                memory.seek(int(begin, 16))
                text.update(memory.read(int(end, 16) - int(begin, 16)))
        status = {}
        for thread in sorted(os.listdir(f"{proc}/task"), key=int):
            words = dict(line.split(":", 1) for line in open(f"{proc}/task/{thread}/status").read().splitlines())
            status[thread] = {name: words[name].strip() for name in ("Threads", "SigBlk", "SigIgn", "SigCgt", "Seccomp", "TracerPid", "NoNewPrivs")}
        descriptors = {fd: os.readlink(f"{proc}/fd/{fd}") for fd in os.listdir(f"{proc}/fd")}
        return {"maps": mappings, "text": text.hexdigest(), "status": status, "descriptors": descriptors, "environment": open(f"{proc}/environ").read()}

    def end(self):
        self.process.stdin.close()
        check(self.process.wait(timeout=20) == 0, f"the guest ended with {self.process.returncode}")


def same(before, after, when):
    for part in before:
        check(before[part] == after[part], f"{when}: {part} differs:\n{before[part]}\n---\n{after[part]}")


def settled(guest):
    """No thread is inside of its handler, which shows in its mask."""
    for _ in range(100):
        looks = guest.looks()
        if all(int(each["SigBlk"], 16) & (1 << (signal.SIGALRM - 1)) == 0 for each in looks["status"].values()):
            return looks
    return looks


def command(scratch, *words, status=0):
    done = subprocess.run([ANYBPF, *words], env=scratch.environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    check(done.returncode == status, f"anybpf {' '.join(words)}: {done.returncode} {done.stdout}{done.stderr}")
    return done


def rounds(count):
    with Scratch() as scratch:
        guest = Guest(scratch)
        pid = str(guest.process.pid)
        guest.calls(10)
        before = settled(guest)
        tracer = subprocess.Popen([ANYBPF, "run", "--map-dump", "--json", program("syscount.bpf.c")], env=scratch.environment(), text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        attached = 0
        while not any("/link-" in name for name in scratch.left_in_root()):
            time.sleep(0.05)
        for number in range(count):
            check(json.loads(command(scratch, "attach", "--json", pid).stdout) == {"pid": int(pid), "result": "attached"}, "its answer")
            guest.calls(100 + number)
            attached += WORKERS * (100 + number)
            if number == 0:
                check("is traced already" in command(scratch, "attach", pid, status=1).stderr, "attached twice")
            command(scratch, "detach", pid)
            guest.calls(50)
            same(before, settled(guest), f"after round {number}")
        check("is not traced" in command(scratch, "detach", pid, status=1).stderr, "detached twice")
        tracer.send_signal(signal.SIGINT)
        out, err = tracer.communicate(timeout=30)
        calls = {entry["key"]: sum(each["calls"] for each in entry["values"]) for entry in maps(out)["by_call"]}
        seen = calls.get(GETPPID, 0)
        check(seen == attached, f"{attached} calls were made while it was attached, {seen} counted: {calls} {err}")
        guest.end()
        check(not scratch.left_in_root(), f"left in the root: {scratch.left_in_root()}")
    print(f"{count} rounds: {attached} calls counted exactly, nothing left")


def of_a_run():
    """A program brings the process in and lets it go; with the process it ends itself."""
    with Scratch() as scratch:
        guest = Guest(scratch)
        pid = str(guest.process.pid)
        guest.calls(10)
        before = settled(guest)

        def start():
            tracer = subprocess.Popen([ANYBPF, "run", "--map-dump", "--json", program("syscount.bpf.c"), "-p", pid], env=scratch.environment(), text=True,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            while tracer.poll() is None and "anybpf-agent" not in open(f"/proc/{pid}/maps").read():
                time.sleep(0.05)
            time.sleep(0.2)  # all of its threads
            return tracer

        def counted(tracer):
            out, errors = tracer.communicate(timeout=30)
            check(tracer.returncode == 0, f"run -p: {tracer.returncode} {errors}")
            return {entry["key"]: sum(each["calls"] for each in entry["values"]) for entry in maps(out)["by_call"]}.get(GETPPID)

        tracer = start()
        guest.calls(200)
        tracer.send_signal(signal.SIGINT)
        check(counted(tracer) == WORKERS * 200, "what it counted")
        guest.calls(10)
        same(before, settled(guest), "after a run")
        tracer = start()
        guest.calls(100)
        guest.end()
        check(counted(tracer) == WORKERS * 100, "what it counted until the end")
        check(not scratch.left_in_root(), f"left in the root: {scratch.left_in_root()}")
        check("there is no process" in command(scratch, "run", program("syscount.bpf.c"), "-p", pid, status=1).stderr, "a process that is gone")
        check(not scratch.left_in_root(), f"left in the root: {scratch.left_in_root()}")
    print("run -p: counted exactly, nothing left")


def inside_handlers():
    """Attached while a handler runs on its signal stack, detached while another does."""
    with Scratch() as scratch:
        guest = Guest(scratch)
        pid = str(guest.process.pid)
        before = settled(guest)
        for attach_inside, detach_inside in ((True, False), (False, True), (True, True)):
            def hold():
                os.kill(guest.process.pid, signal.SIGUSR1)
                time.sleep(0.2)

            def release():
                with open(f"/proc/{pid}/fd/{gate}", "wb", buffering=0) as pipe:
                    pipe.write(b"x")
                time.sleep(0.2)
            pipes = sorted((int(fd), target) for fd, target in before["descriptors"].items() if target.startswith("pipe:") and int(fd) > 2)
            gate = pipes[3][0]
            if attach_inside:
                hold()
            command(scratch, "attach", pid)
            if attach_inside and not detach_inside:
                release()
            if detach_inside and not attach_inside:
                hold()
            command(scratch, "detach", pid)
            if detach_inside:
                release()
            guest.calls(20)
            same(before, settled(guest), "after a visit inside of handlers")
        guest.end()
    print("inside of handlers: nothing left")


def without_room():
    """Where memory ends in the middle, the program is as it was."""
    with Scratch() as scratch:
        guest = Guest(scratch)
        pid = guest.process.pid
        guest.calls(10)
        before = settled(guest)
        size = int(re.search(r"VmSize:\s+(\d+)", open(f"/proc/{pid}/status").read())[1]) << 10
        outcomes = []
        for room in range(0, 8 << 20, (1 << 18) if FULL else (1 << 20)):
            resource.prlimit(pid, resource.RLIMIT_AS, (size + room, resource.RLIM_INFINITY))
            done = subprocess.run([ANYBPF, "attach", str(pid)], env=scratch.environment(), text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, timeout=60)
            resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            outcomes.append(done.returncode)
            if done.returncode == 0:
                guest.calls(10)
                command(scratch, "detach", str(pid))
            else:
                check("memory" in done.stderr, f"with {room} bytes: {done.stderr}")
            guest.calls(10)
            same(before, settled(guest), f"with {room} bytes: {done.stderr}")
        check(outcomes[0] != 0 and outcomes[-1] == 0, f"exit statuses: {outcomes}")
        guest.end()
        check(not scratch.left_in_root(), f"left in the root: {scratch.left_in_root()}")
    print(f"without room: {sum(code != 0 for code in outcomes)} of {len(outcomes)} refused, nothing left")


def refused():
    with Scratch() as scratch:
        check("there is no process" in command(scratch, "attach", "4194303", status=1).stderr, "no such process")
        victim = subprocess.Popen(["strace", "-o", "/dev/null", "sleep", "60"]) if subprocess.run(["which", "strace"], stdout=subprocess.DEVNULL).returncode == 0 else None
        if victim:
            time.sleep(0.5)
            child = open(f"/proc/{victim.pid}/task/{victim.pid}/children").read().split()[0]
            done = subprocess.run([ANYBPF, "attach", child], env=scratch.environment(), text=True, stderr=subprocess.PIPE)
            check(done.returncode != 0 and "no debugger" in done.stderr, f"a traced process: {done.returncode} {done.stderr}")
            os.kill(int(child), signal.SIGTERM)
            victim.wait()
        check(not scratch.left_in_root(), f"left in the root: {scratch.left_in_root()}")
    print("refused: with its reason")


rounds(100 if FULL else 5)
of_a_run()
inside_handlers()
without_room()
refused()

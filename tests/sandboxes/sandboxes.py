# SPDX-License-Identifier: Apache-2.0
"""anybpf in each sandbox of sandbox.py: doctor names exactly what is lost there, and run, exec and verify do what doctor says.
Never a hang, a crash, or a command that suffers."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

from sandbox import SANDBOXES

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
ANYBPF, AGENT, BUILD = os.environ["ANYBPF"], os.environ["ANYBPF_AGENT"], os.environ["ANYBPF_BUILD"]
PYTHON = "/usr/bin/python3" if os.access("/usr/bin/python3", os.X_OK) else sys.executable
WRITE = 1
failures = 0


def check(good, what):
    global failures
    if not good:
        failures += 1
        print(f"FAILED: {what}", flush=True)
    return good


def setting(path):
    """A number of /proc/sys/kernel, 0 where this kernel does not have it."""
    try:
        with open(f"/proc/sys/kernel/{path}") as file:
            return int(file.read())
    except OSError:
        return 0


# ----------------------------------------------------------------------- what is lost where, beside what is lost on this machine
FILTER = {"seccomp": "partly"}
KERNEL = {"bpf(2) of the kernel": "no", "perf_event_open": "no"}
TRACING = {"ptrace of own children": "no", "ptrace of others": "no"}
DISPATCH = {"Syscall User Dispatch": "no"}
# What an ordinary user may depends on the machine's settings.
USER = {**({"bpf(2) of the kernel": "no"} if setting("unprivileged_bpf_disabled") else {}),
        **({"perf_event_open": "no"} if setting("perf_event_paranoid") > 0 else {}),
        **({"ptrace of others": "no"} if setting("yama/ptrace_scope") > 0 else {})}
DOCKER = {**FILTER, **KERNEL, "user namespaces": "no", **({"ptrace of others": "no"} if setting("yama/ptrace_scope") > 0 else {})}

#  sandbox: what doctor finds missing
LOST = {
    "plain": {},
    "docker": DOCKER,
    "docker_user": DOCKER,
    "no_dispatch": {**FILTER, **DISPATCH},
    "no_ptrace": {**FILTER, **TRACING},
    "no_dispatch_no_ptrace": {**FILTER, **DISPATCH, **TRACING},
    "deny_write_execute": {**FILTER, "executable memory": "no", "memfd_create": "no"},
    "mdwe": {},
    "old_kernel": {**FILTER, **DISPATCH, **KERNEL, "process_vm_writev": "no", "rseq": "no", "membarrier": "no", "pidfd_open": "no"},
    "killing": {**FILTER, **TRACING, **KERNEL, "membarrier": "no", "user namespaces": "no"},
    "no_robust_futexes": {**FILTER, "robust futexes": "no"},
    "no_sockets": {**FILTER, "Unix sockets": "no"},
    "user": USER,
    "user_namespace": USER,
    "all_namespaces": USER,
    "no_new_privileges": USER,
    "full_memory": {"root directory": "no", "room in the root": "no"},
    "no_memory": {"root directory": "no", "room in the root": "no"},
    "small_memory": {"room in the root": "partly"},
    "few_files": {"descriptors": "partly"},
    "no_proc": {"writing to /proc/self/mem": "no", "/proc": "no"},
    "noexec_agent": {"agent": "no"},
}

# Words of `mend`, of one sandbox for each kind of cause.
MEND = {
    "docker": {"user namespaces": "seccomp=unconfined", "bpf(2) of the kernel": "--cap-add BPF", "perf_event_open": "--cap-add PERFMON"},
    "no_dispatch": {"Syscall User Dispatch": "Linux 5.11"},
    "no_ptrace": {"ptrace of own children": "seccomp=unconfined", "ptrace of others": "--cap-add SYS_PTRACE"},
    "deny_write_execute": {"executable memory": "MemoryDenyWriteExecute=no"},
    "old_kernel": {"rseq": "Linux 4.18", "membarrier": "Linux 4.16", "pidfd_open": "Linux 5.3"},
    "full_memory": {"root directory": "ANYBPF_ROOT", "room in the root": "--shm-size"},
    "few_files": {"descriptors": "ulimit -n"},
    "no_proc": {"/proc": "mount -t proc"},
    "noexec_agent": {"agent": "noexec"},
}

#  sandbox: exit status of run, words of its message
REFUSED = {
    "no_robust_futexes": (118, "robust futexes: Function not implemented (see anybpf doctor)"),
    "full_memory": (118, "No space left on device"),
    "no_memory": (118, "is a tmpfs; set ANYBPF_ROOT"),
    "small_memory": (117, "Cannot allocate memory"),
    "few_files": (1, "Too many open files"),
    "noexec_agent": (118, "cannot be mapped as code: Operation not permitted (see anybpf doctor)"),
}
# Where the command's calls are all counted, as on this machine.
WHOLE = ["docker", "docker_user", "no_dispatch", "deny_write_execute", "mdwe", "user", "user_namespace", "all_namespaces", "no_new_privileges"]


class Place:
    """The command as it would be installed, in a folder that everybody may read, and compiled programs."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="anybpf-sandboxes-")
        for source, folder in ((ANYBPF, "cli"), (AGENT, "agent")):
            os.mkdir(os.path.join(self.path, folder))
            shutil.copy(source, os.path.join(self.path, folder))
        for folder in ("share", "include"):
            shutil.copytree(os.path.join(BUILD, folder), os.path.join(self.path, folder))
        self.anybpf = os.path.join(self.path, "cli", "anybpf")
        self.object = os.path.join(self.path, "syscount.o")
        self.source = os.path.join(self.path, "share/anybpf/programs/syscount.bpf.c")
        subprocess.run([self.anybpf, "compile", self.source, "-o", self.object], check=True)
        for where, _, files in os.walk(self.path):
            for name in [where, *(os.path.join(where, file) for file in files)]:
                os.chmod(name, os.stat(name).st_mode | 0o444 | (0o111 if os.path.isdir(name) else 0))
        return self

    def __exit__(self, *exc):
        shutil.rmtree(self.path, ignore_errors=True)

    def run(self, sandbox, *args):
        environment = {name: value for name, value in os.environ.items() if name not in ("ANYBPF_ROOT", "XDG_RUNTIME_DIR", "XDG_CACHE_HOME")}
        environment.update(HOME="/nonexistent", LC_ALL="C", TMPDIR="/dev/shm")
        command = [PYTHON, os.path.join(HERE, "sandbox.py"), sandbox, "--", self.anybpf, *args]
        return subprocess.run(command, cwd="/", env=environment, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=60)


def shown(sandbox, done):
    return f"{sandbox}: exit {done.returncode}\n  stdout: {done.stdout[:2000]}\n  stderr: {done.stderr[:2000]}"


def counts(done):
    """System call -> how often it was counted, from `run --map-dump --json`."""
    for line in done.stdout.splitlines():
        record = json.loads(line) if line.startswith("{") else {}
        if record.get("map") == "by_call":
            return {entry["key"]: sum(value["calls"] for value in entry["values"]) for entry in record["entries"]}
    return {}


def doctor(place, sandbox, here):
    """Exactly what is lost, how that is said, and the exit status. `here`: what is lost without any sandbox."""
    done = place.run(sandbox, "doctor", "--json")
    rows = {row["check"]: row for row in json.loads(done.stdout)}
    found = {name: row["result"] for name, row in rows.items() if row["result"] != "yes"}
    wanted = {**here, **LOST[sandbox]}
    check(found == wanted, f"{sandbox}: doctor finds {found}, wanted {wanted}:\n{done.stdout}")
    for name, row in rows.items():
        lost = row["result"] != "yes"
        check(bool(row["without"]) == lost and bool(row["mend"]) == lost, f"{sandbox}: {row}")
    for name, words in MEND.get(sandbox, {}).items():
        check(words in rows[name]["mend"], f"{sandbox}: wanted '{words}' in {rows[name]}")
    needed = [name for name, row in rows.items() if row["needed"] and row["result"] != "yes"]
    check(done.returncode == (1 if needed else 0), f"{sandbox}: exit {done.returncode}, missing of what is needed: {needed}")
    text = place.run(sandbox, "doctor")
    losses = {"Syscall User Dispatch", "ptrace of own children", "Unix sockets", "room in the root", "descriptors", "/proc"} & found.keys()
    verdict = "anybpf run does not work here; see above." if needed else "anybpf run works here, without privileges"
    verdict += "" if needed else ", with the losses named above." if losses else "."
    check(text.returncode == done.returncode and text.stdout.splitlines()[-1] == verdict, f"wanted '{verdict}': {shown(sandbox, text)}")
    for name in found:
        check(all(part in text.stdout for part in (f"lost: {rows[name]['without']}\n", f"mend: {rows[name]['mend']}\n")), shown(sandbox, text))


def trace(place, sandbox, whole):
    """run counts what doctor promises, or refuses with its reason; the command never suffers."""
    done = place.run(sandbox, "run", "--map-dump", "--json", place.object, "--", "/bin/echo", "hi")
    if sandbox in REFUSED:
        status, words = REFUSED[sandbox]
        check(done.returncode == status and words in done.stderr, f"wanted exit {status} and '{words}': {shown(sandbox, done)}")
        return {}
    found = counts(done)
    check(done.returncode == 0 and done.stdout.startswith("hi\n"), shown(sandbox, done))
    check(found.get(WRITE) == 1, f"{sandbox}: the write is not counted once: {found}")
    if sandbox in WHOLE:
        check(found == whole, f"{sandbox}: counted {found}, outside {whole}")
    tree = "for n in 1 2 3; do /bin/echo $n; done | cat; exit 7"
    done = place.run(sandbox, "run", place.object, "--", "/bin/sh", "-c", tree)
    check(done.returncode == 7 and done.stdout.startswith("1\n2\n3\n"), shown(sandbox, done))
    return found


def other_commands(place, sandbox):
    """verify and exec need the root and room for the maps; --on kernel says why not."""
    no_root, no_runs = sandbox in ("full_memory", "no_memory"), sandbox == "no_robust_futexes"
    done = place.run(sandbox, "verify", place.object)
    if sandbox == "small_memory":
        check(done.returncode == 117 and "map 'by_call' is too large" in done.stderr, shown(sandbox, done))
        return
    check(done.returncode == (118 if no_root else 0), shown(sandbox, done))
    done = place.run(sandbox, "exec", place.object, "--prog", "on_enter", "--engine", "interp")
    check(done.returncode == (118 if no_root or no_runs else 0), shown(sandbox, done))
    if sandbox == "deny_write_execute":
        done = place.run(sandbox, "exec", place.object, "--prog", "on_enter")
        check(done.returncode == 118 and "no machine code here: --engine interp" in done.stderr, shown(sandbox, done))
    if sandbox in ("docker", "docker_user", "old_kernel"):
        done = place.run(sandbox, "run", "--on", "kernel", place.object, "--", "/bin/true")
        check(done.returncode == 118 and "the kernel's own bpf(2)" in done.stderr and "see anybpf doctor" in done.stderr, shown(sandbox, done))


def documentation():
    """docs/sandboxes.md has a line for each sandbox, with everything that is lost there."""
    with open(os.path.join(SOURCE, "docs", "sandboxes.md")) as file:
        lines = [line.split("|") for line in file if line.startswith("| `")]
    table = {cells[1].strip(" `"): cells[3] for cells in lines}
    check(list(table) == list(SANDBOXES), f"docs/sandboxes.md has {list(table)}")
    for sandbox, lost in LOST.items():
        missing = [name for name in lost if name not in table.get(sandbox, "")]
        check(not missing, f"docs/sandboxes.md: {sandbox} lacks {missing}")


def main():
    documentation()
    if os.geteuid() != 0:
        print("skipped: making these sandboxes needs root")
        sys.exit(77)
    with Place() as place:
        # Where mounts and namespaces are refused (in a container), nothing of this can be made.
        first = place.run("plain", "doctor", "--json")
        if not first.stdout.startswith("["):
            print(f"skipped: sandboxes cannot be made here: {first.stderr}")
            sys.exit(77)
        here = {row["check"]: row["result"] for row in json.loads(first.stdout) if row["result"] != "yes"}
        whole = {}
        for sandbox in SANDBOXES:
            before = failures
            doctor(place, sandbox, here)
            found = trace(place, sandbox, whole)
            whole = found if sandbox == "plain" else whole
            other_commands(place, sandbox)
            print(f"{sandbox}: {'FAILED' if failures > before else 'ok'}", flush=True)
        # From C, with the compiler inside, as in a container.
        done = place.run("docker_user", "run", place.source, "--", "/bin/echo", "hi")
        check(done.returncode == 0 and done.stdout.startswith("hi\n") and "write " in done.stdout, shown("docker_user", done))
    print("failed" if failures else "all good")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()

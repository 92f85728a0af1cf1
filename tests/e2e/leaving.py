# SPDX-License-Identifier: Apache-2.0
"""A traced process goes where it cannot open the root's files any more: below another root directory, into another mount
namespace, to another user. A program that is attached afterwards sees all of its calls, and those of what it executes."""
import os
import signal
import subprocess
import sys
import time

from e2e import ANYBPF, Scratch, check, maps, program, skip

GETPPID = 110
GUEST = """
import ctypes, os, sys
where, folder = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
if where == "root directory":
    os.chroot(folder)
    os.chdir("/")
elif where == "mount namespace":
    new_mounts, private = 0x20000, 0x44000
    if libc.unshare(new_mounts) or libc.mount(b"none", b"/", None, private, None) or libc.mount(b"none", b"/dev/shm", b"tmpfs", 0, None):
        sys.exit(f"no mount namespace: {os.strerror(ctypes.get_errno())}")
elif where == "user":
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
print("ready", flush=True)
for line in sys.stdin:
    for _ in range(int(line)):
        os.getppid()
    if where != "root directory":
        os.spawnv(os.P_WAIT, "/bin/sh", ["sh", "-c", "exec /bin/sh -c :"])
    print("done", flush=True)
"""


def sums(entries):
    return {str(entry["key"]): sum(each["calls"] for each in entry["values"]) for entry in entries}


def links(scratch):
    return sum("/link-" in name for name in scratch.left_in_root())


def leaves(where):
    with Scratch() as scratch:
        elsewhere = os.path.join(scratch.path, "elsewhere")
        os.mkdir(elsewhere)
        first = subprocess.Popen([ANYBPF, "run", program("syscount.bpf.c"), "--", "/usr/bin/python3", "-c", GUEST, where, elsewhere], env=scratch.environment(),
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        ready = first.stdout.readline()
        if ready != "ready\n":
            skip(f"{where}: {first.communicate()}")
        present = links(scratch)
        second = subprocess.Popen([ANYBPF, "run", "--map-dump", "--json", program("syscount.bpf.c")], env=scratch.environment(), text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while links(scratch) < 2 * present and second.poll() is None:
            time.sleep(0.05)
        first.stdin.write("500\n")
        first.stdin.flush()
        check(first.stdout.readline() == "done\n", f"{where}: the guest ended")
        second.send_signal(signal.SIGINT)
        out, errors = second.communicate(timeout=60)
        seen = maps(out)
        calls, commands = (sums(seen.get(name, [])) for name in ("by_call", "by_command"))
        shells = commands.get(str({"comm": "sh"}), 0)
        own = 0 if where == "root directory" else 2  # a shell asks for its parent, too
        check(calls.get(str(GETPPID)) == 500 + own, f"{where}: {calls} {errors}")
        check(where == "root directory" or shells > 40, f"{where}: {shells} calls of the shells were seen: {commands}")
        first.stdin.close()
        check(first.wait(timeout=60) == 0, f"{where}: exit status {first.returncode}")
        warnings = first.stderr.read()
        check("not traced" not in warnings, f"{where}: {warnings}")
        check(not scratch.left_in_root(), f"{where}: left in the root: {scratch.left_in_root()}")
    print(f"another {where}: all was seen")


if os.geteuid() != 0:
    skip("root directory, mount namespace and user are root's to change")
for place in ("root directory", "mount namespace", "user"):
    leaves(place)
sys.exit(0)

# SPDX-License-Identifier: Apache-2.0
"""The processes and calls that `strace -ff -i -ttt -o PREFIX` wrote down, a file for each thread."""
import glob
import os
import re
import struct

from process import Process

LINE = re.compile(r"(\d+\.\d+) \[\s*([0-9a-f?]+)\] (\w+)\((.*)$")
MAKERS = {"clone", "clone3", "fork", "vfork"}
GLIBC_LOADER = "ld-linux-x86-64.so.2"
LOADER_SPAN = 0x40000  # the loader's text is smaller, and so is the distance to what lies around it


class Call:
    def __init__(self, match):
        self.time, self.pc, self.name = float(match[1]), int(match[2], 16) if "?" not in match[2] else 0, match[3]
        rest = match[4]
        result = rest.rpartition(" = ")[2] if " = " in rest else "?"
        self.rest = rest
        self.returned = not result.startswith("?")
        self.interrupted = result.startswith("? ERESTART")
        self.restarts = False  # made again by the kernel
        self.failed_with_eintr = "EINTR" in result
        number = re.match(r"-?\d+", result)
        self.result = int(number[0]) if number else None


def interpreter(path):
    """The loader that an executable names; None: it has none, or is none."""
    try:
        with open(path, "rb") as file:
            head = file.read(64)
            if head[:2] == b"#!":
                return interpreter((head + file.readline()).split(b"\n")[0][2:].split()[0].decode())
            if head[:5] != b"\x7fELF\x02":
                return None
            (offset,), (size, count) = struct.unpack_from("<Q", head, 32), struct.unpack_from("<HH", head, 54)
            for number in range(count):
                file.seek(offset + number * size)
                kind, _, at, _, _, length = struct.unpack("<IIQQQQ", file.read(40))
                if kind == 3:
                    file.seek(at)
                    return file.read(length).rstrip(b"\0").decode()
    except OSError:
        pass
    return None


def executed(call, folder):
    path = re.match(r'"((?:[^"\\]|\\.)*)"', call.rest)[1]
    return os.path.join(folder, path)


def settle_interrupted(calls):
    """strace shows the kernel's own code for an interrupted call, not what comes of it. With a handler, the end of the handler
    shows what the program gets: EINTR, or the number of the call that is made again."""
    for index, call in enumerate(calls):
        if not call.interrupted:
            continue
        ends = next((later for later in calls[index + 1:] if later.name == "rt_sigreturn"), None)
        following = calls[index + 1] if index + 1 < len(calls) else None
        if following and following.name in (call.name, "restart_syscall") and following.rest.split(")")[0] == call.rest.split(")")[0]:
            call.restarts = True
        else:  # a handler that is left by a jump has no end: the call came back to it
            call.returned = ends is None or ends.failed_with_eintr
            call.restarts = not call.returned


def read_threads(prefix):
    threads = {}
    for path in glob.glob(glob.escape(prefix) + ".*"):
        text = open(path, errors="replace").read()
        calls = [Call(match) for line in text.splitlines() if (match := LINE.match(line))]
        settle_interrupted(calls)
        if "+++ killed by" in text and calls:
            # It dies on the way out of its last call: the kernel's tracepoint and strace see the call come back, the process does not.
            calls[-1].returned = False
        threads[int(path.rpartition(".")[2])] = calls
    return threads


def without_startup(calls, folder, traced):
    """What an agent sees that is the first constructor of an image with glibc's loader: not the loader's calls before it, and
    nothing of an image that has another loader or none, nor of what comes of that. Yields calls, and whether their exit is seen;
    leaves in each call whether the thread is traced after it."""
    loader = None  # an address in the loader, until it has done its work
    for index, call in enumerate(calls):
        call.traced = traced
        if loader is not None:
            loader = loader or call.pc
            ahead = calls[index + 1].pc if index + 1 < len(calls) else 0
            # __libc_early_init, which the loader calls, asks for the stack's limit.
            if abs(call.pc - loader) < LOADER_SPAN or call.name == "prlimit64" and abs(ahead - loader) < LOADER_SPAN:
                continue
            loader = None
        if call.name == "execve" and call.result == 0:
            seen, traced = traced, traced and (interpreter(executed(call, folder)) or "").endswith(GLIBC_LOADER)
            call.traced, loader = traced, 0 if traced else None
            if seen:
                yield call, traced
        elif traced:
            yield call, True


def processes(prefix, folder, after_loader):
    """By pid. With `after_loader`, only what an agent sees that the loader brings in."""
    threads = read_threads(prefix)
    makers = {call.result: (tid, call) for tid, calls in threads.items() for call in calls
              if call.name in MAKERS and call.result and call.result > 0}
    # Makers before those whom they made.
    order, waiting = [], [tid for tid in threads if tid not in makers]
    while waiting:
        order.append(tid := waiting.pop(0))
        waiting += sorted(made for made, (maker, _) in makers.items() if maker == tid and made in threads)
    found, process_of = {}, {}
    for tid in order:
        maker, birth = makers.get(tid, (None, None))
        if birth and "CLONE_THREAD" in birth.rest:
            process = process_of[maker]
        else:
            process = found[tid] = Process(tid, "", birth.time if birth else 0, process_of[maker].pid if birth else None)
            process.name = process_of[maker].name if birth else ""
        process_of[tid] = process
        calls = ((call, True) for call in threads[tid])
        if after_loader:
            calls = without_startup(threads[tid], folder, birth.traced if birth else True)
        for call, leaves in calls:
            if call.restarts:
                continue
            process.entered[call.name] += 1
            process.left[call.name] += leaves and call.returned
            process.reads_maps |= call.name == "openat" and '"/proc/self/maps"' in call.rest
            if call.name == "execve" and call.result == 0:
                process.name = os.path.basename(executed(call, folder))
    if after_loader:
        found = {pid: process for pid, process in found.items() if +process.entered or +process.left}
    return found

# SPDX-License-Identifier: Apache-2.0
"""What both sides are brought to: a tree of processes, each with the calls that it entered and that came back, and where they
differ. A process is named by its place: its parent's place, and its number among the parent's children by age."""
from collections import Counter
from dataclasses import dataclass, field

# How often these are made depends on time alone, or nobody makes them: waiting, the end of a handler, the kernel's restarts.
EXCLUDED = {"futex", "sched_yield", "rt_sigreturn", "restart_syscall"}


@dataclass
class Process:
    pid: int
    name: str = ""
    born: float = 0
    parent: int | None = None
    entered: Counter = field(default_factory=Counter)
    left: Counter = field(default_factory=Counter)
    reads_maps: bool = False  # its own /proc/self/maps, in which the agent stands, too: it takes more calls


def places(processes):
    """By place: "0" is the first process, "0.2" its third child."""
    children = {}
    for process in processes.values():
        parent = process.parent if process.parent in processes else None
        children.setdefault(parent, []).append(process)
    found = {}

    def walk(process, place):
        found[place] = process
        for number, child in enumerate(sorted(children.get(process.pid, []), key=lambda child: child.born)):
            walk(child, f"{place}.{number}")
    for number, root in enumerate(sorted(children.get(None, []), key=lambda root: root.born)):
        walk(root, str(number))
    return found


def differences(expected, found, excluded):
    """Lines that say where `found` is not `expected`; both are processes by pid."""
    lines = []
    expected, found = places(expected), places(found)
    for place in sorted(set(expected) | set(found), key=lambda place: [int(part) for part in place.split(".")]):
        nobody = Process(0)
        one, other = expected.get(place, nobody), found.get(place, nobody)
        who = f"process {place} ({(one if place in expected else other).name})"
        if place not in expected or place not in found:
            lines.append(f"{who} is {'not expected' if place in found else 'missing'}")
        for what in ("entered", "left"):
            should, does = getattr(one, what), getattr(other, what)
            for call in sorted(set(should) | set(does)):
                if should[call] != does[call] and call not in excluded and not (one.reads_maps and call == "read"):
                    lines.append(f"{who}: {call} {what} {does[call]} times, not {should[call]}")
    return lines

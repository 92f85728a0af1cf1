# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests share: where the command is, a root of their own, and how a test skips."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
ANYBPF = os.environ["ANYBPF"]          # the command
HELPERS = os.environ["E2E_HELPERS"]    # folder of storm and no_bpf
# CI runs each storm once and short; ANYBPF_FULL=1 runs what the project promises.
FULL = os.environ.get("ANYBPF_FULL") == "1"


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(77)


def program(name):
    """A BPF program of these tests, or one that ships."""
    own = os.path.join(HERE, name)
    return own if os.path.exists(own) else os.path.join(SOURCE, "programs", name)


class Scratch:
    """A folder for files and a tmpfs root, both gone afterwards; the root must be empty by then."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="anybpf-e2e-")
        self.root = tempfile.mkdtemp(prefix="anybpf-e2e-", dir="/dev/shm")
        os.chmod(self.path, 0o755)
        return self

    def __exit__(self, *exc):
        shutil.rmtree(self.path, ignore_errors=True)
        shutil.rmtree(self.root, ignore_errors=True)

    def environment(self, **extra):
        return {**os.environ, "ANYBPF_ROOT": self.root, **extra}

    def anybpf(self, *args, prefix=(), cwd=None, timeout=300, **extra):
        """Runs the command; returns the finished process with text output."""
        return subprocess.run([*prefix, ANYBPF, *args], env=self.environment(**extra), cwd=cwd or self.path, text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout)

    def left_in_root(self):
        return sorted(os.path.join(where, name) for where, folders, files in os.walk(self.root) for name in folders + files)


def maps(output):
    """The maps of `run --map-dump --json`: name -> list of entries."""
    found = {}
    for line in output.splitlines():
        if line.startswith("{"):
            record = json.loads(line)
            if "map" in record:
                found[record["map"]] = record["entries"]
    return found


def check(condition, message):
    if not condition:
        print(f"FAILED: {message}")
        sys.exit(1)

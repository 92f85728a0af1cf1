# SPDX-License-Identifier: Apache-2.0
"""What the tests of the command share: a folder, a root of its own, and checks that print what they saw."""
import os
import shutil
import subprocess
import sys
import tempfile

ANYBPF = os.environ["ANYBPF"]
SOURCE = os.environ["ANYBPF_SOURCE"]
PROGRAMS = os.path.join(SOURCE, "programs")

HEAD = """#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <anybpf/output.h>
char LICENSE[] SEC("license") = "GPL";
"""

failures = 0


def check(good, what):
    global failures
    if not good:
        failures += 1
        print(f"FAILED: {what}", flush=True)
    return good


def finish():
    print("failed" if failures else "all good")
    sys.exit(1 if failures else 0)


class Place:
    """A folder for files and a tmpfs root; what a command leaves in the root is a failure."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="anybpf-cli-")
        self.root = tempfile.mkdtemp(prefix="anybpf-cli-", dir="/dev/shm")
        return self

    def __exit__(self, *exc):
        shutil.rmtree(self.path, ignore_errors=True)
        shutil.rmtree(self.root, ignore_errors=True)

    def environment(self):
        return {**os.environ, "ANYBPF_ROOT": self.root}

    def write(self, name, text):
        path = os.path.join(self.path, name)
        with open(path, "wb" if isinstance(text, bytes) else "w") as out:
            out.write(text)
        return path

    def run(self, *args, stdin=None, timeout=60, text=True):
        done = subprocess.run([ANYBPF, *args], env=self.environment(), cwd=self.path, input=stdin, text=text, timeout=timeout,
                              stdin=subprocess.DEVNULL if stdin is None else None, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        left = sorted(os.listdir(self.root))
        check(not left, f"{args}: left in the root: {left}")
        return done

    def expect(self, status, words, *args, **options):
        """The command ends with the status, and its stderr has all the words."""
        done = self.run(*args, **options)
        shown = f"anybpf {' '.join(args)}\n  exit {done.returncode}\n  stdout: {done.stdout}\n  stderr: {done.stderr}"
        check(done.returncode == status, f"wanted exit {status}:\n{shown}")
        for word in words:
            check(word in done.stderr, f"wanted '{word}' in:\n{shown}")
        return done

# SPDX-License-Identifier: Apache-2.0
"""Debian source packages in a cache outside of the repository: fetched once by apt, whose lists and settings here are
the cache's own, and built once."""
import os
import shutil
import subprocess
import sys

DEBIAN = "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main\n"
ORDINARY = 65534  # who builds and tests when root asks for it: nobody


def default_cache():
    """Not below a home: an ordinary user must come there when root runs this."""
    return f"/var/tmp/anybpf-suites-{os.getuid()}"


def as_ordinary_user():
    """What stands before a command so that it is not root's."""
    return ["setpriv", f"--reuid={ORDINARY}", f"--regid={ORDINARY}", "--clear-groups"] if os.geteuid() == 0 else []


def give_away(path):
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", "-h", f"{ORDINARY}:{ORDINARY}", path], check=True)


def missing_packages(names):
    def installed(name):
        done = subprocess.run(["dpkg-query", "-W", "-f", "${db:Status-Status}", name], capture_output=True, text=True)
        return done.stdout == "installed"
    return [name for name in names if not installed(name)]


class Apt:
    """apt with lists of its own, so that the machine's settings need no deb-src line and none is added to them."""

    def __init__(self, cache):
        self.folder = os.path.join(cache, "apt")
        for part in ("lists/partial", "archives/partial"):
            os.makedirs(os.path.join(self.folder, part), exist_ok=True)
        sources = os.path.join(self.folder, "sources.list")
        with open(sources, "w") as out:
            out.write(DEBIAN)
        settings = {"Dir::Etc::sourcelist": sources, "Dir::Etc::sourceparts": "/dev/null", "Dir::Cache": self.folder,
                    "Dir::State::lists": os.path.join(self.folder, "lists"), "APT::Sandbox::User": "root"}
        self.options = [part for name, value in settings.items() for part in ("-o", f"{name}={value}")]

    def fetch(self, package, folder):
        if not any("Sources" in name for name in os.listdir(os.path.join(self.folder, "lists"))):
            subprocess.run(["apt-get", *self.options, "-qq", "update"], check=True)
        subprocess.run(["apt-get", *self.options, "-qq", "source", package], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def environment(tree):
    """The same for every run, and nothing of who started it."""
    jobs = str(min(2, os.cpu_count() or 1))
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": os.path.join(tree, "home"), "LANG": "C.UTF-8",
            "TMPDIR": os.path.join(tree, "scratch"), "JOBS": jobs, "TERM": "dumb", "MAKEINFO": "true", "USER": "nobody", "LOGNAME": "nobody"}


def prepare(name, suite, cache):
    """The built source tree of a suite."""
    if absent := missing_packages(suite.packages + (("dpkg-dev",) if suite.source else ())):
        sys.exit(f"{name}: these packages are missing (scripts/setup suites): {' '.join(absent)}")
    folder = os.path.join(cache, name)
    tree, built = os.path.join(folder, "tree"), os.path.join(folder, "built")
    if os.path.exists(built):
        return tree
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    if suite.source:
        print(f"{name}: fetching", flush=True)
        Apt(cache).fetch(suite.source, folder)
        (unpacked,) = (entry.path for entry in os.scandir(folder) if entry.is_dir())
        os.rename(unpacked, tree)
    for part in ("home", "scratch"):
        os.makedirs(os.path.join(tree, part), exist_ok=True)
    give_away(folder)
    if suite.build:
        print(f"{name}: building", flush=True)
        log = os.path.join(folder, "build.log")
        with open(log, "w") as out:
            done = subprocess.run([*as_ordinary_user(), "bash", "-c", suite.build], cwd=tree, env=environment(tree), stdin=subprocess.DEVNULL,
                                  stdout=out, stderr=subprocess.STDOUT)
        if done.returncode:
            sys.exit(f"{name}: building failed; see {log}")
    open(built, "w").close()
    return tree

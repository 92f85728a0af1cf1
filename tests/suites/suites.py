# SPDX-License-Identifier: Apache-2.0
"""The suites: of each Debian source package how it is built, how its tests are started, and how one reads which test
did what. Scripts are run by bash in the source tree, as an ordinary user, with JOBS set; `read` takes the tree and
what the test script printed, and gives a result for each test by name."""
import glob
import os
import re
import xml.etree.ElementTree
from dataclasses import dataclass
from typing import Callable


@dataclass
class Suite:
    test: str
    read: Callable[[str, str], dict[str, str]]
    source: str = ""                 # Debian source package; empty: Debian installs the tests
    build: str = ""
    packages: tuple[str, ...] = ()   # Debian packages that building and testing need
    minutes: int = 30                # a run that takes longer hangs


def automake(tree, output):
    """Automake's own record of a test: NAME.trs."""
    results = {}
    for path in glob.glob(os.path.join(tree, "**", "*.trs"), recursive=True):
        name = os.path.relpath(path, tree).removesuffix(".trs")
        # A test that prints TAP has a line for each of its parts.
        for number, result in enumerate(re.findall(r"^:test-result: *(.*)$", open(path, errors="replace").read(), re.M), 1):
            results[name if number == 1 else f"{name}#{number}"] = result
    return results


AUTOMAKE = """find . -name '*.trs' -delete; make -k check {0} </dev/null >suite.log 2>&1; tail -n 40 suite.log"""


def bash_tests(tree, output):
    """A test of bash's passes when it prints nothing; what it prints is a diff."""
    results, name = {}, None
    for line in output.splitlines():
        if match := re.fullmatch(r"@@ (run-\S+)", line):
            results[name := match[1]] = 0
        elif name and re.match(r"[<>] |@\d+ ", line):
            results[name] += 1
    return {name: f"{lines} lines of difference" if lines else "ok" for name, lines in results.items()}


def zsh_tests(tree, output):
    results, script, test, count = {}, None, None, 0
    for line in output.splitlines():
        if match := re.fullmatch(r"\S*?([^/\s]+\.ztst): starting\.", line):
            script, test, count = match[1], None, 0
            results[script] = "did not end"
        elif match := re.match(r"\S*?([^/\s]+\.ztst): (all tests successful|skipped)", line):
            results[match[1]] = match[2]
        elif match := re.match(r"\S*?([^/\s]+\.ztst): test failed", line):
            results[match[1]] = "failed"
        elif match := re.match(r"Running test: ?(.*)", line):
            count += 1
            results[test := f"{script} {count} {match[1]}"] = "did not end"
        elif test and (match := re.match(r"Test (successful|failed, as expected|case skipped)", line)):
            results[test] = match[1]
        elif test and re.match(r"Test .* failed: ", line):
            results[test] = "failed"
    return results


def gawk_tests(tree, output):
    """gawk's Makefile prints a test's name; what a failed one printed stays in a file that is called after it."""
    names = re.findall(r"^([a-z0-9_-]+)$", output, re.M)
    known = set(re.findall(r"^([A-Za-z0-9_-]+):", open(os.path.join(tree, "test", "Makefile")).read(), re.M))
    failed = {os.path.basename(path)[1:] for path in glob.glob(os.path.join(tree, "test", "_*"))}
    return {name: "failed" if name in failed else "ok" for name in names if name in known}


def tap(tree, output):
    return {match[2]: match[1] + (match[3] or "") for match in
            re.finditer(r"^(ok|not ok) \d+ - (\S+)( # SKIP.*)?", output, re.M)}


def tap_programs(tree, output):
    """Programs that print TAP, each after a mark "@@ NAME" and before one with its exit status."""
    results, program = {}, None
    for line in output.splitlines():
        if match := re.fullmatch(r"@@ (\S+)( \d+)?", line):
            program = match[1]
            results[program] = f"exit status{match[2]}" if match[2] else "did not end"
        elif program and (match := re.match(r"(ok|not ok) \d+ (?:- )?(\S+)(?: # (SKIP|TODO))?", line)):
            test = re.sub("seed:.*", "seed", match[2])
            results[f"{program} {test}"] = f"{match[1]} {match[3] or ''}".strip()
    return results


def perl_tests(tree, output):
    """t/TEST: "op/abs ... ok", or what went wrong."""
    return {match[1]: re.sub(r"\s+\d+ ms$", "", match[2]) for match in re.finditer(r"^(?:t/)?(\w+/\w+) \.+ *(.*)$", output, re.M)}


def junit(tree, output):
    """A name that comes again (a base class's test, run for each of two) is told apart by a number."""
    path = os.path.join(tree, "junit.xml")
    results, last = {}, "the start"
    for case in xml.etree.ElementTree.parse(path).iter("testcase") if os.path.exists(path) else ():
        kinds = [part.tag for part in case if part.tag in ("error", "failure", "skipped")]
        name = case.get("name")
        if name is None:  # unittest says nothing of a test that failed in a subtest only
            name, kinds = f"the test after {last}", ["failed subtest"]
        last = base = re.sub(r"0x[0-9a-f]+|\d{3,}", "N", name)  # parameters may hold addresses and pids
        count = 1
        while name_of(base, count) in results:
            count += 1
        results[name_of(base, count)] = kinds[0] if kinds else case.get("result", "ok")
    return results


def name_of(base, count):
    return base if count == 1 else f"{base}#{count}"


# Debian's changes to what configure is made of must not make it anew: that would need autoconf.
FRESH = """touch .now; find . \\( -name aclocal.m4 -o -name configure -o -name 'Makefile.in' -o -name 'config*h.in' -o -name stamp-h.in \\) -exec touch -r .now {} + &&
    chmod +x configure && """
CONFIGURE = FRESH + "./configure --quiet --disable-nls --disable-dependency-tracking && make -s -j$JOBS"

SUITES = {
    "bash": Suite(
        source="bash", build=CONFIGURE.replace("./configure", "./configure --without-bash-malloc") + " && make -s -j$JOBS recho zecho printenv xcase",
        # As its run-all, with a mark before each test. input-test and jobs read standard input.
        test="""cd tests; export THIS_SH=$PWD/../bash BUILD_DIR=$PWD/.. PATH=$PWD/..:.:$PATH TMPDIR=$PWD/../tmp LC_ALL=C.UTF-8; mkdir -p $TMPDIR
            for t in run-*; do case $t in run-all|run-minimal|run-gprof|*.orig|*~) continue;; esac
              export BASH_TSTOUT=$TMPDIR/out; echo "@@ $t"; sh $t </dev/null 2>&1; rm -f $BASH_TSTOUT; done""",
        read=bash_tests, packages=("bison", "libncurses-dev")),
    "coreutils": Suite(
        source="coreutils", build=CONFIGURE + " && make -s -j$JOBS check SUBDIRS=. TESTS= >/dev/null",
        test=AUTOMAKE.format("SUBDIRS=. -j$JOBS"), read=automake, packages=("libacl1-dev", "libattr1-dev", "libgmp-dev")),
    "gawk": Suite(
        source="gawk", build=CONFIGURE + " -C support && make -s -j$JOBS gawk && make -s -j$JOBS -C extension", test="""cd test; rm -f _*; make -k check </dev/null 2>&1""", read=gawk_tests,
        packages=("bison", "libmpfr-dev", "libreadline-dev")),
    "glib": Suite(
        # Without those that want a bus or measure.
        test="""for t in /usr/share/installed-tests/glib/*.test; do name=$(basename $t .test)
              case $name in *dbus*|*performance*|*memory-monitor*|*power-profile*|gapplication*|*slow*|application-*|basic-*|debugcontroller) continue;; esac
              echo "@@ $name"; G_TEST_SRCDIR=/usr/libexec/installed-tests/glib timeout 200 $(sed -n 's/^Exec=//p' $t) --tap </dev/null 2>&1; status=$?; echo; echo "@@ $name $status"; done""",
        read=tap_programs, packages=("libglib2.0-tests",)),
    "grep": Suite(
        source="grep", build=CONFIGURE + " && make -s -j$JOBS check TESTS= >/dev/null",
        test=AUTOMAKE.format("-j$JOBS"), read=automake, packages=("libpcre2-dev",)),
    "libuv": Suite(
        source="libuv1", build="cmake -S . -B out -DCMAKE_BUILD_TYPE=RelWithDebInfo >/dev/null && cmake --build out -j$JOBS >/dev/null",
        test="""cd out; UV_TEST_TIMEOUT_MULTIPLIER=4 ./uv_run_tests </dev/null 2>&1""", read=tap, packages=("cmake",)),
    # Debian's own perl, whose tests want it at t/perl and its library beside them.
    "perl": Suite(
        source="perl",
        build="""mkdir lib.installed; for part in /usr/share/perl/5.36 /usr/lib/x86_64-linux-gnu/perl-base /usr/lib/x86_64-linux-gnu/perl/5.36; do
                     cp -r $part/. lib.installed; done
                 mv lib lib.source; mv lib.installed lib; cp -r lib.source/unicore lib; ln -s /usr/bin/perl t/perl""",
        test="""cd t; ./perl TEST op/*.t io/*.t </dev/null 2>&1""", read=perl_tests, packages=("perl", "libperl5.36")),
    "python3": Suite(
        test="""rm -f junit.xml; /usr/bin/python3.11 -m test --junit-xml $PWD/junit.xml --timeout 1500 \
            test_subprocess test_signal test_threading test_asyncio </dev/null 2>&1""",
        read=junit, packages=("libpython3.11-testsuite", "python3.11")),
    "sed": Suite(
        source="sed", build=CONFIGURE + " && make -s -j$JOBS check TESTS= >/dev/null",
        test=AUTOMAKE.format("-j$JOBS"), read=automake, packages=("libacl1-dev",)),
    "zsh": Suite(
        source="zsh", build=FRESH + "./configure --quiet --with-tcsetpgrp && make -s -j$JOBS",
        test="""ZTST_verbose=1 make -C Test check </dev/null 2>&1""", read=zsh_tests,
        packages=("libncurses-dev", "groff-base", "libcap-dev")),
}

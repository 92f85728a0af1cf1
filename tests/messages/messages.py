# SPDX-License-Identifier: Apache-2.0
"""The rejections that users meet most. Each NAME.bpf.c is refused with the text in NAME.txt, word for word, and is accepted
when compiled with -DMENDED: the mend that the text proposes. `messages.py --update` writes the texts anew; the diff is the
review."""
import json
import os
import pty
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "cli"))
from cli import ANYBPF, Place, check, finish  # noqa: E402

# Whose text has the kernel's own types in it.
OWNED = ("kfunc_under_lock", "kptr_not_exchanged", "kptr_not_owned", "kptr_overwritten", "less_changes", "list_after_unlock",
         "list_unlocked", "lock_of_other_value", "no_refcount", "node_of_other_list", "node_written", "object_leak",
         "percpu_pointer", "throw_in_callback", "work_of_other_map")
OF_KERNEL = dict.fromkeys(("kfunc_untrusted", *OWNED), "6.18")
update = "--update" in sys.argv
names = sorted(name[: -len(".bpf.c")] for name in os.listdir(HERE) if name.endswith(".bpf.c"))


def compile(place, name, mended):
    """An object of the source under its own name, as a user has it who works in the folder."""
    out = os.path.join(place.path, f"{name}{'.mended' if mended else ''}.o")
    done = subprocess.run([ANYBPF, "compile", f"{name}.bpf.c", "-o", out, *(["-D", "MENDED"] if mended else [])], cwd=HERE,
                          env=place.environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    check(done.returncode == 0, f"{name} does not compile{' mended' if mended else ''}: {done.stdout}")
    return out


def verify(place, path, *options, **more):
    return subprocess.run([ANYBPF, "verify", *options, path], cwd=HERE, env={**place.environment(), **more}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)


def options_of(name):
    """The line `// verify: --option` of a source."""
    with open(os.path.join(HERE, f"{name}.bpf.c")) as source:
        found = re.search(r"^// verify: (.*)$", source.read(), re.M)
    return found.group(1).split() if found else []


def stable(text):
    """What differs from run to run is left out."""
    return re.sub(r"\b(call \w+)#\d{4,}", r"\1#N", re.sub(r"\b\d+ us$", "N us", text, flags=re.M))


def judge(place, name):
    options = options_of(name)
    done = verify(place, compile(place, name, False), *options)
    if name in OF_KERNEL and not (os.path.exists("/sys/kernel/btf/vmlinux") and os.uname().release.startswith(OF_KERNEL[name])):
        print(f"{name}: skipped, it is about the types of Linux {OF_KERNEL[name]}")
        return
    golden = os.path.join(HERE, f"{name}.txt")
    shown = stable(done.stdout)
    check(done.returncode == 1 and done.stderr == "", f"{name}: exit {done.returncode}: {done.stderr}{done.stdout}")
    check(len(shown.splitlines()) <= 40, f"{name}: more than a screen:\n{shown}")
    if update:
        with open(golden, "w") as out:
            out.write(shown)
    wanted = open(golden).read() if os.path.exists(golden) else "(no text)"
    check(shown == wanted, f"{name}: wanted\n{wanted}\nand got\n{shown}")
    mended = verify(place, compile(place, name, True), *options)
    check(mended.returncode == 0 and mended.stdout.startswith("accept"), f"{name} mended: {mended.stdout}{mended.stderr}")


def check_json(place):
    rows = json.loads(verify(place, compile(place, "packet_recheck", False), "--json").stdout)
    row = rows[0]
    refusal = row["refusal"]
    check(row["verdict"] == "reject" and row["message"].endswith("(out_of_packet)"), f"json: {row}")
    check(row["line"] == "packet_recheck.bpf.c:25: eth->h_proto = 0x0081;", f"json line: {row['line']}")
    check(set(refusal) == {"finding", "insn", "code", "file", "line", "source", "required", "known", "state", "causes", "advice", "mend"},
          f"json refusal: {refusal}")
    check(refusal["finding"] == "out_of_packet" and refusal["line"] == 25 and "data_end" in refusal["mend"], f"json refusal: {refusal}")
    causes = refusal["causes"]
    check(all(set(cause) == {"insn", "code", "file", "line", "source", "text"} for cause in causes), f"json causes: {causes}")
    check([cause["line"] for cause in causes] == [14, 16, 18, None], f"json causes: {causes}")
    check(any("bpf_xdp_adjust_head" in cause["text"] for cause in causes), f"json causes: {causes}")


def check_log(place):
    """--log: the kernel's format, and the kernel's words at the end."""
    for path in (compile(place, "null_check", False), compile(place, "packet_bounds", False)):
        lines = verify(place, path, "--log").stdout.splitlines()
        check(re.fullmatch(r"processed \d+ insns \(limit 1000000\) max_states_per_insn \d+ total_states \d+ peak_states \d+ mark_read \d+", lines[-1]),
              f"the log's last line: {lines[-1]}")
        check(any(line.startswith("0: (") for line in lines), f"the log has the walk: {lines}")
        log = json.loads(verify(place, path, "--log", "--json").stdout)[0]["log"]
        check(log.splitlines()[-1].startswith("processed "), f"the log's last line in JSON: {log}")


def on_terminal(place, path, **more):
    environment = {name: value for name, value in place.environment().items() if name != "NO_COLOR"}
    main, side = pty.openpty()
    done = subprocess.Popen([ANYBPF, "verify", path], cwd=HERE, env={**environment, "TERM": "xterm", **more}, stdin=subprocess.DEVNULL,
                            stdout=side, stderr=side)
    os.close(side)
    text = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:
            break
        if not part:
            break
        text += part
    os.close(main)
    done.wait(timeout=60)
    return text.decode().replace("\r\n", "\n")


def check_colour(place):
    path = compile(place, "null_check", False)
    coloured = on_terminal(place, path)
    plain = stable(verify(place, path).stdout)
    check("\033[" in coloured, f"colour on a terminal: {coloured!r}")
    check(stable(re.sub(r"\033\[[\d;]*m", "", coloured)) == plain, f"the same words in colour:\n{coloured}\n{plain}")
    check("\033[" not in plain, "no colour in a pipe")
    check("\033[" not in on_terminal(place, path, NO_COLOR="1"), "NO_COLOR")
    check("\033[" not in on_terminal(place, path, TERM="dumb"), "TERM=dumb")


def check_without_source(place):
    """Where the file has changed or is gone, the line that was compiled is shown, not what stands there now."""
    source = open(os.path.join(HERE, "null_check.bpf.c")).read()
    path = place.write("gone.bpf.c", source)
    check(place.run("compile", path, "-o", "gone.o").returncode == 0, "compile")
    for change in (lambda: place.write("gone.bpf.c", "\n" * 40 + source), lambda: os.remove(path)):
        change()
        done = place.run("verify", "gone.o")
        check(">   23 | *value += 1;" in done.stdout and "if (!value)" in done.stdout, f"without the source: {done.stdout}")


if not shutil.which("clang-19"):
    print("skipped: the texts show what clang-19 makes of the sources, and it is not here")
    sys.exit(77)
os.environ.pop("ANYBPF_CLANG", None)
with Place() as place:
    for name in names:
        judge(place, name)
    check_json(place)
    check_log(place)
    check_colour(place)
    check_without_source(place)
finish()

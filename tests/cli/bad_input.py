# SPDX-License-Identifier: Apache-2.0
"""Bad input: one clear message, its own exit status, nothing left in the root."""
import os
import subprocess

from cli import ANYBPF, HEAD, Place, check, finish

HASH = "struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, %s); __type(key, __u32); __type(value, struct value); } m SEC(\".maps\");\n"


def program(section, body="return 0;", before=""):
    return f'{HEAD}{before}SEC("{section}") int prog(void *ctx) {{ {body} }}\n'


with Place() as place:
    good = place.write("good.bpf.c", program("tracepoint/raw_syscalls/sys_enter"))
    check(place.run("compile", good, "-o", "good.o").returncode == 0, "compiling a good program")
    contents = open(os.path.join(place.path, "good.o"), "rb").read()

    # Files that are not there or are something else.
    place.expect(110, ["nothing.o", "No such file"], "run", "nothing.o", "--", "true")
    place.expect(110, ["nothing.bpf.c", "No such file"], "run", "nothing.bpf.c", "--", "true")
    place.expect(110, ["directory"], "verify", place.path)
    place.expect(111, ["not an ELF"], "run", place.write("text.o", "hello"), "--", "true")
    place.expect(111, ["not a BPF object"], "run", ANYBPF, "--", "true")
    place.expect(111, ["not an ELF"], "verify", place.write("empty.o", ""))

    # Cut off anywhere, an object gets a message and no crash; the message says where it ends.
    for size in [4, 20, 63, 64, 100, *range(200, len(contents) - 1, max(1, len(contents) // 40))]:
        done = place.run("run", place.write("cut.o", contents[:size]), "--", "true")
        check(done.returncode == 112 and "damaged" in done.stderr, f"cut at {size}: exit {done.returncode}: {done.stderr}")

    # C that does not compile: clang's own message with its line.
    place.expect(113, ["broken.bpf.c:2:", "error:", "does not compile"], "run", place.write("broken.bpf.c", "int x;\nint y = ;\n"), "--", "true")
    place.expect(113, ["NO_SUCH"], "compile", place.write("undefined.bpf.c", "int x = NO_SUCH;\n"))
    check(place.run("compile", "undefined.bpf.c", "-DNO_SUCH=3", "-o", "defined.o").returncode == 0, "-D reaches clang")
    check(place.run("compile", "undefined.bpf.c", "-o", "defined.o", "--clang", "-DNO_SUCH=3").returncode == 0, "--clang passes on")

    # Section names and attach points.
    place.expect(115, ["'tracepont/", "did you mean 'tracepoint'", "kprobe"], "run", place.write("s.bpf.c", program("tracepont/syscalls/sys_enter_open")), "--", "true")
    place.expect(115, ["'tracepont/"], "verify", "s.bpf.c")
    place.expect(115, ["xdp", "cannot be attached in user space", "tracepoint/syscalls/sys_enter_NAME"], "run", place.write("x.bpf.c", program("xdp", "return 2;")), "--", "true")
    place.expect(116, ["sys_enter_opnat", "syscalls/sys_enter_openat"], "run", place.write("t.bpf.c", program("tracepoint/syscalls/sys_enter_opnat")), "--", "true")
    place.expect(116, ["CATEGORY/NAME"], "run", place.write("t2.bpf.c", program("tracepoint/sys_enter")), "--", "true")
    place.expect(116, ["__x64_sys_exceve", "__x64_sys_execve"], "run", place.write("k.bpf.c", program("kprobe/__x64_sys_exceve")), "--", "true")
    place.expect(116, ["vfs_read"], "run", place.write("k2.bpf.c", program("kprobe/vfs_read")), "--", "true")
    place.expect(116, ["opnat", "openat"], "run", place.write("y.bpf.c", program("ksyscall/opnat")), "--", "true")
    place.expect(116, ["raw tracepoint", "sys_enter"], "run", place.write("r.bpf.c", program("raw_tracepoint/sys_entr")), "--", "true")

    # Programs that are refused: what, and where in the source.
    null = program("tracepoint/raw_syscalls/sys_enter", "__u32 k = 0;\n struct value *v = bpf_map_lookup_elem(&m, &k);\n v->x++;\n return 0;",
                   "struct value { __u64 x; };\n" + HASH % "16")
    place.expect(114, ["null.bpf.c", "prog", "null"], "run", place.write("null.bpf.c", null), "--", "true")
    done = place.expect(1, [], "verify", "--json", "null.bpf.c")
    check('"verdict":"reject"' in done.stdout and "null.bpf.c:9: v->x++" in done.stdout, f"verify --json names the source line: {done.stdout}")

    # Maps beyond measure.
    large = program("tracepoint/raw_syscalls/sys_enter", "__u32 k = 0; return bpf_map_lookup_elem(&m, &k) != 0;", "struct value { char x[4096]; };\n" + HASH % "2000000000")
    place.expect(117, ["'m'", "too large", "2000000000"], "run", place.write("large.bpf.c", large), "--", "true")

    # Output formats that do not fit their struct.
    event = "struct event { int pid; }; struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } e SEC(\".maps\");\n"
    for text, word in (("{pod}", "'pod'"), ("{pid", "'}'"), ("{pid:zz}", "'zz'")):
        place.expect(111, ["'e'", word], "run", place.write("f.bpf.c", program("tracepoint/raw_syscalls/sys_enter", "return !&e;", event + f'ANYBPF_EVENT(e, struct event, "{text}");\n')), "--", "true")

    # The command.
    place.expect(127, ["no-such-command", "not found"], "run", "good.o", "--", "no-such-command")
    place.expect(126, ["text.o", "denied"], "run", "good.o", "--", "./text.o")
    check(place.run("run", "good.o", "--", "sh", "-c", "exit 7").returncode == 7, "CMD's exit status")
    check(place.run("run", "good.o", "--", "sh", "-c", "kill -9 $$").returncode == 137, "CMD killed by a signal")

    # The command line.
    for words in ([], ["run"], ["run", "good.o", "--nonsense"], ["nonsense"], ["exec", "good.o"], ["compile"], ["run", "good.o", "--on", "mars"], ["verify", "good.o", "--prog", "x"],
                  ["map", "dump"], ["map", "show", "what", "3"]):
        place.expect(2, [], *words)
    for name in ("run", "compile", "build", "verify", "exec", "asm", "disasm", "prog", "map", "link", "btf", "doctor", "version"):
        done = place.run(name, "--help")
        check(done.returncode == 0 and f"anybpf {name}" in done.stdout and "Exit status" in done.stdout, f"{name} --help")

    # Closing the pipe behind it ends a run in good order.
    endless = subprocess.Popen([ANYBPF, "run", "good.o", "--json", "--", "sleep", "0.2"], cwd=place.path, env=place.environment(), stdout=subprocess.PIPE)
    endless.stdout.close()
    check(endless.wait(timeout=30) == 0, "a closed pipe")
    check(not os.listdir(place.root), "a closed pipe leaves nothing")
finish()

# SPDX-License-Identifier: Apache-2.0
"""The workloads. Each makes the same system calls in every run: pipes carry one write that fits, nothing waits for whoever
comes first, files are older than the run, and no name is drawn at random where its length or place matters."""
import os
import shutil
import subprocess
from dataclasses import dataclass, field

HERE = os.path.dirname(os.path.abspath(__file__))
GUESTS = os.path.join(HERE, "guests")


class Missing(Exception):
    """A tool that the workload needs."""


@dataclass
class Workload:
    command: list[str]                                 # @ stands for the folder that it runs in
    build: list[list[str]] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    tools: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    status: int = 0
    untraced: str = ""                                 # what kind of program an agent that the loader brings in does not trace
    excluded: set[str] = field(default_factory=set)    # calls whose number is a matter of time here
    attempts: int = 1                                  # at a traced run: more where the program itself makes threads as time passes

    def prepare(self, folder):
        """Makes the folder as each run finds it."""
        for tool in self.tools:
            if not shutil.which(tool):
                raise Missing(tool)
        for name, text in self.files.items():
            path = os.path.join(folder, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as out:
                out.write(text)
        environment = {**os.environ, "GOCACHE": os.path.join(folder, "..", "gocache"), "GOFLAGS": "-mod=mod", "GO111MODULE": "off", "CGO_ENABLED": "0"}
        for command in self.build:
            subprocess.run([part.replace("@", folder).replace("%", GUESTS) for part in command], check=True, cwd=folder, env=environment)
        for where, folders, files in os.walk(folder):
            for name in folders + files:
                os.utime(os.path.join(where, name), (1_700_000_000, 1_700_000_000))


NAMES = {"getrandom"}  # mkstemp draws again when a number would favour some names: one in 22 does


def compiled(source, *flags, compiler="gcc", name="guest", arguments=(), **more):
    return Workload(command=[f"@/{name}", *arguments], build=[[compiler, "-O1", "-pthread", "-o", f"@/{name}", f"%/{source}", *flags]],
                    tools=(compiler,), **more)


def script(interpreter, text, **more):
    return Workload(command=[*interpreter, "@/script"], files={"script": text, **more.pop("files", {})}, tools=(interpreter[0],), **more)


PIPES = r"""
words='delta alpha gamma beta'
printf '%s\n' $words | sort > sorted
cat sorted | tr a-z A-Z | head -n 2 > upper
count=$(wc -l < sorted)
{ echo one; echo two; } > both
while read -r line; do echo "<$line>"; done < sorted > marked
cat <<END > here
$count of $(cat upper)
END
paste -d, sorted marked | cut -d, -f2 | grep -c '>' > number
[ "$(cat number)" = 4 ] && [ "$count" = 4 ]
"""
TRAPS = r"""
trap 'echo exit >> log' EXIT
trap 'echo usr1 >> log; got=$((got + 1))' USR1
trap 'echo err >> log' ERR
got=0
kill -USR1 $$; kill -USR1 $$
false
sh -c 'kill -USR1 $$'
[ $? = 138 ] || exit 1
trap '' TERM; kill -TERM $$
trap - USR1
( trap 'echo inner >> log' EXIT; exit 4 )
[ $? = 4 ] && [ $got = 2 ] && [ "$(wc -l < log)" -ge 6 ]
"""
SUBSHELLS = r"""
a=1; (a=2; (a=3; /bin/echo $a > deep); /bin/echo $a > outer)
f() { local x=$1; [ $x -gt 0 ] || return 0; ( f $((x - 1)) ); /bin/true; }
f 4
x=$(echo $(echo $(/bin/echo nested)))
sleep 0.01 & one=$!; wait $one
(exit 5); five=$?
( cd / && pwd ) > where
exec 3> third; echo to three >&3; exec 3>&-
arr=(a b c); for i in "${arr[@]}"; do echo "$i"; done > list
[ "$x$a$five$(cat deep)$(cat where)" = "nested153/" ]
"""
PLAIN_PYTHON = r"""
import collections, decimal, hashlib, json, os, re, sqlite3, tempfile, zlib
os.makedirs('tree/a/b'); open('tree/a/file', 'w').write('x' * 100000)
for n in range(50):
    open(f'tree/a/b/{n}', 'w').write(json.dumps({str(i): i for i in range(n)}))
total = sum(len(json.load(open(os.path.join(d, f)))) for d, _, fs in sorted(os.walk('tree/a/b')) for f in sorted(fs))
data = open('tree/a/file', 'rb').read()
assert zlib.decompress(zlib.compress(data)) == data and hashlib.sha256(data).hexdigest()
base = sqlite3.connect('base'); base.execute('create table t(a, b)')
base.executemany('insert into t values (?, ?)', [(n, str(n)) for n in range(1000)]); base.commit()
assert base.execute('select sum(a) from t').fetchone()[0] == 499500
try:
    open('missing')
except FileNotFoundError:
    total += 1
print(total, collections.Counter(re.findall('[a-z]', 'hello world')).most_common(2), decimal.Decimal(2).sqrt())
assert total == 1226
"""
PYTHON_PROCESSES = r"""
import os, signal, subprocess, sys
done = subprocess.run(['sh', '-c', 'echo out; exit 4'], stdout=subprocess.PIPE)
assert (done.stdout, done.returncode) == (b'out\n', 4)
assert subprocess.run(['cat'], input=b'x' * 1000, stdout=open('copy', 'wb')).returncode == 0
assert subprocess.call('exit 3', shell=True) == 3 and os.system('true') == 0
try:
    subprocess.run(['no-such-program'])
except FileNotFoundError:
    pass
for n in range(3):
    pid = os.fork()
    if pid == 0:
        os._exit(n)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == n
seen = []
signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
for _ in range(5):
    os.kill(os.getpid(), signal.SIGUSR1)
assert len(seen) == 5
assert subprocess.run([sys.executable, '-c', 'import os; os.getppid(); raise SystemExit(6)'], start_new_session=True).returncode == 6
pid = os.posix_spawn('/bin/echo', ['echo', 'spawned'], {}, file_actions=[(os.POSIX_SPAWN_OPEN, 1, 'spawned', os.O_WRONLY | os.O_CREAT, 0o600)])
os.waitpid(pid, 0)
assert open('spawned').read() == 'spawned\n'
"""
PYTHON_THREADS = r"""
import os, threading, time
def work(n):
    with open(f'thread-{n}', 'w') as out:
        for line in range(100): out.write(f'{n} {line}\n')
    for _ in range(10 * n): os.getppid()
for n in range(8):  # one after another: when the interpreter's lock changes hands is a matter of time
    thread = threading.Thread(target=work, args=(n,)); thread.start(); thread.join()
    time.sleep(0.03)  # join() waits for the thread's work; its stack is free, and taken again, when it has ended
local = threading.local(); local.x = 1
def fail(): raise SystemExit
thread = threading.Thread(target=fail); thread.start(); thread.join()
assert sum(len(open(f'thread-{n}').readlines()) for n in range(8)) == 800
"""
PERL = r"""
use strict; use warnings; use File::Find; use File::Temp; use POSIX ();
mkdir "d$_" for 1..5;
for my $n (1..40) { open(my $out, '>', 'd' . ($n % 5 + 1) . "/f$n") or die; print $out "line $_\n" for 1..$n; close $out }
my $lines = 0;
find({ wanted => sub { return unless -f; open(my $in, '<', $_) or die; $lines++ while <$in> }, no_chdir => 1, preprocess => sub { sort @_ } }, map { "d$_" } 1..5);
die unless $lines == 820;
my $got = 0; $SIG{USR1} = sub { $got++ }; kill USR1 => $$ for 1..3;
for my $n (1..3) { my $pid = fork; if (!$pid) { POSIX::_exit($n) } waitpid $pid, 0; $got += $? >> 8 }
my $out = `echo sub`; system('sh', '-c', 'exit 2'); $got += $? >> 8;
eval { die "caught\n" }; $got++ if $@ eq "caught\n";
my %h = map { $_ => 1 } 1..1000; $got += keys %h;
die $got unless $got == 1012 and $out eq "sub\n";
"""
AWK = r"""
BEGIN { for (i = 0; i < 2000; ++i) print i, i * i % 97 > "numbers"; close("numbers")
  while ((getline < "numbers") > 0) sum[$2 % 10] += $1
  for (k in sum) total += sum[k]
  system("echo from awk > said"); getline line < "said"
  print "b\na" > "unsorted"; close("unsorted"); "sort unsorted" | getline first; close("sort unsorted")
  exit !(total == 1999000 && line == "from awk" && first == "a") }
"""
FIND = r"""
set -e
for n in 1 2 3 4 5 6; do mkdir -p tree/$n; printf 'one %s\ntwo\n' $n > tree/$n/file.txt; : > tree/$n/empty; done
find tree -type f -name '*.txt' -exec sed -i 's/two/three/' {} \;
find tree -type f -empty -delete
find tree -name '*.txt' -exec grep -l three {} + > found
test "$(wc -l < found)" = 6
sed -n '2p;$=' tree/3/file.txt > picked
rm -r tree
"""
TAR = r"""
set -e
mkdir -p in/sub; for n in 1 2 3 4 5; do echo "content $n" > in/sub/$n; done; ln -s 1 in/sub/link; touch -h -d @1700000000 in/sub/* in/sub in
tar --sort=name -cf a.tar in
gzip -9 < a.tar > a.tgz
mkdir out; tar -xf a.tar -C out
gunzip < a.tgz > b.tar; cksum < a.tar > a; cksum < b.tar > b; read -r x < a; read -r y < b; test "$x" = "$y"
tar -df a.tar
tar -tf a.tar > list; test "$(wc -l < list)" = 8
! tar -xf missing.tar 2>/dev/null
"""
GIT = r"""
set -e
export GIT_AUTHOR_DATE='2026-01-01T00:00:00Z' GIT_COMMITTER_DATE='2026-01-01T00:00:00Z' GIT_CONFIG_GLOBAL=/dev/null
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b GIT_PAGER=cat
git init -q -b main repo; cd repo; git config gc.auto 0; git config maintenance.auto false; git config core.preloadindex false
for n in 1 2 3; do seq $n 300 > f$n; touch -d @170000000$n f$n; git add f$n; git commit -q -m c$n; done
git log --oneline > ../log; git tag t HEAD~1; git checkout -q -b side t; echo more > g; touch -d @1700000000 g; git add g; git commit -q -m side
git diff --stat main > ../stat; git cat-file -p HEAD: > ../tree; git rev-parse HEAD > ../head
test "$(wc -l < ../log)" = 3
"""
MAKE = """
all: prog
\t./prog > out
\ttest "$$(cat out)" = 42
prog: main.o f1.o f2.o
\tgcc -no-pie -o prog main.o f1.o f2.o
%.o: %.c
\tgcc -O1 -pipe -S -o $*.s $<
\tas -o $@ $*.s
clean:
\trm -f *.o prog
"""
DASH = r"""
i=0; while [ $i -lt 200 ]; do i=$((i + 1)); echo $i; done > numbers
x=$(cat numbers | tail -n 1)
case $x in 200) (exit 3) ;; esac
[ $? = 3 ] && test -s numbers && /bin/true && exec /bin/true
"""

WORKLOADS = {
    "c-threads": compiled("threads.c"),
    "c-tree": compiled("tree.c"),
    "c-signals": compiled("signals.c"),
    "c-spawn": compiled("spawn.c"),
    "c-plain": compiled("plain.c"),
    "cxx-exceptions": compiled("exceptions.cpp", compiler="g++"),
    "bash-pipes": script(["/bin/bash"], PIPES),
    "bash-traps": script(["/bin/bash"], TRAPS),
    "bash-subshells": script(["/bin/bash"], SUBSHELLS),
    "dash": script(["/bin/dash"], DASH),
    "python-plain": script(["/usr/bin/python3"], PLAIN_PYTHON),
    "python-processes": script(["/usr/bin/python3"], PYTHON_PROCESSES),
    "python-threads": script(["/usr/bin/python3"], PYTHON_THREADS),
    "perl": script(["/usr/bin/perl"], PERL),
    "awk": script(["/usr/bin/awk", "-f"], AWK),
    "find-sed": script(["/bin/sh"], FIND, excluded=NAMES),
    "tar-gzip": script(["/bin/sh"], TAR),
    "git": script(["/bin/sh"], GIT, excluded=NAMES),
    "make-gcc": Workload(command=["make", "-s"], excluded=NAMES, tools=("make", "gcc"), files={
        "Makefile": MAKE, "f1.c": "int f1(void) { return 40; }\n", "f2.c": "int f2(void) { return 2; }\n",
        "main.c": '#include <stdio.h>\nint f1(void), f2(void);\nint main(void) { printf("%d\\n", f1() + f2()); return 0; }\n'}),
    "static": compiled("plain.c", "-static", untraced="static"),
    "static-pie": compiled("plain.c", "-static-pie", untraced="static"),
    "musl": compiled("plain.c", compiler="musl-gcc", untraced="musl"),
    "musl-static": compiled("plain.c", "-static", compiler="musl-gcc", untraced="static"),
    # Its monitor thread sleeps and looks for ready files as time passes; it does not interrupt goroutines here.
    "go": Workload(command=["@/guest"], build=[["go", "build", "-o", "@/guest", "%/main.go"]], tools=("go",), untraced="Go",
                   environment={"GOMAXPROCS": "1", "GOGC": "off", "GODEBUG": "asyncpreemptoff=1"}, excluded={"nanosleep", "epoll_pwait"}, attempts=5),
}

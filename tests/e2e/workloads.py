# SPDX-License-Identifier: Apache-2.0
"""Real programs give the same output and exit status traced by syscount as alone."""
import os
import shutil
import subprocess
import sys

from e2e import FULL, Scratch, check, program

SETUP = r"""
mkdir -p project && cd project
for n in 1 2 3 4 5 6; do printf 'int f%d(int x) { return x * %d; }\n' $n $n > f$n.c; done
printf '#include <stdio.h>\nint f1(int),f2(int),f3(int),f4(int),f5(int),f6(int);\nint main(void){printf("%%d\\n",f1(1)+f2(2)+f3(3)+f4(4)+f5(5)+f6(6));return 3;}\n' > main.c
printf 'OBJS=f1.o f2.o f3.o f4.o f5.o f6.o main.o\nprog: $(OBJS)\n\tcc -o $@ $(OBJS)\n%%.o: %%.c\n\tcc -O1 -c -o $@ $<\n' > Makefile
"""

WORKLOADS = {
    "bash": r"""bash -c 'trap "echo term" TERM; trap "echo bye" EXIT; (sleep 0.05; kill -TERM $$) & wait; wait
seq 1 2000 | grep 7 | sort -rn | head -n 5; for i in 1 2 3 4 5; do (exit $i) || echo $?; done
x=$(echo a | tr a b); echo $x; cat <(echo one) <(echo two); read -t 0.05 y < <(sleep 1); echo $?; exit 5'""",
    "git": r"""export GIT_AUTHOR_DATE='2026-01-01T00:00:00Z' GIT_COMMITTER_DATE='2026-01-01T00:00:00Z' GIT_CONFIG_GLOBAL=/dev/null
export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
rm -rf repo copy; git init -q repo; cd repo; for n in 1 2 3; do seq $n 500 > f$n; git add .; git commit -q -m c$n; done
git gc -q; git log --oneline; cd ..; git clone -q repo copy; git -C copy rev-parse HEAD; git -C copy status --short; git -C copy fsck 2>&1""",
    "python3": r"""python3 -c '
import asyncio, os, signal, subprocess, sys, threading
total, lock = [0], threading.Lock()
def work():
    for _ in range(1000):
        with lock: total[0] += 1
threads = [threading.Thread(target=work) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]; print(total)
print(subprocess.run(["sh", "-c", "echo out; echo err >&2; exit 4"], capture_output=True))
print(subprocess.check_output("ls / | head -n 3", shell=True))
async def main():
    async def tick(n):
        await asyncio.sleep(0.01 * n); return n
    print(await asyncio.gather(*[tick(n) for n in range(5)]))
    p = await asyncio.create_subprocess_exec("echo", "sub", stdout=asyncio.subprocess.PIPE)
    print(await p.communicate())
asyncio.run(main())
signal.signal(signal.SIGALRM, lambda *a: print("alarm")); signal.setitimer(signal.ITIMER_REAL, 0.02); signal.pause()
pid = os.fork()
if pid == 0: os._exit(9)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
import multiprocessing
with multiprocessing.get_context("fork").Pool(3) as pool: print(pool.map(abs, range(-5, 5)))
sys.exit(6)'""",
    "gcc": r"""cd project; gcc -O2 -Wall -o out main.c f1.c f2.c f3.c f4.c f5.c f6.c && ./out; echo $?; echo 'int main(' > bad.c; gcc bad.c""",
    "make": r"""cd project; make clean >/dev/null 2>&1; rm -f *.o prog; make -s -j2 && ./prog; echo $?; touch f3.c; make -s -j2; make -s nothing""",
    "perl": r"""perl -e '$SIG{ALRM}=sub{print "alarm\n"}; alarm 1; select(undef,undef,undef,1.2); print `echo sub`; pipe(R,W);
if(!fork){close R; print W "child $_\n" for 1..3; exit 2} close W; print while <R>; wait; print $?>>8,"\n"; eval{die "x\n"}; print $@; exit 3'""",
    "tar": r"""tar -cf a.tar --mtime=@0 --owner=0 --group=0 --sort=name project/main.c project/f1.c; tar -tvf a.tar; mkdir -p x; tar -xf a.tar -C x; ls -R x; tar -czf a.tgz project/main.c; tar -tzf a.tgz; tar -xf missing.tar""",
    "node": r"""node -e 'const {execSync,spawn}=require("child_process"); console.log(execSync("echo hi").toString());
const c=spawn("sh",["-c","cat; exit 7"]); c.stdout.on("data",d=>console.log(""+d)); c.on("close",k=>{console.log(k);
setTimeout(()=>{console.log("t"); process.exit(8)},20)}); c.stdin.end("in"); require("fs").readdir("/",(e,f)=>console.log(f.includes("etc")));
const {Worker}=require("worker_threads"); new Worker("console.log(1+1)",{eval:true})'""",
}

only = sys.argv[1:] or list(WORKLOADS)
rounds = 10 if FULL else 2
with Scratch() as scratch:
    subprocess.run(["sh", "-ec", SETUP], cwd=scratch.path, check=True)
    failed = []
    for name in only:
        if not shutil.which(name if name != "make" else "make"):
            print(f"skipped: {name} is not installed")
            continue
        script = os.path.join(scratch.path, name + ".sh")
        with open(script, "w") as out:
            out.write(WORKLOADS[name])

        def result(prefix, tag):
            out, err = (os.path.join(scratch.path, f"{tag}.{kind}") for kind in ("out", "err"))
            done = subprocess.run([*prefix, "sh", "-c", f"sh {script} >{out} 2>{err}"], cwd=scratch.path, env=scratch.environment(),
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
            return done.returncode, open(out, "rb").read(), open(err, "rb").read(), done.stdout

        alone = result([], "alone")
        bad = 0
        for _ in range(rounds):
            traced = result([os.environ["ANYBPF"], "run", program("syscount.bpf.c"), "--"], "traced")
            if traced[:3] != alone[:3]:
                bad += 1
                if bad == 1:
                    print(f"--- {name} alone:  {alone[:3]}\n--- {name} traced: {traced[:3]}\n--- tracer said: {traced[3][-2000:]!r}")
        print(f"{name}: exit {alone[0]}, {rounds - bad} of {rounds} runs equal")
        if bad:
            failed.append(name)
    check(not failed, f"not the same traced as alone: {failed}")
    check(not scratch.left_in_root(), f"left in the root: {scratch.left_in_root()}")

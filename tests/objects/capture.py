# SPDX-License-Identifier: Apache-2.0
"""Programs that tools make while they run: each tool is started with the recorder in it, in a mount namespace where the files that it wants to
see exist, and is ended when it has loaded what it loads. Nothing is attached (recorder_raw.cpp)."""
import concurrent.futures
import glob
import json
import os
import shutil
import signal
import subprocess
import time

from compare import Group

HERE = os.path.dirname(os.path.abspath(__file__))
RECORDER = os.environ.get("ANYBPF_RECORDER", "")
QUIET, LONGEST = 3, 40  # seconds: without another program; in all
PROBES = 2  # instructions: what tools ask with what the kernel can do
AT_ONCE = 2

# tracefs shows tracepoints; what kprobes want to see is made up, for nothing is attached. BCC compiles against a kernel's headers: Debian's, which are
# not this kernel's. $1: a folder with kernel_functions; $2: the headers, in two folders that differ in their ends.
STAGE = r"""
set -e
mount -t tmpfs none /sys/kernel/debug
mkdir -p /sys/kernel/debug/tracing /sys/kernel/debug/kprobes
: > /sys/kernel/debug/kprobes/blacklist
: > /sys/kernel/debug/kprobes/list
[ -e /sys/kernel/tracing/events ] || mount -t tracefs none /sys/kernel/tracing
mount --bind "$1/kernel_functions" /sys/kernel/tracing/available_filter_functions
mount --rbind /sys/kernel/tracing /sys/kernel/debug/tracing
mount -t tmpfs none /sys/bus/event_source/devices
for kind in kprobe uprobe; do
    mkdir -p /sys/bus/event_source/devices/$kind/format
    echo 8 > /sys/bus/event_source/devices/$kind/type
    echo config:0 > /sys/bus/event_source/devices/$kind/format/retprobe
    echo config:32-63 > /sys/bus/event_source/devices/$kind/format/ref_ctr_offset
done
mount -t tmpfs none /lib/modules
mkdir "/lib/modules/$(uname -r)"
ln -s "$2-amd64" "/lib/modules/$(uname -r)/build"
ln -s "$2-common" "/lib/modules/$(uname -r)/source"
cd "$1"
shift 2
exec "$@"
"""
SYSTEMD = "/usr/lib/systemd/tests/test-bpf-*"
LIBC = "/lib/x86_64-linux-gnu/libc.so.6"
# Tools of BCC that want to be told something; several ways where they then load other programs. None: it loads nothing of its own.
BCC = {
    "argdist": [["-C", "p::vfs_read(struct file *file, char *buf, size_t count):size_t:count"], ["-H", "r::vfs_read():ssize_t:$retval"],
                ["-H", "t:block:block_rq_complete():u32:args->nr_sector"], ["-C", f"p:{LIBC}:fopen(char *name):char*:name"]],
    "biolatency": [[], ["-Q"], ["-D"], ["-F"]],
    "biosnoop": [[], ["-Q"]],
    "biotop": [[]],
    "bpflist": None,
    "cachetop": [["1"]],
    "cpudist": [[], ["-O"], ["-P"]],
    "dbslower": None,
    "dbstat": None,
    "deadlock": [["SELF"]],
    "dirtop": [["-d", "/tmp"]],
    "execsnoop": [[], ["-U", "-T"]],
    "funccount": [["vfs_*"], ["t:block:*"], [f"{LIBC}:mallo*"]],
    "funcinterval": [["vfs_read"]],
    "funclatency": [["vfs_read"], ["-m", "vfs_*"], [f"{LIBC}:read"], ["-F", "vfs_read"]],
    "funcslower": [["vfs_read"], ["-U", "-a", "2", f"{LIBC}:read"]],
    "hardirqs": [[], ["-d"], ["-C"]],
    "inject": [["kmalloc", "should_failslab(struct kmem_cache *s, gfp_t gfpflags)"]],
    "klockstat": [[]],
    "kvmexit": [[]],
    "memleak": [[], ["-p", "SELF"], ["--percpu"]],
    "mysqld_qslower": None,
    "netqtop": [["-n", "lo"]],
    "offcputime": [[], ["-u"], ["-k"]],
    "opensnoop": [[], ["-F"], ["-x", "-U"]],
    "ppchcalls": [["SELF"]],
    "profile": [[], ["-U"], ["-K", "-p", "SELF"]],
    "ppcpudist": None,
    "reset-trace": None,
    "runqlat": [[], ["-P"], ["-L"]],
    "softirqs": [[], ["-d"]],
    "stackcount": [["vfs_read"], ["-P", "-D", "1", "t:sched:sched_switch"], [f"{LIBC}:malloc"]],
    "swapin": [[]],
    "syscount": [[], ["-L"], ["-P", "-L"], ["-x"]],
    "tcpaccept": [[], ["-T", "-U"]],
    "tcpconnect": [[], ["-c"], ["-d"]],
    "tcplife": [[], ["-T"]],
    "tcptop": [[]],
    "tcpretrans": [[], ["-c"], ["-l"]],
    "tplist": None,
    "trace": [["vfs_read"], ["do_sys_openat2(int dfd, const char __user *filename) \"%s\", filename"], ["r::vfs_read \"%d\", retval"],
              ["t:block:block_rq_complete \"sectors=%d\", args->nr_sector"], [f"{LIBC}:malloc (arg1 > 100) \"%d\", arg1"], ["-K", "-U", "vfs_write (arg3 > 20) \"%d %s\", arg3, arg2"]],
    "ttysnoop": [["/dev/null"]],
    "vfscount": [[]],
    "virtiostat": [[], ["-D"]],
    "wakeuptime": [[], ["-u"]],
}
# Languages with probes in their runtimes, which no process here has.
BCC.update({name: None for name in ("lib/ucalls", "javacalls", "javaflow", "javagc", "javaobjnew", "javastat", "javathreads", "nodegc", "nodestat", "perlcalls",
            "perlflow", "perlstat", "phpcalls", "phpflow", "phpstat", "pythoncalls", "pythonflow", "pythongc", "pythonstat", "rubycalls", "rubyflow", "rubygc",
            "rubyobjnew", "rubystat", "tclcalls", "tclflow", "tclobjnew", "tclstat", "cobjnew", "ucalls", "uflow", "ugc", "uobjnew", "ustat", "uthreads")})


def jobs(kind, only):
    """(name, command); no command: why not."""
    if kind == "bpftrace":
        for path in sorted(glob.glob("/usr/sbin/*.bt")) + sorted(glob.glob(f"{HERE}/bpftrace/*.bt")):
            if only in path:
                yield os.path.basename(path), ["bpftrace", path]
        return
    if kind == "systemd":
        # Its programs are made for a unit's devices and addresses; its tests make some, and end where nothing came of attaching them.
        for path in sorted(glob.glob(SYSTEMD)):
            if only in path:
                yield os.path.basename(path), ["sh", "-c", f"mount -t cgroup2 none /sys/fs/cgroup && exec {path}"]
        return
    for path in sorted(glob.glob("/usr/sbin/*-bpfcc")):
        name = os.path.basename(path).removesuffix("-bpfcc")
        if only not in name:
            continue
        ways = BCC.get(name, [[]])
        if ways is None:
            yield name, None
            continue
        for number, words in enumerate(ways):
            yield f"{name}.{number}" if len(ways) > 1 else name, [path, *[str(os.getpid()) if word == "SELF" else word for word in words]]


def programs_of(recording):
    """Each program once, without those by which tools ask what there is."""
    seen = {}
    if os.path.exists(recording):
        with open(recording) as file:
            for line in file:
                program = json.loads(line)
                if len(program["insns"]) > 16 * PROBES:
                    seen.setdefault(json.dumps({key: value for key, value in program.items() if key != "answer"}), line)
    return list(seen.values())


def record(name, command, folder):
    """The programs that it loads, and what it said."""
    recording = os.path.join(folder, f"{name}.all")
    environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    with open(os.path.join(folder, f"{name}.said"), "w+b") as said:
        tool = subprocess.Popen(["unshare", "-m", "sh", "-c", STAGE, "stage", folder, headers(), "env", f"LD_PRELOAD={RECORDER}", f"ANYBPF_RECORD={recording}", *command],
                                env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
        start = changed = time.monotonic()
        size = 0
        while tool.poll() is None and time.monotonic() - start < LONGEST:
            time.sleep(0.2)
            now = os.path.getsize(recording) if os.path.exists(recording) else 0
            if now != size:
                size, changed = now, time.monotonic()
            if size and time.monotonic() - changed > QUIET and programs_of(recording):
                break
        for number in (signal.SIGINT, signal.SIGKILL):
            if tool.poll() is None:
                os.killpg(tool.pid, number)
                try:
                    tool.wait(3)
                except subprocess.TimeoutExpired:
                    pass
        said.seek(0)
        text = said.read().decode(errors="replace")
    programs = programs_of(recording)
    if os.path.exists(recording):
        os.remove(recording)
    return programs, text


def headers():
    """Without the ends of the two folders; empty where there are none."""
    found = sorted(path.removesuffix("-common") for path in glob.glob("/usr/src/linux-headers-6.1.*-common"))
    return next((path for path in reversed(found) if os.path.exists(f"{path}-amd64")), "")


def why(text):
    """The line that tells most of why a tool ended."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for word in ("error:", "ERROR", "Exception", "Error", "rror"):
        for line in lines:
            if word in line and "RLIMIT_MEMLOCK" not in line:
                return line[:160]
    return lines[-1][:160] if lines else "it said nothing"


def groups(kind, folder, only, skipped):
    needed = {"bpftrace": ("bpftrace", shutil.which("bpftrace")), "bcc": ("bpfcc-tools", glob.glob("/usr/sbin/*-bpfcc")),
              "systemd": ("systemd-tests", glob.glob(SYSTEMD))}
    missing = [what for what, there in (needed[kind], ("the recorder (ANYBPF_RECORDER)", os.path.exists(RECORDER)), ("root", os.getuid() == 0),
                                        ("linux-headers-amd64", kind != "bcc" or headers())) if not there]
    if missing:
        skipped.append(f"{kind}: without {', '.join(missing)}" + (" (scripts/setup objects)" if kind != "systemd" else ""))
        return
    folder = os.path.join(os.path.abspath(folder), kind)
    os.makedirs(folder, exist_ok=True)
    with open("/proc/kallsyms") as symbols, open(os.path.join(folder, "kernel_functions"), "w") as functions:
        functions.writelines(f"{row[2]}\n" for row in map(str.split, symbols) if row[1] in "tT" and len(row) == 3)
    group = Group(kind)

    def one(job):
        name, command = job
        return name, command, *(record(name, command, folder) if command else ([], ""))

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        for name, command, programs, text in pool.map(one, jobs(kind, only)):
            if not command:
                skipped.append(f"{kind}: {name}: it has no programs of its own, or wants a process with its probes")
            elif not programs:
                skipped.append(f"{kind}: {name}: ended before it loaded a program: {why(text)}")
            else:
                path = os.path.join(folder, f"{name}.rec")
                with open(path, "w") as file:
                    file.writelines(programs)
                group.compare(path)
    yield group

# SPDX-License-Identifier: Apache-2.0
"""Runs a command in one of the sandboxes that anybpf meets: sandbox.py NAME -- COMMAND... ; without a name: lists them.
Each has mounts of its own (a fresh /dev/shm), so that nothing is shared with the rest of the machine. Most need root."""
import ctypes
import errno
import os
import resource
import shutil
import signal
import struct
import sys

import docker
import filters
from filters import Condition, libc

NEWNS, NEWUSER, NEWPID, NEWIPC, NEWUTS = 0x00020000, 0x10000000, 0x20000000, 0x08000000, 0x04000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 1, 2, 4, 8, 0x4000, 1 << 18
PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_SYSCALL_USER_DISPATCH, PR_SET_MDWE = 4, 24, 38, 59, 65
CAPSET, CAPABILITY_VERSION_3 = 126, 0x20080522
PROT_WRITE, PROT_EXEC, SHM_EXEC, MADV_POPULATE_WRITE = 2, 4, 0o100000, 23
NOBODY = 65534


def checked(result, what):
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def unshare(flags):
    checked(libc.unshare(flags), "unshare")


def mount(kind, target, flags=MS_NOSUID | MS_NODEV, options=""):
    checked(libc.mount(kind.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()), f"mount {kind} at {target}")


def prctl(option, *arguments):
    checked(libc.prctl(option, *(ctypes.c_ulong(value) for value in [*arguments, 0, 0, 0, 0][:4])), f"prctl {option}")


# ------------------------------------------------------------------------------------- what a sandbox is made of
def own_mounts(size="256m", flags=MS_NOSUID | MS_NODEV):
    """A mount namespace with a /dev/shm of its own."""
    def enter():
        unshare(NEWNS)
        checked(libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None), "mount / private")
        mount("tmpfs", "/dev/shm", flags, f"mode=1777,size={size}")
    return enter


def own_pids():
    """A pid namespace, whose first process is the command. The process outside waits for it and ends as it does."""
    unshare(NEWPID)
    child = os.fork()
    if child:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os._exit(status if status >= 0 else 128 - status)
    mount("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def own_users():
    """A user namespace in which this user is root."""
    user, group = os.getuid(), os.getgid()
    unshare(NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {user} 1"), ("gid_map", f"0 {group} 1")):
        with open(f"/proc/self/{name}", "w") as out:
            out.write(text)


def other_namespaces():
    unshare(NEWIPC | NEWUTS)


def ordinary_user():
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    prctl(PR_SET_DUMPABLE, 1)  # /proc/self is this user's


def capabilities(kept):
    def enter():
        for number in range(64):
            if number not in kept and libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(number), 0, 0, 0) != 0:
                break  # the last that this kernel knows
        low = sum(1 << number for number in kept if number < 32)
        head = struct.pack("Ii", CAPABILITY_VERSION_3, 0)
        checked(libc.syscall(CAPSET, head, struct.pack("6I", low, low, 0, 0, 0, 0)), "capset")
    return enter


def no_new_privileges():
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def no_write_then_execute():
    prctl(PR_SET_MDWE, 1)  # PR_MDWE_REFUSE_EXEC_GAIN, Linux 6.3


def refuse(*rows):
    return lambda: filters.install(filters.deny_list(rows))


def docker_filter():
    filters.install(filters.allow_list(docker.ALLOWED, docker.CONDITIONAL, docker.REFUSED, docker.DEFAULT))


def full_memory():
    """Nothing more fits into /dev/shm."""
    with open("/dev/shm/full", "wb", buffering=0) as out:
        try:
            while out.write(bytes(4096)):
                pass
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def no_memory():
    """No tmpfs at /dev/shm: a ramfs is none."""
    mount("ramfs", "/dev/shm", options="mode=1777")


def no_proc():
    mount("tmpfs", "/proc", MS_RDONLY)


def agent_without_exec():
    """A copy of the agent where nothing can be mapped as code."""
    mount("tmpfs", "/mnt", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755")
    os.environ["ANYBPF_AGENT_PATH"] = shutil.copy(os.environ["ANYBPF_AGENT"], "/mnt")


def few_files(count):
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))


NO_DISPATCH = ("prctl", Condition(0, "==", PR_SET_SYSCALL_USER_DISPATCH), errno.EINVAL)
NO_PTRACE = ("ptrace", None, errno.EPERM)
# systemd's MemoryDenyWriteExecute= with the SystemCallFilter=~memfd_create that its manual recommends beside it.
DENY_WRITE_EXECUTE = [("mmap", Condition(2, "all", PROT_WRITE | PROT_EXEC), errno.EPERM), ("mprotect", Condition(2, "any", PROT_EXEC), errno.EPERM),
                      ("pkey_mprotect", Condition(2, "any", PROT_EXEC), errno.EPERM), ("shmat", Condition(2, "any", SHM_EXEC), errno.EPERM),
                      ("memfd_create", None, errno.EPERM)]
# A kernel of another make or of before 5.9: what it lacks, and no Syscall User Dispatch.
OLD_KERNEL = [NO_DISPATCH, ("madvise", Condition(2, "==", MADV_POPULATE_WRITE), errno.EINVAL),
              *((name, None, errno.ENOSYS) for name in
                """rseq membarrier process_vm_readv process_vm_writev close_range clone3 pidfd_open pidfd_send_signal pidfd_getfd openat2
                statx faccessat2 epoll_pwait2 bpf perf_event_open io_uring_setup io_uring_enter io_uring_register userfaultfd
                landlock_create_ruleset landlock_add_rule landlock_restrict_self process_madvise futex_waitv mseal""".split())]

# A sandbox that ends a process for asking.
KILLING = [(name, None, filters.KILL) for name in ("ptrace", "bpf", "perf_event_open", "membarrier", "unshare")]

#  name: its parts in the order in which they are entered
SANDBOXES = {
    "plain": [own_mounts()],
    "docker": [own_mounts("64m", MS_NOSUID | MS_NODEV | MS_NOEXEC), own_pids, other_namespaces, docker_filter, capabilities(docker.CAPABILITIES)],
    "docker_user": [own_mounts("64m", MS_NOSUID | MS_NODEV | MS_NOEXEC), own_pids, other_namespaces, docker_filter, ordinary_user],
    "no_dispatch": [own_mounts(), refuse(NO_DISPATCH)],
    "no_ptrace": [own_mounts(), refuse(NO_PTRACE)],
    "no_dispatch_no_ptrace": [own_mounts(), refuse(NO_DISPATCH, NO_PTRACE)],
    "deny_write_execute": [own_mounts(flags=MS_NOSUID | MS_NODEV | MS_NOEXEC), refuse(*DENY_WRITE_EXECUTE)],
    "mdwe": [own_mounts(), no_write_then_execute],
    "old_kernel": [own_mounts(), refuse(*OLD_KERNEL)],
    "killing": [own_mounts(), refuse(*KILLING)],
    "no_robust_futexes": [own_mounts(), refuse(("get_robust_list", None, errno.ENOSYS), ("set_robust_list", None, errno.ENOSYS))],
    "no_sockets": [own_mounts(), refuse(("socket", None, errno.EAFNOSUPPORT))],
    "user": [own_mounts(), ordinary_user],
    "user_namespace": [own_mounts(), ordinary_user, own_users],
    "all_namespaces": [own_mounts(), ordinary_user, own_users, own_mounts(), own_pids],
    "no_new_privileges": [own_mounts(), ordinary_user, no_new_privileges],
    "full_memory": [own_mounts("1m"), full_memory],
    "no_memory": [own_mounts(), no_memory],
    "small_memory": [own_mounts("2m")],
    "few_files": [own_mounts(), few_files(16)],
    "no_proc": [own_mounts(), no_proc],
    "noexec_agent": [own_mounts(), agent_without_exec],
}


def main():
    if len(sys.argv) < 4 or sys.argv[2] != "--" or sys.argv[1] not in SANDBOXES:
        sys.exit(f"usage: {sys.argv[0]} NAME -- COMMAND...\nnames: {' '.join(SANDBOXES)}")
    for enter in SANDBOXES[sys.argv[1]]:
        enter()
    os.execvp(sys.argv[3], sys.argv[3:])


if __name__ == "__main__":
    main()

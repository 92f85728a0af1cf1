// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Every execve and execveat: who ran what, and how it went. The arguments are read at entry, while the old image still
// holds them, and kept by process until the call returns: in the new image, when it succeeded.
#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include <anybpf/output.h>

#define max_args 32
#define arg_room 128           /* the longest part of one argument that is kept */
#define args_room (8 * 1024)   /* of all arguments together; a power of two */

// What we need of the kernel's task_struct; CO-RE finds the offsets.
struct task_struct {
    int tgid;
    struct task_struct *real_parent;
} __attribute__((preserve_access_index));

// The records of syscalls:sys_enter_* and sys_exit_*.
struct enter {
    __u64 common;
    long nr;
    unsigned long args[6];
};
struct leave {
    __u64 common;
    long nr;
    long ret;
};

struct event {
    __u64 time;
    __u32 pid;
    __u32 ppid;
    int ret;
    __u32 args_size;
    char comm[16];
    char args[args_room + arg_room]; /* each argument ends with NUL */
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1024);
    __type(key, __u32);
    __type(value, struct event);
} execs SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1 << 20);
} events SEC(".maps");

ANYBPF_EVENT(events, struct event, "{time:clock} {pid:>7} {ppid:>7} {comm:<15} {ret:>4} {args:argv}");

static const struct event empty;

static int entered(const char *const *argv)
{
    __u32 pid = bpf_get_current_pid_tgid() >> 32;
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    const char *arg;
    struct event *event;
    __u32 used = 0;

    if (bpf_map_update_elem(&execs, &pid, &empty, BPF_ANY))
        return 0;
    event = bpf_map_lookup_elem(&execs, &pid);
    if (!event)
        return 0;
    event->pid = pid;
    event->ppid = BPF_CORE_READ(task, real_parent, tgid);
    for (int i = 0; i < max_args; i++) {
        long size;

        if (bpf_probe_read_user(&arg, sizeof(arg), &argv[i]) || !arg || used >= args_room)
            break;
        size = bpf_probe_read_user_str(&event->args[used & (args_room - 1)], arg_room, arg);
        if (size <= 0)
            break;
        used += size;
    }
    event->args_size = used;
    return 0;
}

static int left(void *ctx, long ret)
{
    __u32 pid = bpf_get_current_pid_tgid() >> 32;
    struct event *event = bpf_map_lookup_elem(&execs, &pid);
    __u32 size;

    if (!event)
        return 0;
    event->time = bpf_ktime_get_boot_ns();
    event->ret = ret;
    bpf_get_current_comm(event->comm, sizeof(event->comm));
    size = __builtin_offsetof(struct event, args) + event->args_size;
    if (size <= sizeof(*event))
        bpf_ringbuf_output(&events, event, size, 0);
    bpf_map_delete_elem(&execs, &pid);
    return 0;
}

SEC("tracepoint/syscalls/sys_enter_execve")
int enter_execve(struct enter *ctx)
{
    return entered((const char *const *)ctx->args[1]);
}

SEC("tracepoint/syscalls/sys_enter_execveat")
int enter_execveat(struct enter *ctx)
{
    return entered((const char *const *)ctx->args[2]);
}

SEC("tracepoint/syscalls/sys_exit_execve")
int exit_execve(struct leave *ctx)
{
    return left(ctx, ctx->ret);
}

SEC("tracepoint/syscalls/sys_exit_execveat")
int exit_execveat(struct leave *ctx)
{
    return left(ctx, ctx->ret);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Every open, openat and openat2: who opened which file, and the descriptor or the error that came back. The name is read
// at exit, when its page has surely been touched; its address and the flags are kept by thread from the entry on.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include <anybpf/output.h>

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

struct call {
    const char *path;
    __u64 flags;
};

struct event {
    __u64 time;
    __u32 pid;
    int ret;
    __u64 flags;
    char comm[16];
    char path[256];
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, __u32);
    __type(value, struct call);
} calls SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1 << 20);
} events SEC(".maps");

ANYBPF_EVENT(events, struct event, "{time:clock} {pid:>7} {comm:<15} {ret:>7error} {flags:>9oct} {path}");

static int entered(const char *path, __u64 flags)
{
    __u32 tid = bpf_get_current_pid_tgid();
    struct call call = {.path = path, .flags = flags};

    bpf_map_update_elem(&calls, &tid, &call, BPF_ANY);
    return 0;
}

static int left(long ret)
{
    __u64 id = bpf_get_current_pid_tgid();
    __u32 tid = id;
    struct call *call = bpf_map_lookup_elem(&calls, &tid);
    struct event *event;

    if (!call)
        return 0;
    event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
    if (event) {
        event->time = bpf_ktime_get_boot_ns();
        event->pid = id >> 32;
        event->ret = ret;
        event->flags = call->flags;
        bpf_get_current_comm(event->comm, sizeof(event->comm));
        if (bpf_probe_read_user_str(event->path, sizeof(event->path), call->path) < 0)
            event->path[0] = 0;
        bpf_ringbuf_submit(event, 0);
    }
    bpf_map_delete_elem(&calls, &tid);
    return 0;
}

SEC("tracepoint/syscalls/sys_enter_open")
int enter_open(struct enter *ctx)
{
    return entered((const char *)ctx->args[0], ctx->args[1]);
}

SEC("tracepoint/syscalls/sys_enter_openat")
int enter_openat(struct enter *ctx)
{
    return entered((const char *)ctx->args[1], ctx->args[2]);
}

SEC("tracepoint/syscalls/sys_enter_openat2")
int enter_openat2(struct enter *ctx)
{
    __u64 flags = 0; /* the first member of struct open_how */

    bpf_probe_read_user(&flags, sizeof(flags), (const void *)ctx->args[2]);
    return entered((const char *)ctx->args[1], flags);
}

SEC("tracepoint/syscalls/sys_exit_open")
int exit_open(struct leave *ctx)
{
    return left(ctx->ret);
}

SEC("tracepoint/syscalls/sys_exit_openat")
int exit_openat(struct leave *ctx)
{
    return left(ctx->ret);
}

SEC("tracepoint/syscalls/sys_exit_openat2")
int exit_openat2(struct leave *ctx)
{
    return left(ctx->ret);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Every signal sent with kill, tkill or tgkill: by whom, which, to whom, and whether it went through.
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

struct event {
    __u64 time;
    __u32 pid;
    int target;
    int signal;
    int ret;
    char comm[16];
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, __u32);
    __type(value, struct event);
} calls SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1 << 18);
} events SEC(".maps");

ANYBPF_EVENT(events, struct event, "{time:clock} {pid:>7} {comm:<15} {signal:<9signal} {target:>7} {ret:>7error}");

static int entered(int target, int signal)
{
    __u64 id = bpf_get_current_pid_tgid();
    __u32 tid = id;
    struct event event = {.pid = id >> 32, .target = target, .signal = signal};

    bpf_get_current_comm(event.comm, sizeof(event.comm));
    bpf_map_update_elem(&calls, &tid, &event, BPF_ANY);
    return 0;
}

static int left(long ret)
{
    __u32 tid = bpf_get_current_pid_tgid();
    struct event *event = bpf_map_lookup_elem(&calls, &tid);

    if (!event)
        return 0;
    event->time = bpf_ktime_get_boot_ns();
    event->ret = ret;
    bpf_ringbuf_output(&events, event, sizeof(*event), 0);
    bpf_map_delete_elem(&calls, &tid);
    return 0;
}

SEC("tracepoint/syscalls/sys_enter_kill")
int enter_kill(struct enter *ctx)
{
    return entered(ctx->args[0], ctx->args[1]);
}

SEC("tracepoint/syscalls/sys_enter_tkill")
int enter_tkill(struct enter *ctx)
{
    return entered(ctx->args[0], ctx->args[1]);
}

SEC("tracepoint/syscalls/sys_enter_tgkill")
int enter_tgkill(struct enter *ctx)
{
    return entered(ctx->args[1], ctx->args[2]);
}

SEC("tracepoint/syscalls/sys_exit_kill")
int exit_kill(struct leave *ctx)
{
    return left(ctx->ret);
}

SEC("tracepoint/syscalls/sys_exit_tkill")
int exit_tkill(struct leave *ctx)
{
    return left(ctx->ret);
}

SEC("tracepoint/syscalls/sys_exit_tgkill")
int exit_tgkill(struct leave *ctx)
{
    return left(ctx->ret);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

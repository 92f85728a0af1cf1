// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// System calls by process and number: how many were entered and how many came back, and which process made which. strace -c
// counts what came back, so that an exit or a call cut short by death is entered only.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

enum { nr_clone = 56, nr_fork = 57, nr_vfork = 58, nr_clone3 = 435 };

struct call {
    __u32 tgid;
    __u32 nr;
};

struct times {
    __u64 entered;
    __u64 left;
    __u64 restarted;  // left with a code by which the kernel restarts the call
};

struct birth {
    __u32 parent;
    __u32 unused;
    __u64 time;
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 65536);
    __type(key, struct call);
    __type(value, struct times);
} calls SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16384);
    __type(key, __u32);
    __type(value, struct birth);
} births SEC(".maps");

static struct times *times_of(__u32 nr)
{
    struct call call = {.tgid = bpf_get_current_pid_tgid() >> 32, .nr = nr};
    struct times *times = bpf_map_lookup_elem(&calls, &call);

    if (!times) {
        struct times zero = {};

        bpf_map_update_elem(&calls, &call, &zero, BPF_NOEXIST);
        times = bpf_map_lookup_elem(&calls, &call);
    }
    return times;
}

SEC("tracepoint/raw_syscalls/sys_enter")
int on_enter(struct trace_event_raw_sys_enter *ctx)
{
    struct times *times = times_of(ctx->id);

    if (times)
        __sync_fetch_and_add(&times->entered, 1);
    return 0;
}

SEC("tracepoint/raw_syscalls/sys_exit")
int on_exit(struct trace_event_raw_sys_exit *ctx)
{
    long nr = ctx->id, ret = ctx->ret;
    int makes = nr == nr_clone || nr == nr_fork || nr == nr_vfork || nr == nr_clone3;
    struct times *times;

    if (makes && ret == 0)
        return 0;  // the new process leaves a call that it never entered; strace shows its maker's side alone
    if (makes && ret > 0) {
        struct birth birth = {.parent = bpf_get_current_pid_tgid() >> 32, .time = bpf_ktime_get_ns()};
        __u32 child = ret;

        bpf_map_update_elem(&births, &child, &birth, BPF_ANY);
    }
    times = times_of(nr);
    if (!times)
        return 0;
    if (ret >= -516 && ret <= -512)
        __sync_fetch_and_add(&times->restarted, 1);
    else
        __sync_fetch_and_add(&times->left, 1);
    return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

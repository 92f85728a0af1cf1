// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// System calls and the time spent in them, by call and by command. Counts live per CPU, so nothing is shared on the way.
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

struct command {
    char comm[16];
};

struct total {
    __u64 calls;
    __u64 errors;
    __u64 time;
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, __u32);
    __type(value, __u64);
} starts SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_HASH);
    __uint(max_entries, 1024);
    __type(key, __u32);
    __type(value, struct total);
} by_call SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_HASH);
    __uint(max_entries, 4096);
    __type(key, struct command);
    __type(value, struct total);
} by_command SEC(".maps");

ANYBPF_MAP(by_call, "{SYSCALL=key:<22syscall} {calls:>9} {errors:>9} {TIME(us)=time:>12us}");
ANYBPF_MAP(by_command, "{COMMAND=comm:<22} {calls:>9} {errors:>9} {TIME(us)=time:>12us}");

static void add(void *map, const void *key, long ret, __u64 time)
{
    struct total *total = bpf_map_lookup_elem(map, key);

    if (!total) {
        struct total zero = {};

        bpf_map_update_elem(map, key, &zero, BPF_NOEXIST);
        total = bpf_map_lookup_elem(map, key);
        if (!total)
            return;
    }
    total->calls++;
    total->errors += ret < 0 && ret >= -4095;
    total->time += time;
}

SEC("tracepoint/raw_syscalls/sys_enter")
int on_enter(struct enter *ctx)
{
    __u32 tid = bpf_get_current_pid_tgid();
    __u64 now = bpf_ktime_get_ns();

    bpf_map_update_elem(&starts, &tid, &now, BPF_ANY);
    return 0;
}

SEC("tracepoint/raw_syscalls/sys_exit")
int on_exit(struct leave *ctx)
{
    __u32 tid = bpf_get_current_pid_tgid();
    __u64 *start = bpf_map_lookup_elem(&starts, &tid);
    struct command command = {};
    __u32 nr = ctx->nr;
    __u64 time;

    if (!start)
        return 0;
    time = bpf_ktime_get_ns() - *start;
    bpf_map_delete_elem(&starts, &tid);
    add(&by_call, &nr, ctx->ret, time);
    bpf_get_current_comm(command.comm, sizeof(command.comm));
    add(&by_command, &command, ctx->ret, time);
    return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

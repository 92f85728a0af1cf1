// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The bpftrace program   tracepoint:raw_syscalls:sys_enter { @[comm] = count(); }   in C.
#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include <anybpf/output.h>

struct command {
    char comm[16];
};

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_HASH);
    __uint(max_entries, 4096);
    __type(key, struct command);
    __type(value, __u64);
} counts SEC(".maps");

ANYBPF_MAP(counts, "@[{comm}]: {value}");

SEC("tracepoint/raw_syscalls/sys_enter")
int count(void *ctx)
{
    struct command command = {};
    __u64 one = 1, *value;

    bpf_get_current_comm(command.comm, sizeof(command.comm));
    value = bpf_map_lookup_elem(&counts, &command);
    if (value)
        ++*value;
    else
        bpf_map_update_elem(&counts, &command, &one, BPF_NOEXIST);
    return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

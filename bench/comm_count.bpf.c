// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// bpftrace's `tracepoint:raw_syscalls:sys_enter { @[comm] = count(); }`: a per-CPU hash keyed by the command's name.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct comm {
    char name[16];
};

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_HASH);
    __uint(max_entries, 4096);
    __type(key, struct comm);
    __type(value, __u64);
} at SEC(".maps");

SEC("tracepoint/raw_syscalls/sys_enter")
int count_calls(void *ctx)
{
    struct comm key = {};
    __u64 one = 1;

    bpf_get_current_comm(&key, sizeof(key));
    __u64 *value = bpf_map_lookup_elem(&at, &key);

    if (value)
        *value += 1;
    else
        bpf_map_update_elem(&at, &key, &one, BPF_ANY);
    return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

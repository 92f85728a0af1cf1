// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// One counter for each process, in a shared hash map, and a value whose two halves must always agree: what a killed process must not tear.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct pair {
    __u64 number;
    __u64 complement;
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 4096);
    __type(key, __u32);
    __type(value, struct pair);
} calls SEC(".maps");

SEC("tracepoint/raw_syscalls/sys_enter")
int count(struct trace_event_raw_sys_enter *ctx)
{
    __u32 pid = bpf_get_current_pid_tgid() >> 32;
    struct pair *old = bpf_map_lookup_elem(&calls, &pid);
    struct pair next = {.number = old ? old->number + 1 : 1};

    next.complement = ~next.number;
    bpf_map_update_elem(&calls, &pid, &next, BPF_ANY);
    return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

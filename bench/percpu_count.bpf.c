// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// A per-CPU array count on every system call.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} count SEC(".maps");

SEC("tracepoint/raw_syscalls/sys_enter")
int count_calls(void *ctx)
{
    __u32 key = 0;
    __u64 *value = bpf_map_lookup_elem(&count, &key);

    if (value)
        *value += 1;
    return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

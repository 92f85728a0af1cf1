// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Counts getppid(2) twice: in a per-CPU array, whose slots have one writer each, and in a shared hash map by atomic addition.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u64);
} per_cpu SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16);
    __type(key, __u32);
    __type(value, __u64);
} shared SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_getppid")
int count(void *ctx)
{
    __u32 key = 0;
    __u64 zero = 0;
    __u64 *mine = bpf_map_lookup_elem(&per_cpu, &key);

    if (mine)
        *mine += 1;
    __u64 *all = bpf_map_lookup_elem(&shared, &key);
    if (!all) {
        bpf_map_update_elem(&shared, &key, &zero, BPF_NOEXIST);
        all = bpf_map_lookup_elem(&shared, &key);
    }
    if (all)
        __sync_fetch_and_add(all, 1);
    return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

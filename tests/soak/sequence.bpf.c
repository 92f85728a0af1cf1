// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The calls of meter, by identity: how many, from which number to which, and whether one was missed or seen twice. One thread at
// a time has an identity, so that nothing here is shared.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

enum { nr_getppid = 110, mark = 0x6d657465 };

struct seen {
    __u64 count;
    __u64 first;
    __u64 last;
    __u64 gaps;  // a number that does not follow the one before it, and does not begin anew
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 4096);
    __type(key, __u32);
    __type(value, struct seen);
} sequences SEC(".maps");

SEC("tracepoint/raw_syscalls/sys_enter")
int on_enter(struct trace_event_raw_sys_enter *ctx)
{
    __u64 number = ctx->args[0];
    __u32 identity = ctx->args[1];
    struct seen *seen, fresh = {.count = 1, .first = number, .last = number};

    if (ctx->id != nr_getppid || ctx->args[2] != mark)
        return 0;
    seen = bpf_map_lookup_elem(&sequences, &identity);
    if (!seen) {
        bpf_map_update_elem(&sequences, &identity, &fresh, BPF_ANY);
        return 0;
    }
    if (number != seen->last + 1 && number != 0)
        ++seen->gaps;
    seen->last = number;
    ++seen->count;
    return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

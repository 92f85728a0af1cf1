// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// Nothing on every system call: what the hook itself costs.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("tracepoint/raw_syscalls/sys_enter")
int empty(void *ctx)
{
    return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

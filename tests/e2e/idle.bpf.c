// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// A program that watches what hardly ever happens, so that all other calls pass unwatched.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("tracepoint/syscalls/sys_enter_acct")
int nothing(void *ctx)
{
    return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

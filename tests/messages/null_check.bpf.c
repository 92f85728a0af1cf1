// SPDX-License-Identifier: GPL-2.0-only
// Uses what a lookup gave without asking whether there was anything.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_openat")
int count(void *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	__u64 *value = bpf_map_lookup_elem(&counts, &pid);

#ifdef MENDED
	if (!value)
		return 0;
#endif
	*value += 1;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";

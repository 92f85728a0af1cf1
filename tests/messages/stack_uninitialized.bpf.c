// SPDX-License-Identifier: GPL-2.0-only
// Hands out a struct whose padding was never written: refused without CAP_PERFMON.
// verify: --unprivileged
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct key {
	__u8 kind;
	__u32 pid;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct key);
	__type(value, __u64);
} counts SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_openat")
int count(void *ctx)
{
#ifdef MENDED
	struct key key = {};
	__builtin_memset(&key, 0, sizeof(key));
#else
	struct key key;
#endif
	__u64 one = 1;

	key.kind = 1;
	key.pid = bpf_get_current_pid_tgid() >> 32;
	bpf_map_update_elem(&counts, &key, &one, BPF_ANY);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";

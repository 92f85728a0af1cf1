// SPDX-License-Identifier: GPL-2.0-only
// Sends an event through a hash table.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct event {
	__u32 pid;
};

struct {
#ifdef MENDED
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
#else
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, struct event);
#endif
} events SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_execve")
int report(void *ctx)
{
	struct event event = {.pid = bpf_get_current_pid_tgid() >> 32};

	bpf_perf_event_output(ctx, &events, BPF_F_CURRENT_CPU, &event, sizeof(event));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";

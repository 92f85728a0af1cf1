// SPDX-License-Identifier: GPL-2.0-only
// Leaves by an early return without giving back the dynptr that it reserved.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4096);
} events SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_execve")
int report(void *ctx)
{
	struct bpf_dynptr record;
	__u32 pid = bpf_get_current_pid_tgid() >> 32;

	bpf_ringbuf_reserve_dynptr(&events, sizeof(pid), 0, &record);
	if (bpf_dynptr_write(&record, 0, &pid, sizeof(pid), 0)) {
#ifdef MENDED
		bpf_ringbuf_discard_dynptr(&record, 0);
#endif
		return 0;
	}
	bpf_ringbuf_submit_dynptr(&record, 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";

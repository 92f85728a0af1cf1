// SPDX-License-Identifier: GPL-2.0-only
// Waits for a flag that nothing in the loop changes.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("tracepoint/syscalls/sys_enter_read")
int wait(void *ctx)
{
	__u32 tries = 0;

#ifdef MENDED
	for (int i = 0; i < 100; i++) {
		if (bpf_ktime_get_ns() % 1000 == 0)
			break;
	}
#else
	while (bpf_ktime_get_ns() % 1000 != 0)
		;
#endif
	return tries;
}

char LICENSE[] SEC("license") = "GPL";

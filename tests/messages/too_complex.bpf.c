// SPDX-License-Identifier: GPL-2.0-only
// Adds up a million bytes, one at a time.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

unsigned char bytes[1 << 20];
__u64 sum;

#ifdef MENDED
static long add(__u32 i, void *unused)
{
	if (i < sizeof(bytes))
		sum += bytes[i];
	return 0;
}
#endif

SEC("tracepoint/syscalls/sys_enter_read")
int add_up(void *ctx)
{
#ifdef MENDED
	bpf_loop(sizeof(bytes), add, 0, 0);
#else
	for (__u32 i = 0; i < sizeof(bytes); i++)
		sum += bytes[i];
#endif
	return 0;
}

char LICENSE[] SEC("license") = "GPL";

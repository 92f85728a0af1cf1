// SPDX-License-Identifier: GPL-2.0-only
// Looks at a million bytes, one at a time.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char bytes[1 << 20];
__u64 spaces;

#ifdef MENDED
static long look(__u32 i, void *unused)
{
	if (i < sizeof(bytes) && bytes[i] == ' ')
		spaces += 1;
	return 0;
}
#endif

SEC("tracepoint/syscalls/sys_enter_read")
int count_spaces(void *ctx)
{
#ifdef MENDED
	bpf_loop(sizeof(bytes), look, 0, 0);
#else
	for (__u32 i = 0; i < sizeof(bytes); i++)
		if (bytes[i] == ' ')
			spaces += 1;
#endif
	return 0;
}

char LICENSE[] SEC("license") = "GPL";

// SPDX-License-Identifier: GPL-2.0-only
// A write behind the end of an array destroys the pointer that lies beside it on the stack.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

struct scratch {
	__u32 words[2];
	__u64 *counter;
};

SEC("tracepoint/syscalls/sys_enter_read")
int count(void *ctx)
{
	__u32 zero = 0;
	volatile struct scratch scratch = {};
	__u64 *counter = bpf_map_lookup_elem(&counts, &zero);

	if (!counter)
		return 0;
	scratch.counter = counter;
#ifdef MENDED
	volatile __u32 *last = &scratch.words[1];
#else
	volatile __u32 *last = &scratch.words[2];
#endif
	*last = 7;
	*scratch.counter += 1;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";

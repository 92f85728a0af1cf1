// SPDX-License-Identifier: GPL-2.0-only
// A function with a tail call, called by one that keeps 300 bytes on the stack.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
} stages SEC(".maps");

static __attribute__((noinline)) int next(struct __sk_buff *skb, __u32 stage)
{
	bpf_tail_call(skb, &stages, stage);
	return 0;
}

SEC("tc")
int first(struct __sk_buff *skb)
{
#ifdef MENDED
	char header[200];
#else
	char header[300];
#endif

	if (bpf_skb_load_bytes(skb, 0, header, sizeof(header)))
		return 0;
	return next(skb, header[12] & 3);
}

char LICENSE[] SEC("license") = "GPL";

// SPDX-License-Identifier: GPL-2.0-only
// A global function takes a pointer, and does not ask whether it is null.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct counters {
	__u64 packets, bytes;
};

__attribute__((noinline)) int add(struct counters *counters, __u32 bytes)
{
#ifdef MENDED
	if (!counters)
		return 0;
#endif
	counters->packets += 1;
	counters->bytes += bytes;
	return 0;
}

SEC("tc")
int count(struct __sk_buff *skb)
{
	struct counters counters = {};

	add(&counters, skb->len);
	return counters.bytes > 1500;
}

char LICENSE[] SEC("license") = "GPL";

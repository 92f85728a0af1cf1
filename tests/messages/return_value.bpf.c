// SPDX-License-Identifier: GPL-2.0-only
// Returns a length where a verdict of 0 or 1 is wanted.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("cgroup_skb/egress")
int allow(struct __sk_buff *skb)
{
	__u32 allowed = skb->len;

#ifdef MENDED
	if (allowed > 1)
		allowed = 1;
#endif
	return allowed;
}

char LICENSE[] SEC("license") = "GPL";

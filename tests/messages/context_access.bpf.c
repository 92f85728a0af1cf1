// SPDX-License-Identifier: GPL-2.0-only
// Reads half of a field that can only be read as a whole.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

SEC("tc")
int only_stamped(struct __sk_buff *skb)
{
#ifdef MENDED
	__u64 stamp = skb->tstamp;
#else
	__u32 stamp = *(volatile __u32 *)&skb->tstamp;
#endif

	return stamp ? TC_ACT_OK : TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "GPL";

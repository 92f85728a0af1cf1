// SPDX-License-Identifier: GPL-2.0-only
// Reads half of a field of 32 bits that can only be read as a whole.
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

SEC("tc")
int first_port(struct __sk_buff *skb)
{
#ifdef MENDED
	__u32 end = skb->data_end;
#else
	__u16 end = *(volatile __u16 *)&skb->data_end;
#endif

	return end ? TC_ACT_OK : TC_ACT_SHOT;
}

char LICENSE[] SEC("license") = "GPL";

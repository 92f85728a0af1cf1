// SPDX-License-Identifier: GPL-2.0-only
// Reads the EtherType without asking whether the packet has one.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int drop_ipv6(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;

#ifdef MENDED
	if (data + 14 > data_end)
		return XDP_PASS;
#endif
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return XDP_DROP;
	return data < data_end ? XDP_PASS : XDP_ABORTED;
}

char LICENSE[] SEC("license") = "GPL";

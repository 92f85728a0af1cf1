// SPDX-License-Identifier: GPL-2.0-only
// Takes its addresses again after a helper moved the packet, but does not compare them again.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int push_tag(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth;

	if (data + sizeof(*eth) > data_end)
		return XDP_PASS;
	if (bpf_xdp_adjust_head(ctx, -4))
		return XDP_DROP;
	data = (void *)(long)ctx->data;
#ifdef MENDED
	data_end = (void *)(long)ctx->data_end;
	if (data + 14 > data_end)
		return XDP_PASS;
#endif
	eth = data;
	eth->h_proto = 0x0081;
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";

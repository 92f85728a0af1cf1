// SPDX-License-Identifier: GPL-2.0-only
// Asks for the hash of a socket buffer where there is none yet.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int own_packets(struct xdp_md *ctx)
{
#ifdef MENDED
	__u64 hash = ctx->rx_queue_index;
#else
	__u64 hash = bpf_get_hash_recalc((struct __sk_buff *)ctx);
#endif
	return hash & 1 ? XDP_PASS : XDP_DROP;
}

char LICENSE[] SEC("license") = "GPL";

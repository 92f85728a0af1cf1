// SPDX-License-Identifier: GPL-2.0-only
// Adds atomically to a counter that does not lie at a multiple of its size.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct stats {
	__u32 flags;
	__u64 packets;
#ifdef MENDED
};
#else
} __attribute__((packed));
#endif

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stats);
} stats SEC(".maps");

SEC("xdp")
int count(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct stats *s = bpf_map_lookup_elem(&stats, &zero);

	if (!s)
		return XDP_PASS;
	__sync_fetch_and_add((__u64 *)((char *)s + __builtin_offsetof(struct stats, packets)), 1);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";

// SPDX-License-Identifier: Apache-2.0
// Takes a second lock while it holds one.
#include "../owned/owned.h"

struct account {
	struct bpf_spin_lock lock;
	__u64 bytes;
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, int);
	__type(value, struct account);
} accounts SEC(".maps");

SEC("tc")
int transfer(struct __sk_buff *skb)
{
	int first = 0, second = 1;
	struct account *from = bpf_map_lookup_elem(&accounts, &first);
	struct account *to = bpf_map_lookup_elem(&accounts, &second);

	if (!from || !to)
		return 0;
	bpf_spin_lock(&from->lock);
	from->bytes -= skb->len;
#ifdef MENDED
	bpf_spin_unlock(&from->lock);
#endif
	bpf_spin_lock(&to->lock);
	to->bytes += skb->len;
	bpf_spin_unlock(&to->lock);
#ifndef MENDED
	bpf_spin_unlock(&from->lock);
#endif
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
// Begins a work queue with another map than the one it lies in.
#include "../owned/owned.h"

struct work {
	struct bpf_wq queue;
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, int);
	__type(value, struct work);
} works SEC(".maps"), others SEC(".maps");

SEC("tc")
int begin(struct __sk_buff *skb)
{
	int zero = 0;
	struct work *work = bpf_map_lookup_elem(&works, &zero);

	if (!work)
		return 0;
#ifdef MENDED
	bpf_wq_init(&work->queue, &works, 0);
#else
	bpf_wq_init(&work->queue, &others, 0);
#endif
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
// Copies over an object as a whole, and so over the node by which it lies in the list.
#include "../owned/owned.h"

struct job {
	struct bpf_list_node node;
	__u64 size;
};

section_of(QUEUE) struct bpf_spin_lock lock;
section_of(QUEUE) struct bpf_list_head jobs __contains(job, node);

SEC("tc")
int reset(struct __sk_buff *skb)
{
	struct job *job = bpf_obj_new(struct job);

	if (!job)
		return 0;
#ifdef MENDED
	job->size = 0;
#else
	__builtin_memset(job, 0, sizeof(*job));
#endif
	bpf_obj_drop(job);
	return 0;
}

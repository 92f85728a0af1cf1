// SPDX-License-Identifier: Apache-2.0
// Allocates an object, and forgets it on one path.
#include "../owned/owned.h"

struct job {
	struct bpf_list_node node;
	__u64 size;
};

section_of(QUEUE) struct bpf_spin_lock lock;
section_of(QUEUE) struct bpf_list_head jobs __contains(job, node);

SEC("tc")
int enqueue(struct __sk_buff *skb)
{
	struct job *job = bpf_obj_new(struct job);

	if (!job)
		return 0;
	job->size = skb->len;
	if (job->size > 1000) {
#ifdef MENDED
		bpf_obj_drop(job);
#endif
		return 1;
	}
	bpf_spin_lock(&lock);
	bpf_list_push_back(&jobs, &job->node);
	bpf_spin_unlock(&lock);
	return 0;
}

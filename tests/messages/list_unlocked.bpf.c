// SPDX-License-Identifier: Apache-2.0
// Puts an object into a list without the lock that lies beside it.
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
#ifdef MENDED
	bpf_spin_lock(&lock);
#endif
	bpf_list_push_back(&jobs, &job->node);
#ifdef MENDED
	bpf_spin_unlock(&lock);
#endif
	return 0;
}

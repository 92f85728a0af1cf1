// SPDX-License-Identifier: Apache-2.0
// Reads an object of a list after the lock was given back: by then somebody else may have dropped it.
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
	bpf_spin_lock(&lock);
	bpf_list_push_back(&jobs, &job->node);
#ifdef MENDED
	__u64 size = job->size;
#endif
	bpf_spin_unlock(&lock);
#ifdef MENDED
	return size > 1000;
#else
	return job->size > 1000;
#endif
}

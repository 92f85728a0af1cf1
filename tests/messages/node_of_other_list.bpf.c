// SPDX-License-Identifier: Apache-2.0
// Puts an object into a list by the node of another one.
#include "../owned/owned.h"

struct job {
	struct bpf_list_node node;
	struct bpf_list_node by_size;
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
	bpf_spin_lock(&lock);
#ifdef MENDED
	bpf_list_push_back(&jobs, &job->node);
#else
	bpf_list_push_back(&jobs, &job->by_size);
#endif
	bpf_spin_unlock(&lock);
	return 0;
}

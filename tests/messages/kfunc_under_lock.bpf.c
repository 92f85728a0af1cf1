// SPDX-License-Identifier: Apache-2.0
// Allocates while a lock is held.
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
#ifdef MENDED
	struct job *job = bpf_obj_new(struct job);

	bpf_spin_lock(&lock);
#else
	bpf_spin_lock(&lock);
	struct job *job = bpf_obj_new(struct job);
#endif
	if (!job) {
		bpf_spin_unlock(&lock);
		return 0;
	}
	bpf_list_push_back(&jobs, &job->node);
	bpf_spin_unlock(&lock);
	return 0;
}

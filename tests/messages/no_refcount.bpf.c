// SPDX-License-Identifier: Apache-2.0
// Wants a second owner of an object that counts none.
#include "../owned/owned.h"

struct job {
	struct bpf_list_node node;
#ifdef MENDED
	struct bpf_refcount owners;
#endif
	__u64 size;
};

section_of(QUEUE) struct bpf_spin_lock lock;
section_of(QUEUE) struct bpf_list_head jobs __contains(job, node);

SEC("tc")
int share(struct __sk_buff *skb)
{
	struct job *job = bpf_obj_new(struct job);

	if (!job)
		return 0;
	struct job *mine = bpf_refcount_acquire(job);

	bpf_spin_lock(&lock);
	bpf_list_push_back(&jobs, &job->node);
	bpf_spin_unlock(&lock);
	bpf_obj_drop(mine);
	return 0;
}

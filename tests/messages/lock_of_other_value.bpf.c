// SPDX-License-Identifier: Apache-2.0
// Puts an object into one queue under another one's lock.
#include "../owned/owned.h"

struct job {
	struct bpf_list_node node;
	__u64 size;
};
struct queue {
	struct bpf_spin_lock lock;
	struct bpf_list_head jobs __contains(job, node);
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, int);
	__type(value, struct queue);
} queues SEC(".maps");

SEC("tc")
int enqueue(struct __sk_buff *skb)
{
	int first = 0, second = 1;
	struct queue *full = bpf_map_lookup_elem(&queues, &first);
	struct queue *empty = bpf_map_lookup_elem(&queues, &second);
	struct job *job;

	if (!full || !empty)
		return 0;
	job = bpf_obj_new(struct job);
	if (!job)
		return 0;
#ifdef MENDED
	bpf_spin_lock(&empty->lock);
#else
	bpf_spin_lock(&full->lock);
#endif
	bpf_list_push_back(&empty->jobs, &job->node);
#ifdef MENDED
	bpf_spin_unlock(&empty->lock);
#else
	bpf_spin_unlock(&full->lock);
#endif
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
// Takes a node out of the tree in the function that compares two nodes.
#include "../owned/owned.h"

struct timer {
	struct bpf_rb_node node;
	__u64 at;
};

section_of(TREE) struct bpf_spin_lock lock;
section_of(TREE) struct bpf_rb_root timers __contains(timer, node);

static bool earlier(struct bpf_rb_node *a, const struct bpf_rb_node *b)
{
	struct timer *first = container_of(a, struct timer, node), *second = container_of(b, struct timer, node);

#ifndef MENDED
	if (first->at == second->at)
		bpf_rbtree_remove(&timers, a);
#endif
	return first->at < second->at;
}

SEC("tc")
int insert(struct __sk_buff *skb)
{
	struct timer *timer = bpf_obj_new(struct timer);

	if (!timer)
		return 0;
	timer->at = skb->len;
	bpf_spin_lock(&lock);
	bpf_rbtree_add(&timers, &timer->node, earlier);
	bpf_spin_unlock(&lock);
	return 0;
}

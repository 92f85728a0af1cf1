// SPDX-License-Identifier: Apache-2.0
// Allocates for each CPU a struct with a pointer in it.
#include "../owned/owned.h"

struct counter {
	__u64 hits;
#ifndef MENDED
	struct counter *next;
#endif
};

SEC("tc")
int count(struct __sk_buff *skb)
{
	struct counter *counter = bpf_percpu_obj_new(struct counter);

	if (counter)
		bpf_percpu_obj_drop(counter);
	return 0;
}

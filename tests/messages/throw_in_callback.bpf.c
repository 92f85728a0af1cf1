// SPDX-License-Identifier: Apache-2.0
// Throws where a helper is still at work.
#include "../owned/owned.h"

static long step(__u32 i, __u64 *sum)
{
#ifdef MENDED
	if (*sum > 1000)
		return 1;
#else
	if (*sum > 1000)
		bpf_throw(0);
#endif
	*sum += i;
	return 0;
}

SEC("tc")
int add(struct __sk_buff *skb)
{
	__u64 sum = skb->len;

	bpf_loop(100, step, &sum, 0);
#ifdef MENDED
	if (sum > 1000)
		bpf_throw(0);
#endif
	return 0;
}

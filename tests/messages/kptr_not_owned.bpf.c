// SPDX-License-Identifier: Apache-2.0
// Gives away a task that it only looks at.
#include "../owned/owned.h"

struct value {
	struct task_struct __kptr *task;
	struct task_struct __kptr_untrusted *last;
};
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, int);
	__type(value, struct value);
} values SEC(".maps");

SEC("tc")
int keep(struct __sk_buff *skb)
{
	int zero = 0;
	struct value *value = bpf_map_lookup_elem(&values, &zero);

	if (!value)
		return 0;
	bpf_rcu_read_lock();
	struct task_struct *task = value->task;

	if (task) {
#ifdef MENDED
		task = bpf_task_acquire(task);
		if (!task) {
			bpf_rcu_read_unlock();
			return 0;
		}
#endif
		task = bpf_kptr_xchg(&value->task, task);
		if (task)
			bpf_task_release(task);
	}
	bpf_rcu_read_unlock();
	return 0;
}

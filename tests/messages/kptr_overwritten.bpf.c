// SPDX-License-Identifier: Apache-2.0
// Assigns to a pointer in a map that owns what it points to.
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
	struct task_struct *task = bpf_task_from_pid(1);

	if (!task)
		return 0;
#ifdef MENDED
	task = bpf_kptr_xchg(&value->task, task);
	if (task)
		bpf_task_release(task);
#else
	value->task = task;
#endif
	return 0;
}

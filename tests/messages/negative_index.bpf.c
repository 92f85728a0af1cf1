// SPDX-License-Identifier: GPL-2.0-only
// Checks the upper end of a signed index, and not the lower one.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct table {
	__u64 slots[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct table);
} tables SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __s64);
} config SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_write")
int count(void *ctx)
{
	__u32 zero = 0;
	__s64 *wanted = bpf_map_lookup_elem(&config, &zero);
	struct table *table = bpf_map_lookup_elem(&tables, &zero);

	if (!wanted || !table)
		return 0;
	__s64 index = *wanted;
#ifdef MENDED
	if (index < 0)
		return 0;
#endif
	if (index > 15)
		return 0;
	table->slots[index] += 1;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";

// SPDX-License-Identifier: GPL-2.0-only
// Passes a pointer that was read from another struct to a kfunc that wants one that is sure to be alive.
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

extern struct task_struct *bpf_task_acquire(struct task_struct *p) __ksym;
extern void bpf_task_release(struct task_struct *p) __ksym;

SEC("tp_btf/task_newtask")
int BPF_PROG(hold, struct task_struct *task, unsigned long flags)
{
#ifdef MENDED
	struct task_struct *held = bpf_task_acquire(task);
#else
	struct task_struct *held = bpf_task_acquire(task->last_wakee);
#endif

	if (held)
		bpf_task_release(held);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// A program that walks the task as tools do; its offsets are the compiler's until CO-RE puts ours in their place.
// clang-format off: the headers of bpf/ need the types of linux/bpf.h
#include <linux/bpf.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
// clang-format on

struct kuid {
    unsigned int val;
};
typedef struct kuid kuid_t;

struct cred {
    char elsewhere[1000];
    kuid_t uid;
} __attribute__((preserve_access_index));

struct task_struct {
    char elsewhere[4000];
    struct task_struct *real_parent;
    struct task_struct *group_leader;
    const struct cred *cred;
    unsigned long long start_time;
    int tgid;
    int pid;
    char comm[16];
} __attribute__((preserve_access_index));

struct bpf_ringbuf {
} __attribute__((preserve_access_index));

enum bpf_func_id___x { BPF_FUNC_ringbuf_output___x = 42 };

long answers[8];
char comm[16];

SEC("raw_tp/sys_enter")
int walk(void *ctx) {
    struct task_struct *task = (void *)bpf_get_current_task();
    answers[0] = BPF_CORE_READ(task, pid);
    answers[1] = BPF_CORE_READ(task, group_leader, tgid);
    answers[2] = BPF_CORE_READ(task, real_parent, tgid);
    answers[3] = BPF_CORE_READ(task, cred, uid.val);
    answers[4] = BPF_CORE_READ(task, start_time);
    answers[5] = bpf_core_field_exists(task->comm);
    answers[6] = bpf_core_type_exists(struct bpf_ringbuf);
    answers[7] = bpf_core_enum_value(enum bpf_func_id___x, BPF_FUNC_ringbuf_output___x);
    BPF_CORE_READ_STR_INTO(&comm, task, real_parent, comm);
    return 0;
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

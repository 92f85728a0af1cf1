// SPDX-License-Identifier: Apache-2.0
// Pointers to objects of the kernel's and of the program's in map values.
#include "owned.h"

struct value {
    long before;
    struct task_struct __kptr *task;
    struct task_struct __kptr_untrusted *seen;
    struct cgroup __kptr *group;
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 4);
    __type(key, int);
    __type(value, struct value);
} array SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 4);
    __type(key, int);
    __type(value, struct value);
} hash SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __uint(max_entries, 4);
    __type(key, int);
    __type(value, struct value);
} percpu_array SEC(".maps");
struct plain {
    long a, b;
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 4);
    __type(key, int);
    __type(value, struct plain);
} plain SEC(".maps");

static inline struct value *find(void *map) {
    int key = 0;
    return bpf_map_lookup_elem(map, &key);
}
#define VALUE(map)                   \
    struct value *v = find(&(map)); \
    if (!v) return 0

// accepted
SEC("tc") int plain_members(void *ctx) {
    VALUE(array);
    v->before++;
    return 0;
}
// accepted
SEC("tc") int exchange(void *ctx) {
    VALUE(array);
    struct task_struct *task = bpf_task_from_pid(1);
    if (!task) return 0;
    task = bpf_kptr_xchg(&v->task, task);
    if (task) bpf_task_release(task);
    return 0;
}
// accepted
SEC("tc") int exchange_in_hash(void *ctx) {
    VALUE(hash);
    struct task_struct *task = bpf_kptr_xchg(&v->task, NULL);
    if (task) bpf_task_release(task);
    return 0;
}
// accepted
SEC("tc") int exchange_in_percpu(void *ctx) {
    VALUE(percpu_array);
    struct task_struct *task = bpf_kptr_xchg(&v->task, NULL);
    if (task) bpf_task_release(task);
    return 0;
}
// refused: reference_leak
SEC("tc") int exchanged_is_kept(void *ctx) {
    VALUE(array);
    bpf_kptr_xchg(&v->task, NULL);
    return 0;
}
// refused: maybe_null
SEC("tc") int exchanged_may_be_null(void *ctx) {
    VALUE(array);
    struct task_struct *task = bpf_kptr_xchg(&v->task, NULL);
    bpf_task_release(task);
    return 0;
}
// refused: maybe_null
SEC("tc") int null_not_checked(void *ctx) {
    VALUE(array);
    struct task_struct *task = bpf_task_from_pid(1);
    task = bpf_kptr_xchg(&v->task, task);
    if (task) bpf_task_release(task);
    return 0;
}
// refused: not_a_pointer
SEC("tc") int given_away_and_used(void *ctx) {
    VALUE(array);
    struct task_struct *task = bpf_task_from_pid(1);
    if (!task) return 0;
    struct task_struct *old = bpf_kptr_xchg(&v->task, task);
    if (old) bpf_task_release(old);
    return task->pid;
}
// refused: kptr_type
SEC("tc") int another_type(void *ctx) {
    VALUE(array);
    struct task_struct *task = bpf_task_from_pid(1);
    if (!task) return 0;
    struct cgroup *old = bpf_kptr_xchg(&v->group, (void *)task);
    if (old) bpf_cgroup_release(old);
    return 0;
}
// refused: kptr_not_owned
SEC("tc") int not_owned(void *ctx) {
    VALUE(array);
    struct task_struct *seen = v->task;
    if (!seen) return 0;
    struct task_struct *old = bpf_kptr_xchg(&v->task, seen);
    if (old) bpf_task_release(old);
    return 0;
}
// refused: kptr_not_owned
SEC("tc") int a_number(void *ctx) {
    VALUE(array);
    struct task_struct *old = bpf_kptr_xchg(&v->task, (void *)5);
    if (old) bpf_task_release(old);
    return 0;
}
// refused: kptr_not_exchanged
SEC("tc") int exchange_untrusted(void *ctx) {
    VALUE(array);
    struct task_struct *old = bpf_kptr_xchg(&v->seen, NULL);
    if (old) bpf_task_release(old);
    return 0;
}
// refused: no_kptr
SEC("tc") int exchange_where_none_is(void *ctx) {
    VALUE(array);
    struct task_struct *old = bpf_kptr_xchg(&v->before, NULL);
    if (old) bpf_task_release(old);
    return 0;
}
// refused: no_kptr
SEC("tc") int exchange_in_a_plain_map(void *ctx) {
    int key = 0;
    struct plain *p = bpf_map_lookup_elem(&plain, &key);
    if (!p) return 0;
    struct task_struct *old = bpf_kptr_xchg(&p->a, NULL);
    if (old) bpf_task_release(old);
    return 0;
}
// refused: wrong_argument
SEC("tc") int exchange_on_the_stack(void *ctx) {
    struct task_struct *slot = NULL;
    struct task_struct *old = bpf_kptr_xchg(&slot, NULL);
    if (old) bpf_task_release(old);
    return 0;
}
// accepted
SEC("tc") int load_and_read(void *ctx) {
    VALUE(array);
    struct task_struct *task = v->task;
    return task ? task->pid & 1 : 0;
}
// refused: maybe_null
SEC("tc") int load_and_read_null(void *ctx) {
    VALUE(array);
    return v->task->pid & 1;
}
// accepted
SEC("tc") int load_untrusted_and_read(void *ctx) {
    VALUE(array);
    struct task_struct *task = v->seen;
    return task ? task->pid & 1 : 0;
}
// accepted
SEC("tc") int load_and_acquire(void *ctx) {
    VALUE(array);
    struct task_struct *task = v->task;
    if (!task) return 0;
    task = bpf_task_acquire(task);
    if (task) bpf_task_release(task);
    return 0;
}
// refused: typed_untrusted
SEC("tc") int load_untrusted_and_acquire(void *ctx) {
    VALUE(array);
    struct task_struct *task = v->seen;
    if (!task) return 0;
    task = bpf_task_acquire(task);
    if (task) bpf_task_release(task);
    return 0;
}
// refused: kfunc_release
SEC("tc") int load_and_release(void *ctx) {
    VALUE(array);
    struct task_struct *task = v->task;
    if (task) bpf_task_release(task);
    return 0;
}
// accepted
SEC("tc") int store_untrusted(void *ctx) {
    VALUE(array);
    struct task_struct *task = bpf_task_from_pid(1);
    if (!task) return 0;
    v->seen = task;
    bpf_task_release(task);
    return 0;
}
// accepted
SEC("tc") int store_untrusted_null(void *ctx) {
    VALUE(array);
    v->seen = NULL;
    return 0;
}
// accepted
SEC("tc") int store_untrusted_again(void *ctx) {
    VALUE(array);
    v->seen = v->task;
    return 0;
}
// refused: kptr_type
SEC("tc") int store_a_number(void *ctx) {
    VALUE(array);
    v->seen = (void *)(long)bpf_get_prandom_u32();
    return 0;
}
// refused: kptr_type
SEC("tc") int store_another_type(void *ctx) {
    VALUE(array);
    v->seen = (void *)v->group;
    return 0;
}
// refused: kptr_stored
SEC("tc") int store_referenced(void *ctx) {
    VALUE(array);
    struct task_struct *task = bpf_task_from_pid(1);
    if (!task) return 0;
    v->task = task;
    return 0;
}
// refused: kptr_stored
SEC("tc") int store_referenced_null(void *ctx) {
    VALUE(array);
    v->task = NULL;
    return 0;
}
// refused: kptr_access
SEC("tc") int a_part(void *ctx) {
    VALUE(array);
    return *(int *)&v->task & 1;
}
// refused: kptr_access
SEC("tc") int between(void *ctx) {
    VALUE(array);
    return *(volatile int *)((char *)&v->task + 4) & 1;
}
// refused: kptr_access
SEC("tc") int atomic(void *ctx) {
    VALUE(array);
    __sync_fetch_and_add((long *)&v->seen, 1);
    return 0;
}
// refused: kptr_access
SEC("tc") int by_helper(void *ctx) {
    VALUE(array);
    bpf_get_current_comm(v, 16);
    return 0;
}
// refused: kptr_access
SEC("tc") int anywhere(void *ctx) {
    VALUE(array);
    long at = bpf_get_prandom_u32() & 31;
    return *((char *)v + at) & 1;
}
// accepted
SEC("tp/syscalls/sys_enter_getpid") int in_a_tracepoint(void *ctx) {
    VALUE(array);
    struct task_struct *task = v->task;
    return task ? task->pid & 1 : 0;
}
// accepted
SEC("syscall") int asleep_outside_rcu(void *ctx) {
    VALUE(array);
    struct task_struct *task = v->task;
    return task ? task->pid & 1 : 0;
}
// refused: typed_untrusted
SEC("syscall") int asleep_acquired_outside_rcu(void *ctx) {
    VALUE(array);
    struct task_struct *task = v->task;
    if (!task) return 0;
    task = bpf_task_acquire(task);
    if (task) bpf_task_release(task);
    return 0;
}
// accepted
SEC("syscall") int asleep_acquired_in_rcu(void *ctx) {
    VALUE(array);
    bpf_rcu_read_lock();
    struct task_struct *task = v->task;
    if (task) task = bpf_task_acquire(task);
    bpf_rcu_read_unlock();
    if (task) bpf_task_release(task);
    return 0;
}
// refused: typed_untrusted
SEC("syscall") int asleep_acquired_after_rcu(void *ctx) {
    VALUE(array);
    bpf_rcu_read_lock();
    struct task_struct *task = v->task;
    bpf_rcu_read_unlock();
    if (!task) return 0;
    task = bpf_task_acquire(task);
    if (task) bpf_task_release(task);
    return 0;
}
// accepted
SEC("tc") int value_overwritten_from_outside(void *ctx) {
    struct value fresh = {};
    int key = 0;
    bpf_map_update_elem(&hash, &key, &fresh, BPF_ANY);
    return 0;
}// accepted
SEC("tc") int load_a_cgroup(void *ctx) {
    VALUE(array);
    struct cgroup *group = v->group;
    return group ? group->level & 1 : 0;
}

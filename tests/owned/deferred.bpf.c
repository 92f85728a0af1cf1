// SPDX-License-Identifier: Apache-2.0
// Work queues and task works in map values: functions that run later, and may sleep.
#include "owned.h"

struct queued {
    long data;
    struct bpf_wq wq;
};
struct kept_task {
    struct task_struct __kptr *task;
    struct bpf_wq wq;
};
struct worked {
    long data;
    struct bpf_task_work work;
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 4);
    __type(key, int);
    __type(value, struct queued);
} array SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 4);
    __type(key, int);
    __type(value, struct queued);
} hash SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 4);
    __type(key, int);
    __type(value, struct kept_task);
} tasks SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 4);
    __type(key, int);
    __type(value, struct worked);
} works SEC(".maps");

static int done(void *map, int *key, void *value) {
    struct queued *v = value;
    v->data++;
    return 0;
}
static int wrong(void *map, int *key, void *value) {
    return 1;
}
static int sleeps(void *map, int *key, void *value) {
    char text[8];
    bpf_copy_from_user_str(text, sizeof(text), (void *)0x1000, 0);
    bpf_copy_from_user(text, sizeof(text), (void *)0x1000);
    return 0;
}
static int touches(void *map, int *key, void *value) {
    struct queued *v = value;
    return *(volatile long *)&v->wq ? 0 : 0;
}
static int acquires(void *map, int *key, void *value) {
    struct kept_task *v = value;
    struct task_struct *task = v->task;
    if (!task) return 0;
    task = bpf_task_acquire(task);
    if (task) bpf_task_release(task);
    return 0;
}
static int acquires_in_rcu(void *map, int *key, void *value) {
    struct kept_task *v = value;
    bpf_rcu_read_lock();
    struct task_struct *task = v->task;
    if (task) task = bpf_task_acquire(task);
    bpf_rcu_read_unlock();
    if (task) bpf_task_release(task);
    return 0;
}
static int beyond(void *map, int *key, void *value) {
    return ((volatile long *)value)[3] ? 0 : 0;
}
static int by_task(struct bpf_map *map, void *key, void *value) {
    struct worked *v = value;
    // The number is of no use: it lets BTF have the whole type, as the kernel's function wants.
    v->data += bpf_core_type_id_local(struct bpf_map);
    return 77;
}
#define QUEUED(map)                                       \
    int key = 0;                                          \
    struct queued *v = bpf_map_lookup_elem(&(map), &key); \
    if (!v) return 0

// accepted
SEC("tc") int starts(void *ctx) {
    QUEUED(array);
    if (bpf_wq_init(&v->wq, &array, 0)) return 0;
    if (bpf_wq_set_callback(&v->wq, done, 0)) return 0;
    bpf_wq_start(&v->wq, 0);
    return 0;
}
// accepted
SEC("syscall") int starts_in_hash(void *ctx) {
    QUEUED(hash);
    bpf_wq_init(&v->wq, &hash, 0);
    bpf_wq_set_callback(&v->wq, done, 0);
    bpf_wq_start(&v->wq, 0);
    return 0;
}
// refused: work_of_other_map
SEC("tc") int another_map(void *ctx) {
    QUEUED(array);
    bpf_wq_init(&v->wq, &hash, 0);
    return 0;
}
// refused: no_field
SEC("tc") int another_member(void *ctx) {
    QUEUED(array);
    bpf_wq_init((void *)&v->data, &array, 0);
    return 0;
}
// refused: kfunc_argument
SEC("tc") int on_the_stack(void *ctx) {
    struct bpf_wq wq = {};
    bpf_wq_init(&wq, &array, 0);
    return 0;
}
// refused: arithmetic_maybe_null
SEC("tc") int not_checked(void *ctx) {
    int key = 0;
    struct queued *v = bpf_map_lookup_elem(&hash, &key);
    bpf_wq_start(&v->wq, 0);
    return 0;
}
// refused: field_access
SEC("tc") int read(void *ctx) {
    QUEUED(array);
    return v->wq.opaque[0] & 1;
}
// refused: timer_return
SEC("tc") int returns_one(void *ctx) {
    QUEUED(array);
    bpf_wq_set_callback(&v->wq, wrong, 0);
    return 0;
}
// accepted
SEC("tc") int may_sleep(void *ctx) {
    QUEUED(array);
    bpf_wq_set_callback(&v->wq, sleeps, 0);
    return 0;
}
// refused: field_access
SEC("tc") int reads_its_queue(void *ctx) {
    QUEUED(array);
    bpf_wq_set_callback(&v->wq, touches, 0);
    return 0;
}
// refused: out_of_map_value
SEC("tc") int reads_beyond(void *ctx) {
    QUEUED(array);
    bpf_wq_set_callback(&v->wq, beyond, 0);
    return 0;
}
// refused: typed_untrusted
SEC("tc") int acquires_outside_rcu(void *ctx) {
    int key = 0;
    struct kept_task *v = bpf_map_lookup_elem(&tasks, &key);
    if (v) bpf_wq_set_callback(&v->wq, acquires, 0);
    return 0;
}
// accepted
SEC("tc") int acquires_inside_rcu(void *ctx) {
    int key = 0;
    struct kept_task *v = bpf_map_lookup_elem(&tasks, &key);
    if (v) bpf_wq_set_callback(&v->wq, acquires_in_rcu, 0);
    return 0;
}
// refused: kfunc_argument
SEC("tc") int no_function(void *ctx) {
    QUEUED(array);
    bpf_wq_set_callback(&v->wq, NULL, 0);
    return 0;
}
// refused: field_program
SEC("kprobe/vfs_read") int in_a_kprobe(void *ctx) {
    QUEUED(array);
    return v->data & 1;
}
// accepted
SEC("tp/syscalls/sys_enter_getpid") int tasks_pointer_only(void *ctx) {
    int key = 0;
    struct worked *v = bpf_map_lookup_elem(&works, &key);
    return v ? v->data & 1 : 0;
}
// accepted
SEC("tc") int works_by_task(void *ctx) {
    int key = 0;
    struct worked *v = bpf_map_lookup_elem(&works, &key);
    if (!v) return 0;
    struct task_struct *task = bpf_get_current_task_btf();
    bpf_task_work_schedule_signal_impl(task, &v->work, &works, by_task, NULL);
    return 0;
}
// refused: work_of_other_map
SEC("tc") int works_by_task_of_another_map(void *ctx) {
    int key = 0;
    struct worked *v = bpf_map_lookup_elem(&works, &key);
    if (!v) return 0;
    struct task_struct *task = bpf_get_current_task_btf();
    bpf_task_work_schedule_signal_impl(task, &v->work, &array, by_task, NULL);
    return 0;
}
// refused: maybe_null
SEC("tc") int works_by_no_task(void *ctx) {
    int key = 0;
    struct worked *v = bpf_map_lookup_elem(&works, &key);
    if (!v) return 0;
    bpf_task_work_schedule_signal_impl(NULL, &v->work, &works, by_task, NULL);
    return 0;
}
// refused: field_access
SEC("tc") int work_read(void *ctx) {
    int key = 0;
    struct worked *v = bpf_map_lookup_elem(&works, &key);
    return v ? v->work.opaque & 1 : 0;
}

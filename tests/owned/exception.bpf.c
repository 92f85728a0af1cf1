// SPDX-License-Identifier: Apache-2.0
// Programs that end by throwing.
#include "owned.h"

struct thing {
    long key;
};
struct timed {
    struct bpf_timer timer;
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 4);
    __type(key, int);
    __type(value, struct timed);
} timers SEC(".maps");
section_of(A) struct bpf_spin_lock lock;

// accepted
SEC("tc") int throws(void *ctx) {
    bpf_throw(0);
    return 0;
}
// accepted
SEC("tc") int throws_a_number(void *ctx) {
    bpf_throw(bpf_get_prandom_u32());
    return 0;
}
// accepted
SEC("tc") int throws_sometimes(void *ctx) {
    if (bpf_get_prandom_u32() & 1) bpf_throw(3);
    return 1;
}
// refused: reference_leak
SEC("tc") int throws_with_a_reference(void *ctx) {
    struct thing *thing = bpf_obj_new(struct thing);
    if (!thing) return 0;
    if (bpf_get_prandom_u32() & 1) bpf_throw(0);
    bpf_obj_drop(thing);
    return 0;
}
// accepted
SEC("tc") int throws_without_the_reference(void *ctx) {
    struct thing *thing = bpf_obj_new(struct thing);
    if (!thing) return 0;
    bpf_obj_drop(thing);
    bpf_throw(0);
    return 0;
}
// accepted
SEC("tc") int throws_where_it_got_none(void *ctx) {
    struct thing *thing = bpf_obj_new(struct thing);
    if (!thing) bpf_throw(0);
    bpf_obj_drop(thing);
    return 0;
}
// refused: lock_held_kfunc
SEC("tc") int throws_under_a_lock(void *ctx) {
    bpf_spin_lock(&lock);
    bpf_throw(0);
    bpf_spin_unlock(&lock);
    return 0;
}
// refused: section_open
SEC("tc") int throws_in_rcu(void *ctx) {
    bpf_rcu_read_lock();
    bpf_throw(0);
    bpf_rcu_read_unlock();
    return 0;
}
// refused: section_open
SEC("tc") int throws_without_preemption(void *ctx) {
    bpf_preempt_disable();
    bpf_throw(0);
    bpf_preempt_enable();
    return 0;
}
static __attribute__((noinline)) int thrower(int n) {
    if (n & 1) bpf_throw(n);
    return n;
}
// accepted
SEC("tc") int throws_in_a_function(void *ctx) {
    return thrower(bpf_get_prandom_u32());
}
// refused: reference_leak
SEC("tc") int throws_in_a_function_with_a_reference(void *ctx) {
    struct thing *thing = bpf_obj_new(struct thing);
    if (!thing) return 0;
    int n = thrower(bpf_get_prandom_u32());
    bpf_obj_drop(thing);
    return n;
}
// refused: section_open
SEC("tc") int throws_in_a_function_in_rcu(void *ctx) {
    bpf_rcu_read_lock();
    int n = thrower(bpf_get_prandom_u32());
    bpf_rcu_read_unlock();
    return n;
}
// refused: lock_held_kfunc
SEC("tc") int throws_in_a_function_under_a_lock(void *ctx) {
    int n = bpf_get_prandom_u32();
    bpf_spin_lock(&lock);
    n = thrower(n);
    bpf_spin_unlock(&lock);
    return n;
}
__attribute__((noinline)) int global_thrower(int n) {
    if (n & 1) bpf_throw(n);
    return n;
}
// accepted
SEC("tc") int throws_in_a_global_function(void *ctx) {
    return global_thrower(bpf_get_prandom_u32());
}
// accepted, as Linux does: global functions are judged by themselves
SEC("tc") int throws_in_a_global_function_with_a_reference(void *ctx) {
    struct thing *thing = bpf_obj_new(struct thing);
    if (!thing) return 0;
    int n = global_thrower(bpf_get_prandom_u32());
    bpf_obj_drop(thing);
    return n;
}
static long round(__u32 i, void *state) {
    if (i == 5) bpf_throw(i);
    return 0;
}
// refused: throw_in_callback
SEC("tc") int throws_in_a_callback(void *ctx) {
    bpf_loop(10, round, NULL, 0);
    return 0;
}
// refused: reference_leak
SEC("tc") int throws_in_a_callback_with_a_reference(void *ctx) {
    struct thing *thing = bpf_obj_new(struct thing);
    if (!thing) return 0;
    bpf_loop(10, round, NULL, 0);
    bpf_obj_drop(thing);
    return 0;
}
static int later(void *map, int *key, struct timed *value) {
    bpf_throw(0);
    return 0;
}
// refused: throw_in_callback
SEC("tc") int throws_in_a_timer(void *ctx) {
    int key = 0;
    struct timed *v = bpf_map_lookup_elem(&timers, &key);
    if (v) bpf_timer_set_callback(&v->timer, later);
    return 0;
}
static int later_wrong(void *map, int *key, struct timed *value) {
    bpf_throw(7);
    return 0;
}
// refused: timer_return
SEC("tc") int throws_a_number_in_a_timer(void *ctx) {
    int key = 0;
    struct timed *v = bpf_map_lookup_elem(&timers, &key);
    if (v) bpf_timer_set_callback(&v->timer, later_wrong);
    return 0;
}
// accepted
SEC("cgroup_skb/egress") int throws_in_range(void *ctx) {
    if (bpf_get_prandom_u32() & 1) bpf_throw(1);
    return 1;
}
// refused: return_range
SEC("cgroup_skb/egress") int throws_out_of_range(void *ctx) {
    if (bpf_get_prandom_u32() & 1) bpf_throw(64);
    return 1;
}
// refused: return_range
SEC("cgroup_skb/egress") int throws_out_of_range_in_a_function(void *ctx) {
    thrower(bpf_get_prandom_u32());
    return 1;
}
// refused: kfunc_argument
SEC("tc") int throws_a_pointer(void *ctx) {
    bpf_throw((unsigned long)ctx);
    return 0;
}
// refused: kfunc_program_type
SEC("kprobe/vfs_read") int throws_in_a_kprobe(void *ctx) {
    bpf_throw(0);
    return 0;
}
// accepted, as Linux does: what a global function throws is not looked at
SEC("cgroup_skb/egress") int throws_out_of_range_in_a_global_function(void *ctx) {
    global_thrower(bpf_get_prandom_u32());
    return 1;
}
static long calls_thrower(__u32 i, void *state) {
    global_thrower(i);
    return 0;
}
// refused: throw_in_callback
SEC("tc") int throws_in_a_function_of_a_callback(void *ctx) {
    bpf_loop(10, calls_thrower, NULL, 0);
    return 0;
}

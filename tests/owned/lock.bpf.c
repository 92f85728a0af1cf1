// SPDX-License-Identifier: Apache-2.0
// Resilient locks, which may not be got, and several of which may be held; functions that run under locks.
#include "owned.h"

struct leaf {
    long key;
    struct bpf_list_node node;
};
struct value {
    struct bpf_res_spin_lock lock;
    int data;
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 4);
    __type(key, int);
    __type(value, struct value);
} array SEC(".maps");
struct spun {
    struct bpf_spin_lock lock;
    int data;
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 4);
    __type(key, int);
    __type(value, struct spun);
} spun SEC(".maps");

section_of(A) struct bpf_res_spin_lock a;
section_of(A) struct bpf_list_head head __contains(leaf, node);
section_of(B) struct bpf_res_spin_lock b;
section_of(C) struct bpf_spin_lock plain;

// accepted
SEC("tc") int lock(void *ctx) {
    if (bpf_res_spin_lock(&a)) return 0;
    bpf_res_spin_unlock(&a);
    return 0;
}
// refused: lock_not_held
SEC("tc") int not_looked_at(void *ctx) {
    bpf_res_spin_lock(&a);
    bpf_res_spin_unlock(&a);
    return 0;
}
// refused: lock_held_at_end
SEC("tc") int kept(void *ctx) {
    bpf_res_spin_lock(&a);
    return 0;
}
// accepted
SEC("tc") int two(void *ctx) {
    if (bpf_res_spin_lock(&a)) return 0;
    if (bpf_res_spin_lock(&b)) goto out;
    bpf_res_spin_unlock(&b);
out:
    bpf_res_spin_unlock(&a);
    return 0;
}
// refused: lock_order
SEC("tc") int two_in_order(void *ctx) {
    if (bpf_res_spin_lock(&a)) return 0;
    if (bpf_res_spin_lock(&b)) {
        bpf_res_spin_unlock(&a);
        return 0;
    }
    bpf_res_spin_unlock(&a);
    bpf_res_spin_unlock(&b);
    return 0;
}
// refused: lock_again
SEC("tc") int again(void *ctx) {
    if (bpf_res_spin_lock(&a)) return 0;
    if (!bpf_res_spin_lock(&a)) bpf_res_spin_unlock(&a);
    bpf_res_spin_unlock(&a);
    return 0;
}
// refused: other_lock
SEC("tc") int another(void *ctx) {
    if (bpf_res_spin_lock(&a)) return 0;
    bpf_res_spin_unlock(&b);
    return 0;
}
// accepted
SEC("tc") int in_values(void *ctx) {
    int key = 0;
    struct value *v = bpf_map_lookup_elem(&array, &key);
    if (!v) return 0;
    key = 1;
    struct value *w = bpf_map_lookup_elem(&array, &key);
    if (!w) return 0;
    if (bpf_res_spin_lock(&v->lock)) return 0;
    if (bpf_res_spin_lock(&w->lock)) goto out;
    w->data = v->data;
    bpf_res_spin_unlock(&w->lock);
out:
    bpf_res_spin_unlock(&v->lock);
    return 0;
}
// refused: other_lock
SEC("tc") int another_value(void *ctx) {
    int key = 0;
    struct value *v = bpf_map_lookup_elem(&array, &key);
    if (!v) return 0;
    key = 1;
    struct value *w = bpf_map_lookup_elem(&array, &key);
    if (!w) return 0;
    if (bpf_res_spin_lock(&v->lock)) return 0;
    bpf_res_spin_unlock(&w->lock);
    return 0;
}
// refused: kfunc_argument
SEC("tc") int on_the_stack(void *ctx) {
    struct bpf_res_spin_lock here = {};
    if (bpf_res_spin_lock(&here)) return 0;
    bpf_res_spin_unlock(&here);
    return 0;
}
// refused: no_field
SEC("tc") int no_such_lock(void *ctx) {
    if (bpf_res_spin_lock((void *)&plain)) return 0;
    bpf_res_spin_unlock((void *)&plain);
    return 0;
}
// refused: not_the_lock
SEC("tc") int beside_the_lock(void *ctx) {
    int key = 0;
    struct value *v = bpf_map_lookup_elem(&array, &key);
    if (!v) return 0;
    if (bpf_res_spin_lock((void *)&v->data)) return 0;
    bpf_res_spin_unlock((void *)&v->data);
    return 0;
}
// refused: no_lock
SEC("tc") int resilient_as_plain(void *ctx) {
    bpf_spin_lock((void *)&a);
    bpf_spin_unlock((void *)&a);
    return 0;
}
// accepted
SEC("tc") int in_a_plain_one(void *ctx) {
    bpf_spin_lock(&plain);
    if (!bpf_res_spin_lock(&a)) bpf_res_spin_unlock(&a);
    bpf_spin_unlock(&plain);
    return 0;
}
// refused: lock_held_call
SEC("tc") int around_a_plain_one(void *ctx) {
    if (bpf_res_spin_lock(&a)) return 0;
    bpf_spin_lock(&plain);
    bpf_spin_unlock(&plain);
    bpf_res_spin_unlock(&a);
    return 0;
}
// refused: lock_held_call
SEC("tc") int calls_under_it(void *ctx) {
    if (bpf_res_spin_lock(&a)) return 0;
    bpf_get_prandom_u32();
    bpf_res_spin_unlock(&a);
    return 0;
}
// accepted
SEC("tc") int guards_a_list(void *ctx) {
    struct leaf *leaf = bpf_obj_new(struct leaf);
    if (!leaf) return 0;
    if (bpf_res_spin_lock(&a)) {
        bpf_obj_drop(leaf);
        return 0;
    }
    bpf_list_push_front(&head, &leaf->node);
    bpf_res_spin_unlock(&a);
    return 0;
}
// refused: lock_elsewhere
SEC("tc") int guards_another_list(void *ctx) {
    struct leaf *leaf = bpf_obj_new(struct leaf);
    if (!leaf) return 0;
    if (bpf_res_spin_lock(&b)) {
        bpf_obj_drop(leaf);
        return 0;
    }
    bpf_list_push_front(&head, &leaf->node);
    bpf_res_spin_unlock(&b);
    return 0;
}
// accepted
SEC("tc") int one_of_two_guards_a_list(void *ctx) {
    struct bpf_list_node *node = NULL;
    if (bpf_res_spin_lock(&a)) return 0;
    if (bpf_res_spin_lock(&b)) goto out;
    node = bpf_list_pop_front(&head);
    bpf_res_spin_unlock(&b);
out:
    bpf_res_spin_unlock(&a);
    if (node) bpf_obj_drop(container_of(node, struct leaf, node));
    return 0;
}
// accepted
SEC("tc") int saves_interrupts(void *ctx) {
    unsigned long flags;
    if (bpf_res_spin_lock_irqsave(&a, &flags)) return 0;
    bpf_res_spin_unlock_irqrestore(&a, &flags);
    return 0;
}
// refused: other_lock
SEC("tc") int saves_interrupts_and_leaves_them(void *ctx) {
    unsigned long flags;
    if (bpf_res_spin_lock_irqsave(&a, &flags)) return 0;
    bpf_res_spin_unlock(&a);
    return 0;
}
// refused: lock_held_kfunc
SEC("tc") int restores_as_of_another_kind(void *ctx) {
    unsigned long flags;
    if (bpf_res_spin_lock_irqsave(&a, &flags)) return 0;
    bpf_local_irq_restore(&flags);
    return 0;
}
// refused: other_lock
SEC("tc") int restores_what_was_not_saved(void *ctx) {
    unsigned long flags;
    bpf_local_irq_save(&flags);
    if (bpf_res_spin_lock(&a)) goto out;
    bpf_res_spin_unlock_irqrestore(&a, &flags);
    return 0;
out:
    bpf_local_irq_restore(&flags);
    return 0;
}
// accepted
SEC("tc") int saves_interrupts_twice(void *ctx) {
    unsigned long one, two;
    if (bpf_res_spin_lock_irqsave(&a, &one)) return 0;
    if (bpf_res_spin_lock_irqsave(&b, &two)) goto out;
    bpf_res_spin_unlock_irqrestore(&b, &two);
out:
    bpf_res_spin_unlock_irqrestore(&a, &one);
    return 0;
}
// refused: lock_program
SEC("socket") int plain_in_a_socket_filter(void *ctx) {
    int key = 0;
    return bpf_map_lookup_elem(&spun, &key) != NULL;
}
// refused: field_program
SEC("socket") int in_a_socket_filter(void *ctx) {
    int key = 0;
    return bpf_map_lookup_elem(&array, &key) != NULL;
}
// refused: field_program
SEC("kprobe/vfs_read") int in_a_kprobe(void *ctx) {
    int key = 0;
    return bpf_map_lookup_elem(&array, &key) != NULL;
}
__attribute__((noinline)) int everywhere(int n) {
    return n + 1;
}
static __attribute__((noinline)) int here(int n) {
    return n + 1;
}
// refused: lock_held_global
SEC("tc") int global_function_under_it(void *ctx) {
    int key = 0;
    struct value *v = bpf_map_lookup_elem(&array, &key);
    if (!v) return 0;
    if (bpf_res_spin_lock(&v->lock)) return 0;
    v->data = everywhere(v->data);
    bpf_res_spin_unlock(&v->lock);
    return 0;
}
// refused: lock_held_global
SEC("tc") int global_function_under_a_plain_one(void *ctx) {
    int key = 0;
    struct spun *v = bpf_map_lookup_elem(&spun, &key);
    if (!v) return 0;
    bpf_spin_lock(&v->lock);
    v->data = everywhere(v->data);
    bpf_spin_unlock(&v->lock);
    return 0;
}
// accepted
SEC("tc") int function_under_it(void *ctx) {
    int key = 0;
    struct value *v = bpf_map_lookup_elem(&array, &key);
    if (!v) return 0;
    if (bpf_res_spin_lock(&v->lock)) return 0;
    v->data = here(v->data);
    bpf_res_spin_unlock(&v->lock);
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
// Lists whose heads lie in map values, in data sections and in objects of the program's.
#include "owned.h"

struct leaf {
    long key;
    struct bpf_list_node node;
    struct bpf_list_node other;
};
struct inner {
    struct bpf_list_node node;
    long key;
};
struct branch {
    struct bpf_list_node node;
    struct bpf_spin_lock lock;
    struct bpf_list_head leaves __contains(inner, node);
    long count;
};
struct value {
    struct bpf_spin_lock lock;
    int data;
    struct bpf_list_head head __contains(leaf, node);
    struct bpf_list_head branches __contains(branch, node);
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

section_of(A) struct bpf_spin_lock lock;
section_of(A) struct bpf_list_head head __contains(leaf, node);
section_of(A) struct bpf_list_head second __contains(leaf, other);
section_of(B) struct bpf_spin_lock lock_b;
section_of(B) struct bpf_list_head head_b __contains(leaf, node);

// accepted
SEC("tc") int push_and_pop(void *ctx) {
    struct leaf *leaf = bpf_obj_new(struct leaf);
    if (!leaf) return 0;
    leaf->key = 4;
    bpf_spin_lock(&lock);
    bpf_list_push_front(&head, &leaf->node);
    struct bpf_list_node *node = bpf_list_pop_back(&head);
    bpf_spin_unlock(&lock);
    if (node) bpf_obj_drop(container_of(node, struct leaf, node));
    return 0;
}
// accepted
SEC("tc") int push_and_read(void *ctx) {
    struct leaf *leaf = bpf_obj_new(struct leaf);
    if (!leaf) return 0;
    bpf_spin_lock(&lock);
    bpf_list_push_back(&head, &leaf->node);
    leaf->key = 42;
    int key = leaf->key;
    bpf_spin_unlock(&lock);
    return key & 1;
}
// refused: not_a_pointer
SEC("tc") int read_after_unlock(void *ctx) {
    struct leaf *leaf = bpf_obj_new(struct leaf);
    if (!leaf) return 0;
    bpf_spin_lock(&lock);
    bpf_list_push_back(&head, &leaf->node);
    bpf_spin_unlock(&lock);
    leaf->key = 42;
    return 0;
}
// refused: kfunc_argument
SEC("tc") int push_twice(void *ctx) {
    struct leaf *leaf = bpf_obj_new(struct leaf);
    if (!leaf) return 0;
    bpf_spin_lock(&lock);
    bpf_list_push_back(&head, &leaf->node);
    bpf_list_push_back(&head, &leaf->node);
    bpf_spin_unlock(&lock);
    return 0;
}
// refused: kfunc_argument
SEC("tc") int drop_after_push(void *ctx) {
    struct leaf *leaf = bpf_obj_new(struct leaf);
    if (!leaf) return 0;
    bpf_spin_lock(&lock);
    bpf_list_push_back(&head, &leaf->node);
    bpf_spin_unlock(&lock);
    bpf_obj_drop(leaf);
    return 0;
}
// refused: lock_required
SEC("tc") int push_without_lock(void *ctx) {
    struct leaf *leaf = bpf_obj_new(struct leaf);
    if (!leaf) return 0;
    bpf_list_push_back(&head, &leaf->node);
    return 0;
}
// refused: lock_required
SEC("tc") int pop_without_lock(void *ctx) {
    struct bpf_list_node *node = bpf_list_pop_back(&head);
    if (node) bpf_obj_drop(container_of(node, struct leaf, node));
    return 0;
}
// refused: lock_elsewhere
SEC("tc") int push_with_another_lock(void *ctx) {
    struct leaf *leaf = bpf_obj_new(struct leaf);
    if (!leaf) return 0;
    bpf_spin_lock(&lock_b);
    bpf_list_push_back(&head, &leaf->node);
    bpf_spin_unlock(&lock_b);
    return 0;
}
// refused: arithmetic_maybe_null
SEC("tc") int push_unchecked(void *ctx) {
    struct leaf *leaf = bpf_obj_new(struct leaf);
    bpf_spin_lock(&lock);
    bpf_list_push_back(&head, &leaf->node);
    bpf_spin_unlock(&lock);
    return 0;
}
// refused: graph_node
SEC("tc") int push_by_another_node(void *ctx) {
    struct leaf *leaf = bpf_obj_new(struct leaf);
    if (!leaf) return 0;
    bpf_spin_lock(&lock);
    bpf_list_push_back(&head, &leaf->other);
    bpf_spin_unlock(&lock);
    return 0;
}
// accepted
SEC("tc") int push_into_the_other_list(void *ctx) {
    struct leaf *leaf = bpf_obj_new(struct leaf);
    if (!leaf) return 0;
    bpf_spin_lock(&lock);
    bpf_list_push_back(&second, &leaf->other);
    bpf_spin_unlock(&lock);
    return 0;
}
// refused: graph_node
SEC("tc") int push_another_type(void *ctx) {
    struct branch *branch = bpf_obj_new(struct branch);
    if (!branch) return 0;
    bpf_spin_lock(&lock);
    bpf_list_push_back(&head, &branch->node);
    bpf_spin_unlock(&lock);
    return 0;
}
// refused: no_field
SEC("tc") int push_no_node(void *ctx) {
    struct leaf *leaf = bpf_obj_new(struct leaf);
    if (!leaf) return 0;
    bpf_spin_lock(&lock);
    bpf_list_push_back(&head, (void *)leaf);
    bpf_spin_unlock(&lock);
    return 0;
}
// refused: no_field
SEC("tc") int push_no_head(void *ctx) {
    struct leaf *leaf = bpf_obj_new(struct leaf);
    if (!leaf) return 0;
    bpf_spin_lock(&lock);
    bpf_list_push_back((void *)&lock, &leaf->node);
    bpf_spin_unlock(&lock);
    return 0;
}
// refused: kfunc_argument
SEC("tc") int push_a_stack_node(void *ctx) {
    struct bpf_list_node node = {};
    bpf_spin_lock(&lock);
    bpf_list_push_back(&head, &node);
    bpf_spin_unlock(&lock);
    return 0;
}
// refused: own_field_access
SEC("tc") int node_read(void *ctx) {
    struct leaf *leaf = bpf_obj_new(struct leaf);
    if (!leaf) return 0;
    int got = leaf->node.opaque[0] != 0;
    bpf_obj_drop(leaf);
    return got;
}
// refused: field_access
SEC("tc") int head_read(void *ctx) {
    return head.opaque[0] & 1;
}
// refused: reference_leak
SEC("tc") int popped_and_kept(void *ctx) {
    bpf_spin_lock(&lock);
    struct bpf_list_node *node = bpf_list_pop_front(&head);
    bpf_spin_unlock(&lock);
    return node != NULL;
}
// refused: kfunc_argument
SEC("tc") int popped_and_dropped_as_a_node(void *ctx) {
    bpf_spin_lock(&lock);
    struct bpf_list_node *node = bpf_list_pop_front(&head);
    bpf_spin_unlock(&lock);
    if (node) bpf_obj_drop(node);
    return 0;
}
// accepted
SEC("tc") int popped_and_pushed(void *ctx) {
    bpf_spin_lock(&lock);
    struct bpf_list_node *node = bpf_list_pop_front(&head);
    if (node) bpf_list_push_back(&head, node);
    bpf_spin_unlock(&lock);
    return 0;
}
// accepted
SEC("tc") int peek(void *ctx) {
    int key = 0;
    bpf_spin_lock(&lock);
    struct bpf_list_node *node = bpf_list_front(&head);
    if (node) key = container_of(node, struct leaf, node)->key;
    node = bpf_list_back(&head);
    if (node) container_of(node, struct leaf, node)->key = key;
    bpf_spin_unlock(&lock);
    return 0;
}
// refused: maybe_null
SEC("tc") int peek_unchecked(void *ctx) {
    bpf_spin_lock(&lock);
    struct bpf_list_node *node = bpf_list_front(&head);
    int key = container_of(node, struct leaf, node)->key;
    bpf_spin_unlock(&lock);
    return key & 1;
}
// refused: not_a_pointer
SEC("tc") int peek_after_unlock(void *ctx) {
    bpf_spin_lock(&lock);
    struct bpf_list_node *node = bpf_list_front(&head);
    bpf_spin_unlock(&lock);
    return node ? container_of(node, struct leaf, node)->key & 1 : 0;
}
// refused: kfunc_argument
SEC("tc") int peek_and_push(void *ctx) {
    bpf_spin_lock(&lock);
    struct bpf_list_node *node = bpf_list_front(&head);
    if (node) bpf_list_push_back(&head, node);
    bpf_spin_unlock(&lock);
    return 0;
}
// accepted
SEC("tc") int in_a_map_value(void *ctx) {
    int key = 0;
    struct value *v = bpf_map_lookup_elem(&hash, &key);
    if (!v) return 0;
    struct leaf *leaf = bpf_obj_new(struct leaf);
    if (!leaf) return 0;
    bpf_spin_lock(&v->lock);
    bpf_list_push_front(&v->head, &leaf->node);
    v->data++;
    bpf_spin_unlock(&v->lock);
    return 0;
}
// refused: lock_elsewhere
SEC("tc") int in_two_map_values(void *ctx) {
    int key = 0;
    struct value *v = bpf_map_lookup_elem(&array, &key);
    if (!v) return 0;
    key = 1;
    struct value *w = bpf_map_lookup_elem(&array, &key);
    if (!w) return 0;
    struct leaf *leaf = bpf_obj_new(struct leaf);
    if (!leaf) return 0;
    bpf_spin_lock(&v->lock);
    bpf_list_push_front(&w->head, &leaf->node);
    bpf_spin_unlock(&v->lock);
    return 0;
}
// accepted
SEC("tc") int a_list_in_an_object(void *ctx) {
    struct branch *branch = bpf_obj_new(struct branch);
    if (!branch) return 0;
    struct inner *inner = bpf_obj_new(struct inner);
    if (!inner) goto drop;
    bpf_spin_lock(&branch->lock);
    bpf_list_push_front(&branch->leaves, &inner->node);
    bpf_spin_unlock(&branch->lock);
drop:
    bpf_obj_drop(branch);
    return 0;
}
// refused: lock_required
SEC("tc") int a_list_in_an_object_without_lock(void *ctx) {
    struct branch *branch = bpf_obj_new(struct branch);
    if (!branch) return 0;
    struct bpf_list_node *node = bpf_list_pop_front(&branch->leaves);
    if (node) bpf_obj_drop(container_of(node, struct inner, node));
    bpf_obj_drop(branch);
    return 0;
}
// refused: lock_elsewhere
SEC("tc") int a_list_in_another_object(void *ctx) {
    struct branch *branch = bpf_obj_new(struct branch);
    if (!branch) return 0;
    struct branch *other = bpf_obj_new(struct branch);
    if (!other) goto drop;
    bpf_spin_lock(&other->lock);
    struct bpf_list_node *node = bpf_list_pop_front(&branch->leaves);
    bpf_spin_unlock(&other->lock);
    if (node) bpf_obj_drop(container_of(node, struct inner, node));
    bpf_obj_drop(other);
drop:
    bpf_obj_drop(branch);
    return 0;
}
// accepted
SEC("tc") int branches(void *ctx) {
    int key = 0;
    struct value *v = bpf_map_lookup_elem(&array, &key);
    if (!v) return 0;
    bpf_spin_lock(&v->lock);
    struct bpf_list_node *node = bpf_list_pop_front(&v->branches);
    bpf_spin_unlock(&v->lock);
    if (!node) return 0;
    struct branch *branch = container_of(node, struct branch, node);
    bpf_spin_lock(&branch->lock);
    node = bpf_list_pop_front(&branch->leaves);
    bpf_spin_unlock(&branch->lock);
    if (node) bpf_obj_drop(container_of(node, struct inner, node));
    bpf_spin_lock(&v->lock);
    bpf_list_push_front(&v->branches, &branch->node);
    bpf_spin_unlock(&v->lock);
    return 0;
}
// refused: own_field_access
SEC("tc") int lock_in_an_object_read(void *ctx) {
    struct branch *branch = bpf_obj_new(struct branch);
    if (!branch) return 0;
    int val = *(volatile int *)&branch->lock;
    bpf_obj_drop(branch);
    return val & 1;
}
// refused: lock_held_kfunc
SEC("tc") int allocate_under_lock(void *ctx) {
    bpf_spin_lock(&lock);
    struct leaf *leaf = bpf_obj_new(struct leaf);
    bpf_spin_unlock(&lock);
    if (leaf) bpf_obj_drop(leaf);
    return 0;
}
// refused: lock_held_kfunc
SEC("tc") int drop_under_lock(void *ctx) {
    struct leaf *leaf = bpf_obj_new(struct leaf);
    if (!leaf) return 0;
    bpf_spin_lock(&lock);
    bpf_obj_drop(leaf);
    bpf_spin_unlock(&lock);
    return 0;
}
// refused: lock_held_call
SEC("tc") int lock_twice(void *ctx) {
    bpf_spin_lock(&lock);
    bpf_spin_lock(&lock_b);
    bpf_spin_unlock(&lock_b);
    bpf_spin_unlock(&lock);
    return 0;
}
// refused: lock_held_at_end
SEC("tc") int lock_kept(void *ctx) {
    bpf_spin_lock(&lock);
    return 0;
}
static __attribute__((noinline)) void pushes(struct leaf *leaf) {
    bpf_list_push_front(&head, &leaf->node);
}
// accepted
SEC("tc") int push_in_a_function(void *ctx) {
    struct leaf *leaf = bpf_obj_new(struct leaf);
    if (!leaf) return 0;
    bpf_spin_lock(&lock);
    pushes(leaf);
    leaf->key = 1;
    bpf_spin_unlock(&lock);
    return 0;
}
// accepted
SEC("tc") int push_in_a_loop(void *ctx) {
    for (int i = 0; i < 8; i++) {
        struct leaf *leaf = bpf_obj_new(struct leaf);
        if (!leaf) return 0;
        leaf->key = i;
        bpf_spin_lock(&lock);
        bpf_list_push_front(&head, &leaf->node);
        bpf_spin_unlock(&lock);
    }
    return 0;
}
static long pop_one(__u32 i, void *state) {
    bpf_spin_lock(&lock);
    struct bpf_list_node *node = bpf_list_pop_front(&head);
    bpf_spin_unlock(&lock);
    if (!node) return 1;
    bpf_obj_drop(container_of(node, struct leaf, node));
    return 0;
}
// accepted
SEC("tc") int pop_in_a_callback(void *ctx) {
    bpf_loop(100, pop_one, NULL, 0);
    return 0;
}
// refused: lock_program
SEC("kprobe/vfs_read") int in_a_kprobe(void *ctx) {
    int key = 0;
    struct value *v = bpf_map_lookup_elem(&array, &key);
    return v ? v->data & 1 : 0;
}
// refused: field_access
SEC("tc") int head_read_in_a_map_value(void *ctx) {
    int key = 0;
    struct value *v = bpf_map_lookup_elem(&array, &key);
    return v ? v->head.opaque[0] & 1 : 0;
}

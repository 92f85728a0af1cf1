// SPDX-License-Identifier: Apache-2.0
// Trees, and objects that several of them share.
#include "owned.h"

struct item {
    long key;
    long data;
    struct bpf_rb_node node;
};
struct shared {
    long key;
    struct bpf_rb_node in_tree;
    struct bpf_list_node in_list;
    struct bpf_refcount count;
};
struct kept {
    struct shared __kptr *stash;
    struct item __kptr *plain;
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 4);
    __type(key, int);
    __type(value, struct kept);
} stashes SEC(".maps");
struct grove {
    struct bpf_spin_lock lock;
    struct bpf_rb_root root __contains(item, node);
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 4);
    __type(key, int);
    __type(value, struct grove);
} groves SEC(".maps");

section_of(A) struct bpf_spin_lock lock;
section_of(A) struct bpf_rb_root root __contains(item, node);
section_of(A) struct bpf_rb_root second __contains(item, node);
section_of(B) struct bpf_spin_lock shared_lock;
section_of(B) struct bpf_rb_root shared_root __contains(shared, in_tree);
section_of(B) struct bpf_list_head shared_list __contains(shared, in_list);

static bool less(struct bpf_rb_node *a, const struct bpf_rb_node *b) {
    return container_of(a, struct item, node)->key < container_of(b, struct item, node)->key;
}
static bool shared_less(struct bpf_rb_node *a, const struct bpf_rb_node *b) {
    return container_of(a, struct shared, in_tree)->key < container_of(b, struct shared, in_tree)->key;
}
static bool locking_less(struct bpf_rb_node *a, const struct bpf_rb_node *b) {
    bpf_spin_unlock(&lock);
    return false;
}
static bool calling_less(struct bpf_rb_node *a, const struct bpf_rb_node *b) {
    return bpf_get_prandom_u32() & 1;
}
static bool removing_less(struct bpf_rb_node *a, const struct bpf_rb_node *b) {
    struct bpf_rb_node *node = bpf_rbtree_remove(&root, a);
    if (node) bpf_obj_drop(container_of(node, struct item, node));
    return false;
}
static bool peeking_less(struct bpf_rb_node *a, const struct bpf_rb_node *b) {
    struct bpf_rb_node *node = bpf_rbtree_first(&root);
    return node ? container_of(node, struct item, node)->key & 1 : false;
}
static bool writing_less(struct bpf_rb_node *a, const struct bpf_rb_node *b) {
    container_of(a, struct item, node)->data = 1;
    return false;
}
static bool rcu_less(struct bpf_rb_node *a, const struct bpf_rb_node *b) {
    bpf_rcu_read_lock();
    bpf_rcu_read_unlock();
    return false;
}
static __attribute__((noinline)) int wide_less(struct bpf_rb_node *a, const struct bpf_rb_node *b) {
    return container_of(a, struct item, node)->key;
}

#define ITEM(n)                                       \
    struct item *n = bpf_obj_new(struct item); \
    if (!n) return 0

// accepted
SEC("tc") int add(void *ctx) {
    ITEM(item);
    item->key = 5;
    bpf_spin_lock(&lock);
    bpf_rbtree_add(&root, &item->node, less);
    bpf_spin_unlock(&lock);
    return 0;
}
// accepted
SEC("tc") int add_two_and_remove(void *ctx) {
    ITEM(item);
    struct item *other = bpf_obj_new(struct item);
    if (!other) {
        bpf_obj_drop(item);
        return 0;
    }
    item->key = 5;
    other->key = 3;
    bpf_spin_lock(&lock);
    bpf_rbtree_add(&root, &item->node, less);
    bpf_rbtree_add(&root, &other->node, less);
    struct bpf_rb_node *gone = bpf_rbtree_remove(&root, &item->node);
    bpf_spin_unlock(&lock);
    if (gone) bpf_obj_drop(container_of(gone, struct item, node));
    return 0;
}
// accepted
SEC("tc") int first_and_remove(void *ctx) {
    bpf_spin_lock(&lock);
    struct bpf_rb_node *node = bpf_rbtree_first(&root);
    if (!node) {
        bpf_spin_unlock(&lock);
        return 0;
    }
    long key = container_of(node, struct item, node)->key;
    node = bpf_rbtree_remove(&root, node);
    bpf_spin_unlock(&lock);
    if (node) bpf_obj_drop(container_of(node, struct item, node));
    return key & 1;
}
// accepted
SEC("tc") int read_after_remove(void *ctx) {
    bpf_spin_lock(&lock);
    struct bpf_rb_node *node = bpf_rbtree_first(&root);
    if (!node) {
        bpf_spin_unlock(&lock);
        return 0;
    }
    struct item *item = container_of(node, struct item, node);
    struct bpf_rb_node *gone = bpf_rbtree_remove(&root, node);
    long key = item->key;
    bpf_spin_unlock(&lock);
    if (gone) bpf_obj_drop(container_of(gone, struct item, node));
    return key & 1;
}
// accepted
SEC("tc") int walk_down(void *ctx) {
    long key = 0;
    bpf_spin_lock(&lock);
    struct bpf_rb_node *node = bpf_rbtree_root(&root);
    for (int i = 0; i < 10 && node; i++) {
        key = container_of(node, struct item, node)->key;
        node = key & 1 ? bpf_rbtree_left(&root, node) : bpf_rbtree_right(&root, node);
    }
    bpf_spin_unlock(&lock);
    return key & 1;
}
// refused: maybe_null
SEC("tc") int first_unchecked(void *ctx) {
    bpf_spin_lock(&lock);
    struct bpf_rb_node *node = bpf_rbtree_first(&root);
    long key = container_of(node, struct item, node)->key;
    bpf_spin_unlock(&lock);
    return key & 1;
}
// refused: not_a_pointer
SEC("tc") int first_after_unlock(void *ctx) {
    bpf_spin_lock(&lock);
    struct bpf_rb_node *node = bpf_rbtree_first(&root);
    bpf_spin_unlock(&lock);
    return node ? container_of(node, struct item, node)->key & 1 : 0;
}
// refused: lock_required
SEC("tc") int first_without_lock(void *ctx) {
    struct bpf_rb_node *node = bpf_rbtree_first(&root);
    return node != NULL;
}
// refused: lock_required
SEC("tc") int add_without_lock(void *ctx) {
    ITEM(item);
    bpf_rbtree_add(&root, &item->node, less);
    return 0;
}
// refused: lock_elsewhere
SEC("tc") int add_with_another_lock(void *ctx) {
    ITEM(item);
    bpf_spin_lock(&shared_lock);
    bpf_rbtree_add(&root, &item->node, less);
    bpf_spin_unlock(&shared_lock);
    return 0;
}
// refused: reference_leak
SEC("tc") int removed_and_kept(void *ctx) {
    bpf_spin_lock(&lock);
    struct bpf_rb_node *node = bpf_rbtree_first(&root);
    if (node) node = bpf_rbtree_remove(&root, node);
    bpf_spin_unlock(&lock);
    return node != NULL;
}
// refused: kfunc_argument
SEC("tc") int add_what_is_in(void *ctx) {
    ITEM(item);
    bpf_spin_lock(&lock);
    bpf_rbtree_add(&root, &item->node, less);
    bpf_rbtree_add(&second, &item->node, less);
    bpf_spin_unlock(&lock);
    return 0;
}
// accepted
SEC("tc") int remove_what_is_not_in(void *ctx) {
    ITEM(item);
    bpf_spin_lock(&lock);
    struct bpf_rb_node *node = bpf_rbtree_remove(&root, &item->node);
    bpf_spin_unlock(&lock);
    if (node) bpf_obj_drop(container_of(node, struct item, node));
    bpf_obj_drop(item);
    return 0;
}
// accepted
SEC("tc") int remove_from_the_other(void *ctx) {
    ITEM(item);
    bpf_spin_lock(&lock);
    bpf_rbtree_add(&root, &item->node, less);
    struct bpf_rb_node *node = bpf_rbtree_remove(&second, &item->node);
    bpf_spin_unlock(&lock);
    if (node) bpf_obj_drop(container_of(node, struct item, node));
    return 0;
}
// refused: less_locks
SEC("tc") int less_unlocks(void *ctx) {
    ITEM(item);
    bpf_spin_lock(&lock);
    bpf_rbtree_add(&root, &item->node, locking_less);
    bpf_spin_unlock(&lock);
    return 0;
}
// refused: lock_held_call
SEC("tc") int less_calls(void *ctx) {
    ITEM(item);
    bpf_spin_lock(&lock);
    bpf_rbtree_add(&root, &item->node, calling_less);
    bpf_spin_unlock(&lock);
    return 0;
}
// refused: less_changes
SEC("tc") int less_removes(void *ctx) {
    ITEM(item);
    bpf_spin_lock(&lock);
    bpf_rbtree_add(&root, &item->node, removing_less);
    bpf_spin_unlock(&lock);
    return 0;
}
// accepted
SEC("tc") int less_peeks(void *ctx) {
    ITEM(item);
    bpf_spin_lock(&lock);
    bpf_rbtree_add(&root, &item->node, peeking_less);
    bpf_spin_unlock(&lock);
    return 0;
}
// accepted
SEC("tc") int less_writes(void *ctx) {
    ITEM(item);
    bpf_spin_lock(&lock);
    bpf_rbtree_add(&root, &item->node, writing_less);
    bpf_spin_unlock(&lock);
    return 0;
}
// refused: lock_held_kfunc
SEC("tc") int less_enters_rcu(void *ctx) {
    ITEM(item);
    bpf_spin_lock(&lock);
    bpf_rbtree_add(&root, &item->node, rcu_less);
    bpf_spin_unlock(&lock);
    return 0;
}
// refused: callback_return
SEC("tc") int less_returns_anything(void *ctx) {
    ITEM(item);
    bpf_spin_lock(&lock);
    bpf_rbtree_add(&root, &item->node, (void *)wide_less);
    bpf_spin_unlock(&lock);
    return 0;
}
// refused: kfunc_argument
SEC("tc") int less_is_null(void *ctx) {
    ITEM(item);
    bpf_spin_lock(&lock);
    bpf_rbtree_add(&root, &item->node, NULL);
    bpf_spin_unlock(&lock);
    return 0;
}
// accepted
SEC("tc") int add_in_a_loop(void *ctx) {
    for (int i = 0; i < 4; i++) {
        ITEM(item);
        item->key = i;
        bpf_spin_lock(&lock);
        bpf_rbtree_add(&root, &item->node, less);
        bpf_spin_unlock(&lock);
    }
    return 0;
}
// accepted
SEC("tc") int in_a_map_value(void *ctx) {
    int key = 0;
    struct grove *grove = bpf_map_lookup_elem(&groves, &key);
    if (!grove) return 0;
    ITEM(item);
    bpf_spin_lock(&grove->lock);
    bpf_rbtree_add(&grove->root, &item->node, less);
    bpf_spin_unlock(&grove->lock);
    return 0;
}

#define SHARED(n)                                         \
    struct shared *n = bpf_obj_new(struct shared); \
    if (!n) return 0

// accepted
SEC("tc") int two_owners(void *ctx) {
    SHARED(n);
    struct shared *m = bpf_refcount_acquire(n);
    bpf_spin_lock(&shared_lock);
    bpf_rbtree_add(&shared_root, &n->in_tree, shared_less);
    bpf_list_push_back(&shared_list, &m->in_list);
    bpf_spin_unlock(&shared_lock);
    return 0;
}
// refused: reference_leak
SEC("tc") int second_owner_forgets(void *ctx) {
    SHARED(n);
    struct shared *m = bpf_refcount_acquire(n);
    bpf_spin_lock(&shared_lock);
    bpf_rbtree_add(&shared_root, &n->in_tree, shared_less);
    bpf_spin_unlock(&shared_lock);
    return m->key & 1;
}
// accepted
SEC("tc") int acquire_from_the_list(void *ctx) {
    bpf_spin_lock(&shared_lock);
    struct bpf_list_node *node = bpf_list_front(&shared_list);
    if (!node) {
        bpf_spin_unlock(&shared_lock);
        return 0;
    }
    struct shared *m = bpf_refcount_acquire(container_of(node, struct shared, in_list));
    bpf_spin_unlock(&shared_lock);
    if (m) bpf_obj_drop(m);
    return 0;
}
// refused: maybe_null
SEC("tc") int acquire_from_the_list_unchecked(void *ctx) {
    bpf_spin_lock(&shared_lock);
    struct bpf_list_node *node = bpf_list_front(&shared_list);
    if (!node) {
        bpf_spin_unlock(&shared_lock);
        return 0;
    }
    struct shared *m = bpf_refcount_acquire(container_of(node, struct shared, in_list));
    bpf_spin_unlock(&shared_lock);
    bpf_obj_drop(m);
    return 0;
}
// refused: no_refcount
SEC("tc") int acquire_without_count(void *ctx) {
    ITEM(n);
    struct item *m = bpf_refcount_acquire(n);
    bpf_obj_drop(m);
    bpf_obj_drop(n);
    return 0;
}
// refused: maybe_null
SEC("tc") int acquire_unchecked(void *ctx) {
    struct shared *n = bpf_obj_new(struct shared);
    struct shared *m = bpf_refcount_acquire(n);
    bpf_obj_drop(m);
    if (n) bpf_obj_drop(n);
    return 0;
}
// refused: kfunc_argument
SEC("tc") int acquire_a_task(void *ctx) {
    struct task_struct *task = bpf_task_from_pid(1);
    if (!task) return 0;
    struct task_struct *m = bpf_refcount_acquire(task);
    bpf_task_release(m);
    bpf_task_release(task);
    return 0;
}
// accepted
SEC("tc") int acquire_inside(void *ctx) {
    SHARED(n);
    struct shared *m = (void *)bpf_refcount_acquire(&n->in_list);
    bpf_obj_drop(m);
    bpf_obj_drop(n);
    return 0;
}
// accepted
SEC("tc") int shared_removed_twice(void *ctx) {
    bpf_spin_lock(&shared_lock);
    struct bpf_rb_node *node = bpf_rbtree_first(&shared_root);
    if (!node) {
        bpf_spin_unlock(&shared_lock);
        return 0;
    }
    struct bpf_rb_node *again = NULL, *once = bpf_rbtree_remove(&shared_root, node);
    if (once) again = bpf_rbtree_remove(&shared_root, once);
    bpf_spin_unlock(&shared_lock);
    if (once) bpf_obj_drop(container_of(once, struct shared, in_tree));
    if (again) bpf_obj_drop(container_of(again, struct shared, in_tree));
    return 0;
}
// refused: not_a_pointer
SEC("tc") int shared_after_unlock(void *ctx) {
    SHARED(n);
    bpf_spin_lock(&shared_lock);
    bpf_rbtree_add(&shared_root, &n->in_tree, shared_less);
    bpf_spin_unlock(&shared_lock);
    return n->key & 1;
}
// accepted
SEC("tc") int stash_acquired(void *ctx) {
    int key = 0;
    struct kept *kept = bpf_map_lookup_elem(&stashes, &key);
    if (!kept) return 0;
    struct shared *n = kept->stash;
    if (!n) return 0;
    n = bpf_refcount_acquire(n);
    if (!n) return 0;
    bpf_obj_drop(n);
    return 0;
}
// refused: kfunc_argument
SEC("tc") int stash_added(void *ctx) {
    int key = 0;
    struct kept *kept = bpf_map_lookup_elem(&stashes, &key);
    if (!kept) return 0;
    struct shared *n = kept->stash;
    if (!n) return 0;
    bpf_spin_lock(&shared_lock);
    bpf_rbtree_add(&shared_root, &n->in_tree, shared_less);
    bpf_spin_unlock(&shared_lock);
    return 0;
}
// accepted
SEC("tc") int stash_removed(void *ctx) {
    int key = 0;
    struct kept *kept = bpf_map_lookup_elem(&stashes, &key);
    if (!kept) return 0;
    struct shared *n = kept->stash;
    if (!n) return 0;
    bpf_spin_lock(&shared_lock);
    struct bpf_rb_node *node = bpf_rbtree_remove(&shared_root, &n->in_tree);
    bpf_spin_unlock(&shared_lock);
    if (node) bpf_obj_drop(container_of(node, struct shared, in_tree));
    return 0;
}
// accepted
SEC("tc") int stash_plain_read(void *ctx) {
    int key = 0;
    struct kept *kept = bpf_map_lookup_elem(&stashes, &key);
    if (!kept) return 0;
    struct item *n = kept->plain;
    return n ? n->key & 1 : 0;
}
// refused: lock_held_call
SEC("tc") int stash_exchanged_under_lock(void *ctx) {
    int key = 0;
    struct kept *kept = bpf_map_lookup_elem(&stashes, &key);
    if (!kept) return 0;
    bpf_spin_lock(&shared_lock);
    struct shared *n = bpf_kptr_xchg(&kept->stash, NULL);
    if (n) bpf_rbtree_add(&shared_root, &n->in_tree, shared_less);
    bpf_spin_unlock(&shared_lock);
    return 0;
}

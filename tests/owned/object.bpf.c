// SPDX-License-Identifier: Apache-2.0
// Objects that the program allocates, and pointers to them in map values.
#include "owned.h"

struct own {
    long key;
    long data;
};
struct many {
    long key;
    struct own __kptr *inside;
};
struct percpu {
    long hits;
};
struct own_value {
    struct own __kptr *own;
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 4);
    __type(key, int);
    __type(value, struct own_value);
} owns SEC(".maps");
struct percpu_value {
    struct percpu __percpu_kptr *counts;
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 4);
    __type(key, int);
    __type(value, struct percpu_value);
} all_counts SEC(".maps");
struct many_value {
    struct many __kptr *many;
};
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 4);
    __type(key, int);
    __type(value, struct many_value);
} manys SEC(".maps");

static inline void *find(void *map) {
    int key = 0;
    return bpf_map_lookup_elem(map, &key);
}
#define VALUE(type, map)                     \
    struct type##_value *v = find(&(map)); \
    if (!v) return 0

// accepted
SEC("tc") int own_exchanged(void *ctx) {
    VALUE(own, owns);
    struct own *own = bpf_obj_new(struct own);
    if (!own) return 0;
    own->key = 5;
    own = bpf_kptr_xchg(&v->own, own);
    if (own) {
        own->data = own->key;
        bpf_obj_drop(own);
    }
    return 0;
}
// accepted
SEC("tc") int own_loaded(void *ctx) {
    VALUE(own, owns);
    struct own *own = v->own;
    return own ? own->key & 1 : 0;
}
// accepted
SEC("tc") int own_loaded_and_written(void *ctx) {
    VALUE(own, owns);
    struct own *own = v->own;
    if (own) own->key = 3;
    return 0;
}
// refused: kfunc_argument
SEC("tc") int own_loaded_and_dropped(void *ctx) {
    VALUE(own, owns);
    struct own *own = v->own;
    if (own) bpf_obj_drop(own);
    return 0;
}
// refused: kfunc_argument
SEC("tc") int own_as_a_task(void *ctx) {
    VALUE(own, owns);
    struct own *own = bpf_kptr_xchg(&v->own, NULL);
    if (own) bpf_task_release((void *)own);
    return 0;
}
// refused: kptr_type
SEC("tc") int own_of_another_type(void *ctx) {
    VALUE(own, owns);
    struct percpu *other = bpf_obj_new(struct percpu);
    if (!other) return 0;
    struct own *own = bpf_kptr_xchg(&v->own, (void *)other);
    if (own) bpf_obj_drop(own);
    return 0;
}
// accepted
SEC("tc") int counts_exchanged(void *ctx) {
    VALUE(percpu, all_counts);
    struct percpu __percpu_kptr *counts = (void *)bpf_percpu_obj_new(struct percpu);
    if (!counts) return 0;
    counts = bpf_kptr_xchg(&v->counts, counts);
    if (counts) bpf_percpu_obj_drop((void *)counts);
    return 0;
}
// accepted
SEC("tc") int counts_used(void *ctx) {
    VALUE(percpu, all_counts);
    struct percpu *counts = (void *)v->counts;
    if (!counts) return 0;
    struct percpu *mine = bpf_this_cpu_ptr(counts);
    mine->hits++;
    struct percpu *other = bpf_per_cpu_ptr(counts, 0);
    if (other) other->hits++;
    return 0;
}
// accepted
SEC("tc") int counts_given_away_and_used(void *ctx) {
    VALUE(percpu, all_counts);
    struct percpu *counts = bpf_percpu_obj_new(struct percpu);
    if (!counts) return 0;
    struct percpu *old = bpf_kptr_xchg(&v->counts, (void *)counts);
    if (old) bpf_percpu_obj_drop(old);
    struct percpu *mine = bpf_this_cpu_ptr(counts);
    mine->hits++;
    return 0;
}
// refused: typed_elsewhere
SEC("tc") int counts_read(void *ctx) {
    VALUE(percpu, all_counts);
    struct percpu *counts = (void *)v->counts;
    return counts ? counts->hits & 1 : 0;
}
// refused: maybe_null
SEC("tc") int counts_not_checked(void *ctx) {
    VALUE(percpu, all_counts);
    struct percpu *mine = bpf_this_cpu_ptr((void *)v->counts);
    mine->hits++;
    return 0;
}
// refused: kfunc_argument
SEC("tc") int counts_dropped_as_plain(void *ctx) {
    struct percpu *counts = bpf_percpu_obj_new(struct percpu);
    if (counts) bpf_obj_drop(counts);
    return 0;
}
// refused: kfunc_argument
SEC("tc") int plain_dropped_as_counts(void *ctx) {
    struct percpu *counts = bpf_obj_new(struct percpu);
    if (counts) bpf_percpu_obj_drop(counts);
    return 0;
}
// accepted, as Linux does
SEC("tc") int plain_as_counts(void *ctx) {
    VALUE(percpu, all_counts);
    struct percpu *counts = bpf_obj_new(struct percpu);
    if (!counts) return 0;
    struct percpu *old = bpf_kptr_xchg(&v->counts, (void *)counts);
    if (old) bpf_percpu_obj_drop(old);
    return 0;
}
// accepted
SEC("tc") int pointer_in_an_own_object(void *ctx) {
    VALUE(many, manys);
    struct many *many = bpf_kptr_xchg(&v->many, NULL);
    if (!many) return 0;
    struct own *own = bpf_kptr_xchg(&many->inside, NULL);
    if (own) bpf_obj_drop(own);
    many = bpf_kptr_xchg(&v->many, many);
    if (many) bpf_obj_drop(many);
    return 0;
}
// accepted
SEC("tc") int pointer_into_an_own_object(void *ctx) {
    struct many *many = bpf_obj_new(struct many);
    if (!many) return 0;
    struct own *own = bpf_obj_new(struct own);
    if (own) {
        own = bpf_kptr_xchg(&many->inside, own);
        if (own) bpf_obj_drop(own);
    }
    bpf_obj_drop(many);
    return 0;
}
// refused: own_field_access
SEC("tc") int pointer_in_an_own_object_read(void *ctx) {
    struct many *many = bpf_obj_new(struct many);
    if (!many) return 0;
    int there = many->inside != NULL;
    bpf_obj_drop(many);
    return there;
}
// refused: wrong_argument
SEC("tc") int pointer_in_an_object_of_a_map(void *ctx) {
    VALUE(many, manys);
    struct many *many = v->many;
    if (!many) return 0;
    struct own *own = bpf_kptr_xchg(&many->inside, NULL);
    if (own) bpf_obj_drop(own);
    return 0;
}
// refused: typed_write
SEC("syscall") int asleep_own_written_outside_rcu(void *ctx) {
    VALUE(own, owns);
    struct own *own = v->own;
    if (own) own->key = 3;
    return 0;
}
// accepted
SEC("syscall") int asleep_own_written_in_rcu(void *ctx) {
    VALUE(own, owns);
    bpf_rcu_read_lock();
    struct own *own = v->own;
    if (own) own->key = 3;
    bpf_rcu_read_unlock();
    return 0;
}
// refused: wrong_argument
SEC("syscall") int asleep_counts_outside_rcu(void *ctx) {
    VALUE(percpu, all_counts);
    struct percpu *counts = (void *)v->counts;
    if (!counts) return 0;
    struct percpu *mine = bpf_this_cpu_ptr(counts);
    mine->hits++;
    return 0;
}
// accepted
SEC("tc") int object_dropped(void *ctx) {
    struct own *own = bpf_obj_new(struct own);
    if (own) bpf_obj_drop(own);
    return 0;
}
// refused: reference_leak
SEC("tc") int object_kept(void *ctx) {
    struct own *own = bpf_obj_new(struct own);
    return own != NULL;
}
// refused: maybe_null
SEC("tc") int object_not_checked(void *ctx) {
    struct own *own = bpf_obj_new(struct own);
    own->key = 1;
    bpf_obj_drop(own);
    return 0;
}
// refused: maybe_null
SEC("tc") int object_not_checked_dropped(void *ctx) {
    struct own *own = bpf_obj_new(struct own);
    bpf_obj_drop(own);
    return 0;
}
// refused: kfunc_argument
SEC("tc") int object_dropped_twice(void *ctx) {
    struct own *own = bpf_obj_new(struct own);
    if (!own) return 0;
    bpf_obj_drop(own);
    bpf_obj_drop(own);
    return 0;
}
// refused: kfunc_argument
SEC("tc") int object_dropped_inside(void *ctx) {
    struct own *own = bpf_obj_new(struct own);
    if (own) bpf_obj_drop(&own->data);
    return 0;
}
// refused: typed_field
SEC("tc") int object_beyond(void *ctx) {
    struct own *own = bpf_obj_new(struct own);
    if (!own) return 0;
    ((volatile long *)own)[2] = 1;
    bpf_obj_drop(own);
    return 0;
}
// refused: typed_offset
SEC("tc") int object_anywhere(void *ctx) {
    struct own *own = bpf_obj_new(struct own);
    if (!own) return 0;
    ((volatile char *)own)[bpf_get_prandom_u32() & 7] = 1;
    bpf_obj_drop(own);
    return 0;
}
// refused: wrong_argument
SEC("tc") int object_to_a_helper(void *ctx) {
    struct own *own = bpf_obj_new(struct own);
    if (!own) return 0;
    bpf_get_current_comm(own, 16);
    bpf_obj_drop(own);
    return 0;
}
// refused: object_type
SEC("tc") int object_of_no_type(void *ctx) {
    struct own *own = bpf_obj_new_impl(100000, NULL);
    if (own) bpf_obj_drop(own);
    return 0;
}
// refused: object_type
SEC("tc") int object_of_a_number(void *ctx) {
    long *own = bpf_obj_new_impl(__builtin_btf_type_id(*(long *)0, 0), NULL);
    if (own) bpf_obj_drop(own);
    return 0;
}
// refused: size_not_constant
SEC("tc") int object_of_any_type(void *ctx) {
    struct own *own = bpf_obj_new_impl(bpf_get_prandom_u32(), NULL);
    if (own) bpf_obj_drop(own);
    return 0;
}
struct large {
    char bytes[600];
};
// accepted
SEC("tc") int object_large(void *ctx) {
    struct large *large = bpf_obj_new(struct large);
    if (large) bpf_obj_drop(large);
    return 0;
}
// refused: percpu_type
SEC("tc") int counts_large(void *ctx) {
    struct large *large = bpf_percpu_obj_new(struct large);
    if (large) bpf_percpu_obj_drop(large);
    return 0;
}
// refused: percpu_type
SEC("tc") int counts_with_a_pointer(void *ctx) {
    struct many *many = bpf_percpu_obj_new(struct many);
    if (many) bpf_percpu_obj_drop(many);
    return 0;
}

// What an object of each CPU may consist of.
struct percpu_nested_type {
    struct { struct { struct { long a; } b; } c; } d;
};
// accepted
SEC("tc") int percpu_nested(void *ctx) {
    struct percpu_nested_type *object = bpf_percpu_obj_new(struct percpu_nested_type);
    if (object) bpf_percpu_obj_drop(object);
    return 0;
}
struct percpu_too_nested_type {
    struct { struct { struct { struct { long a; } b; } c; } d; } e;
};
// refused: percpu_type
SEC("tc") int percpu_too_nested(void *ctx) {
    struct percpu_too_nested_type *object = bpf_percpu_obj_new(struct percpu_too_nested_type);
    if (object) bpf_percpu_obj_drop(object);
    return 0;
}
struct percpu_structs_type {
    struct { long a, b; } pairs[2];
};
// refused: percpu_type
SEC("tc") int percpu_structs(void *ctx) {
    struct percpu_structs_type *object = bpf_percpu_obj_new(struct percpu_structs_type);
    if (object) bpf_percpu_obj_drop(object);
    return 0;
}
struct percpu_numbers_type {
    long a[4]; short b[3]; enum { percpu_one } c; _Bool d;
};
// accepted
SEC("tc") int percpu_numbers(void *ctx) {
    struct percpu_numbers_type *object = bpf_percpu_obj_new(struct percpu_numbers_type);
    if (object) bpf_percpu_obj_drop(object);
    return 0;
}
struct percpu_rows_type {
    long a[4][2];
};
// refused: percpu_type
SEC("tc") int percpu_rows(void *ctx) {
    struct percpu_rows_type *object = bpf_percpu_obj_new(struct percpu_rows_type);
    if (object) bpf_percpu_obj_drop(object);
    return 0;
}
struct percpu_open_type {
    long a; long b[];
};
// refused: percpu_type
SEC("tc") int percpu_open(void *ctx) {
    struct percpu_open_type *object = bpf_percpu_obj_new(struct percpu_open_type);
    if (object) bpf_percpu_obj_drop(object);
    return 0;
}
struct percpu_union_type {
    union { long a; int b; } u;
};
// accepted
SEC("tc") int percpu_union(void *ctx) {
    struct percpu_union_type *object = bpf_percpu_obj_new(struct percpu_union_type);
    if (object) bpf_percpu_obj_drop(object);
    return 0;
}
struct percpu_union_pointer_type {
    union { long a; void *b; } u;
};
// refused: percpu_type
SEC("tc") int percpu_union_pointer(void *ctx) {
    struct percpu_union_pointer_type *object = bpf_percpu_obj_new(struct percpu_union_pointer_type);
    if (object) bpf_percpu_obj_drop(object);
    return 0;
}
struct percpu_bits_type {
    unsigned a : 3, b : 5;
};
// accepted
SEC("tc") int percpu_bits(void *ctx) {
    struct percpu_bits_type *object = bpf_percpu_obj_new(struct percpu_bits_type);
    if (object) bpf_percpu_obj_drop(object);
    return 0;
}
struct percpu_real_type {
    long a; double b;
};
// refused: percpu_type
SEC("tc") int percpu_real(void *ctx) {
    struct percpu_real_type *object = bpf_percpu_obj_new(struct percpu_real_type);
    if (object) bpf_percpu_obj_drop(object);
    return 0;
}

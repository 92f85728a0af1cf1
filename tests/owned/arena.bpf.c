// SPDX-License-Identifier: Apache-2.0
// Arenas: memory that programs share with processes, at addresses that a compiler knows as another address space.
#include "owned.h"

#define __arena __attribute__((address_space(1)))
#define __arg_arena __attribute__((btf_decl_tag("arg:arena")))

void __arena *bpf_arena_alloc_pages(void *map, void __arena *addr, __u32 pages, int node, __u64 flags) __ksym;
void bpf_arena_free_pages(void *map, void __arena *addr, __u32 pages) __ksym;

struct {
    __uint(type, 33);  // BPF_MAP_TYPE_ARENA
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 16);
    __uint(map_extra, 0x10000000);  // where it is in user space
} arena SEC(".maps");
struct {
    __uint(type, 33);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 1);
    __uint(map_extra, 0x20000000);
} second SEC(".maps");

struct element {
    struct element __arena *next;
    long value;
    char name[16];
};
struct list {
    struct element __arena *first;
    int count;
};
static __always_inline void __arena *page(void) { return bpf_arena_alloc_pages(&arena, NULL, 1, -1, 0); }

// accepted: a list that a process may have made
SEC("syscall") int list_walked(void *ctx) {
    struct list __arena *list = page();
    long sum = 0;
    if (!list) return 1;
    struct element __arena *one = list->first;
    for (int i = 0; i < 100 && one; i++) {
        sum += one->value;
        one = one->next;
    }
    return sum & 0xff;
}
// accepted: an element is put before the first
SEC("syscall") int list_grown(void *ctx) {
    struct list __arena *list = page();
    struct element __arena *one = page();
    if (!list || !one) return 1;
    one->next = list->first;
    list->first = one;
    __sync_fetch_and_add(&list->count, 1);
    return 0;
}
// accepted: no index leaves the arena
SEC("syscall") int any_index(unsigned int *ctx) {
    struct element __arena *all = page();
    all[*ctx].value = all[-1].value;
    return 0;
}
// accepted: an address is compared, and sorted by
SEC("syscall") int compared(void *ctx) {
    struct element __arena *one = page();
    struct element __arena *other = page();
    return one < other ? 1 : one == other ? 2 : 3;
}
// accepted: pages are given back, and nobody looks whether they were got
SEC("syscall") int given_back(void *ctx) {
    bpf_arena_free_pages(&arena, page(), 1);
    return 0;
}
// accepted: a swap tells whether it was
SEC("syscall") int swapped(void *ctx) {
    struct list __arena *list = page();
    return __sync_val_compare_and_swap(&list->count, 1, 2);
}
// refused: arena_atomic
SEC("syscall") int bits_fetched(void *ctx) {
    struct list __arena *list = page();
    return __sync_fetch_and_or(&list->count, 4);
}
// accepted: bits are set, and what was there is of no interest
SEC("syscall") int bits_set(void *ctx) {
    struct list __arena *list = page();
    __sync_fetch_and_or(&list->count, 4);
    return 0;
}
// refused: kfunc_sleepable
SEC("tc") int pages_in_tc(struct __sk_buff *skb) {
    struct list __arena *list = page();
    list->count = 1;
    return 0;
}
// refused: arena_argument
SEC("syscall") int memory_for_a_helper(void *ctx) {
    struct element __arena *one = page();
    bpf_get_current_comm((void *)one->name, sizeof(one->name));
    return 0;
}
// refused: second_arena
SEC("syscall") int two_arenas(void *ctx) {
    struct list __arena *list = page();
    bpf_arena_free_pages(&second, list, 1);
    list->count = 1;
    return 0;
}
__attribute__((noinline)) int sum(struct element __arena *one __arg_arena) { return one->value + one->next->value; }
// accepted: a global function
SEC("syscall") int to_global(void *ctx) {
    return sum(page());
}
// accepted: any number may be an address in it
SEC("syscall") int number_to_global(unsigned long *ctx) {
    bpf_arena_free_pages(&arena, NULL, 1);
    return sum((struct element __arena *)*ctx);
}
// refused: not_a_pointer
SEC("syscall") int followed_uncast(void *ctx) {
    unsigned long address = (unsigned long)page();
    return *(volatile int *)address;
}
char _license[] SEC("license") = "GPL";

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// For object_test.cpp: rules over orders, a filter over packets, maps, and global variables of all kinds.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct order {
    __u64 hidden;
    __u32 amount, country;
};

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16);
    __type(key, __u32);
    __type(value, __u64);
} blocked SEC(".maps");

const volatile __u32 limit = 1000;
__u64 seen = 100;
__u64 refused;

SEC("tracepoint/host/order")
int accept(struct order *order) {
    __u32 country = order->country;
    __u64 *hits = bpf_map_lookup_elem(&blocked, &country);
    __sync_fetch_and_add(&seen, 1);
    if (hits) {
        __sync_fetch_and_add(hits, 1);
        __sync_fetch_and_add(&refused, 1);
        return 0;
    }
    return order->amount <= limit;
}

SEC("socket")
int length(struct __sk_buff *packet) { return packet->len; }

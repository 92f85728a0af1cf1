// SPDX-License-Identifier: Apache-2.0
// Extensions of the programs in target.bpf.c: accepted, or the finding that each is refused for.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1);
    __type(key, int);
    __type(value, long);
} sums SEC(".maps");

// accepted
SEC("freplace/weigh") int product(int a, long b) { return a * b; }
// accepted
SEC("freplace/look") int mark(struct __sk_buff *skb) {
    skb->mark = 5;
    return skb->len;
}
// accepted
SEC("freplace/shape") int other_shape(struct __sk_buff *skb) { return skb->protocol; }
// accepted: the one that is there moves the packet, too
SEC("freplace/change") int pull(struct __sk_buff *skb) { return bpf_skb_pull_data(skb, 40); }
// accepted
SEC("freplace/inspect") int first_byte(struct xdp_md *xdp) {
    unsigned char *data = (void *)(long)xdp->data, *end = (void *)(long)xdp->data_end;
    return data + 1 <= end ? *data : 0;
}
// refused: out_of_packet
SEC("freplace/inspect") int beyond(struct xdp_md *xdp) { return *(unsigned char *)(long)xdp->data; }
// refused: helper_program_type
SEC("freplace/inspect") int foreign_helper(struct xdp_md *xdp) { return bpf_get_hash_recalc((void *)xdp); }
// refused: bad_extension
SEC("freplace/look") int moves(struct __sk_buff *skb) { return bpf_skb_pull_data(skb, 40); }
// refused: bad_extension
SEC("freplace/hidden") int uncovered(int a) { return a; }
// refused: bad_extension
SEC("freplace/nowhere") int lost(int a) { return a; }
// refused: bad_extension
SEC("freplace/weigh") int lighter(int a) { return a; }
// refused: extension_argument
SEC("freplace/weigh") int heavier(long a, long b) { return a + b; }
// refused: extension_argument
SEC("freplace/look") int elsewhere(struct xdp_md *xdp) { return xdp->data != 0; }
// refused: maybe_null
SEC("freplace/weigh") int careless(int a, long b) {
    int key = 0;
    long *sum = bpf_map_lookup_elem(&sums, &key);
    return *sum;
}
char _license[] SEC("license") = "GPL";

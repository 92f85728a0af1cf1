// SPDX-License-Identifier: Apache-2.0
// Programs whose functions extension.bpf.c replaces.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

__attribute__((noinline)) int weigh(int a, long b) {
    volatile int sum = a;
    return sum + b;
}
__attribute__((noinline)) int look(struct __sk_buff *skb) {
    volatile int length = skb->len;
    return length;
}
__attribute__((noinline)) int change(struct __sk_buff *skb) { return bpf_skb_pull_data(skb, 0); }
__attribute__((noinline)) int inspect(struct xdp_md *xdp) {
    volatile int queue = xdp->rx_queue_index;
    return queue;
}
static __attribute__((noinline)) int hidden(int a) {
    volatile int same = a;
    return same;
}
SEC("tc") int shape(struct __sk_buff *skb) { return look(skb) + change(skb) + weigh(1, 2) + hidden(3); }
SEC("xdp") int filter(struct xdp_md *xdp) { return inspect(xdp) > 1 ? XDP_DROP : XDP_PASS; }
SEC("cgroup_skb/ingress") int admit(struct __sk_buff *skb) { return weigh(1, skb->len) & 1; }
char _license[] SEC("license") = "GPL";

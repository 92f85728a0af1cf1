// SPDX-License-Identifier: Apache-2.0
// What bench_verifier loads most: programs of 10 to 100 instructions, as tools have them.
#include "common.h"

MAP(counts, HASH, u32, u64, 1024);
MAP(settings, ARRAY, u32, u64, 4);
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 4096);
} events SEC(".maps");

SEC("kprobe") int count_calls(void *ctx) {
    u32 key = bpf_get_current_pid_tgid() >> 32;
    u64 one = 1, *count = bpf_map_lookup_elem(&counts, &key);
    if (count)
        __sync_fetch_and_add(count, 1);
    else
        bpf_map_update_elem(&counts, &key, &one, BPF_NOEXIST);
    return 0;
}

struct event {
    u64 time;
    u32 pid, uid;
    char comm[16];
};

SEC("kprobe") int record_event(void *ctx) {
    u32 key = 0;
    u64 *wanted = bpf_map_lookup_elem(&settings, &key);
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    if (wanted && *wanted && *wanted != pid) return 0;
    struct event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
    if (!event) return 0;
    event->time = bpf_ktime_get_ns();
    event->pid = pid;
    event->uid = (u32)bpf_get_current_uid_gid();
    bpf_get_current_comm(event->comm, sizeof(event->comm));
    bpf_ringbuf_submit(event, 0);
    return 0;
}

SEC("xdp") int drop_port(struct xdp_md *ctx) {
    u8 *at = (u8 *)(long)ctx->data, *end = (u8 *)(long)ctx->data_end;
    struct ethhdr *ethernet = (void *)at;
    if (at + sizeof(*ethernet) > end) return XDP_DROP;
    if (ethernet->h_proto != bpf_htons(0x0800)) return XDP_PASS;
    struct iphdr *ip = (void *)(at + sizeof(*ethernet));
    if ((u8 *)(ip + 1) > end || ip->ihl < 5) return XDP_DROP;
    if (ip->protocol != 17) return XDP_PASS;
    struct udphdr *udp = (void *)((u8 *)ip + ip->ihl * 4);
    if ((u8 *)(udp + 1) > end) return XDP_DROP;
    u32 port = bpf_ntohs(udp->dest);
    u64 *drops = bpf_map_lookup_elem(&counts, &port);
    if (!drops) return XDP_PASS;
    __sync_fetch_and_add(drops, 1);
    return XDP_DROP;
}

char _license[] SEC("license") = "GPL";

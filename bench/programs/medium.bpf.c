// SPDX-License-Identifier: Apache-2.0
// Programs of 500 to 2000 instructions: a flow table, a hash over a wide key, and a policy of many checks.
#include "common.h"

struct flow {
    u32 source[4], target[4];
    u16 source_port, target_port;
    u8 protocol, version;
    u16 vlan;
};
struct counters {
    u64 packets, bytes, first, last;
    u32 flags, mark, ports[8];
};
MAP(flows, HASH, struct flow, struct counters, 1024);
MAP(blocked, HASH, u32, u64, 1024);
struct policy {
    u64 limits[64];
    u32 flags[64];
    u8 names[64];
};
MAP(policies, ARRAY, u32, struct policy, 8);

#define ROTATE(x, by) ((x) << (by) | (x) >> (32 - (by)))
#define MIX(a, b, c)                      \
    do {                                  \
        a -= c, a ^= ROTATE(c, 4), c += b; \
        b -= a, b ^= ROTATE(a, 6), a += c; \
        c -= b, c ^= ROTATE(b, 8), b += a; \
        a -= c, a ^= ROTATE(c, 16), c += b; \
        b -= a, b ^= ROTATE(a, 19), a += c; \
        c -= b, c ^= ROTATE(b, 4), b += a; \
    } while (0)

static __always_inline u32 hash_of(const u32 *words, u32 count, u32 seed) {
    u32 a = seed, b = seed, c = seed;
#pragma unroll
    for (u32 i = 0; i + 3 <= count; i += 3) {
        a += words[i], b += words[i + 1], c += words[i + 2];
        MIX(a, b, c);
    }
    return c;
}

SEC("tc") int flow_table(struct __sk_buff *skb) {
    u8 *at = (u8 *)(long)skb->data, *end = (u8 *)(long)skb->data_end;
    struct flow flow = {};
    if (at + 14 > end) return TC_ACT_SHOT;
    u16 protocol = *(u16 *)(at + 12);
    at += 14;
#pragma unroll
    for (int tag = 0; tag < 2; ++tag)
        if (protocol == bpf_htons(0x8100) || protocol == bpf_htons(0x88a8)) {
            if (at + 4 > end) return TC_ACT_SHOT;
            flow.vlan = *(u16 *)at & bpf_htons(0xfff);
            protocol = *(u16 *)(at + 2);
            at += 4;
        }
    if (protocol == bpf_htons(0x0800)) {
        struct iphdr *ip = (void *)at;
        if ((u8 *)(ip + 1) > end || ip->ihl < 5) return TC_ACT_SHOT;
        flow.version = 4, flow.protocol = ip->protocol;
        flow.source[0] = ip->saddr, flow.target[0] = ip->daddr;
        if (ip->frag_off & bpf_htons(0x1fff)) return TC_ACT_OK;
        at += ip->ihl * 4;
    } else if (protocol == bpf_htons(0x86dd)) {
        struct ipv6hdr *ip = (void *)at;
        if ((u8 *)(ip + 1) > end) return TC_ACT_SHOT;
        flow.version = 6, flow.protocol = ip->nexthdr;
        __builtin_memcpy(flow.source, &ip->saddr, 16);
        __builtin_memcpy(flow.target, &ip->daddr, 16);
        at += sizeof(*ip);
#pragma unroll
        for (int header = 0; header < 8; ++header)
            if (flow.protocol == 0 || flow.protocol == 43 || flow.protocol == 60) {
                if (at + 8 > end) return TC_ACT_SHOT;
                flow.protocol = at[0];
                at += 8 + at[1] * 8;
            }
    } else {
        return TC_ACT_OK;
    }
    u32 flags = 0;
    if (flow.protocol == 6) {
        struct tcphdr *tcp = (void *)at;
        if ((u8 *)(tcp + 1) > end) return TC_ACT_SHOT;
        flow.source_port = tcp->source, flow.target_port = tcp->dest;
        flags = at[13];
    } else if (flow.protocol == 17) {
        struct udphdr *udp = (void *)at;
        if ((u8 *)(udp + 1) > end) return TC_ACT_SHOT;
        flow.source_port = udp->source, flow.target_port = udp->dest;
    }
    u32 key = hash_of((u32 *)&flow, 9, skb->ifindex);
    u64 *hits = bpf_map_lookup_elem(&blocked, &key);
    if (hits) {
        __sync_fetch_and_add(hits, 1);
        return TC_ACT_SHOT;
    }
    struct counters *seen = bpf_map_lookup_elem(&flows, &flow);
    if (seen) {
        seen->packets += 1, seen->bytes += skb->len;
        seen->last = bpf_ktime_get_ns(), seen->flags |= flags;
        if (seen->mark) skb->mark = seen->mark;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
            if (seen->ports[i] == flow.target_port) break;
            if (seen->ports[i] == 0) {
                seen->ports[i] = flow.target_port;
                break;
            }
        }
        return TC_ACT_OK;
    }
    struct counters fresh = {1, skb->len, bpf_ktime_get_ns(), 0, flags, 0, {flow.target_port}};
    bpf_map_update_elem(&flows, &flow, &fresh, BPF_ANY);
    return TC_ACT_OK;
}

SEC("kprobe") int wide_hash(void *ctx) {
    u32 words[96];
    u64 *from = ctx;
#pragma unroll
    for (int i = 0; i < 48; ++i) {
        u64 word = from[i % 20];
        opaque(word);
        ((u64 *)words)[i] = word + i;
    }
    u32 key = hash_of(words, 96, 0x9e3779b9);
    u64 *hits = bpf_map_lookup_elem(&blocked, &key);
    if (hits) *hits += 1;
    return 0;
}

SEC("kprobe") int many_checks(void *ctx) {
    u64 *from = ctx, denied = 0;
    u32 key = from[0] & 7;
    struct policy *policy = bpf_map_lookup_elem(&policies, &key);
    if (!policy) return 0;
#pragma unroll
    for (int i = 0; i < 60; ++i) {
        u64 value = from[i % 21];
        if (policy->flags[i] & 1 && value > policy->limits[i]) denied += value - policy->limits[i];
        if (policy->flags[i] & 2) denied += policy->names[value & 63];
        if ((u32)value < 64) policy->names[(u32)value] = i;
    }
    policy->limits[0] = denied;
    return 0;
}

char _license[] SEC("license") = "GPL";

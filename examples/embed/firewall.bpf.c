// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
// The firewall's filter: drops TCP packets to blocked ports, and counts. Reads the packet with the classic loads, which end
// the program with 0 (drop) where the packet is too short: no bounds to check.
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>

unsigned long long load_byte(void *packet, unsigned long long offset) asm("llvm.bpf.load.byte");
unsigned long long load_half(void *packet, unsigned long long offset) asm("llvm.bpf.load.half");

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1024);
    __type(key, __u16);
    __type(value, __u64); // packets dropped
} blocked SEC(".maps");

__u64 seen; // a variable that the application reads

SEC("socket")
int firewall(struct __sk_buff *packet) {
    __sync_fetch_and_add(&seen, 1);
    if (load_half(packet, 12) != ETH_P_IP) return packet->len;
    if (load_byte(packet, ETH_HLEN + 9) != IPPROTO_TCP) return packet->len;
    __u32 header = (load_byte(packet, ETH_HLEN) & 15) * 4;
    __u16 port = load_half(packet, ETH_HLEN + header + 2);
    __u64 *dropped = bpf_map_lookup_elem(&blocked, &port);
    if (!dropped) return packet->len;
    __sync_fetch_and_add(dropped, 1);
    return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs that bench_verifier loads stand on. */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
/* behind them */
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __u64 u64;

#define MAP(map_name, map_type, key_type, value_type, entries) \
    struct {                                                   \
        __uint(type, BPF_MAP_TYPE_##map_type);                 \
        __uint(max_entries, entries);                          \
        __type(key, key_type);                                 \
        __type(value, value_type);                             \
    } map_name SEC(".maps")

/* Nothing is known of it, and the compiler does not look through it. */
#define opaque(value) asm volatile("" : "+r"(value))

// SPDX-License-Identifier: Apache-2.0
// Programs of which much more is walked than they are long: parsers with options, nested loops, a state machine, deep
// chains of calls, and a full stack.
#include "common.h"

MAP(bytes, ARRAY, u32, u8[256], 16);
MAP(totals, ARRAY, u32, u64, 64);

/* The options of TCP, one by one, without a loop. */
struct options {
    u32 mss, scale, sack, stamps, unknown;
};
static __always_inline int one_option(u8 **at, u8 *end, u8 *limit, struct options *options) {
    u8 *option = *at;
    if (option >= limit || option + 1 > end) return 0;
    u8 kind = option[0];
    if (kind == 0) return 0;
    if (kind == 1) {
        *at = option + 1;
        return 1;
    }
    if (option + 2 > end) return 0;
    u32 size = option[1];
    if (size < 2 || size > 40) return 0;
    if (kind == 2 && size == 4) {
        if (option + 4 > end) return 0;
        options->mss = option[2] << 8 | option[3];
    } else if (kind == 3 && size == 3) {
        if (option + 3 > end) return 0;
        options->scale = option[2];
    } else if (kind == 4) {
        options->sack = 1;
    } else if (kind == 8 && size == 10) {
        if (option + 10 > end) return 0;
        options->stamps = *(u32 *)(option + 2);
    } else {
        options->unknown += 1;
    }
    *at = option + size;
    return 1;
}
SEC("xdp") int tcp_options(struct xdp_md *ctx) {
    u8 *at = (u8 *)(long)ctx->data, *end = (u8 *)(long)ctx->data_end;
    struct iphdr *ip = (void *)(at + 14);
    if ((u8 *)(ip + 1) > end || ip->protocol != 6) return XDP_PASS;
    struct tcphdr *tcp = (void *)(ip + 1);
    if ((u8 *)(tcp + 1) > end || tcp->doff < 5) return XDP_PASS;
    u8 *option = (u8 *)(tcp + 1), *limit = (u8 *)tcp + tcp->doff * 4;
    struct options options = {};
    int more = 1;
#pragma unroll
    for (int i = 0; i < 6; ++i)
        if (more) more = one_option(&option, end, limit, &options);
    u32 key = options.unknown & 63;
    u64 *total = bpf_map_lookup_elem(&totals, &key);
    if (total) *total += options.mss + options.scale + options.sack + options.stamps;
    return options.unknown > 3 ? XDP_DROP : XDP_PASS;
}

/* Loops in loops, whose counters decide what is touched. */
SEC("kprobe") int nested_loops(void *ctx) {
    u32 key = 0, sum = 0;
    u8 *block = bpf_map_lookup_elem(&bytes, &key);
    if (!block) return 0;
    for (u32 i = 0; i < 16; ++i)
        for (u32 j = 0; j < 16; ++j)
            for (u32 k = 0; k < 24; ++k) {
                u32 index = (i * 16 + j + k) & 255;
                u8 byte = block[index];
                if (byte & 1)
                    sum += byte;
                else
                    block[255 - index] = byte + 1;
            }
    u64 *total = bpf_map_lookup_elem(&totals, &key);
    if (total) *total = sum;
    return 0;
}

/* A scanner: its state is a number that every byte may change. */
#define STATE(n)                                                                     \
    case n:                                                                          \
        state = byte == (n) + 32 ? (n) * 7 % 40 : byte > 64 + (n) ? ((n) + 1) % 40 : byte & 1 ? ((n) + 3) % 40 : 0; \
        marks += byte == (n);                                                        \
        break;
#define STATES_5(n) STATE(n) STATE(n + 1) STATE(n + 2) STATE(n + 3) STATE(n + 4)
SEC("kprobe") int state_machine(void *ctx) {
    u32 key = 1, state = 0, marks = 0;
    u8 *block = bpf_map_lookup_elem(&bytes, &key);
    if (!block) return 0;
    for (u32 i = 0; i < 64; ++i) {
        u8 byte = block[i];
        switch (state) {
            STATES_5(0) STATES_5(5) STATES_5(10) STATES_5(15) STATES_5(20) STATES_5(25) STATES_5(30) STATES_5(35)
            default:
                state = 0;
        }
    }
    block[state & 63] = marks;
    return 0;
}

/* Eight frames deep, and each calls the next one twice, with what it has found out. */
#define LEVEL(n, next)                                               \
    static __noinline u64 level_##n(u64 *from, u32 flags) {          \
        u64 value = from[n], low[4] = {value, value >> 8, flags, n}; \
        opaque(value);                                               \
        if (value & 1) flags |= 1 << n;                              \
        if (value > 1000) return next(from, flags) + low[flags & 3]; \
        return next(from, flags ^ 3) - value;                        \
    }
static __noinline u64 level_7(u64 *from, u32 flags) { return flags & 1 ? from[7] : from[8] + flags; }
LEVEL(6, level_7)
LEVEL(5, level_6)
LEVEL(4, level_5)
LEVEL(3, level_4)
LEVEL(2, level_3)
LEVEL(1, level_2)
SEC("kprobe") int call_chain(void *ctx) {
    u64 sum = 0, *from = ctx;
    for (int i = 0; i < 48; ++i) sum += level_1(from, i);
    u32 key = sum & 63;
    u64 *total = bpf_map_lookup_elem(&totals, &key);
    if (total) *total += sum;
    return 0;
}

/* Every slot of the stack holds something, and branches leave it different. */
SEC("kprobe") int full_stack(void *ctx) {
    u64 slots[54];
    volatile u64 *from = ctx;
#pragma unroll
    for (int i = 0; i < 54; ++i) {
        u64 value = from[i % 21];
        slots[i] = value;
    }
    for (u32 i = 0; i < 200; ++i) {
        u64 value = from[3];
        opaque(value);
        if (value & 1) slots[7] = i;
        if (value & 2) slots[23] += slots[7];
        if (value & 4) *(u32 *)&slots[31] = (u32)value;
        if (value & 8) slots[value >> 8 & 31] = value;
        if (value & 16) slots[53] = 0;
    }
    u64 sum = 0;
#pragma unroll
    for (int i = 0; i < 54; ++i) sum = sum * 31 + slots[i];
    u32 key = sum & 63;
    u64 *total = bpf_map_lookup_elem(&totals, &key);
    if (total) *total = sum;
    return 0;
}

char _license[] SEC("license") = "GPL";

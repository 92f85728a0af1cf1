/* SPDX-License-Identifier: Apache-2.0 */
/* What programs.bpf.c stands on: as BPF libbpf's headers, natively the little of them that it uses. Natively an array's
 * lookup is what an engine makes of it, address arithmetic; a hash's is the call that the engines make, too. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define NUMBERS 1024
#define TEXT_BYTES 65536
#define BLOCK_BYTES (1 << 20)
#define PACKETS 64
#define PACKET_BYTES 128
#define MAP_ENTRIES 256

struct packet {
    u32 length;
    u8 bytes[PACKET_BYTES - 4];
};

#ifdef __bpf__

#include <linux/bpf.h>
/* behind it */
#include <bpf/bpf_helpers.h>

#define PROGRAM(name) SEC("socket") int bench_##name(struct __sk_buff *ctx)
#define PLACE(name) SEC(".data." #name)
#define MAP(map_name, map_type)                  \
    struct {                                     \
        __uint(type, BPF_MAP_TYPE_##map_type);   \
        __uint(max_entries, MAP_ENTRIES);        \
        __type(key, u32);                        \
        __type(value, u64);                      \
    } map_name SEC(".maps")
#define lookup_ARRAY bpf_map_lookup_elem
#define lookup_PERCPU_ARRAY bpf_map_lookup_elem
#define lookup_HASH bpf_map_lookup_elem

#else

#define PROGRAM(name) int bench_##name(void *ctx)
#define PLACE(name)
#define MAP(map_name, map_type) MAP_##map_type(map_name)
#define MAP_ARRAY(name) static u64 name[MAP_ENTRIES]
#define MAP_PERCPU_ARRAY MAP_ARRAY
#define MAP_HASH(name) extern int name##_of_the_engines
#define __noinline __attribute__((noinline))
#define __always_inline inline __attribute__((always_inline))

static inline u64 *lookup_ARRAY(u64 (*map)[MAP_ENTRIES], const u32 *key) {
    return *key < MAP_ENTRIES ? &(*map)[*key] : 0;
}
#define lookup_PERCPU_ARRAY lookup_ARRAY
extern u64 *native_hash_lookup(const u32 *key);
#define lookup_HASH(map, key) native_hash_lookup(key)

static __always_inline long bpf_loop(u32 count, long (*step)(u32, void *), void *ctx, u64 flags) {
    u32 i = 0;
    while (i < count)
        if (step(i++, ctx)) break;
    return i;
}

#endif

// SPDX-License-Identifier: Apache-2.0
// The programs that bench_engines measures: compiled for BPF, and natively, from the same text. Long loops are bpf_loop over
// parts of a bounded length, which is what verifiers accept.
#include "programs.h"

u32 numbers[NUMBERS] PLACE(numbers) = {1};
u8 text_a[TEXT_BYTES] PLACE(text_a) = {1}, text_b[TEXT_BYTES] PLACE(text_b) = {1}, text_c[TEXT_BYTES] PLACE(text_c) = {1};
u8 source[BLOCK_BYTES] PLACE(source) = {1}, target[BLOCK_BYTES] PLACE(target) = {1};
struct packet packets[PACKETS] PLACE(packets) = {{1}};

MAP(array, ARRAY);
MAP(percpu_array, PERCPU_ARRAY);
MAP(hash, HASH);

PROGRAM(simple) { return 1; }

PROGRAM(memory_a_plus_b) { return numbers[0] + numbers[1]; }

PROGRAM(log2_int) {
    u32 sum = 0;
    for (u32 i = 0; i < NUMBERS; ++i) {
        u32 v = numbers[i];
        u32 r = (v > 0xffff) << 4, shift;
        v >>= r;
        shift = (v > 0xff) << 3, v >>= shift, r |= shift;
        shift = (v > 0xf) << 2, v >>= shift, r |= shift;
        shift = (v > 0x3) << 1, v >>= shift, r |= shift;
        sum += r | (v >> 1);
    }
    return sum;
}

/* Of more values than a processor remembers the order of. */
#define CASE(n)                                                      \
    case n:                                                          \
        sum = (n) % 3 ? sum * ((n) | 1) + i : (sum ^ (n)) - (i << ((n) & 7)); \
        break;
#define CASES_4(n) CASE(n) CASE(n + 1) CASE(n + 2) CASE(n + 3)
#define CASES_16(n) CASES_4(n) CASES_4(n + 4) CASES_4(n + 8) CASES_4(n + 12)

static long switch_step(u32 part, void *ctx) {
    u32 sum = *(u32 *)ctx;
    if (part >= TEXT_BYTES / 16) return 1;
    for (u32 i = 0; i < 16; ++i) switch (text_a[part * 16 + i] & 63) {
            CASES_16(0) CASES_16(16) CASES_16(32) CASES_16(48)
        }
    *(u32 *)ctx = sum;
    return 0;
}
PROGRAM(switch) {
    u32 sum = 0;
    bpf_loop(TEXT_BYTES / 16, switch_step, &sum, 0);
    return sum;
}

static long prime_step(u32 number, void *ctx) {
    if (number < 2 || number >= 10000) return 0;
    for (u32 divisor = 2; divisor * divisor <= number; ++divisor)
        if (number % divisor == 0) return 0;
    ++*(u32 *)ctx;
    return 0;
}
PROGRAM(prime) {
    u32 count = 0;
    bpf_loop(10000, prime_step, &count, 0);
    return count;
}

#define PART 1024

struct comparison {
    const u8 *other;
    int result;
};
#define STRCMP(name, a, b)                                  \
    static long name##_step(u32 part, void *ctx) {          \
        if (part >= TEXT_BYTES / PART) return 1;            \
        const u8 *left = a + part * PART, *right = b + part * PART; \
        for (u32 i = 0; i < PART; ++i) {                    \
            const u32 x = left[i], y = right[i];            \
            if (x != y || x == 0) {                         \
                *(int *)ctx = (int)x - (int)y;              \
                return 1;                                   \
            }                                               \
        }                                                   \
        return 0;                                           \
    }                                                       \
    PROGRAM(name) {                                         \
        int result = 99;                                    \
        bpf_loop(TEXT_BYTES / PART, name##_step, &result, 0); \
        return result;                                      \
    }
STRCMP(strcmp_fail, text_a, text_c)
STRCMP(strcmp_full, text_a, text_b)

#define BLOCK_PART 4096

static long memcpy_step(u32 part, void *ctx) {
    if (part >= BLOCK_BYTES / BLOCK_PART) return 1;
    u8 *to = target + part * BLOCK_PART;
    const u8 *from = source + part * BLOCK_PART;
    for (u32 i = 0; i < BLOCK_PART; ++i) to[i] = from[i];
    return 0;
}
PROGRAM(memcpy) {
    bpf_loop(BLOCK_BYTES / BLOCK_PART, memcpy_step, 0, 0);
    return target[BLOCK_BYTES - 1];
}

static long memset_step(u32 part, void *ctx) {
    if (part >= BLOCK_BYTES / BLOCK_PART) return 1;
    u8 *to = target + part * BLOCK_PART;
    for (u32 i = 0; i < BLOCK_PART; ++i) to[i] = 0x5a;
    return 0;
}
PROGRAM(memset) {
    bpf_loop(BLOCK_BYTES / BLOCK_PART, memset_step, 0, 0);
    return target[BLOCK_BYTES - 1];
}

static long fnv1a_step(u32 part, void *ctx) {
    if (part >= TEXT_BYTES / PART) return 1;
    const u8 *from = text_a + part * PART;
    u32 hash = *(u32 *)ctx;
    for (u32 i = 0; i < PART; ++i) hash = (hash ^ from[i]) * 16777619;
    *(u32 *)ctx = hash;
    return 0;
}
PROGRAM(fnv1a) {
    u32 hash = 0x811c9dc5;
    bpf_loop(TEXT_BYTES / PART, fnv1a_step, &hash, 0);
    return hash;
}

static __always_inline u32 half(const u8 *at) { return at[0] << 8 | at[1]; }

struct {
    u32 tcp4, tcp6, syn, other, ports;
} flows PLACE(flows) = {1};
static long parse_step(u32 n, void *ctx) {
    const struct packet *packet = &packets[n % PACKETS];
    const u8 *bytes = packet->bytes;
    u32 length = packet->length, at = 14, type;
    if (length < 14 || length > sizeof(packet->bytes)) return 0;
    type = half(bytes + 12);
    if (type == 0x8100) {
        if (length < 18) return 0;
        type = half(bytes + 16);
        at = 18;
    }
    if (type == 0x0800) {
        if (at + 20 > length) return 0;
        const u8 version = bytes[at], protocol = bytes[at + 9];
        if (version >> 4 != 4 || protocol != 6) goto other;
        if (half(bytes + at + 6) & 0x1fff) goto other;
        at += (version & 15) * 4;
        ++flows.tcp4;
    } else if (type == 0x86dd) {
        if (at + 40 > length) return 0;
        if (bytes[at] >> 4 != 6 || bytes[at + 6] != 6) goto other;
        at += 40;
        ++flows.tcp6;
    } else {
        goto other;
    }
    if (at > sizeof(packet->bytes) - 20 || at + 20 > length) return 0;
    flows.ports += half(bytes + at) ^ half(bytes + at + 2);
    flows.syn += (bytes[at + 13] & 0x12) == 2;
    return 0;
other:
    ++flows.other;
    return 0;
}
PROGRAM(parser) {
    flows.tcp4 = flows.tcp6 = flows.syn = flows.other = flows.ports = 0;
    bpf_loop(PACKETS * 16, parse_step, 0, 0);
    return flows.tcp4 * 3 + flows.tcp6 * 5 + flows.syn * 7 + flows.other * 11 + flows.ports;
}

#define COUNT(name, map, type, ...)                                                       \
    PROGRAM(name) {                                                                       \
        u32 found = 0;                                                                    \
        for (u32 i = 0; i < NUMBERS; ++i) {                                               \
            u32 key = numbers[i] & (MAP_ENTRIES - 1);                                     \
            u64 *value = lookup_##type(&map, &key);                                       \
            if (value) {                                                                  \
                __VA_ARGS__;                                                              \
                ++found;                                                                  \
            }                                                                             \
        }                                                                                 \
        return found;                                                                     \
    }
COUNT(count_array, array, ARRAY, __sync_fetch_and_add(value, 1))
COUNT(count_percpu, percpu_array, PERCPU_ARRAY, ++*value)
COUNT(count_hash, hash, HASH, __sync_fetch_and_add(value, 1))

#define CALL(name, next, change) \
    static __noinline u32 name(u32 x, u32 y) { return next(x change, y ^ x) + y; }
static __noinline u32 call_7(u32 x, u32 y) { return numbers[x & (NUMBERS - 1)] ^ y; }
CALL(call_6, call_7, * 5)
CALL(call_5, call_6, + 11)
CALL(call_4, call_5, ^ 77)
CALL(call_3, call_4, * 3)
CALL(call_2, call_3, + 5)
CALL(call_1, call_2, >> 1)
PROGRAM(calls) {
    u32 sum = 0;
    for (u32 i = 0; i < 256; ++i) sum += call_1(i, sum);
    return sum;
}

static long loop_step(u32 i, void *ctx) {
    u32 *sum = ctx;
    *sum = (*sum * 31) ^ i;
    return 0;
}
PROGRAM(bpf_loop) {
    u32 sum = 1;
    bpf_loop(10000, loop_step, &sum, 0);
    return sum;
}

#ifdef __bpf__
char programs_license[] SEC("license") = "GPL";
#endif

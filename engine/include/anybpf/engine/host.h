/* SPDX-License-Identifier: Apache-2.0 */
/* What an application and the programs that `anybpf build` made for it say to each other. A program is a function
 *     uint64_t NAME(void *ctx, struct anybpf_host *host);
 * which returns the program's r0. Of a program that has addresses of its packet (XDP, traffic control, cgroup_skb,
 * LWT), ctx is a struct xdp_md or __sk_buff with three numbers of 64 bits behind it: where the packet begins, where it
 * ends, and where its metadata begins. Everything else that the program uses comes from the host. One host serves one
 * run at a time; threads each have their own, over the same tables, which do not change while a program runs.
 */
#ifndef ANYBPF_HOST_H
#define ANYBPF_HOST_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ANYBPF_HELPERS 212 /* as many as Linux 6.18 has, with number 0 */

struct anybpf_host;

/* A helper: pointers arrive as addresses, a map as the host's own pointer to it. */
typedef uint64_t (*anybpf_helper)(struct anybpf_host *host, uint64_t r1, uint64_t r2, uint64_t r3, uint64_t r4,
                                  uint64_t r5);

/* A program, as a program array yields it; the other members are its own business. */
struct anybpf_program {
    uint64_t (*run)(void *ctx, struct anybpf_host *host);
    const void *tail;
    const void *callback;
};

/* What a map was declared as; numbers of <linux/bpf.h>. */
struct anybpf_map {
    const char *name;
    uint32_t type, key_size, value_size, max_entries, flags;
};

struct anybpf_host {
    /* Filled in by the application. */
    const anybpf_helper *helpers; /* by number, ANYBPF_HELPERS of them; calling one that is null ends the run with 0 */
    void *const *maps;            /* in the order of the header's enum; whatever the helpers take for a map */
    /* The program at an index of a program array, or null; may be null itself. */
    const struct anybpf_program *(*tail_target)(struct anybpf_host *host, uint64_t map, uint32_t index);
    void *user; /* the application's own */

    /* Filled in by the program, for helpers that call back (bpf_loop, bpf_for_each_map_elem): runs the function that
     * arrived as an argument, with r1 to r5, and returns its r0. */
    uint64_t (*call_back)(struct anybpf_host *host, uint64_t function, uint64_t r1, uint64_t r2, uint64_t r3,
                          uint64_t r4, uint64_t r5);
    void *run;
};

#ifdef __cplusplus
}
#endif

#endif

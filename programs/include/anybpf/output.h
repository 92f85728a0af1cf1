/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * How a BPF program says what its output looks like (docs/output.md). The text travels in the object, in a section that no
 * loader loads: libbpf skips it, so the same object works everywhere; `anybpf run` reads it and prints.
 *
 *     struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 18); } events SEC(".maps");
 *     ANYBPF_EVENT(events, struct event, "{time:clock} {pid:>7} {comm:<16} {args:argv}");
 *
 *     struct { __uint(type, BPF_MAP_TYPE_PERCPU_HASH); ... } counts SEC(".maps");
 *     ANYBPF_MAP(counts, "{key:syscall} {calls:>8} {total:>10us}");
 */
#ifndef ANYBPF_OUTPUT_H
#define ANYBPF_OUTPUT_H

#define ANYBPF_OUTPUT_SECTION __attribute__((section(".anybpf.output"), used))

/* The records of ring or perf buffer `map` are of event_type, printed a line each as text says. The empty array carries the
 * type into the object's BTF whole; it takes no space. */
#define ANYBPF_EVENT(map, event_type, text)   \
    static const struct {                     \
        event_type event[0];                  \
        char format[sizeof(text)];            \
    } anybpf_event_##map ANYBPF_OUTPUT_SECTION = {.format = text}

/* Map `map` is a result: printed at the end, a line an element, as text says. Fields are looked for in the value, then in
 * the key; `key` and `value` are the whole of either. */
#define ANYBPF_MAP(map, text)                 \
    static const struct {                     \
        char format[sizeof(text)];            \
    } anybpf_map_##map ANYBPF_OUTPUT_SECTION = {.format = text}

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * The BPF machine inside an application, for C. What the functions mean in detail stands in embed.hpp, whose interface this
 * is: load programs, have them verified, share maps with them, run them.
 *
 * Functions that return a pointer return NULL on failure, those that return an int a negative errno; why, anybpf_error()
 * then says. Every handle is freed by the function of its name, in any order; NULL may be freed. All of it may be called
 * from any thread; a handle is freed when no other thread uses it any more.
 */
#ifndef ANYBPF_H
#define ANYBPF_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct anybpf_machine anybpf_machine;
typedef struct anybpf_map anybpf_map;
typedef struct anybpf_program anybpf_program;

/* As in linux/bpf.h. */
enum anybpf_map_type {
    ANYBPF_MAP_HASH = 1,
    ANYBPF_MAP_ARRAY = 2,
    ANYBPF_MAP_PROG_ARRAY = 3,
    ANYBPF_MAP_PERCPU_HASH = 5,
    ANYBPF_MAP_PERCPU_ARRAY = 6,
    ANYBPF_MAP_RINGBUF = 27
};
enum anybpf_program_type {
    ANYBPF_SOCKET_FILTER = 1,
    ANYBPF_KPROBE = 2,
    ANYBPF_TRACEPOINT = 5,
    ANYBPF_PERF_EVENT = 7,
    ANYBPF_RAW_TRACEPOINT = 17
};
enum anybpf_update { ANYBPF_ANY = 0, ANYBPF_NOEXIST = 1, ANYBPF_EXIST = 2 };

/* What the last failing call of this thread failed of; valid until its next call. Never NULL. */
const char *anybpf_error(void);

/* root: a directory on a tmpfs, or NULL for the user's. engine: "jit" (the default, also for NULL), "interp" or "llvm". */
anybpf_machine *anybpf_open(const char *root, const char *engine);
void anybpf_close(anybpf_machine *machine);
/* For programs that are loaded from now on: how many instructions the verifier walks (1000000 at first), and how many bytes
 * of stack a chain of calls may have (512 at first, 65536 at most). Threads that run them need so much stack, and 8 KiB. */
int anybpf_set_limits(anybpf_machine *machine, uint64_t max_insns, uint32_t stack_bytes);

anybpf_map *anybpf_map_create(anybpf_machine *machine, const char *name, enum anybpf_map_type type, uint32_t key_size,
                              uint32_t value_size, uint32_t max_entries);
/* What an instruction names the map by: lddw with src 1 (map) or 2 (its values) and this as imm. */
int anybpf_map_fd(const anybpf_map *map);
/* Bytes of a value in the functions below; in per-CPU maps those of all virtual CPUs. */
size_t anybpf_map_value_bytes(const anybpf_map *map);
int anybpf_map_lookup(const anybpf_map *map, const void *key, void *value); /* -ENOENT: not there */
int anybpf_map_update(const anybpf_map *map, const void *key, const void *value, enum anybpf_update how);
int anybpf_map_delete(const anybpf_map *map, const void *key);                  /* -ENOENT: not there */
int anybpf_map_next_key(const anybpf_map *map, const void *key, void *next_key); /* key NULL: the first; -ENOENT: the end */
/* The values of an ARRAY map themselves, each rounded up to 8 bytes; NULL for other maps. */
void *anybpf_map_values(const anybpf_map *map);
/* Of a RINGBUF map (key and value sizes 0, max_entries its bytes): hands over every finished record; how many. One thread at a
 * time. */
int64_t anybpf_map_consume(const anybpf_map *map, void (*take)(void *user, const void *record, size_t size), void *user);
/* Sleeps until there is a record (1) or the time is over (0). */
int anybpf_map_wait(const anybpf_map *map, unsigned milliseconds);
void anybpf_map_free(anybpf_map *map);

/* instructions: as many of 8 bytes as count says. license: "GPL" allows all helpers; NULL is that. On refusal anybpf_error()
 * is the verifier's explanation, of several lines. */
anybpf_program *anybpf_load(anybpf_machine *machine, const char *name, enum anybpf_program_type type,
                            const void *instructions, size_t count, const char *license);
/* Run on a context (not for socket filters), or on a packet from its link-layer header on (for socket filters only). 0, and
 * what the program returned in *result. */
int anybpf_run(const anybpf_program *program, const void *context, size_t size, uint64_t *result);
int anybpf_filter(const anybpf_program *program, const void *packet, size_t size, uint64_t *result);
/* Compiles the program once more, by another engine (NULL: "llvm", for programs that run often or long); all later runs use
 * that code, and runs may go on meanwhile. 0; when it fails, everything stays as it was. */
int anybpf_tier_up(const anybpf_program *program, const char *engine);
void anybpf_program_free(anybpf_program *program);

#ifdef __cplusplus
}
#endif

#endif

/* SPDX-License-Identifier: Apache-2.0
 *
 * Objects of clang's inside an application, for C; see embed_object.hpp. Link libanybpf-object.
 */
#ifndef ANYBPF_OBJECT_H
#define ANYBPF_OBJECT_H

#include "anybpf/anybpf.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct anybpf_object anybpf_object;

/* name: of the object, for its data maps ("rules.bss") and for messages. On failure NULL, and anybpf_error() says why. */
anybpf_object *anybpf_object_load(anybpf_machine *machine, const void *file, size_t size, const char *name);
anybpf_object *anybpf_object_load_file(anybpf_machine *machine, const char *path);
/* By name; they belong to the object and must not be freed. NULL where there is none. */
const anybpf_program *anybpf_object_program(const anybpf_object *object, const char *name);
const anybpf_map *anybpf_object_map(const anybpf_object *object, const char *name);
void anybpf_object_free(anybpf_object *object);

#ifdef __cplusplus
}
#endif

#endif

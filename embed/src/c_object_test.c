/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "anybpf/anybpf_object.h"

/* A line that is not so, or 0. */
int c_objects(const char *root, const char *file);

#define MUST(condition) \
    if (!(condition)) return __LINE__

int c_objects(const char *root, const char *file) {
    anybpf_machine *machine = anybpf_open(root, NULL);
    MUST(machine != NULL);
    MUST(anybpf_object_load(machine, "no object", 9, "none") == NULL && strstr(anybpf_error(), "none") != NULL);
    MUST(anybpf_object_load_file(machine, "/nowhere.o") == NULL && strstr(anybpf_error(), "/nowhere.o") != NULL);
    anybpf_object *object = anybpf_object_load_file(machine, file);
    MUST(object != NULL);
    MUST(anybpf_object_program(object, "none") == NULL && anybpf_object_map(object, "none") == NULL);
    const anybpf_program *program = anybpf_object_program(object, "length");
    uint64_t result = 0, one = 1;
    MUST(program != NULL && anybpf_filter(program, "abcde", 5, &result) == 0 && result == 5);
    const anybpf_map *blocked = anybpf_object_map(object, "blocked");
    const uint32_t country = 41;
    MUST(blocked != NULL && anybpf_map_update(blocked, &country, &one, ANYBPF_ANY) == 0);
    const struct {
        uint64_t hidden;
        uint32_t amount, country;
    } order = {0, 10, 41};
    MUST(anybpf_run(anybpf_object_program(object, "accept"), &order, sizeof(order), &result) == 0 && result == 0);
    MUST(anybpf_map_lookup(blocked, &country, &one) == 0 && one == 2);
    anybpf_object_free(object);
    anybpf_object_free(NULL);
    anybpf_close(machine);
    return 0;
}

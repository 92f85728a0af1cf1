/* SPDX-License-Identifier: Apache-2.0
 * That the header is C, and that the interface works from there: the test calls this from C++. */
#include <errno.h>
#include <string.h>

#include "anybpf/anybpf.h"

/* A line that is not so, or 0. */
int c_interface(const char *root);

#define MUST(condition) \
    if (!(condition)) return __LINE__

int c_interface(const char *root) {
    MUST(anybpf_open(root, "no such engine") == NULL && strstr(anybpf_error(), "no such engine") != NULL);
    anybpf_machine *machine = anybpf_open(root, NULL);
    MUST(machine != NULL);
    MUST(anybpf_set_limits(machine, 1000000, 65537) == -EINVAL && strstr(anybpf_error(), "65536") != NULL);
    MUST(anybpf_set_limits(machine, 2000000, 65536) == 0);
    anybpf_map *map = anybpf_map_create(machine, "numbers", ANYBPF_MAP_ARRAY, 4, 8, 2);
    MUST(map != NULL && anybpf_map_value_bytes(map) == 8 && anybpf_map_values(map) != NULL);
    MUST(anybpf_map_create(machine, "none", ANYBPF_MAP_ARRAY, 8, 8, 2) == NULL && strlen(anybpf_error()) > 0);

    uint32_t key = 1, next = 7;
    uint64_t value = 5, result = 0;
    MUST(anybpf_map_update(map, &key, &value, ANYBPF_ANY) == 0);
    MUST(anybpf_map_update(map, &key, &value, ANYBPF_NOEXIST) == -EEXIST);
    value = 0;
    MUST(anybpf_map_lookup(map, &key, &value) == 0 && value == 5);
    MUST(anybpf_map_next_key(map, NULL, &next) == 0 && next == 0);
    MUST(anybpf_map_next_key(map, &key, &next) == -ENOENT);
    MUST(anybpf_map_delete(map, &key) == -EINVAL); /* of an array */

    /* r0 = *(u8 *)(packet + 1) + values[1], by lddw of the map's values (offset 8) */
    uint8_t filter[9][8] = {{0xbf, 0x16},
                            {0x30, 0x00, 0, 0, 1},
                            {0xbf, 0x07},
                            {0x18, 0x21},
                            {0, 0, 0, 0, 8},
                            {0x79, 0x12},
                            {0xbf, 0x70},
                            {0x0f, 0x20},
                            {0x95}};
    anybpf_map *one = anybpf_map_create(machine, "one", ANYBPF_MAP_ARRAY, 4, 16, 1);
    MUST(one != NULL);
    const int fd = anybpf_map_fd(one);
    memcpy(&filter[3][4], &fd, sizeof(fd));
    ((uint64_t *)anybpf_map_values(one))[1] = 40;
    anybpf_program *program = anybpf_load(machine, "filter", ANYBPF_SOCKET_FILTER, filter, 9, NULL);
    MUST(program != NULL);
    MUST(anybpf_filter(program, "\1\2\3", 3, &result) == 0 && result == 42);
    MUST(anybpf_filter(program, "\1", 1, &result) == 0 && result == 0);
    MUST(anybpf_run(program, "\1", 1, &result) == -EINVAL);
    MUST(anybpf_tier_up(program, "warp") < 0);
    MUST(anybpf_tier_up(program, "interp") == 0);
    anybpf_map_free(one);
    anybpf_close(machine); /* what is left keeps it */
    MUST(anybpf_filter(program, "\1\2\3", 3, &result) == 0 && result == 42);

    anybpf_program_free(program);
    anybpf_map_free(map);
    anybpf_map_free(NULL);
    anybpf_program_free(NULL);
    anybpf_close(NULL);
    return 0;
}

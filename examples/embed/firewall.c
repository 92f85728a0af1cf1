/* SPDX-License-Identifier: Apache-2.0
 *
 * A host with a packet filter in BPF: firewall FILTER.bpf.o PORT... blocks the TCP ports and shows what becomes of three
 * packets. Where packets come from is the host's business; here they are made up.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <anybpf/anybpf_object.h>

static size_t tcp_packet(unsigned char *packet, unsigned port) {
    memset(packet, 0, 60);
    packet[12] = 0x08; /* IPv4 */
    packet[14] = 0x45; /* a header of 20 bytes */
    packet[14 + 9] = 6;
    packet[14 + 20 + 2] = (unsigned char)(port >> 8);
    packet[14 + 20 + 3] = (unsigned char)port;
    return 60;
}

static int fail(const char *what) {
    fprintf(stderr, "firewall: %s: %s\n", what, anybpf_error());
    return 1;
}

int main(int argc, char **argv) {
    if (argc < 2) return fprintf(stderr, "usage: firewall FILTER.bpf.o PORT...\n"), 2;
    anybpf_machine *machine = anybpf_open(NULL, NULL);
    if (machine == NULL) return fail("no machine");
    anybpf_object *object = anybpf_object_load_file(machine, argv[1]);
    if (object == NULL) return fail("no filter");
    const anybpf_program *filter = anybpf_object_program(object, "firewall");
    const anybpf_map *blocked = anybpf_object_map(object, "blocked");
    const anybpf_map *variables = anybpf_object_map(object, "firewall.bss");
    if (filter == NULL || blocked == NULL || variables == NULL) return fail("another object");

    const uint64_t none = 0;
    for (int i = 2; i < argc; ++i) {
        const uint16_t port = (uint16_t)atoi(argv[i]);
        if (anybpf_map_update(blocked, &port, &none, ANYBPF_ANY) != 0) return fail(argv[i]);
    }

    static const unsigned ports[] = {22, 80, 443};
    unsigned char packet[60];
    for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); ++i) {
        uint64_t keep = 0;
        if (anybpf_filter(filter, packet, tcp_packet(packet, ports[i]), &keep) != 0) return fail("filter");
        printf("port %u: %s\n", ports[i], keep != 0 ? "passes" : "dropped");
    }
    uint64_t keep = 1;
    if (anybpf_filter(filter, packet, 20, &keep) != 0) return fail("filter");
    printf("cut packet: %s\n", keep != 0 ? "passes" : "dropped");
    printf("%llu packets seen\n", *(unsigned long long *)anybpf_map_values(variables));

    anybpf_object_free(object);
    anybpf_close(machine);
    return 0;
}

# SPDX-License-Identifier: Apache-2.0
"""Programs as code: verified, built, linked with an application in C, and run there; and what the LLVM engine shows and runs."""
import json
import os
import subprocess
import sys

from cli import HEAD, Place, check, finish

PROGRAMS = HEAD + """
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64); } counts SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PROG_ARRAY); __uint(max_entries, 1); __type(key, __u32); __type(value, __u32); } next SEC(".maps");
const volatile __u32 step = 3;
__u64 total = 5;
struct record { __u64 common; long nr; unsigned long args[6]; };

static __attribute__((noinline)) __u64 weigh(struct record *record, __u64 factor) { return record->args[0] * factor; }

SEC("tracepoint/raw_syscalls/sys_enter") int count(struct record *record)
{
    __u32 key = record->nr & 7;
    __u64 *value = bpf_map_lookup_elem(&counts, &key);
    if (!value) return 0;
    __sync_fetch_and_add(value, step);
    total += weigh(record, 2) + weigh(record, *value);
    return *value;
}
SEC("tracepoint/raw_syscalls/sys_enter") int jump(struct record *record)
{
    bpf_tail_call(record, &next, 0);
    return 1;
}
static long add(__u64 index, __u64 *sum) { *sum += index; return index == 9; }
SEC("tracepoint/raw_syscalls/sys_enter") int sum(struct record *record)
{
    __u64 all = 0;
    bpf_loop(record->nr & 0xff, add, &all, 0);
    return all;
}
"""

# An application: its array map is an array, its helpers are three functions.
HOST = r"""
#include <inttypes.h>
#include <stdio.h>
#include "programs.h"

static uint64_t values[4];
static uint64_t lookup(struct anybpf_host *host, uint64_t map, uint64_t key, uint64_t a, uint64_t b, uint64_t c)
{
    uint32_t index = *(const uint32_t *)key;
    return map == (uint64_t)host->maps[PROGRAMS_MAP_counts] && index < 4 ? (uint64_t)&values[index] : 0;
}
static uint64_t loop(struct anybpf_host *host, uint64_t count, uint64_t function, uint64_t context, uint64_t flags, uint64_t c)
{
    uint64_t i = 0;
    while (i < count)
        if (host->call_back(host, function, i++, context, 0, 0, 0)) break;
    return i;
}
static const struct anybpf_program *next(struct anybpf_host *host, uint64_t map, uint32_t index)
{
    return index == 0 && map == (uint64_t)host->maps[PROGRAMS_MAP_next] ? host->user : 0;
}

int main(void)
{
    static anybpf_helper helpers[ANYBPF_HELPERS];
    int programs[1];
    void *maps[PROGRAMS_MAPS] = {[PROGRAMS_MAP_counts] = values, [PROGRAMS_MAP_next] = programs};
    struct anybpf_host host = {.helpers = helpers, .maps = maps};
    uint64_t record[8] = {0, 2, 10};

    printf("%" PRIu64 "\n", count(record, &host)); /* without helpers it ends with 0 */
    helpers[1] = lookup;
    helpers[181] = loop;
    printf("%" PRIu64 " ", count(record, &host));
    printf("%" PRIu64 " ", count(record, &host));
    printf("%" PRIu64 " %" PRIu64 "\n", values[2], *(uint64_t *)programs_data);
    record[1] = 7;
    printf("%" PRIu64 "\n", count(record, &host)); /* no such entry */
    printf("%" PRIu64 " ", jump(record, &host));
    host.tail_target = next;
    printf("%" PRIu64 " ", jump(record, &host));
    host.user = (void *)&sum_program;
    printf("%" PRIu64 " ", jump(record, &host)); /* 0 + 1 + ... + 6 */
    record[1] = 100;
    printf("%" PRIu64 "\n", sum(record, &host)); /* ends after 9 */
    printf("%s %u %u %u\n", programs_maps[0].name, programs_maps[0].key_size, programs_maps[0].value_size, programs_maps[0].max_entries);
    return 0;
}
"""
EXPECTED = "0\n3 6 6 135\n0\n1 1 21 45\ncounts 4 8 4\n"

with Place() as place:
    place.write("programs.bpf.c", PROGRAMS)
    place.write("host.c", HOST)
    done = place.run("compile", "programs.bpf.c", "--emit", "lifted")
    if done.returncode != 0 and "the LLVM engine cannot be loaded" in done.stderr:
        print(f"skipped: {done.stderr}")
        sys.exit(77)
    check(done.returncode == 0 and "@count(" in done.stdout and "alloca i64" not in done.stdout, f"--emit lifted: {done.stdout}{done.stderr}")
    done = place.run("compile", "programs.bpf.c", "--emit", "lifted-raw", "-o", "raw.ll")
    check(done.returncode == 0 and "%r0 = alloca i64" in open(os.path.join(place.path, "raw.ll")).read(), f"--emit lifted-raw: {done.stdout}{done.stderr}")

    # As an object and as a library, for every processor and for this one.
    for output, cpu in (("programs.o", "x86-64"), ("libprograms.so", "native")):
        done = place.run("build", "programs.bpf.c", "-o", output, "--header", "programs.h", "--cpu", cpu)
        if not check(done.returncode == 0, f"build {output}: {done.stderr}"):
            continue
        linked = subprocess.run(["cc", "-Wall", "-Werror", "-o", "host", "host.c", os.path.join(place.path, output)], cwd=place.path, text=True, capture_output=True)
        check(linked.returncode == 0, f"cc with {output}: {linked.stderr}")
        ran = subprocess.run([os.path.join(place.path, "host")], text=True, capture_output=True, timeout=60)
        check(ran.returncode == 0 and ran.stdout == EXPECTED, f"the host with {output}: {ran.returncode} {ran.stdout}{ran.stderr}")
    # In C++ too the header stands alone.
    alone = subprocess.run(["c++", "-Wall", "-Werror", "-fsyntax-only", "-x", "c++", "programs.h"], cwd=place.path, text=True, capture_output=True)
    check(alone.returncode == 0, f"the header in C++: {alone.stderr}")
    done = place.run("build", "programs.bpf.c", "-o", "one.o", "--header", "one.h", "--prog", "count", "--prefix", "my_")
    header = open(os.path.join(place.path, "one.h")).read()
    check(done.returncode == 0 and "uint64_t my_count(" in header and "my_sum" not in header and "my_programs_data[" in header, f"--prog, --prefix: {header}{done.stderr}")

    # exec runs the same program with the same outcome.
    place.write("record.bin", (0).to_bytes(8, "little") + (2).to_bytes(8, "little") + (10).to_bytes(8, "little") + bytes(40))
    for engine in ("interp", "jit", "llvm"):
        for name, repeat, result in (("count", 3, 9), ("jump", 1, 1), ("sum", 2, 1)):
            done = place.run("exec", "--json", "programs.bpf.c", "--prog", name, "--ctx-in", "record.bin", "--repeat", str(repeat), "--engine", engine)
            check(done.returncode == 0 and json.loads(done.stdout)["retval"] == result and json.loads(done.stdout)["engine"] == engine,
                  f"exec {name} by {engine}: {done.stdout}{done.stderr}")

    # What is not verified is not built, and a missing module is named.
    place.write("bad.bpf.c", HEAD + 'SEC("socket") int bad(void *ctx) { return *(int *)(ctx + 4096); }\n')
    place.expect(114, ["the verifier refuses program 'bad'"], "build", "bad.bpf.c", "-o", "bad.o")
    check(not os.path.exists(os.path.join(place.path, "bad.o")), "a refused program leaves no object")
    place.expect(1, ["no/such.o"], "build", "programs.bpf.c", "-o", "no/such.o")
    os.environ["ANYBPF_LLVM_PATH"] = "/no/module.so"
    place.expect(1, ["the LLVM engine cannot be loaded", "/no/module.so", "llvm-19-dev"], "exec", "programs.bpf.c", "--prog", "count", "--engine", "llvm")
finish()

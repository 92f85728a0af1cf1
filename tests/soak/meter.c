// SPDX-License-Identifier: Apache-2.0
// meter STOP REPORT FIRST_ID THREADS CALLS: threads that number their calls. Each makes getppid(2) with a number that grows by
// one, its own identity and a mark as arguments, which the kernel ignores and a tracer sees; at the end (after CALLS calls of
// each, or for CALLS 0 when the file STOP is there) a line "ID CALLS" for each thread is appended to REPORT.
// Threads differ: some pause after a few calls, some compute for a while without any.
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { mark = 0x6d657465, most = 64 };

static volatile int stop;
static long first_id, calls;
static long made[most];

static void* work(void* which) {
    const intptr_t number = (intptr_t)which;
    const struct timespec pause = {.tv_nsec = 10000000};
    long sequence = 0;

    while (!stop) {
        for (int i = 0; i < 20 && (calls == 0 || sequence < calls); ++i)
            syscall(SYS_getppid, sequence++, first_id + number, mark);
        if (calls != 0 && sequence >= calls) break;
        if (calls != 0) continue;
        if (number % 4 == 3)
            for (volatile long spin = 0; spin < 3000000; ++spin) continue;
        else
            nanosleep(&pause, NULL);
    }
    made[number] = sequence;
    return NULL;
}

int main(int argc, char** argv) {
    if (argc != 6) return 2;
    const int threads = atoi(argv[4]);
    pthread_t running[most];
    char line[64];

    first_id = atol(argv[3]);
    calls = atol(argv[5]);
    if (threads < 1 || threads > most) return 2;
    for (intptr_t i = 0; i < threads; ++i)
        if (pthread_create(&running[i], NULL, work, (void*)i) != 0) return 3;
    const struct timespec tenth = {.tv_nsec = 100000000};
    while (calls == 0 && access(argv[1], F_OK) != 0) nanosleep(&tenth, NULL);
    if (calls == 0) stop = 1;
    for (int i = 0; i < threads; ++i) pthread_join(running[i], NULL);
    const int report = open(argv[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    for (int i = 0; i < threads; ++i) {
        const int length = snprintf(line, sizeof(line), "%ld %ld\n", first_id + i, made[i]);
        if (write(report, line, (size_t)length) != length) return 4;
    }
    return 0;
}

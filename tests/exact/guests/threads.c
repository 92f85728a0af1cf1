// SPDX-License-Identifier: Apache-2.0
// Threads that are all alive at once, then end, and others one after another; each with a number of calls of its own.
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { together = 4, rows = 6 };
static pthread_barrier_t meet;
static int null_file;

static void* beside(void* number) {
    pthread_barrier_wait(&meet);
    for (intptr_t n = 0; n < 100 * ((intptr_t)number + 1); ++n) getppid();
    if (write(null_file, "x", 1) != 1) return number;
    pthread_barrier_wait(&meet);
    return NULL;
}

static void* alone(void* number) {
    for (intptr_t n = 0; n < 10 + (intptr_t)number; ++n) syscall(SYS_getuid);
    if (number == 0) pthread_exit(NULL);
    return NULL;
}

int main(void) {
    pthread_t threads[together], one;
    void* result;

    null_file = dup(1);
    pthread_barrier_init(&meet, NULL, together);
    for (intptr_t i = 0; i < together; ++i) pthread_create(&threads[i], NULL, beside, (void*)i);
    for (int i = 0; i < together; ++i) {
        pthread_join(threads[i], &result);
        if (result != NULL) return 1;
    }
    for (intptr_t i = 0; i < rows; ++i) {
        pthread_create(&one, NULL, alone, (void*)i);
        pthread_join(one, NULL);
    }
    puts("joined");
    return 0;
}

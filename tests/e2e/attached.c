// SPDX-License-Identifier: Apache-2.0
// A running program to attach to: threads that compute, sleep, and wait in read(), a timer whose handler runs all the
// while (another handler can be held open), and on each line "N" of its input N getppid calls in each of three threads;
// then it prints what it has made, and what its handlers saw wrong.
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

#define WORKERS 3
static atomic_long wanted[WORKERS], made;
static volatile sig_atomic_t alarms, held, wrong;
static int silent[2], gate[2];

static void on_alarm(int signal, siginfo_t* info, void* context) {
    (void)context;
    if (signal != SIGALRM || info->si_signo != SIGALRM) wrong = 1;
    ++alarms;
}
// Does not return before somebody says so.
static void on_hold(int signal) {
    char byte;
    (void)signal;
    held = 1;
    while (read(gate[0], &byte, 1) < 0) {
    }
    held = 0;
}
static void* worker(void* number) {
    const long mine = (long)number;
    for (;;) {
        while (atomic_load(&wanted[mine]) == 0) usleep(500);
        for (long n = atomic_load(&wanted[mine]); n > 0; --n) {
            getppid();
            atomic_fetch_add(&made, 1);
        }
        atomic_store(&wanted[mine], 0);
    }
    return NULL;
}
static void* reader(void* unused) {
    char byte;
    while (read(silent[0], &byte, 1) >= 0) {
    }
    return unused;
}
static void* computing(void* unused) {
    for (volatile unsigned long n = 0;; ++n)
        if ((n & 0xffffff) == 0) usleep(1000);
    return unused;
}

int main(void) {
    pthread_t thread;
    char line[64];
    const struct itimerval every = {{0, 3000}, {0, 3000}};
    struct sigaction action = {.sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO | SA_RESTART};
    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
    if (pipe(silent) != 0 || pipe(gate) != 0 || sigaltstack(&stack, NULL) != 0) return 1;
    sigaction(SIGALRM, &action, NULL);
    action = (struct sigaction){.sa_handler = on_hold, .sa_flags = SA_RESTART | SA_ONSTACK};
    sigaction(SIGUSR1, &action, NULL);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGTRAP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    for (long i = 0; i < WORKERS; ++i) pthread_create(&thread, NULL, worker, (void*)i);
    pthread_create(&thread, NULL, reader, NULL);
    pthread_create(&thread, NULL, computing, NULL);
    sigdelset(&set, SIGTRAP);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    setitimer(ITIMER_REAL, &every, NULL);
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, sizeof line, stdin) != NULL) {
        const long count = atol(line);
        if (line[0] == 'r' && write(gate[1], "", 1) != 1) return 2;
        if (line[0] == 'h') raise(SIGUSR1);
        for (int i = 0; i < WORKERS; ++i) atomic_store(&wanted[i], count);
        for (int i = 0; i < WORKERS; ++i)
            while (atomic_load(&wanted[i]) != 0) usleep(500);
        printf("%ld %s\n", atomic_load(&made), wrong ? "wrong" : "right");
        fflush(stdout);
    }
    return 0;
}

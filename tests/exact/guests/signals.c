// SPDX-License-Identifier: Apache-2.0
// Signals that come at places that are known: raised, sent by a child that is waited for, from a timer into a sleep, on an
// alternative stack, left by siglongjmp, and a fault.
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t seen;
static sigjmp_buf back;

static void count(int number) {
    (void)number;
    getppid();
    ++seen;
}

static void leave(int number, siginfo_t* info, void* context) {
    (void)info;
    (void)context;
    siglongjmp(back, number);
}

static void handle(int number, void (*handler)(int), int flags) {
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_handler = handler;
    action.sa_flags = flags;
    sigaction(number, &action, NULL);
}

int main(void) {
    static char stack[65536];
    const stack_t other = {.ss_sp = stack, .ss_size = sizeof(stack)};
    sigset_t mask, old;

    handle(SIGUSR1, count, 0);
    handle(SIGUSR2, count, SA_ONSTACK);
    handle(SIGALRM, count, 0);
    for (int i = 0; i < 10; ++i) raise(SIGUSR1);
    sigaltstack(&other, NULL);
    for (int i = 0; i < 10; ++i) kill(getpid(), SIGUSR2);

    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    sigaddset(&mask, SIGALRM);
    sigprocmask(SIG_BLOCK, &mask, &old);
    const pid_t child = fork();
    if (child == 0) {
        kill(getppid(), SIGUSR1);
        _exit(4);
    }
    int status;
    waitpid(child, &status, 0);
    sigsuspend(&old);  // the signal is pending

    const struct itimerval soon = {.it_value = {.tv_usec = 20000}};
    setitimer(ITIMER_REAL, &soon, NULL);
    sigsuspend(&old);
    sigprocmask(SIG_SETMASK, &old, NULL);
    setitimer(ITIMER_REAL, &soon, NULL);
    const int slept = usleep(5000000);
    const int interrupted = slept == -1 && errno == EINTR;

    struct sigaction fault;
    memset(&fault, 0, sizeof(fault));
    fault.sa_sigaction = leave;
    fault.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &fault, NULL);
    volatile int faults = 0;
    for (volatile int i = 0; i < 5; ++i) {
        if (sigsetjmp(back, 1) == 0)
            *(volatile int*)8 = 1;
        else
            ++faults;
    }
    const pid_t killed = fork();
    if (killed == 0) {
        handle(SIGTERM, SIG_DFL, 0);
        raise(SIGTERM);
    }
    waitpid(killed, &status, 0);
    printf("%d %d %d %d\n", (int)seen, interrupted, faults, WTERMSIG(status));
    return seen == 23 && interrupted && faults == 5 && WTERMSIG(status) == SIGTERM ? 0 : 1;
}

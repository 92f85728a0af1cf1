// SPDX-License-Identifier: Apache-2.0
// Every way in which libc makes a process: vfork, posix_spawn with file actions, system, popen, and clone of a stack of our own.
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char** environ;

static int in_clone(void* argument) {
    for (int i = 0; i < 5; ++i) getppid();
    return *(int*)argument;
}

static int wait_for(pid_t pid) {
    int status = -1;
    return waitpid(pid, &status, 0) == pid ? WEXITSTATUS(status) : -1;
}

int main(void) {
    int sum = 0, three = 3;
    char* const sh[] = {"sh", "-c", "exit 1", NULL};

    for (int i = 0; i < 3; ++i) {
        const pid_t pid = vfork();
        if (pid == 0) {
            getppid();
            if (i == 2) _exit(1);
            execv("/bin/sh", sh);
            _exit(50);
        }
        sum += wait_for(pid);
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", 1, 0);
    pid_t pid;
    if (posix_spawn(&pid, "/bin/sh", &actions, NULL, sh, environ) == 0) sum += wait_for(pid);
    if (posix_spawnp(&pid, "no-such-program", NULL, NULL, sh, environ) != 0) ++sum;
    posix_spawn_file_actions_destroy(&actions);
    sum += WEXITSTATUS(system("exit 2"));
    FILE* out = popen("echo from a pipe", "r");
    char line[100] = "";
    while (fgets(line, sizeof(line), out)) continue;
    sum += pclose(out);
    char* stack = malloc(65536);
    sum += wait_for(clone(in_clone, stack + 65536, SIGCHLD, &three));
    sum += wait_for(clone(in_clone, stack + 65536, SIGCHLD | CLONE_VM | CLONE_VFORK, &three));
    printf("%d %s", sum, line);
    return sum == 13 && strcmp(line, "from a pipe\n") == 0 ? 0 : 1;
}

// SPDX-License-Identifier: Apache-2.0
// tree DEPTH: every process makes two children one after the other, and waits for each; the leaves execute a program, or this
// one again. Each makes as many getppid(2) as its place says.
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static int grow(const char* self, int depth, int place) {
    for (int n = 0; n < place; ++n) getppid();
    if (depth == 0) {
        if (place % 3 == 0) execl("/bin/true", "true", (char*)NULL);
        if (place % 3 == 1) execl(self, "tree", "leaf", (char*)NULL);
        if (place % 3 == 2) execl("/nowhere/at/all", "nothing", (char*)NULL);
        _exit(7);
    }
    int sum = 0;
    for (int child = 0; child < 2; ++child) {
        const pid_t pid = fork();
        if (pid == 0) _exit(grow(self, depth - 1, 2 * place + child));
        int status;
        if (waitpid(pid, &status, 0) != pid) return 99;
        sum += WEXITSTATUS(status);
    }
    return sum;
}

int main(int argc, char** argv) {
    if (argc > 1 && argv[1][0] == 'l') {
        getpid();
        return 3;
    }
    return grow(argv[0], 3, 1) == 3 * 7 + 2 * 3 ? 0 : 1;
}

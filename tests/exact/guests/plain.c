// SPDX-License-Identifier: Apache-2.0
// What every C library can: files, memory, a thread, a child, a signal. Built static, and with musl.
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t seen;

static void count(int number) {
    (void)number;
    ++seen;
}

static void* work(void* unused) {
    for (int i = 0; i < 50; ++i) getppid();
    return unused;
}

int main(int argc, char** argv) {
    struct stat about;
    char text[5000];

    if (argc > 1) return 5;
    signal(SIGUSR1, count);
    raise(SIGUSR1);
    for (int i = 0; i < 20; ++i) {
        const int file = open("plain.txt", O_RDWR | O_CREAT | O_TRUNC, 0600);
        memset(text, i, sizeof(text));
        if (write(file, text, sizeof(text)) != sizeof(text) || lseek(file, 0, SEEK_SET) != 0) return 1;
        if (read(file, text, sizeof(text)) != sizeof(text) || fstat(file, &about) != 0) return 1;
        close(file);
    }
    void* memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(memory, 1, 1 << 20);
    munmap(memory, 1 << 20);
    char* blocks[40];
    for (int i = 0; i < 40; ++i) memset(blocks[i] = malloc(30000), i, 30000);
    for (int i = 0; i < 40; ++i) free(blocks[i]);
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, NULL) != 0) return 1;
    pthread_join(thread, NULL);
    int status, sum = 0;
    for (int i = 0; i < 3; ++i) {
        const pid_t pid = fork();
        if (pid == 0) {
            if (i == 1) _exit(2);
            execl(argv[0], "plain", "again", (char*)NULL);
            _exit(9);
        }
        waitpid(pid, &status, 0);
        sum += WEXITSTATUS(status);
    }
    FILE* out = popen("echo from sh; exit 1", "r");
    while (fgets(text, sizeof(text), out)) continue;
    sum += WEXITSTATUS(pclose(out));
    printf("%d %d\n", (int)seen, sum);
    return seen == 1 && sum == 13 ? 0 : 1;
}

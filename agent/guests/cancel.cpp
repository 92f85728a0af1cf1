// SPDX-License-Identifier: Apache-2.0
// Cancellation and exceptions unwind through a system call, and through a signal handler: destructors run.
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace {

std::atomic<int> destroyed{0};
struct Counted {
    ~Counted() { ++destroyed; }
};

void* waits_in_pause(void*) {
    const Counted counted;
    for (;;) pause();
}
void* waits_in_read(void* fd) {
    const Counted counted;
    char byte;
    while (read(*static_cast<int*>(fd), &byte, 1) >= 0) {
    }
    return nullptr;
}
struct Thrown {};
void throws(int) { throw Thrown{}; }

[[gnu::noinline]] void interrupted(int fd) {
    const Counted counted;
    char byte;
    if (read(fd, &byte, 1) < 0) std::abort();
}

}  // namespace

int main() {
    int ends[2];
    if (pipe(ends) != 0) return 1;
    void* (*const bodies[])(void*) = {waits_in_pause, waits_in_read};
    for (int round = 0; round < 20; ++round) {
        for (auto* body : bodies) {
            pthread_t thread;
            if (pthread_create(&thread, nullptr, body, ends) != 0) return 2;
            usleep(1500);
            void* result = nullptr;
            if (pthread_cancel(thread) != 0 || pthread_join(thread, &result) != 0 || result != PTHREAD_CANCELED)
                return 3;
        }
    }
    std::printf("destroyed %d\n", destroyed.load());
    struct sigaction action = {};
    action.sa_handler = throws;
    action.sa_flags = SA_NODEFER;
    sigaction(SIGALRM, &action, nullptr);
    int caught = 0;
    for (int i = 0; i < 5; ++i) {
        ualarm(3000, 0);
        try {
            interrupted(ends[0]);
        } catch (const Thrown&) {
            ++caught;
        }
    }
    std::printf("caught %d\n", caught);
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
// callers FILE THREADS [children]: that many threads make getppid(2) calls until the first word of FILE, which is
// mapped, is not 0; each counts its own calls in a word of FILE, 64 bytes apart, after each call. Prints its pid first.
// With a third argument there are children all the while, one by one, which make such calls. Those of fork count in the
// next word, until a timer ends them, at whatever instruction. Those of vfork, which do not learn of a link that comes
// meanwhile, count in the last, beside one for each that was killed: a call that was entered and not counted.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

namespace {

using Word = std::atomic<std::uint64_t>;

void add_one(Word& word) { word.store(word.load(std::memory_order_relaxed) + 1, std::memory_order_release); }

[[noreturn]] void call_until_death(Word& made) {
    const itimerval soon{.it_interval = {}, .it_value = {.tv_sec = 0, .tv_usec = 3000}};
    ::setitimer(ITIMER_REAL, &soon, nullptr);
    for (;;) {
        ::getppid();
        add_one(made);
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 3) return 2;
    const auto threads = static_cast<unsigned>(std::atoi(argv[2]));
    const int fd = ::open(argv[1], O_RDWR | O_CLOEXEC);
    void* const memory = ::mmap(nullptr, (threads + 3) * 64UL, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) return 2;
    auto* const words = static_cast<Word*>(memory);
    std::printf("%d\n", ::getpid());
    std::fflush(stdout);
    std::vector<std::thread> running;
    for (unsigned i = 1; i <= threads; ++i)
        running.emplace_back([&stop = words[0], &made = words[i * 8]] {
            while (stop.load(std::memory_order_relaxed) == 0) {
                ::getppid();
                add_one(made);
            }
        });
    auto &of_fork = words[(threads + 1) * 8], &of_vfork = words[(threads + 2) * 8];
    int status = 0;
    while (argc > 3 && words[0].load(std::memory_order_relaxed) == 0) {
        pid_t child = ::fork();
        if (child == 0) call_until_death(of_fork);
        if (::waitpid(child, &status, 0) != child || !WIFSIGNALED(status) || WTERMSIG(status) != SIGALRM) return 3;
        add_one(of_vfork);
        child = ::vfork();
        if (child == 0) {
            for (int n = 0; n < 1000; ++n) {
                ::getppid();
                add_one(of_vfork);
            }
            ::_exit(0);
        }
        if (::waitpid(child, &status, 0) != child || status != 0) return 3;
    }
    for (auto& thread : running) thread.join();
}

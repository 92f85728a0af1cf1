// SPDX-License-Identifier: Apache-2.0
// callers FILE THREADS: that many threads make getppid(2) calls until the first word of FILE, which is mapped, is not
// 0; each counts its own calls in a word of FILE, 64 bytes apart, after each call. Prints its pid first.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    const auto threads = static_cast<unsigned>(std::atoi(argv[2]));
    const int fd = ::open(argv[1], O_RDWR | O_CLOEXEC);
    void* const memory = ::mmap(nullptr, (threads + 1) * 64UL, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) return 2;
    std::printf("%d\n", ::getpid());
    std::fflush(stdout);
    auto* const words = static_cast<std::atomic<std::uint64_t>*>(memory);
    std::vector<std::thread> running;
    for (unsigned i = 1; i <= threads; ++i)
        running.emplace_back([&stop = words[0], &made = words[i * 8]] {
            while (stop.load(std::memory_order_relaxed) == 0) {
                ::getppid();
                made.store(made.load(std::memory_order_relaxed) + 1, std::memory_order_release);
            }
        });
    for (auto& thread : running) thread.join();
}

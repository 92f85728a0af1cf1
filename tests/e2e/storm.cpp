// SPDX-License-Identifier: Apache-2.0
// storm THREADS CALLS: that many threads make that many getppid(2) calls each, and nothing else of the kind.
#include <unistd.h>

#include <cstdlib>
#include <thread>
#include <vector>

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    const int threads = std::atoi(argv[1]);
    const long calls = std::atol(argv[2]);
    std::vector<std::thread> running;
    running.reserve(static_cast<std::size_t>(threads));
    for (int i = 0; i < threads; ++i)
        running.emplace_back([calls] {
            for (long n = 0; n < calls; ++n) ::getppid();
        });
    for (auto& thread : running) thread.join();
}

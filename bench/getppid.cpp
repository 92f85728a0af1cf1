// SPDX-License-Identifier: Apache-2.0
// bench_getppid [CALLS]: nanoseconds of one getppid(2) through libc's own wrapper: the best of 7 batches, printed as a
// number.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

int main(int argc, char** argv) {
    const long calls = argc > 1 ? std::atol(argv[1]) : 200000;
    double best = 1e9;
    for (int batch = 0; batch < 7; ++batch) {
        const auto start = std::chrono::steady_clock::now();
        for (long n = 0; n < calls; ++n) ::getppid();
        const std::chrono::duration<double, std::nano> spent = std::chrono::steady_clock::now() - start;
        best = std::min(best, spent.count() / static_cast<double>(calls));
    }
    std::printf("%.1f\n", best);
}

// SPDX-License-Identifier: Apache-2.0
// bench_getppid [CALLS [asked]]: nanoseconds of one getppid(2) through libc's own wrapper: the best of 7 batches,
// printed as a number; with a second argument, one for every line that is read. With ANYBPF_BENCH_DISPATCH in the
// environment Syscall User Dispatch is on, and lets every call pass: what the kernel itself takes for that.
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>

namespace {

double measure(long calls) {
    double best = 1e9;
    for (int batch = 0; batch < 7; ++batch) {
        const auto start = std::chrono::steady_clock::now();
        for (long n = 0; n < calls; ++n) ::getppid();
        const std::chrono::duration<double, std::nano> spent = std::chrono::steady_clock::now() - start;
        best = std::min(best, spent.count() / static_cast<double>(calls));
    }
    return best;
}

}  // namespace

int main(int argc, char** argv) {
    const long calls = argc > 1 ? std::atol(argv[1]) : 200000;
    const bool asked = argc > 2;
    constexpr int set_dispatch = 59, on = 1;
    constexpr unsigned long everything = 0x7fffffffe000;
    if (std::getenv("ANYBPF_BENCH_DISPATCH") != nullptr && ::prctl(set_dispatch, on, 0x1000UL, everything, 0UL) != 0)
        return 1;
    while (!asked || std::getchar() == '\n') {
        std::printf("%.1f\n", measure(calls));
        std::fflush(stdout);
        if (!asked) break;
    }
}

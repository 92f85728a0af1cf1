// SPDX-License-Identifier: Apache-2.0
// bench_exec [TIMES]: microseconds from vfork to the end of /bin/true: the median and the least, printed as numbers.
#include <spawn.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

extern char** environ;

int main(int argc, char** argv) {
    const int times = argc > 1 ? std::atoi(argv[1]) : 300;
    std::vector<double> spent;
    char name[] = "/bin/true";
    char* const arguments[] = {name, nullptr};
    for (int n = 0; n < times; ++n) {
        const auto start = std::chrono::steady_clock::now();
        pid_t pid = 0;
        if (::posix_spawn(&pid, name, nullptr, nullptr, arguments, environ) != 0) return 1;
        int status = 0;
        if (::waitpid(pid, &status, 0) != pid || status != 0) return 1;
        spent.push_back(std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count());
    }
    std::nth_element(spent.begin(), spent.begin() + times / 2, spent.end());
    std::printf("%.1f %.1f\n", spent[static_cast<std::size_t>(times / 2)],
                *std::min_element(spent.begin(), spent.begin() + times / 2 + 1));
}

// SPDX-License-Identifier: Apache-2.0
// Exceptions over frames that make system calls while they are left, streams, a cancelled thread and one that throws.
#include <pthread.h>
#include <unistd.h>

#include <exception>
#include <fstream>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>

namespace {
int left = 0;

struct Frame {
    ~Frame() {
        ::getppid();
        ++left;
    }
};

int deep(int n) {
    const Frame frame;
    if (n == 0) throw std::runtime_error("bottom");
    return deep(n - 1) + 1;
}

void* sleeper(void* there) {
    const Frame frame;
    if (::write(*static_cast<int*>(there), "x", 1) == 1) ::pause();
    return nullptr;
}
}  // namespace

int main() {
    for (int i = 0; i < 20; ++i) {
        try {
            deep(i);
        } catch (const std::exception& error) {
            std::ofstream("note") << error.what() << i << '\n';
        }
    }
    std::ifstream in("note");
    std::string line;
    std::getline(in, line);

    std::exception_ptr caught;
    std::thread([&] {
        try {
            deep(5);
        } catch (...) {
            caught = std::current_exception();
        }
    }).join();
    try {
        std::rethrow_exception(caught);
    } catch (const std::runtime_error& error) {
        line += error.what();
    }

    pthread_t thread;
    int pipe[2];
    char byte = 0;
    if (::pipe(pipe) != 0) return 1;
    pthread_create(&thread, nullptr, sleeper, &pipe[1]);
    if (::read(pipe[0], &byte, 1) != 1) return 1;
    ::usleep(50000);  // it is asleep then
    pthread_cancel(thread);
    pthread_join(thread, nullptr);
    std::map<int, std::string> many;
    for (int i = 0; i < 5000; ++i) many[i] = std::string(100, 'x');
    std::cout << line << ' ' << left << ' ' << many.size() << std::endl;
    return line == "bottom19bottom" && left == 217 ? 0 : 1;
}

// SPDX-License-Identifier: Apache-2.0
#include "compile.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "anybpf/abi/types.hpp"
#include "anybpf/base/fd.hpp"
#include "paths.hpp"
#include "vmlinux_header.hpp"

extern char** environ;

namespace anybpf::cli {

namespace fs = std::filesystem;

std::string find_in_path(const std::string& name) {
    if (name.find('/') != name.npos) return ::access(name.c_str(), X_OK) == 0 ? name : "";
    const char* path = std::getenv("PATH");
    std::string_view rest = path ? path : "/usr/local/bin:/usr/bin:/bin";
    while (true) {
        const auto colon = rest.find(':');
        const std::string folder(rest.substr(0, colon));
        const std::string candidate = fmt::format("{}/{}", folder.empty() ? "." : folder, name);
        std::error_code error;
        if (::access(candidate.c_str(), X_OK) == 0 && fs::is_regular_file(candidate, error)) return candidate;
        if (colon == rest.npos) return {};
        rest.remove_prefix(colon + 1);
    }
}

std::string find_clang() {
    if (const char* given = std::getenv("ANYBPF_CLANG")) return find_in_path(given);
    for (const char* name : {"clang-19", "clang-14", "clang"})
        if (std::string found = find_in_path(name); !found.empty()) return found;
    return {};
}

namespace {

// With out, clang's stdout is that end of a pipe, closed here once clang has it; drain() then reads the other to its
// end.
template <class Drain>
Outcome<> run_clang(const CompileOptions& options, Fd* out, const Drain& drain) {
    if (::access(options.source.c_str(), R_OK) != 0)
        return stop(Exit::missing, fmt::format("{}: {}", options.source, std::strerror(errno)));
    const std::string clang = find_clang();
    if (clang.empty())
        return stop(Exit::compile_error, "no clang found: install clang-19 (or name one in ANYBPF_CLANG)");

    std::vector<std::string> words{clang, "-target", "bpf", "-O2", "-g", "-mcpu=v3", "-D__TARGET_ARCH_x86"};
    // How much stack there may be is the verifier's to say. Older ones have no such option, and stop at 512 bytes.
    if (clang.ends_with("clang-19"))
        words.insert(words.end(), {"-mllvm", fmt::format("-bpf-stack-size={}", abi::max_stack_size)});
    switch (options.emit) {
        case Emit::object:
            words.emplace_back("-c");
            break;
        case Emit::llvm:
            words.insert(words.end(), {"-S", "-emit-llvm"});
            break;
        case Emit::assembly:
            words.emplace_back("-S");
            break;
        case Emit::lifted:
        case Emit::lifted_raw:
            return stop(Exit::usage, "clang does not lift programs");
    }
    for (const std::string& folder : options.includes) words.push_back(fmt::format("-I{}", folder));
    for (const std::string& define : options.defines) words.push_back(fmt::format("-D{}", define));
    // Behind everything the user names: our own header, the kernel's types, and the machine's asm/ headers.
    words.insert(words.end(), {"-idirafter", fmt::format("{}/include", prefix())});
    if (auto folder = vmlinux_header_folder()) words.insert(words.end(), {"-idirafter", *folder});
    words.insert(words.end(), {"-idirafter", "/usr/include/x86_64-linux-gnu"});
    words.insert(words.end(), options.clang.begin(), options.clang.end());
    words.insert(words.end(), {options.source, "-o", options.output});

    if (options.show) fmt::print(stderr, "{}\n", fmt::join(words, " "));
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    if (out) ::posix_spawn_file_actions_adddup2(&actions, out->get(), STDOUT_FILENO);
    pid_t child = 0;
    const int error = ::posix_spawn(&child, clang.c_str(), &actions, nullptr, arguments.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (error != 0) return stop(Exit::compile_error, fmt::format("{}: {}", clang, std::strerror(error)));
    if (out) *out = Fd();
    drain();
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
    return stop(Exit::compile_error, fmt::format("{}: does not compile (see clang's message above)", options.source));
}

}  // namespace

Outcome<> compile(const CompileOptions& options) {
    return run_clang(options, nullptr, [] {});
}

Outcome<std::vector<std::byte>> compile_to_memory(CompileOptions options) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return stop(Exit::compile_error, fmt::format("pipe: {}", std::strerror(errno)));
    const Fd read_end(ends[0]);
    Fd write_end(ends[1]);
    options.output.assign(1, '-');
    std::vector<std::byte> object;
    // clang writes its output at its end; a thread of ours would be the other way not to fill the pipe.
    CLI_TRY(run_clang(options, &write_end, [&] {
        std::array<std::byte, 65536> part;
        for (ssize_t got; (got = ::read(read_end.get(), part.data(), part.size())) != 0;) {
            if (got > 0) object.insert(object.end(), part.begin(), part.begin() + got);
            if (got < 0 && errno != EINTR) break;
        }
    }));
    return object;
}

}  // namespace anybpf::cli

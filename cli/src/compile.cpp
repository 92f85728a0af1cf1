// SPDX-License-Identifier: Apache-2.0
#include "compile.hpp"

#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

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
        const std::string candidate = (folder.empty() ? "." : folder) + "/" + name;
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

Outcome<> compile(const CompileOptions& options) {
    if (::access(options.source.c_str(), R_OK) != 0)
        return stop(Exit::missing, fmt::format("{}: {}", options.source, std::strerror(errno)));
    const std::string clang = find_clang();
    if (clang.empty())
        return stop(Exit::compile_error, "no clang found: install clang-19 (or name one in ANYBPF_CLANG)");

    std::vector<std::string> words{clang, "-target", "bpf", "-O2", "-g", "-mcpu=v3", "-D__TARGET_ARCH_x86"};
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
    }
    for (const std::string& folder : options.includes) words.push_back("-I" + folder);
    for (const std::string& define : options.defines) words.push_back("-D" + define);
    // Behind everything the user names: our own header, the kernel's types, and the machine's asm/ headers.
    for (const std::string& folder : {prefix() + "/include"}) words.insert(words.end(), {"-idirafter", folder});
    if (auto folder = vmlinux_header_folder()) words.insert(words.end(), {"-idirafter", *folder});
    words.insert(words.end(), {"-idirafter", "/usr/include/x86_64-linux-gnu"});
    words.insert(words.end(), options.clang.begin(), options.clang.end());
    words.insert(words.end(), {options.source, "-o", options.output});

    if (options.show) fmt::print(stderr, "{}\n", fmt::join(words, " "));
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    pid_t child = 0;
    if (const int error = ::posix_spawn(&child, clang.c_str(), nullptr, nullptr, arguments.data(), environ); error != 0)
        return stop(Exit::compile_error, fmt::format("{}: {}", clang, std::strerror(error)));
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
    return stop(Exit::compile_error, fmt::format("{}: does not compile (see clang's message above)", options.source));
}

Outcome<ProgramFile> ProgramFile::open(const std::string& path, const std::vector<std::string>& clang) {
    std::string file = path;
    if (::access(path.c_str(), F_OK) != 0)
        if (std::string shipped = shipped_program(path); !shipped.empty()) file = shipped;
    if (!file.ends_with(".c")) return ProgramFile(file, false);
    if (::access(file.c_str(), R_OK) != 0)
        return stop(Exit::missing, fmt::format("{}: {}", file, std::strerror(errno)));
    std::error_code error;
    std::string name =
        fmt::format("{}/{}.XXXXXX.o", fs::temp_directory_path(error).string(), fs::path(file).stem().stem().string());
    const int fd = ::mkstemps(name.data(), 2);
    if (fd < 0) return stop(Exit::compile_error, fmt::format("{}: {}", name, std::strerror(errno)));
    ::close(fd);
    ProgramFile program(name, true);
    CLI_TRY(compile({.source = file, .output = name, .includes = {}, .defines = {}, .clang = clang}));
    return program;
}

ProgramFile::ProgramFile(ProgramFile&& other) noexcept
    : object_(std::move(other.object_)), temporary_(std::exchange(other.temporary_, false)) {}

ProgramFile::~ProgramFile() {
    if (temporary_) ::unlink(object_.c_str());
}

}  // namespace anybpf::cli

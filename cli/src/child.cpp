// SPDX-License-Identifier: Apache-2.0
#include "child.hpp"

#include <elf.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern "C" {
#include <sys/pidfd.h>  // glibc 2.36 forgot that C++ may include it
}

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "anybpf/base/bytes.hpp"
#include "compile.hpp"

namespace anybpf::cli {

Outcome<std::string> find_command(const std::string& name) {
    if (std::string found = find_in_path(name); !found.empty()) return found;
    if (name.find('/') != name.npos && ::access(name.c_str(), F_OK) == 0)
        return stop(Exit::not_executable, fmt::format("{}: {}", name, std::strerror(EACCES)));
    return stop(Exit::not_found, fmt::format("{}: command not found", name));
}

namespace {

// The first page and a half hold the program headers of any ordinary file.
std::string why_not_traced_elf(std::span<const std::byte> bytes) {
    ByteReader reader(bytes);
    const auto header = reader.take<Elf64_Ehdr>();
    if (!header) return {};
    if (header->e_ident[EI_CLASS] != ELFCLASS64) return "it is a 32-bit program";
    for (unsigned i = 0; i < header->e_phnum; ++i) {
        if (!reader.seek(header->e_phoff + u64{i} * sizeof(Elf64_Phdr))) return {};
        const auto segment = reader.take<Elf64_Phdr>();
        if (!segment) return {};
        if (segment->p_type == PT_INTERP) return {};
    }
    return "it is statically linked";
}

}  // namespace

std::string why_not_traced(const std::string& path) {
    std::string file = path;
    for (int depth = 0; depth < 4; ++depth) {
        struct stat info{};
        const Fd input(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
        if (!input.valid() || ::fstat(input.get(), &info) != 0) return {};
        if (((info.st_mode & S_ISUID) && info.st_uid != ::geteuid()) ||
            ((info.st_mode & S_ISGID) && info.st_gid != ::getegid()))
            return "it is a setuid or setgid program";
        std::array<std::byte, 6144> start;
        const ssize_t got = ::read(input.get(), start.data(), start.size());
        if (got < 4) return {};
        const std::string_view text(static_cast<const char*>(static_cast<const void*>(start.data())),
                                    static_cast<std::size_t>(got));
        if (text.starts_with(ELFMAG)) return why_not_traced_elf(std::span(start).first(static_cast<std::size_t>(got)));
        if (!text.starts_with("#!")) return {};
        const auto first = text.find_first_not_of(" \t", 2);
        if (first == text.npos) return {};
        file = text.substr(first, text.find_first_of(" \t\n", first) - first);
    }
    return {};
}

Outcome<Child> Child::start(const std::string& path, const std::vector<std::string>& words,
                            const std::vector<std::string>& environment, const BeforeExec& before_exec) {
    std::vector<char*> arguments;
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    std::vector<char*> variables;
    for (const std::string& variable : environment) variables.push_back(const_cast<char*>(variable.c_str()));
    variables.push_back(nullptr);
    int gate[2];
    if (::pipe2(gate, O_CLOEXEC) != 0) return stop(Exit::failed, fmt::format("pipe: {}", std::strerror(errno)));
    const Fd read_end(gate[0]);
    Fd write_end(gate[1]);
    const pid_t pid = ::fork();
    if (pid < 0) return stop(Exit::failed, fmt::format("fork: {}", std::strerror(errno)));
    if (pid == 0) {
        sigset_t none;
        ::sigemptyset(&none);
        ::sigprocmask(SIG_SETMASK, &none, nullptr);
        ::signal(SIGPIPE, SIG_DFL);
        const bool as_it_is = before_exec(path.c_str(), arguments.data(), variables.data());
        char* const* const given = as_it_is ? environ : variables.data();
        ::execve(path.c_str(), arguments.data(), given);
        const int error = errno;
        // A script without its first line is the shell's, as execvp has it.
        if (error == ENOEXEC) {
            arguments.insert(arguments.begin(), const_cast<char*>("/bin/sh"));
            arguments[1] = const_cast<char*>(path.c_str());
            ::execve("/bin/sh", arguments.data(), given);
        }
        (void)!::write(write_end.get(), &error, sizeof(error));
        ::_exit(127);
    }
    Child child;
    child.pid_ = pid;
    child.pidfd_ = Fd(::pidfd_open(pid, 0));
    write_end = Fd();
    int error = 0;
    if (::read(read_end.get(), &error, sizeof(error)) == sizeof(error)) {
        ::waitpid(pid, nullptr, 0);
        return stop(error == ENOENT ? Exit::not_found : Exit::not_executable,
                    fmt::format("{}: {}", path, std::strerror(error)));
    }
    return child;
}

void Child::signal(int number) const { ::kill(pid_, number); }

bool Child::ended() {
    if (status_ >= 0) return true;
    int raw = 0;
    // Not before its end: what happens to a traced child is for the injector to see, another thread of ours.
    pollfd end{.fd = pidfd_.get(), .events = POLLIN, .revents = 0};
    siginfo_t what{};
    const bool over =
        pidfd_.valid()
            ? ::poll(&end, 1, 0) > 0
            : ::waitid(P_PID, static_cast<id_t>(pid_), &what, WEXITED | WNOHANG | WNOWAIT) == 0 && what.si_pid == pid_;
    if (!over || ::waitpid(pid_, &raw, WNOHANG) != pid_) return false;
    status_ = WIFEXITED(raw) ? WEXITSTATUS(raw) : 128 + WTERMSIG(raw);
    return true;
}

}  // namespace anybpf::cli

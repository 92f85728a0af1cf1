// SPDX-License-Identifier: Apache-2.0
// Raw because it forks. The children share nothing with their parent but the pipe that they write their result to.
#include "workers_raw.hpp"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>

#include "anybpf/base/fd.hpp"

namespace anybpf::verdicts {

Result<std::vector<std::string>> in_processes(u32 jobs, const std::function<std::string(u32)>& work) {
    struct Child {
        pid_t pid;
        Fd out;
    };
    std::vector<Child> children;
    for (u32 n = 0; n < jobs; ++n) {
        std::array<int, 2> ends{};
        if (::pipe(ends.data()) != 0) return fail_errno("pipe");
        Fd read(ends[0]), write(ends[1]);
        const pid_t pid = ::fork();
        if (pid < 0) return fail_errno("fork");
        if (pid == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            const std::string text = work(n);
            for (std::size_t done = 0; done < text.size();) {
                const ssize_t wrote = ::write(write.get(), text.data() + done, text.size() - done);
                if (wrote <= 0) ::_exit(2);
                done += static_cast<std::size_t>(wrote);
            }
            ::_exit(0);
        }
        children.push_back({pid, std::move(read)});
    }
    std::vector<std::string> out;
    std::string trouble;
    for (Child& child : children) {
        std::string text;
        std::array<char, 65536> part;
        for (ssize_t got; (got = ::read(child.out.get(), part.data(), part.size())) > 0;)
            text.append(part.data(), static_cast<std::size_t>(got));
        int status = 0;
        ::waitpid(child.pid, &status, 0);
        if (status != 0)
            trouble = fmt::format("process {} of {} ended with status {:#x}", &child - children.data(), jobs, status);
        else
            out.push_back(std::move(text));
    }
    if (!trouble.empty()) return fail(Errc::invalid_argument, trouble);
    return out;
}

}  // namespace anybpf::verdicts

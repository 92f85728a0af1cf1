// SPDX-License-Identifier: Apache-2.0
// The current task, from /proc. The first question of a thread costs system calls (its own record, its ancestors', its
// credentials: some twenty); after that one getppid per tick of the coarse clock, since a parent that dies gives its
// children away. A host that forbids system calls leaves what is not known at zero.
#include "task.hpp"

#include <fcntl.h>
#include <sys/syscall.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <string_view>

#include "arguments_raw.hpp"
#include "clock.hpp"

namespace anybpf::helpers {
namespace {

constexpr u64 tick_ns = 10'000'000;  // USER_HZ is 100
constexpr int sigchld = 17;

// What /proc/PID/stat tells.
struct Stat {
    std::array<char, abi::name_size> comm{};
    u32 parent = 0;
    u32 flags = 0;
    u64 start_ns = 0;  // since boot
};

char* append(char* to, std::string_view text) { return std::copy(text.begin(), text.end(), to); }

char* append(char* to, u32 number) {
    char digits[10];
    std::size_t count = 0;
    do digits[count++] = static_cast<char>('0' + number % 10);
    while ((number /= 10) != 0);
    while (count > 0) *to++ = digits[--count];
    return to;
}

u64 read_number(std::string_view& line) {
    u64 value = 0;
    std::size_t i = 0;
    while (i < line.size() && line[i] != ' ') ++i;
    for (std::size_t k = 0; k < i; ++k)
        if (line[k] >= '0' && line[k] <= '9') value = value * 10 + static_cast<u64>(line[k] - '0');
    line.remove_prefix(std::min(line.size(), i + 1));
    return value;
}

// "PID (comm) state ppid pgrp session tty tpgid flags ... starttime": proc(5). The comm may contain anything, so the
// fields are counted from the last parenthesis.
bool parse_stat(std::string_view line, Stat& stat) {
    const std::size_t open = line.find('('), close = line.rfind(')');
    if (open == std::string_view::npos || close == std::string_view::npos || close < open) return false;
    const std::string_view comm = line.substr(open + 1, close - open - 1);
    std::copy_n(comm.begin(), std::min(comm.size(), stat.comm.size() - 1), stat.comm.begin());
    line.remove_prefix(std::min(line.size(), close + 2));
    for (int field = 3; field <= 22; ++field) {
        const u64 value = read_number(line);
        if (field == 4) stat.parent = static_cast<u32>(value);
        if (field == 9) stat.flags = static_cast<u32>(value);
        if (field == 22) stat.start_ns = value * tick_ns;
    }
    return true;
}

bool read_stat(Host& host, u32 pid, u32 tid, Stat& stat) {
    char path[64];
    char* end = append(append(path, "/proc/"), pid);
    if (tid != pid) end = append(append(end, "/task/"), tid);
    *append(end, "/stat") = '\0';
    const i64 fd =
        host.system_call(SYS_openat, static_cast<u64>(i64{AT_FDCWD}), address(path), O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return false;
    char line[1024];
    const i64 size = host.system_call(SYS_read, static_cast<u64>(fd), address(line), sizeof line, 0);
    host.system_call(SYS_close, static_cast<u64>(fd), 0, 0, 0);
    return size > 0 && parse_stat({line, static_cast<std::size_t>(size)}, stat);
}

// sleep_ns: what the boot clock is ahead of the monotonic one.
void describe(Task& task, u32 pid, u32 tid, const Stat& stat, u64 sleep_ns) {
    task.pid = static_cast<int>(tid);
    task.tgid = static_cast<int>(pid);
    task.flags = stat.flags;
    task.exit_signal = pid == tid ? sigchld : -1;
    task.start_boottime = stat.start_ns;
    task.start_time = stat.start_ns > sleep_ns ? stat.start_ns - sleep_ns : 0;
    std::copy(stat.comm.begin(), stat.comm.end(), task.comm);
}

void adopt(Task& child, Task& parent) { child.real_parent = child.parent = &parent; }

void fill_credentials(Host& host, const Thread& thread, Cred& cred) {
    u32 ids[3] = {thread.uid, thread.uid, thread.uid};
    host.system_call(SYS_getresuid, address(&ids[0]), address(&ids[1]), address(&ids[2]), 0);
    cred.euid.val = cred.fsuid.val = ids[1];
    cred.suid.val = ids[2];
    ids[0] = ids[1] = ids[2] = thread.gid;
    host.system_call(SYS_getresgid, address(&ids[0]), address(&ids[1]), address(&ids[2]), 0);
    cred.egid.val = cred.fsgid.val = ids[1];
    cred.sgid.val = ids[2];
}

// The chain from first_parent on; ends in the swapper, which is its own parent as in the kernel.
void fill_ancestors(Host& host, Tasks& tasks, u32 first_parent, u64 sleep_ns) {
    Task* child = &tasks.leader;
    u32 pid = first_parent;
    for (Task& task : tasks.ancestors) {
        Stat stat;
        if (pid == 0) break;
        const bool known = read_stat(host, pid, pid, stat);
        task = {};
        describe(task, pid, pid, stat, sleep_ns);
        task.group_leader = &task;
        adopt(*child, task);
        child = &task;
        pid = known ? stat.parent : 0;
    }
    adopt(*child, tasks.swapper);
}

void fill(Environment& environment, u32 parent) {
    Thread& thread = *environment.thread;
    Host& host = *environment.host;
    Tasks& tasks = thread.tasks;
    const u64 monotonic = clock_ns(CLOCK_MONOTONIC);  // the one behind is read first, lest the difference be negative
    const u64 sleep_ns = clock_ns(CLOCK_BOOTTIME) - monotonic;

    tasks.swapper = {};
    append(tasks.swapper.comm, "swapper/0");
    tasks.swapper.group_leader = &tasks.swapper;
    adopt(tasks.swapper, tasks.swapper);

    Stat leader;
    if (!read_stat(host, thread.pid, thread.pid, leader) && thread.pid == thread.tid) leader.comm = thread.comm;
    tasks.leader = {};
    describe(tasks.leader, thread.pid, thread.pid, leader, sleep_ns);
    tasks.leader.group_leader = &tasks.leader;
    fill_ancestors(host, tasks, parent, sleep_ns);

    fill_credentials(host, thread, tasks.cred);
    tasks.leader.cred = tasks.leader.real_cred = &tasks.cred;
    if (thread.pid != thread.tid) {
        Stat self;
        read_stat(host, thread.pid, thread.tid, self);
        tasks.self = tasks.leader;
        describe(tasks.self, thread.pid, thread.tid, self, sleep_ns);
    }
    tasks.filled = true;
}

}  // namespace

const Task* current_task(Environment& environment) {
    Thread& thread = *environment.thread;
    Tasks& tasks = thread.tasks;
    Task& self = thread.pid == thread.tid ? tasks.leader : tasks.self;
    const u64 now = clock_ns(CLOCK_MONOTONIC_COARSE);
    if (!tasks.filled || tasks.checked_ns != now) {
        const i64 parent = environment.host->system_call(SYS_getppid, 0, 0, 0, 0);
        const bool moved = parent >= 0 && tasks.leader.real_parent && parent != tasks.leader.real_parent->tgid;
        if (!tasks.filled || moved) fill(environment, parent > 0 ? static_cast<u32>(parent) : 0);
        tasks.checked_ns = now;
    }
    std::copy(thread.comm.begin(), thread.comm.end(), self.comm);
    tasks.cred.uid.val = thread.uid;
    tasks.cred.gid.val = thread.gid;
    return &self;
}

}  // namespace anybpf::helpers

// SPDX-License-Identifier: Apache-2.0
// Raw here: system calls by number, with addresses as integers. Each hands over memory that outlives the call and has
// the size that the call writes (PR_GET_NAME: 16 bytes).
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "system.hpp"

namespace anybpf::hooks {
namespace {

long libc_system_call(long number, long a, long b, long c, long d, long e, long f) {
    const int saved = errno;
    const long result = ::syscall(number, a, b, c, d, e, f);
    return result == -1 ? -std::exchange(errno, saved) : result;
}

static_assert(sizeof(helpers::Thread::comm) == 16);

}  // namespace

System::System(RawSyscall raw) : raw_(raw ? raw : libc_system_call) {}

i64 System::call(i64 number, u64 a, u64 b, u64 c, u64 d) const {
    return raw_(number, static_cast<long>(a), static_cast<long>(b), static_cast<long>(c), static_cast<long>(d), 0, 0);
}

void System::read_pid(helpers::Thread& thread) const { thread.pid = static_cast<u32>(call(SYS_getpid, 0, 0, 0, 0)); }

void System::read_ids(helpers::Thread& thread) const {
    thread.uid = static_cast<u32>(call(SYS_getuid, 0, 0, 0, 0));
    thread.gid = static_cast<u32>(call(SYS_getgid, 0, 0, 0, 0));
}

void System::read_comm(helpers::Thread& thread) const {
    call(SYS_prctl, PR_GET_NAME, reinterpret_cast<u64>(thread.comm.data()), 0, 0);
}

// Opened for reading as well, so that a reader which leaves at this moment does not make the write a SIGPIPE.
void System::wake(const std::string& fifo) const {
    const i64 fd = call(SYS_openat, static_cast<u64>(AT_FDCWD), reinterpret_cast<u64>(fifo.c_str()),
                        O_RDWR | O_NONBLOCK | O_CLOEXEC, 0);
    if (fd < 0) return;
    static constexpr char byte = 1;
    call(SYS_write, static_cast<u64>(fd), reinterpret_cast<u64>(&byte), 1, 0);
    call(SYS_close, static_cast<u64>(fd), 0, 0, 0);
}

}  // namespace anybpf::hooks

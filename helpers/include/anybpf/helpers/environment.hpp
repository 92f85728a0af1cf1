// SPDX-License-Identifier: Apache-2.0
// Environment: what helper bodies need of the process that runs the program. The host (agent hooks, kernel's test run,
// a unit test) fills it in and points Run::environment at it.
#pragma once

#include <array>
#include <cstddef>

#include "anybpf/abi/run.hpp"
#include "anybpf/helpers/task.hpp"

namespace anybpf::maps {
class Map;
class PerfBuffer;
}  // namespace anybpf::maps

namespace anybpf::helpers {

// The thread that a run happens on. One per thread, at a fixed address (its tasks point at each other), used by that
// thread alone. The host keeps ids, credentials and comm up to date (fork, setuid, PR_SET_NAME), and calls forget()
// where the process became another one (fork) or another image (exec).
struct Thread {
    u32 tid = 0, pid = 0;  // as abi::ThreadIds; pid is the thread group's, as getpid() gives it
    u32 uid = 0, gid = 0;  // effective ids are not asked for by any helper
    std::array<char, abi::name_size> comm{};
    u64 random = 0;  // state of get_prandom_u32; 0: not seeded yet
    Tasks tasks;     // filled when a program first asks for the current task

    void forget() {
        random = 0;
        tasks = {};
    }
};

// What helpers ask of the host. All of it is called on hook paths: no locks, no allocation, async-signal-safe.
class Host {
  public:
    virtual ~Host() = default;
    // The buffer that entry `index` of a PERF_EVENT_ARRAY holds; null where there is none.
    virtual maps::PerfBuffer* perf_buffer(maps::Map& array, u32 index) = 0;
    // A reader sleeps on this ring buffer (or perf buffer) and should look at it now.
    virtual void wake(maps::Map& ring) = 0;
    virtual void wake(maps::PerfBuffer& buffer) = 0;
    // A system call of our own (getppid, openat, read, close): its result, or -errno. A host that must not make any
    // answers -ENOSYS, and the current task then knows less of its parents.
    virtual i64 system_call(i64 number, u64 a, u64 b, u64 c, u64 d) = 0;
};

struct Environment {
    Thread* thread = nullptr;
    Host* host = nullptr;
    maps::Map* trace = nullptr;  // RINGBUF of abi::TraceRecord: where trace_printk writes; null: nowhere
};

// As abi::Run::environment says.
static_assert(offsetof(Environment, thread) == 0 && offsetof(Thread, tid) == offsetof(abi::ThreadIds, tid) &&
              offsetof(Thread, pid) == offsetof(abi::ThreadIds, pid));

// Every helper of abi/helpers.def but tail_call, which is the engine's own.
const abi::HelperBodies& bodies();

}  // namespace anybpf::helpers

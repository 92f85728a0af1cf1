// SPDX-License-Identifier: Apache-2.0
// Raw: ptrace over all threads of a process, and system calls and functions that they run for us. Safe for the process
// because every thread stands still from the first change to the last, and goes on with the registers, the mask and
// the memory that it had, but for what the agent's presence is; nothing that is read from it is used as an address
// here. What runs there is placed over instructions of its text that no thread executes meanwhile, and they are put
// back.
#include <elf.h>
#include <fcntl.h>
#include <linux/ptrace.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <thread>
#include <vector>

#include "anybpf/agent/attach.hpp"
#include "anybpf/agent/visit.hpp"
#include "anybpf/base/fd.hpp"
#include "image_file.hpp"

extern "C" {
extern const unsigned char anybpf_bootstrap[], anybpf_bootstrap_failed[], anybpf_bootstrap_end[];
long ptrace(int request, ...) noexcept;  // <sys/ptrace.h> and <linux/ptrace.h> exclude each other
}

namespace anybpf::agent {
namespace {

namespace fs = std::filesystem;

constexpr auto patience = std::chrono::seconds(10);

struct Mapped {
    u64 begin = 0, end = 0, offset = 0;
    bool executable = false;
    FileId file;
};

std::vector<Mapped> mappings_of(pid_t pid) {
    std::vector<Mapped> found;
    std::ifstream in("/proc/" + std::to_string(pid) + "/maps");
    for (std::string line; std::getline(in, line);) {
        Mapped each;
        char rights[8] = {};
        unsigned major = 0, minor = 0;
        unsigned long begin = 0, end = 0, offset = 0, inode = 0;
        if (std::sscanf(line.c_str(), "%lx-%lx %7s %lx %x:%x %lu", &begin, &end, rights, &offset, &major, &minor,
                        &inode) != 7)
            continue;
        each.begin = begin, each.end = end, each.offset = offset;
        each.executable = rights[2] == 'x';
        each.file = {makedev(major, minor), inode};
        found.push_back(each);
    }
    return found;
}

std::string of(pid_t pid) { return "process " + std::to_string(pid); }

// All threads of a process, stopped. They go on when this ends.
class Stopped {
  public:
    struct Thread {
        user_regs_struct registers{};  // as it stood, and as it will go on
        u64 mask = 0;
        u64 rseq = 0;
        bool signalled = false;  // a signal of those that the agent takes is on its way to it
    };

    static Result<Stopped> stop(pid_t pid);
    Stopped(Stopped&& other) noexcept : pid_(other.pid_), memory_(std::move(other.memory_)) {
        threads_.swap(other.threads_);
    }
    ~Stopped() { go(); }

    std::map<pid_t, Thread>& threads() { return threads_; }
    bool read(u64 at, void* to, u64 size) const {
        return ::pread(memory_.get(), to, size, static_cast<off_t>(at)) == static_cast<ssize_t>(size);
    }
    bool write(u64 at, const void* from, u64 size) const {
        return ::pwrite(memory_.get(), from, size, static_cast<off_t>(at)) == static_cast<ssize_t>(size);
    }
    // Runs the thread from ip to its next breakpoint; false when it does not come there.
    bool run(pid_t tid, u64 ip, u64 sp, const std::array<u64, 6>& arguments, u64 number, user_regs_struct& after) const;
    // Lets threads run as they were for a while.
    Result<> stir(const std::vector<pid_t>& tids, std::chrono::microseconds time);
    void go();

  private:
    explicit Stopped(pid_t pid) : pid_(pid) {}
    static Result<> wait_for_stop(pid_t tid);
    Result<> take(pid_t tid);
    Result<> look(pid_t tid);
    void leave_restartable_sequence(Thread& thread) const;
    void give_back(pid_t tid, const Thread& thread) const;

    pid_t pid_;
    Fd memory_;
    std::map<pid_t, Thread> threads_;
};

Result<> Stopped::wait_for_stop(pid_t tid) {
    const auto end = std::chrono::steady_clock::now() + patience;
    for (;;) {
        int status = 0;
        const pid_t got = ::waitpid(tid, &status, __WALL | WNOHANG);
        if (got == tid && !WIFSTOPPED(status))
            return fail(Errc::not_found, "thread " + std::to_string(tid) + " has ended");
        if (got == tid && (status >> 16) == PTRACE_EVENT_STOP) return {};
        if (got == tid) {  // a signal on its way: it goes on, and the thread stops at its handler
            ::ptrace(PTRACE_INTERRUPT, tid, 0, 0);
            ::ptrace(PTRACE_CONT, tid, 0, WSTOPSIG(status));
            continue;
        }
        if (got < 0) return fail_errno("waiting for thread", std::to_string(tid));
        if (std::chrono::steady_clock::now() > end)
            return fail(Errc::busy,
                        "thread " + std::to_string(tid) +
                            " does not stop (it waits for a child made by vfork, or for a device)",
                        EBUSY);
        std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
}

// As the kernel does before a signal handler runs: a sequence that was interrupted starts over.
void Stopped::leave_restartable_sequence(Thread& thread) const {
    struct {
        u32 version, flags;
        u64 start, length, abort;
    } sequence{};
    constexpr u64 pointer_at = 8;  // struct rseq: rseq_cs
    u64 pointer = 0;
    if (thread.rseq == 0 || !read(thread.rseq + pointer_at, &pointer, 8) || pointer == 0 ||
        !read(pointer, &sequence, sizeof sequence))
        return;
    if (thread.registers.rip - sequence.start < sequence.length) thread.registers.rip = sequence.abort;
}

Result<> Stopped::look(pid_t tid) {
    Thread& thread = threads_[tid];
    if (::ptrace(PTRACE_GETREGS, tid, 0, &thread.registers) != 0 ||
        ::ptrace(PTRACE_GETSIGMASK, tid, sizeof thread.mask, &thread.mask) != 0)
        return fail_errno("reading the registers of thread", std::to_string(tid));
    if (thread.registers.cs != 0x33) return fail(Errc::invalid_argument, of(pid_) + " runs 32-bit code", ENOEXEC);
    std::array<siginfo_t, 32> pending;
    const ptrace_peeksiginfo_args from{.off = 0, .flags = 0, .nr = static_cast<i32>(pending.size())};
    const long count = ::ptrace(PTRACE_PEEKSIGINFO, tid, &from, pending.data());
    thread.signalled = std::any_of(pending.begin(), pending.begin() + std::max(count, 0L),
                                   [](const siginfo_t& each) { return (our_signals & bit_of(each.si_signo)) != 0; });
    struct {
        u64 pointer;
        u32 size, signature, flags, pad;
    } rseq{};
    constexpr int get_rseq = 0x420f;  // PTRACE_GET_RSEQ_CONFIGURATION, since Linux 5.13
    if (::ptrace(get_rseq, tid, sizeof rseq, &rseq) == static_cast<long>(sizeof rseq)) thread.rseq = rseq.pointer;
    leave_restartable_sequence(thread);
    return {};
}

Result<> Stopped::take(pid_t tid) {
    if (::ptrace(PTRACE_SEIZE, tid, 0, 0) != 0) {
        const int error = errno;
        if (error == ESRCH) return {};  // it has ended meanwhile
        errno = error;
        return fail_errno("tracing (ptrace) of", of(pid_));
    }
    threads_[tid];
    ::ptrace(PTRACE_INTERRUPT, tid, 0, 0);
    ANYBPF_TRY(wait_for_stop(tid));
    return look(tid);
}

Result<Stopped> Stopped::stop(pid_t pid) {
    Stopped stopped(pid);
    const fs::path tasks = "/proc/" + std::to_string(pid) + "/task";
    // Until a look shows nobody new: who makes threads is stopped, too.
    for (bool grew = true; grew;) {
        grew = false;
        std::error_code error;
        for (const auto& entry : fs::directory_iterator(tasks, error)) {
            const auto tid = static_cast<pid_t>(std::strtol(entry.path().filename().c_str(), nullptr, 10));
            if (stopped.threads_.contains(tid)) continue;
            std::ifstream stat(entry.path() / "stat");
            std::string text;
            std::getline(stat, text);
            const auto name_end = text.rfind(')');
            if (name_end != text.npos && text.size() > name_end + 2 &&
                (text[name_end + 2] == 'Z' || text[name_end + 2] == 'X'))
                continue;
            grew = true;
            ANYBPF_TRY(stopped.take(tid));
        }
        if (error) return fail(Errc::not_found, "there is no " + of(pid), ESRCH);
    }
    if (stopped.threads_.empty()) return fail(Errc::not_found, "there is no " + of(pid), ESRCH);
    stopped.memory_ = Fd(::open(("/proc/" + std::to_string(pid) + "/mem").c_str(), O_RDWR | O_CLOEXEC));
    if (!stopped.memory_.valid()) return fail_errno("opening the memory of", of(pid));
    return stopped;
}

Result<> Stopped::stir(const std::vector<pid_t>& tids, std::chrono::microseconds time) {
    for (const pid_t tid : tids) {
        give_back(tid, threads_.at(tid));
        ::ptrace(PTRACE_CONT, tid, 0, 0);
    }
    std::this_thread::sleep_for(time);
    for (const pid_t tid : tids) {
        // Not where it has stopped: the interruption would wait for it, and it would not move the next time.
        siginfo_t what{};
        ::waitid(P_PID, static_cast<id_t>(tid), &what, WSTOPPED | WEXITED | WNOHANG | WNOWAIT | __WALL);
        if (what.si_pid == 0) ::ptrace(PTRACE_INTERRUPT, tid, 0, 0);
        ANYBPF_TRY(wait_for_stop(tid));
        ANYBPF_TRY(look(tid));
    }
    return {};
}

void Stopped::give_back(pid_t tid, const Thread& thread) const {
    ::ptrace(PTRACE_SETREGS, tid, 0, &thread.registers);
    ::ptrace(PTRACE_SETSIGMASK, tid, sizeof thread.mask, &thread.mask);
}

void Stopped::go() {
    for (const auto& [tid, thread] : threads_) {
        if (thread.registers.cs != 0) give_back(tid, thread);
        ::ptrace(PTRACE_DETACH, tid, 0, 0);
    }
    threads_.clear();
}

bool Stopped::run(pid_t tid, u64 ip, u64 sp, const std::array<u64, 6>& arguments, u64 number,
                  user_regs_struct& after) const {
    // A breakpoint whose signal is blocked makes the kernel forget the handler.
    const u64 others = ~our_signals;
    ::ptrace(PTRACE_SETSIGMASK, tid, sizeof others, &others);
    user_regs_struct registers = threads_.at(tid).registers;
    registers.rip = ip;
    registers.rsp = sp;
    registers.rax = number;
    registers.orig_rax = ~0ULL;
    registers.rdi = arguments[0], registers.rsi = arguments[1], registers.rdx = arguments[2];
    registers.r10 = arguments[3], registers.r8 = arguments[4], registers.r9 = arguments[5];
    registers.eflags = 0x202;
    if (::ptrace(PTRACE_SETREGS, tid, 0, &registers) != 0) return false;
    for (;;) {
        int status = 0;
        if (::ptrace(PTRACE_CONT, tid, 0, 0) != 0 || ::waitpid(tid, &status, __WALL) != tid || !WIFSTOPPED(status))
            return false;
        if ((status >> 16) == PTRACE_EVENT_STOP) continue;  // a group stop; it stays stopped afterwards
        return WSTOPSIG(status) == SIGTRAP && ::ptrace(PTRACE_GETREGS, tid, 0, &after) == 0;
    }
}

// Some text of the process that may be written over while all threads stand still.
class Workplace {
  public:
    static Result<Workplace> in(Stopped& stopped, const std::vector<Mapped>& mappings, u64 size) {
        for (const Mapped& each : mappings) {
            if (!each.executable || each.file.inode == 0 || each.end - each.begin < size) continue;
            Workplace place(stopped, each.begin, size);
            if (stopped.read(place.at_, place.kept_.data(), size)) return place;
        }
        return fail(Errc::invalid_argument, "the process has no text that can be written", ENOEXEC);
    }
    Workplace(Workplace&& other) noexcept : stopped_(other.stopped_), at_(other.at_), kept_(std::move(other.kept_)) {}
    ~Workplace() {
        if (!kept_.empty()) stopped_.write(at_, kept_.data(), kept_.size());
    }
    u64 at() const { return at_; }

    // A system call on the thread; -errno for failure.
    i64 call(pid_t tid, u64 number, const std::array<u64, 6>& arguments) const {
        static constexpr std::array<u8, 3> code = {0x0f, 0x05, 0xcc};
        user_regs_struct after{};
        if (!stopped_.write(at_, code.data(), code.size()) ||
            !stopped_.run(tid, at_, stopped_.threads().at(tid).registers.rsp, arguments, number, after))
            return -EIO;
        return static_cast<i64>(after.rax);
    }

  private:
    Workplace(Stopped& stopped, u64 at, u64 size) : stopped_(stopped), at_(at), kept_(size) {}
    Stopped& stopped_;
    u64 at_;
    std::vector<u8> kept_;
};

constexpr u64 bootstrap_size_most = 512;

// Where the agent stands in a process; nothing: it is not there.
struct Presence {
    u64 base = 0, directory_at = 0;
    VisitDirectory directory{};
    u64 address(u32 distance) const { return directory_at + distance; }
};
std::optional<Presence> find_agent(const std::vector<Mapped>& mappings, const FileId& agent) {
    for (const Mapped& each : mappings)
        if (each.executable && each.file.inode == agent.inode && each.offset == 0) return Presence{.base = each.begin};
    return {};
}
bool read_directory(const Stopped& stopped, const AgentImage& image, Presence& presence) {
    presence.directory_at = presence.base + image.entry - visit_directory_size;
    return stopped.read(presence.directory_at, &presence.directory, sizeof presence.directory) &&
           presence.directory.magic == visit_magic;
}

// The visit's block in the process, with its stack below.
class Block {
  public:
    Block(const Stopped& stopped, u64 memory) : stopped_(stopped), at_(memory + visit_stack) {}
    u64 at() const { return at_; }
    u64 stack() const { return at_ - 64; }
    bool put(const Visit& visit) const { return stopped_.write(at_, &visit, sizeof visit); }
    bool get(Visit& visit) const { return stopped_.read(at_, &visit, sizeof visit); }
    // A function of the agent's on the thread.
    bool call(pid_t tid, u64 function, user_regs_struct& after) const {
        return stopped_.run(tid, function, stack() - 8, {at_, 0, 0, 0, 0, 0}, 0, after);
    }

  private:
    const Stopped& stopped_;
    u64 at_;
};

constexpr std::array<u64, 6> map_block_arguments = {
    0, visit_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, ~0ULL, 0};

Result<> read_auxiliary(pid_t pid, Visit& visit) {
    const Fd file(::open(("/proc/" + std::to_string(pid) + "/auxv").c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.valid() || ::read(file.get(), visit.auxiliary.data(), sizeof visit.auxiliary - 16) <= 0)
        return fail_errno("reading the auxiliary vector of", of(pid));
    return {};
}

Result<> cannot(const std::string& what, pid_t pid) { return fail(Errc::io, of(pid) + ": " + what, EIO); }

// A system call that was interrupted by us starts over, at its site; what waits with a time begins anew with the rest.
void restart(user_regs_struct& r) {
    const auto result = static_cast<i64>(r.rax);
    const bool in_call = static_cast<i64>(r.orig_rax) >= 0;
    constexpr i64 restarts[] = {-512, -513, -514}, restart_block = -516;
    if (in_call && (std::ranges::find(restarts, result) != std::end(restarts) || result == restart_block)) {
        r.rip -= 2;
        r.rax = result == restart_block ? SYS_restart_syscall : r.orig_rax;
    }
    r.orig_rax = ~0ULL;
}

VisitRegisters to_visit(const user_regs_struct& r) {
    return {r.r8,  r.r9,  r.r10, r.r11, r.r12, r.r13, r.r14, r.r15, r.rdi,
            r.rsi, r.rbp, r.rbx, r.rdx, r.rax, r.rcx, r.rsp, r.rip, r.eflags};
}
void from_visit(user_regs_struct& r, const VisitRegisters& v) {
    r.r8 = v.r8, r.r9 = v.r9, r.r10 = v.r10, r.r11 = v.r11, r.r12 = v.r12, r.r13 = v.r13, r.r14 = v.r14, r.r15 = v.r15;
    r.rdi = v.di, r.rsi = v.si, r.rbp = v.bp, r.rbx = v.bx, r.rdx = v.dx, r.rax = v.ax, r.rcx = v.cx, r.rsp = v.sp;
    r.rip = v.ip, r.eflags = v.eflags;
}

// What the agent has listed as mapped.
void take_away(const Visit& visit, const Workplace& place, pid_t tid) {
    for (u64 i = 0; i < std::min<u64>(visit.range_count, visit.ranges.size()); ++i)
        place.call(tid, SYS_munmap, {visit.ranges[i].begin, visit.ranges[i].size, 0, 0, 0, 0});
}

// Every thread that is in the agent leaves it, and the agent the process. memory: a block's.
Result<> take_out(Stopped& stopped, const Presence& agent, const AgentImage& image, const Workplace& place,
                  u64 memory) {
    const Block block(stopped, memory);
    pid_t last = stopped.threads().begin()->first;
    for (const auto& [tid, thread] : stopped.threads())
        if (thread.registers.gs_base != 0) last = tid;
    Visit visit;
    for (auto& [tid, thread] : stopped.threads()) {
        if (thread.registers.gs_base == 0) continue;
        user_regs_struct after{};
        restart(thread.registers);
        visit.mask = thread.mask;
        visit.registers = to_visit(thread.registers);
        if (!block.put(visit) || !block.call(tid, agent.address(agent.directory.leave), after) || !block.get(visit))
            return fail(Errc::io, "thread " + std::to_string(tid) + " did not leave the agent", EIO);
        from_visit(thread.registers, visit.registers);
        thread.mask = visit.mask;
        if (tid == last) {
            visit.range_count = 0;
            if (!block.put(visit) || !block.call(tid, agent.address(agent.directory.finish), after) ||
                !block.get(visit))
                return fail(Errc::io, "the agent did not leave", EIO);
        }
        thread.registers.gs_base = 0;
    }
    take_away(visit, place, last);
    place.call(last, SYS_munmap, {agent.base, image.size, 0, 0, 0, 0});
    place.call(last, SYS_munmap, {memory, visit_size, 0, 0, 0, 0});
    return {};
}

}  // namespace

Result<> attach(pid_t pid, const std::string& agent, const std::string& root, u32 tree) {
    if (::prctl(set_dispatch, 0, 0, 0, 0) != 0)  // off, which it is
        return fail(Errc::unsupported, "attaching takes Syscall User Dispatch (Linux 5.11; see anybpf doctor)", ENOSYS);
    Visit visit;
    visit.arrival = ANYBPF_TRY(arrival_of(agent, root, tree));
    auto stopped = ANYBPF_TRY(Stopped::stop(pid));
    const auto mappings = mappings_of(pid);
    const std::string seen_root = "/proc/" + std::to_string(pid) + "/root";
    const auto agent_there = identity(seen_root + agent), root_there = identity(seen_root + root);
    if (!agent_there || !root_there || *agent_there != visit.arrival.inheritance.agent ||
        *root_there != visit.arrival.inheritance.root)
        return fail(Errc::not_found, of(pid) + " does not see the agent or the root: it has another root directory",
                    ENOENT);
    if (find_agent(mappings, visit.arrival.inheritance.agent))
        return fail(Errc::already_exists, of(pid) + " is traced already", EEXIST);
    for (const auto& [tid, thread] : stopped.threads())
        if (thread.registers.gs_base != 0)
            return fail(Errc::invalid_argument, of(pid) + " uses the gs register itself", EINVAL);
    ANYBPF_TRY(read_auxiliary(pid, visit));

    const u64 size = static_cast<u64>(anybpf_bootstrap_end - anybpf_bootstrap);
    const auto place = ANYBPF_TRY(Workplace::in(stopped, mappings, bootstrap_size_most));
    const pid_t first = stopped.threads().begin()->first;
    const i64 memory = place.call(first, SYS_mmap, map_block_arguments);
    if (memory < 0) return fail_errno("mapping memory in", of(pid));
    const Block block(stopped, static_cast<u64>(memory));

    const bool low = std::ranges::any_of(mappings, [](const Mapped& each) {
        return each.executable && each.file.inode != 0 && each.end < low_text_end;
    });
    const bool dynamic = visit.auxiliary[0] != 0 && [&] {
        for (std::size_t i = 0; i + 1 < visit.auxiliary.size() && visit.auxiliary[i] != AT_NULL; i += 2)
            if (visit.auxiliary[i] == AT_BASE) return visit.auxiliary[i + 1] != 0;
        return false;
    }();
    if (low && !dynamic) visit.arrival.image.address = low_image;

    std::optional<Presence> presence;
    for (auto& [tid, thread] : stopped.threads()) {
        visit.mask = thread.mask;
        visit.rseq = thread.rseq;
        visit.problem = 0;
        user_regs_struct after{};
        bool there = block.put(visit);
        if (tid == first) {
            there = there && stopped.write(place.at(), anybpf_bootstrap, size) &&
                    stopped.run(tid, place.at(), block.at() + arrival_below, {}, 0, after) &&
                    after.rip >= place.at() + size;
            presence = find_agent(mappings_of(pid), visit.arrival.inheritance.agent);
            if (!there || !presence || !read_directory(stopped, visit.arrival.image, *presence)) {
                if (presence) place.call(tid, SYS_munmap, {presence->base, visit.arrival.image.size, 0, 0, 0, 0});
                place.call(tid, SYS_munmap, {static_cast<u64>(memory), visit_size, 0, 0, 0, 0});
                return cannot("the agent cannot be mapped: is there memory?", pid);
            }
        } else {
            there = there && block.call(tid, presence->address(presence->directory.join), after);
        }
        if (!there || !block.get(visit)) return cannot("the agent did not start in thread " + std::to_string(tid), pid);
        if (visit.problem != 0) {
            take_away(visit, place, tid);
            take_out(stopped, *presence, visit.arrival.image, place, static_cast<u64>(memory));
            return cannot("the agent cannot start: " + std::string(std::strerror(static_cast<int>(visit.problem))),
                          pid);
        }
        thread.registers.gs_base = after.gs_base;
        thread.mask &= ~our_signals;
    }
    return {};
}

namespace {

// A thread that stands in the agent, and not in a stub's system call, is not yet where it can be taken out.
bool may_leave(const Stopped& stopped, const Presence& agent, const AgentImage& image, const Stopped::Thread& thread) {
    const user_regs_struct& r = thread.registers;
    u64 active = 0;
    if (thread.signalled || r.gs_base == 0 || !stopped.read(r.gs_base + 8, &active, 8) || active == 0) return false;
    const auto within = [&](u32 from, u32 to) { return r.rip >= agent.address(from) && r.rip < agent.address(to); };
    const auto& d = agent.directory;
    if (within(d.clone, d.clone_end)) return false;
    return within(d.stubs, d.stubs_end) || r.rip < agent.base || r.rip >= agent.base + image.size;
}

// Together, for one may wait for another. For times that differ, so that no timer of the program's keeps step with us.
Result<> wait_until_outside(Stopped& stopped, const Presence& agent, const AgentImage& image) {
    const auto end = std::chrono::steady_clock::now() + patience;
    for (u32 round = 0;; ++round) {
        std::vector<pid_t> inside;
        for (const auto& [tid, thread] : stopped.threads())
            if (!may_leave(stopped, agent, image, thread)) inside.push_back(tid);
        if (inside.empty()) return {};
        if (std::chrono::steady_clock::now() > end)
            return fail(Errc::busy, "thread " + std::to_string(inside.front()) + " does not leave the agent", EBUSY);
        ANYBPF_TRY(stopped.stir(inside, std::chrono::microseconds(20 + round * 37 % 700)));
    }
}

}  // namespace

Result<> detach(pid_t pid, const std::string& agent) {
    const auto image = ANYBPF_TRY(read_image(agent));
    const auto file = ANYBPF_TRY(identity(agent));
    auto stopped = ANYBPF_TRY(Stopped::stop(pid));
    const auto mappings = mappings_of(pid);
    auto presence = find_agent(mappings, file);
    if (!presence || !read_directory(stopped, image, *presence))
        return fail(Errc::not_found, of(pid) + " is not traced by this agent", ESRCH);
    ANYBPF_TRY(wait_until_outside(stopped, *presence, image));

    std::vector<Mapped> outside;
    for (const Mapped& each : mappings)
        if (each.begin < presence->base || each.begin >= presence->base + image.size) outside.push_back(each);
    const auto place = ANYBPF_TRY(Workplace::in(stopped, outside, bootstrap_size_most));
    const auto& [first, thread] = *stopped.threads().begin();
    user_regs_struct after{};
    if (!stopped.run(first, presence->address(presence->directory.call), thread.registers.rsp, map_block_arguments,
                     SYS_mmap, after) ||
        static_cast<i64>(after.rax) < 0)
        return cannot("no memory can be mapped", pid);
    return take_out(stopped, *presence, image, place, after.rax);
}

}  // namespace anybpf::agent

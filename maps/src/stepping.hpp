// SPDX-License-Identifier: Apache-2.0
// The stepper: a child process that performs one operation and is stopped before each of its instructions (ptrace), and
// the world that it works in: everything that processes share, small enough to be copied at every instruction.
//
// Such a copy, once `let_die` has done to the slots what the kernel does, is what others would find had the child been
// killed there. So an operation of n instructions costs n steps, and not n^2 / 2; and instructions that store nothing
// shared leave the copy of the one before, which need not be looked at twice. That a real kill leaves these very bytes
// is a test of its own: run_to() brings a fresh child to any instruction by a breakpoint instead of steps.
#pragma once

#include <linux/futex.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

#include <bit>
#include <cstring>
#include <functional>
#include <map>

#include "anybpf/maps/ring.hpp"
#include "testing.hpp"

namespace anybpf::maps::testing {

// Parent and child on one CPU: a stop is then a switch to the other and back.
class Pinned {
  public:
    Pinned() {
        ::sched_getaffinity(0, sizeof before_, &before_);
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(current_cpu(), &one);
        ::sched_setaffinity(0, sizeof one, &one);
    }
    ~Pinned() { ::sched_setaffinity(0, sizeof before_, &before_); }
    Pinned(const Pinned&) = delete;

  private:
    cpu_set_t before_{};
};

inline int wait_for(pid_t child) {
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return status;
}

class Stepper {
  public:
    // The addresses of the instructions before which the child stood, after 0, 1, 2... steps.
    class Trace {
      public:
        u32 size() const { return static_cast<u32>(addresses_.size()); }
        void add(u64 address) {
            addresses_.push_back(address);
            turns_.push_back(met_[address]++);
        }
        // The cheapest way to a step: by a breakpoint to this earlier one, whose address was met so often before.
        struct Way {
            u32 step, turn;
            u64 address;
        };
        Way way_to(u32 step) const {
            u32 best = step;
            const auto cost = [&](u32 at) { return step - at + 3 * turns_[at]; };
            for (u32 at = step; at > 0 && step - at < cost(best); --at)
                if (cost(at) < cost(best)) best = at;
            return cost(best) < step ? Way{best, turns_[best], addresses_[best]} : Way{};
        }

      private:
        std::vector<u64> addresses_;
        std::vector<u32> turns_;
        std::map<u64, u32> met_;
    };

    // Not inlined: children with the same body stand at the same addresses.
    // `before` is done in the child, too, but not stepped.
    [[gnu::noinline]] explicit Stepper(
        const std::function<void(const VcpuThread&)>& body, const std::function<void()>& before = [] {}) {
        child_ = ::fork();
        if (child_ == 0) {
            const auto thread = VcpuThread::current();
            before();
            ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
            asm volatile("int3" ::: "memory");
            body(thread);
            // exit_group(0) in three instructions, each of which is stepped, too.
            asm volatile("syscall" : : "a"(SYS_exit_group), "D"(0) : "rcx", "r11", "memory");
            __builtin_unreachable();
        }
        wait();
    }
    ~Stepper() { kill(); }
    Stepper(const Stepper&) = delete;
    Stepper& operator=(const Stepper&) = delete;

    // False when the child has ended.
    bool step(u32 instructions = 1) {
        for (u32 i = 0; alive_ && i < instructions; ++i) {
            ::ptrace(PTRACE_SINGLESTEP, child_, nullptr, nullptr);
            wait();
        }
        return alive_;
    }
    u64 address() const {
        return static_cast<u64>(::ptrace(PTRACE_PEEKUSER, child_, offsetof(user_regs_struct, rip), nullptr));
    }
    // From the start to where a child with this trace stood after so many steps.
    bool run_to(const Trace& trace, u32 step_number) {
        const auto way = trace.way_to(step_number);
        if (way.step == 0) return step(step_number);
        const auto text = ::ptrace(PTRACE_PEEKTEXT, child_, way.address, nullptr);
        for (u32 turn = 0;; ++turn) {
            ::ptrace(PTRACE_POKETEXT, child_, way.address, (text & ~0xffL) | 0xcc);
            ::ptrace(PTRACE_CONT, child_, nullptr, nullptr);
            wait();
            if (!alive_ || address() != way.address + 1) return false;
            ::ptrace(PTRACE_POKETEXT, child_, way.address, text);
            ::ptrace(PTRACE_POKEUSER, child_, offsetof(user_regs_struct, rip), way.address);
            if (turn == way.turn) return step(step_number - way.step);
            if (!step()) return false;
        }
    }
    void kill() {
        if (!alive_) return;
        ::kill(child_, SIGKILL);
        wait_for(child_);
        alive_ = false;
    }
    // To its end.
    void finish() {
        if (!alive_) return;
        ::ptrace(PTRACE_CONT, child_, nullptr, nullptr);
        wait();
    }
    // It stays where it is, stopped by SIGSTOP as anybody's process may be.
    void stop() const {
        ::ptrace(PTRACE_DETACH, child_, nullptr, SIGSTOP);
        int status = 0;
        EXPECT_EQ(::waitpid(child_, &status, WUNTRACED), child_);
        EXPECT_TRUE(WIFSTOPPED(status));
    }
    // After stop(): goes on to its end. True: it got there.
    bool go_on() {
        ::kill(child_, SIGCONT);
        alive_ = false;
        return wait_for(child_) == 0;
    }
    u32 pid() const { return static_cast<u32>(child_); }
    // Whether the kernel, were the child to die now, would look at this word. (A forked child's list head lies where
    // its parent's does.)
    bool announces(const std::atomic<u32>& word) const {
        const robust_list_head* head = VcpuThread::current().robust;
        const long entry = ::ptrace(PTRACE_PEEKDATA, child_, &head->list_op_pending, nullptr);
        return std::bit_cast<long>(&word) == entry + head->futex_offset;
    }

  private:
    void wait() {
        int status = 0;
        ::waitpid(child_, &status, 0);
        alive_ = WIFSTOPPED(status);
        EXPECT_TRUE(alive_ ? WSTOPSIG(status) == SIGTRAP : status == 0) << "the child came to harm: " << status;
    }

    pid_t child_ = -1;
    bool alive_ = false;
};

// One map of each kind, and a perf buffer.
class World {
  public:
    static constexpr u32 slots = 2, entries = 4, ring_bytes = 4096, perf_bytes = 4096, value_words = 4;
    using Value = std::array<u64, value_words>;

    World() : table_(table_in(keep(shared_memory(VcpuTable::bytes(slots))))) {
        using abi::MapType;
        hash = make(spec_of(MapType::hash, 4, sizeof(Value), entries));
        percpu_hash = make(spec_of(MapType::percpu_hash, 4, 8, entries));
        array = make(spec_of(MapType::array, 4, sizeof(Value), entries));
        percpu_array = make(spec_of(MapType::percpu_array, 4, 8, entries));
        objects = make(spec_of(MapType::prog_array, 4, 4, entries));
        ring_memory_ = memory_.size();
        ring = make(spec_of(MapType::ringbuf, 0, 0, ring_bytes));
        perf_memory_ = memory_.size();
        const auto memory = keep(shared_memory(PerfBuffer::file_size(1)));
        EXPECT_TRUE(PerfBuffer::format(memory, 1));
        perf = PerfBuffer::open(memory, table_).value();
    }
    std::unique_ptr<Map> hash, percpu_hash, array, percpu_array, objects, ring;
    std::unique_ptr<PerfBuffer> perf;
    void* reserved[2] = {};  // by the operation that is under way, in its process
    RingBuffer& records() const { return *RingBuffer::of(*ring); }
    VcpuTable& table() { return table_; }
    std::span<std::byte> ring_memory() const { return memory_[ring_memory_]; }
    std::span<std::byte> perf_memory() const { return memory_[perf_memory_]; }

    void copy_from(const World& other) {
        for (std::size_t i = 0; i < memory_.size(); ++i)
            std::memcpy(memory_[i].data(), other.memory_[i].data(), memory_[i].size());
    }
    bool same_as(const World& other) const {
        for (std::size_t i = 0; i < memory_.size(); ++i)
            if (std::memcmp(memory_[i].data(), other.memory_[i].data(), memory_[i].size()) != 0) return false;
        return true;
    }
    std::vector<std::byte> bytes() const {
        std::vector<std::byte> all;
        for (const auto part : memory_) all.insert(all.end(), part.begin(), part.end());
        return all;
    }
    void copy_from(std::span<const std::byte> all) {
        for (const auto part : memory_) {
            std::memcpy(part.data(), all.data(), part.size());
            all = all.subspan(part.size());
        }
    }

    std::atomic<u32>& owner(u32 slot) const {  // docs/formats/map.md: the slots follow a header of 128 bytes
        return *std::launder(
            static_cast<std::atomic<u32>*>(static_cast<void*>(memory_[0].data() + 128 + slot * std::size_t{128})));
    }
    // This world is a copy of one in which the child stands. Now it is one in which the child has died: the kernel
    // marks the slot that it owned and announced.
    void let_die(const Stepper& child, const World& original) const {
        for (u32 slot = 0; slot < slots; ++slot)
            if (owner(slot) == child.pid() && child.announces(original.owner(slot))) owner(slot) = FUTEX_OWNER_DIED;
    }

    // A run as a program's host makes it, by preference on this slot; false: there was none. Where the slot's owner had
    // died, the maps are told, unless the host forgets it.
    template <class Run>
    bool run(const VcpuThread& thread, u32 slot, bool forget, Run run) {
        const auto claim = table_.acquire(thread, slot);
        if (!claim) return false;
        if (claim->owner_died && !forget) recover(claim->slot);
        run(claim->slot);
        table_.release(thread, claim->slot);
        return true;
    }
    template <class Run>
    void run_on(u32 slot, bool forget, Run operation) {
        EXPECT_TRUE(run(VcpuThread::current(), slot, forget, [&](u32 vcpu) {
            EXPECT_EQ(vcpu, slot) << "a slot is stuck";
            operation(vcpu);
        }));
    }
    void recover(u32 slot) const {
        for (Map* map : {hash.get(), percpu_hash.get(), array.get(), percpu_array.get(), objects.get(), ring.get()})
            map->recover(slot);
    }

  private:
    std::span<std::byte> keep(std::span<std::byte> memory) {
        memory_.push_back(memory);
        return memory;
    }
    static VcpuTable table_in(std::span<std::byte> memory) {
        VcpuTable::format(memory, slots);
        return VcpuTable::open(memory).value();
    }
    std::unique_ptr<Map> make(const Spec& spec) {
        const auto bytes = Map::file_size(spec, slots).value();
        const Fd fd = memory_file(bytes);
        EXPECT_TRUE(Map::format(Mapping::shared(fd.get(), bytes, Access::read_write)->bytes(), spec, 7, slots));
        return Map::open(keep(map_file(fd.get()).value().release()), table_).value();
    }

    std::vector<std::span<std::byte>> memory_;  // [0]: the table
    VcpuTable table_;
    std::size_t ring_memory_ = 0, perf_memory_ = 0;
};

}  // namespace anybpf::maps::testing

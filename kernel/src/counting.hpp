// SPDX-License-Identifier: Apache-2.0
// For tests of death: a root with a program that does a bit of everything, as a host runs it in whatever process.
#pragma once

#include <fmt/format.h>

#include "anybpf/base/assert.hpp"
#include "anybpf/isa/text.hpp"
#include "anybpf/kernel/runner.hpp"
#include "caller.hpp"

namespace anybpf::kernel {

class Counting final : public Caller {
  public:
    static constexpr u32 words = 4;  // of values and records, all the same
    using Value = std::array<u64, words>;
    struct Arguments {
        u64 key, word;  // word: what the value and the record are full of
        u64 what;       // 1: remove the key instead; 2: discard the record
    };

    Counting(const std::string& path, const engine::AnyEngine& engine, u32 entries, u32 ring_bytes)
        : kernel_(Kernel::open(path).value()) {
        using enum abi::MapType;
        count = map(percpu_array, 4, 8, 2);
        values = map(hash, 4, sizeof(Value), entries);
        counts = map(percpu_hash, 4, 8, entries);
        records = map(ringbuf, 0, 0, ring_bytes);
        const auto insns = isa::assemble(fmt::format(text, count, values, counts, records, count));
        EXPECT_TRUE(insns) << insns.error().message;
        program = load(*insns, abi::ProgType::raw_tracepoint);
        EXPECT_GE(program, 0) << kernel_->last_error();
        runner_ = Runner::make(*kernel_, engine).value();
        bound_ =
            runner_->bind(kernel_->root().open_program(kernel_->owns(static_cast<int>(program))->id).value()).value();
    }

    long bpf(Command command, void* attr, unsigned size) override {
        return kernel_->bpf(static_cast<int>(command), attr, size);
    }
    long perf_event_open(const void*, int, int, int, unsigned long) override { return -ENOSYS; }
    long ioctl(int, unsigned long, unsigned long) override { return -ENOTTY; }
    Kernel& kernel() const { return *kernel_; }

    // What the program returned: whether its record was submitted, or there was no room. Nothing: no virtual CPU was to
    // be had. `begins` is called when one is.
    template <class Begins>
    std::optional<bool> run(Arguments arguments, Begins begins) {
        const Runner::Cpu cpu(*runner_);
        if (!cpu.valid()) return std::nullopt;
        begins();
        Runner::Series series(*runner_, *bound_, cpu);
        return series.run({.context = &arguments, .packet = {}}) != 0;
    }
    std::optional<bool> run(const Arguments& arguments) {
        return run(arguments, [] {});
    }
    // What a thread finds out once: to be had before it matters.
    void warm() const { const Runner::Cpu cpu(*runner_); }

    maps::RingBuffer& ring() const {
        for (const auto& mapped : bound_->maps)
            if (auto* ring = maps::RingBuffer::of(*mapped->map)) return *ring;
        ANYBPF_ASSERT(false);
        __builtin_unreachable();
    }
    // Runs that have begun (0) or ended (1): the sum over all virtual CPUs.
    u64 total(u32 which) {
        std::array<u64, maps::VcpuTable::default_slots> each{};
        EXPECT_EQ(element(Command::map_lookup_elem, count, &which, each.data()), 0);
        u64 sum = 0;
        for (const u64 one : each) sum += one;
        return sum;
    }
    std::vector<u32> keys(long map) {
        std::vector<u32> found;
        u32 key = 0;
        const auto next = [&](const u32* after) {
            uapi::MapElement attr{};
            attr.map_fd = static_cast<u32>(map);
            attr.key = address(after);
            attr.value = address(&key);
            return call(Command::map_get_next_key, attr) == 0;
        };
        for (bool more = next(nullptr); more; more = next(&found.back())) found.push_back(key);
        return found;
    }
    std::string file_of(long fd) const { return kernel_->root().file_of(*kernel_->owns(static_cast<int>(fd))); }

    long count, values, counts, records, program;

  private:
    static constexpr const char* text = R"(
        r6 = *(u64 *)(r1 + 0)
        r7 = *(u64 *)(r1 + 8)
        r8 = *(u64 *)(r1 + 16)
        r9 = 0
        *(u32 *)(r10 - 4) = r9
        r2 = r10
        r2 += -4
        r1 = map[fd:{}] ll
        call 1
        if r0 == 0 goto out
        r1 = *(u64 *)(r0 + 0)
        r1 += 1
        *(u64 *)(r0 + 0) = r1
        *(u64 *)(r10 - 16) = r7
        *(u64 *)(r10 - 24) = r7
        *(u64 *)(r10 - 32) = r7
        *(u64 *)(r10 - 40) = r7
        *(u32 *)(r10 - 4) = r6
        r2 = r10
        r2 += -4
        r1 = map[fd:{}] ll
        if r8 & 0x1 goto erase
        r3 = r10
        r3 += -40
        r4 = 0
        call 2
        goto percpu
    erase:
        call 3
    percpu:
        r2 = r10
        r2 += -4
        r1 = map[fd:{}] ll
        if r8 & 0x1 goto erase_percpu
        r3 = r10
        r3 += -16
        r4 = 0
        call 2
        goto record
    erase_percpu:
        call 3
    record:
        r1 = map[fd:{}] ll
        r2 = 32
        r3 = 0
        call 131
        if r0 == 0 goto last
        *(u64 *)(r0 + 0) = r7
        *(u64 *)(r0 + 8) = r7
        *(u64 *)(r0 + 16) = r7
        *(u64 *)(r0 + 24) = r7
        r1 = r0
        r2 = 0
        if r8 & 0x2 goto discard
        r9 = 1
        call 132
        goto last
    discard:
        call 133
    last:
        r1 = 1
        *(u32 *)(r10 - 4) = r1
        r2 = r10
        r2 += -4
        r1 = map[fd:{}] ll
        call 1
        if r0 == 0 goto out
        r1 = *(u64 *)(r0 + 0)
        r1 += 1
        *(u64 *)(r0 + 0) = r1
    out:
        r0 = r9
        exit
    )";

    std::unique_ptr<Kernel> kernel_;
    std::unique_ptr<Runner> runner_;
    std::shared_ptr<const BoundProgram> bound_;
};

}  // namespace anybpf::kernel

// SPDX-License-Identifier: Apache-2.0
// Table: what runs at each system call, built at refresh and then constant, so that enter() and exit() look it up with
// one load of a pointer.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "anybpf/abi/syscalls.hpp"
#include "loader.hpp"

namespace anybpf::hooks {

// How a program sees the event.
enum class View : u8 { record, arguments, registers };

struct Attached {
    const LoadedProgram* program = nullptr;
    u64 cookie = 0;
    u32 common_type = 0;    // record: the tracepoint's id
    u32 context_bytes = 0;  // that a program here may read
    i32 pid = -1;           // only this process; -1: all
    View view{};
    friend bool operator==(const Attached&, const Attached&) = default;
};

struct Table {
    struct Range {
        u32 first = 0, count = 0;
        friend bool operator==(const Range&, const Range&) = default;
    };
    // Of entries, or of exits: which range of `attached` runs at each system call number; the last is for numbers that
    // no kernel has. Small, since every exec fills one.
    struct Side {
        std::array<u16, abi::syscall_numbers + 1> which{};
        std::vector<Range> ranges = {{}};
        friend bool operator==(const Side&, const Side&) = default;
    };

    // The entries of a PROG_ARRAY or PERF_EVENT_ARRAY as they were at the refresh.
    struct Array {
        const maps::Map* map = nullptr;
        std::vector<const LoadedProgram*> programs;
        std::vector<const LoadedBuffer*> buffers;
        friend bool operator==(const Array&, const Array&) = default;
    };

    Side enter, exit;
    std::vector<Attached> attached;  // in the order in which they run
    std::vector<Array> arrays;
    std::vector<const LoadedMap*> maps;  // all that this process has

    friend bool operator==(const Table&, const Table&) = default;

    static u32 index_of(u64 number) {
        return number < abi::syscall_numbers ? static_cast<u32>(number) : abi::syscall_numbers;
    }
    static Range range(const Side& side, u64 number) { return side.ranges[side.which[index_of(number)]]; }
    std::span<const Attached> at(const Side& side, u64 number) const {
        const auto [first, count] = range(side, number);
        return {attached.data() + first, count};
    }
    const Array* array(const maps::Map& map) const {
        for (const auto& candidate : arrays)
            if (candidate.map == &map) return &candidate;
        return nullptr;
    }
};

// Loads what is attached for processes of this tree. A link that makes no sense, or whose program cannot run here, is
// left out.
Table build_table(const kernel::Root& root, Loader& loader, u32 tree);

}  // namespace anybpf::hooks

// SPDX-License-Identifier: Apache-2.0
// Table: what runs at each system call, built at refresh and then constant, so that enter() and exit() look it up with
// one load of a pointer. Every memory page on their way costs, so the way is short: number, first program, its code.
#pragma once

#include <vector>

#include "anybpf/hooks/syscall.hpp"
#include "loader.hpp"

namespace anybpf::hooks {

// How a program sees the event.
enum class View : u8 { record, arguments, registers };

struct Attached {
    const LoadedProgram* program = nullptr;
    const void* executable = nullptr;  // the program's code, or what is interpreted
    u64 cookie = 0;
    u32 common_type = 0;    // record: the tracepoint's id
    u32 context_bytes = 0;  // that a program here may read
    i32 pid = -1;           // only this process; -1: all
    View view{};
    bool last = false;  // of those that run at one event
    friend bool operator==(const Attached&, const Attached&) = default;
};

struct Table {
    // The entries of a PROG_ARRAY or PERF_EVENT_ARRAY as they were at the refresh.
    struct Array {
        const maps::Map* map = nullptr;
        std::vector<const LoadedProgram*> programs;
        std::vector<const LoadedBuffer*> buffers;
        friend bool operator==(const Array&, const Array&) = default;
    };

    std::vector<Attached> attached;  // of one event side by side, in the order in which they run
    Watched watched;                 // what runs at a number begins at attached[watched - 1]
    std::vector<Array> arrays;
    std::vector<const LoadedMap*> maps;  // all that the programs use
    bool linked = false;                 // all programs are machine code

    friend bool operator==(const Table&, const Table&) = default;

    const void* executable(const LoadedProgram& program) const {
        if (linked) return program.code.get();
        return program.executable.get();
    }
    // The first of what runs there; null: nothing.
    const Attached* first(bool entry, u64 number) const {
        const u16 at = (entry ? watched.enter : watched.exit)[Watched::index_of(number)];
        return at != 0 ? attached.data() + at - 1 : nullptr;
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

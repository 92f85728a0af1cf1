// SPDX-License-Identifier: Apache-2.0
// What all engines have in common: an executable program bound to one process, and how it is run.
#pragma once

#include <memory>
#include <span>

#include "anybpf/abi/array.hpp"
#include "anybpf/abi/run.hpp"
#include "anybpf/base/result.hpp"
#include "anybpf/program/lowered.hpp"

namespace anybpf::engine {

// A map of the program in this process: what lddw of the map yields, the address of its value 0 (null where values have
// no fixed address), and where the values of an array lie.
struct BoundMap {
    void* map = nullptr;
    std::byte* values = nullptr;
    abi::ArrayPlace array = {};
};

// A program bound to this process. Immutable; may be run by many threads at once. Checks every index of the lowered
// form, which may come from a file that somebody else wrote.
class Executable;

struct Interpreter {
    static constexpr std::string_view name = "interp";
    // Copies what it needs: neither lowered nor maps must outlive the result. Maps themselves must. With helpers given,
    // a call of one that has no body there fails; without, such a call ends the run with 0.
    static Result<std::shared_ptr<const Executable>> bind(const program::Lowered& lowered,
                                                          std::span<const BoundMap> maps,
                                                          const abi::HelperBodies* helpers = nullptr);
    // Runs to the end; r1 = run.context, r2 = second. Uses a stack area of its own on the caller's stack (8 frames of
    // 512 bytes; 68 KiB where a program has more, which a host has to allow); does not allocate, does not make system
    // calls, is async-signal-safe. What a verified program cannot do (a ninth frame, a call of nothing) ends the run
    // with 0 and sets run.gave_up.
    [[gnu::hot]] static u64 run(const Executable& executable, abi::Run& run, u64 second = 0);
    // Where the frames of a run lie: the outermost one ends at first_end, each next one so much further.
    struct Frames {
        std::byte* first_end = nullptr;
        std::size_t distance = 0;
    };
    // The same in frames of the caller's, for tests that want them apart.
    static u64 run_in(const Frames& frames, const Executable& executable, abi::Run& run, u64 second = 0);
};

}  // namespace anybpf::engine

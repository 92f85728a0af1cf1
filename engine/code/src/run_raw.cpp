// SPDX-License-Identifier: Apache-2.0
// Running: where C++ and compiled code meet.
//
// Raw because it calls bytes as functions. It is safe because they come from the compiler, which got a program whose
// every index was checked, they lie on pages that cannot be written any more, and they live as long as the JitProgram.
#include <cstring>

#include "anybpf/abi/types.hpp"
#include "anybpf/engine/layout.hpp"
#include "anybpf/engine/op.hpp"

// Of functions that call compiled code: who runs a program need not save vector registers, and compiled functions have
// no type in front of them for a sanitizer to read.
#ifdef __clang__
#define ANYBPF_RUNS_CODE __attribute__((target("general-regs-only"), no_sanitize("function")))
#else
#define ANYBPF_RUNS_CODE __attribute__((target("general-regs-only")))
#endif

namespace anybpf::engine {
namespace {

ANYBPF_RUNS_CODE u64 address(const void* at) { return reinterpret_cast<u64>(at); }

ANYBPF_RUNS_CODE u64 at_distance(const Table* table, i32 bytes) {
    return address(table) + static_cast<u64>(i64{bytes});
}

// abi::Run::call_back in a program that has no functions to call back.
ANYBPF_RUNS_CODE u64 refuse_call_back(abi::Run&, u64, u64, u64, u64, u64, u64) { return 0; }

// A subprogram in a new frame above the one whose helper call is under way. What nested calls change in the state is
// put back, for the helper's next call.
ANYBPF_RUNS_CODE u64 call_back(abi::Run& run, u64 function, u64 r1, u64 r2, u64 r3, u64 r4, u64 r5) {
    State& state = *static_cast<State*>(run.engine);
    const Table* const table = state.table;
    const u32 index = static_cast<u32>(function);
    if (table == nullptr || !is_function(function) || index >= table->count || state.depth + 1 == abi::max_frames)
        return 0;
    i32 distance = 0;
    // Not std::memcpy: where it is fortified, it is a function for other targets.
    __builtin_memcpy(&distance, reinterpret_cast<const std::byte*>(table + 1) + sizeof(i32) * index, sizeof(distance));
    const u64 enter = at_distance(table, table->enter), body = at_distance(table, distance);
    const u64 unwind = state.unwind;
    const u32 depth = state.depth;
    const u64 result = reinterpret_cast<Enter>(enter)(&run, r1, r2, r3, r4, r5, body, depth + 1);
    state.table = table;
    state.unwind = unwind;
    state.depth = depth;
    return result;
}

}  // namespace

ANYBPF_RUNS_CODE u64 run_code(const JitProgram& program, abi::Run& run, u64 second) {
    if (program.enter == 0) {
        run.call_back = &refuse_call_back;
        return reinterpret_cast<abi::HelperBody>(program.body)(run, address(run.context), second, 0, 0, 0);
    }
    State state{.loops = abi::max_loop_iterations};
    run.call_back = &call_back;
    run.engine = &state;
    return reinterpret_cast<Enter>(program.enter)(&run, address(run.context), second, 0, 0, 0, program.body, 0);
}

}  // namespace anybpf::engine

// SPDX-License-Identifier: Apache-2.0
// The interpreter: one piece of code for each op, which ends by jumping to that of the next (computed goto). What the
// operations mean stands in isa/eval.hpp; here are only memory, calls and frames.
//
// Raw because a program's addresses are numbers. It is safe because the verifier proved every access of the program,
// and because bind() checked every index: a jump or call leads to a slot of the same program, a register number is
// below 11, a frame is one of eight. What neither has proved (a callback's value, a helper without body) is checked
// where it is used. Nothing here allocates or makes a system call, and all state is on the caller's stack.
#include <cerrno>
#include <cstring>

#include "anybpf/abi/types.hpp"
#include "anybpf/engine/op.hpp"
#include "anybpf/isa/eval.hpp"
#include "executable.hpp"

namespace anybpf::engine {
namespace {

// What a local call sets aside.
struct Caller {
    const Slot* return_to;
    const Executable* executable;  // another one when the callee has made a tail call
    u64 r6, r7, r8, r9;
};

// One run. Left uninitialized but for the named members: clearing 4 KiB would cost more than a short program.
struct State {
    abi::Run* run;
    const Executable* executable;
    u32 depth;
    u32 tail_calls;
    u32 loops;           // left for may_goto
    bool unwinding;      // the run, or the callback that a helper is in, has been given up
    u64 frame_distance;  // from the end of a frame to that of the next; 0: each begins where the last one ends
    u64 lowest;          // where the frames have to end, if the distance is 0
    u64 ends[abi::max_frames + 1];  // of the frames, up to that behind the running one
    Caller callers[abi::max_frames];

    u64 frame_pointer() const { return ends[depth]; }
    // Makes room for the frame `depth`, of so many bytes; false: there is none.
    bool open_frame(u64 bytes) {
        ends[depth + 1] = frame_distance != 0 ? ends[depth] + frame_distance : ends[depth] - bytes;
        return frame_distance != 0 || ends[depth + 1] >= lowest;
    }
};

// A program that nobody verified may access address 0, too: that is a fault like another, not a null pointer of ours.
#define ANYBPF_ACCESS __attribute__((no_sanitize("null", "nonnull-attribute")))

template <class T>
ANYBPF_ACCESS T load(u64 address) {
    T value;
    std::memcpy(&value, reinterpret_cast<const void*>(address), sizeof(T));
    return value;
}
template <class T>
ANYBPF_ACCESS void store(u64 address, u64 value) {
    const T narrow = static_cast<T>(value);
    std::memcpy(reinterpret_cast<void*>(address), &narrow, sizeof(T));
}
template <class T>
T* pointer(u64 address) {
    return reinterpret_cast<T*>(address);
}

// The memory operations of isa.def's widths and atomics.
template <isa::Width width>
struct Integer;
template <>
struct Integer<isa::Width::byte> {
    using Unsigned = u8;
    using Signed = i8;
};
template <>
struct Integer<isa::Width::half> {
    using Unsigned = u16;
    using Signed = i16;
};
template <>
struct Integer<isa::Width::word> {
    using Unsigned = u32;
    using Signed = i32;
};
template <>
struct Integer<isa::Width::dword> {
    using Unsigned = u64;
    using Signed = i64;
};

using isa::AtomicOp;
// Performs the operation and returns the old value. `expected` is r0's, for cmpxchg. Operations without fetch are the
// same ones: the processor's fetching forms are taken only where the result is used.
template <AtomicOp op, class T>
T atomic(u64 address, T value, T expected) {
    T* const at = pointer<T>(address);
    if constexpr (op == AtomicOp::add || op == AtomicOp::fetch_add)
        return __atomic_fetch_add(at, value, __ATOMIC_SEQ_CST);
    if constexpr (op == AtomicOp::or_ || op == AtomicOp::fetch_or)
        return __atomic_fetch_or(at, value, __ATOMIC_SEQ_CST);
    if constexpr (op == AtomicOp::and_ || op == AtomicOp::fetch_and)
        return __atomic_fetch_and(at, value, __ATOMIC_SEQ_CST);
    if constexpr (op == AtomicOp::xor_ || op == AtomicOp::fetch_xor)
        return __atomic_fetch_xor(at, value, __ATOMIC_SEQ_CST);
    if constexpr (op == AtomicOp::xchg) return __atomic_exchange_n(at, value, __ATOMIC_SEQ_CST);
    if constexpr (op == AtomicOp::cmpxchg) {
        __atomic_compare_exchange_n(at, &expected, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
        return expected;
    }
}

// A packet load: false outside of the packet, where r0 is 0.
bool packet_bytes(abi::Run& run, u64 offset, u32 size, u64& r0) {
    const u64 loaded = abi::load_packet_of(run, offset, size, 0, 0, 0);
    r0 = loaded != abi::packet_outside ? loaded : 0;
    return loaded != abi::packet_outside;
}

u64 execute_deep(State* state, const std::array<u64, 5>& arguments);

// Runs from pc, in the frame state->depth, until that frame exits. With a null state it returns where it runs the op
// arguments[0] instead, since the addresses are known in here alone: it must not be inlined or cloned, or they would
// differ.
#ifdef __clang__
#define ANYBPF_ONE_COPY __attribute__((noinline))
#else
#define ANYBPF_ONE_COPY __attribute__((noinline, noclone, optimize("no-gcse")))
#endif
[[gnu::hot]] ANYBPF_ONE_COPY u64 execute(State* state, const Slot* pc, const std::array<u64, 5>& arguments) {
    if (state == nullptr) {
        // Distances need no relocation.
        static const i32 distances[] = {
#define ANYBPF_OP(name, index) static_cast<i32>(static_cast<char*>(&&op_##name) - static_cast<char*>(&&give_up)),
#include "anybpf/engine/ops.def"
            0};
        return reinterpret_cast<u64>(&&give_up) + static_cast<u64>(i64{distances[arguments[0]]});
    }

    u64 r[11] = {0, arguments[0],          arguments[1], arguments[2], arguments[3], arguments[4], 0, 0, 0,
                 0, state->frame_pointer()};
    const u32 base = state->depth;
    const Executable* const entered = state->executable;

#define ANYBPF_GO goto*(pc->handler)
#define ANYBPF_NEXT \
    ++pc;           \
    ANYBPF_GO
#define ANYBPF_JUMP_TO_TARGET                                                             \
    pc = pointer<const Slot>(reinterpret_cast<u64>(pc) + static_cast<u64>(i64{pc->off})); \
    ANYBPF_GO
#define ANYBPF_ADDRESS(base_register) (r[pc->base_register] + static_cast<u64>(i64{pc->off}))

    ANYBPF_GO;

    // What short programs are made of stands first, side by side.
op_exit:
    if (state->depth == base) [[likely]] {
        state->executable = entered;
        return r[0];
    }
    {
        const Caller& caller = state->callers[--state->depth];
        state->executable = caller.executable;
        r[6] = caller.r6;
        r[7] = caller.r7;
        r[8] = caller.r8;
        r[9] = caller.r9;
        r[10] = state->frame_pointer();
        pc = caller.return_to;
    }
    ANYBPF_GO;

op_call_helper: {
    const abi::HelperBodies* const helpers = state->run->helpers;
    const abi::HelperBody body = helpers != nullptr ? (*helpers)[pc->imm] : nullptr;
    if (body == nullptr) goto give_up;
    r[0] = body(*state->run, r[1], r[2], r[3], r[4], r[5]);
    ANYBPF_NEXT;
}

op_lookup_array: {
    const auto& array = *pointer<const abi::ArrayPlace>(pc->imm);
    const u32 index = load<u32>(r[pc->src]);
    r[pc->dst] = index < array.entries ? reinterpret_cast<u64>(array.at(index, state->run->vcpu)) : 0;
    ANYBPF_NEXT;
}

op_get_vcpu:
    r[pc->dst] = state->run->vcpu;
    ANYBPF_NEXT;

op_get_pid_tgid:
    r[pc->dst] = load<u64>(load<u64>(reinterpret_cast<u64>(state->run->environment)));
    ANYBPF_NEXT;

#define ANYBPF_ALU(name, code, off, symbol, mnemonic, form)                                                          \
    op_##name##64_imm : r[pc->dst] = isa::eval<isa::AluOp::name>(r[pc->dst], pc->imm);                               \
    ANYBPF_NEXT;                                                                                                     \
    op_##name##64_reg : r[pc->dst] = isa::eval<isa::AluOp::name>(r[pc->dst], r[pc->src]);                            \
    ANYBPF_NEXT;                                                                                                     \
    op_##name##32_imm : r[pc->dst] =                                                                                 \
                            isa::eval<isa::AluOp::name>(static_cast<u32>(r[pc->dst]), static_cast<u32>(pc->imm));    \
    ANYBPF_NEXT;                                                                                                     \
    op_##name##32_reg : r[pc->dst] =                                                                                 \
                            isa::eval<isa::AluOp::name>(static_cast<u32>(r[pc->dst]), static_cast<u32>(r[pc->src])); \
    ANYBPF_NEXT;

#define ANYBPF_EXTEND(name, bits, text, narrow)                                                 \
    op_##name##_64 : r[pc->dst] = isa::eval<isa::ExtendOp::name>(r[pc->src]);                   \
    ANYBPF_NEXT;                                                                                \
    op_##name##_32 : r[pc->dst] = static_cast<u32>(isa::eval<isa::ExtendOp::name>(r[pc->src])); \
    ANYBPF_NEXT;

#define ANYBPF_SWAP(name, code, bits, text)                            \
    op_##name : r[pc->dst] = isa::eval<isa::SwapOp::name>(r[pc->dst]); \
    ANYBPF_NEXT;

#define ANYBPF_TEST(condition) \
    if (condition) {           \
        ANYBPF_JUMP_TO_TARGET; \
    }                          \
    ANYBPF_NEXT;
#define ANYBPF_JUMP(name, code, symbol, mnemonic)                                                             \
    op_##name##64_imm : ANYBPF_TEST(isa::test<isa::JumpOp::name>(r[pc->dst], pc->imm));                       \
    op_##name##64_reg : ANYBPF_TEST(isa::test<isa::JumpOp::name>(r[pc->dst], r[pc->src]));                    \
    op_##name##32_imm                                                                                         \
        : ANYBPF_TEST(isa::test<isa::JumpOp::name>(static_cast<u32>(r[pc->dst]), static_cast<u32>(pc->imm))); \
    op_##name##32_reg                                                                                         \
        : ANYBPF_TEST(isa::test<isa::JumpOp::name>(static_cast<u32>(r[pc->dst]), static_cast<u32>(r[pc->src])));

#define ANYBPF_WIDTH(name, code, bytes, text, suffix)                                                                  \
    op_load_##name : r[pc->dst] = load<Integer<isa::Width::name>::Unsigned>(ANYBPF_ADDRESS(src));                      \
    ANYBPF_NEXT;                                                                                                       \
    op_load_sx_##name : r[pc->dst] =                                                                                   \
                            static_cast<u64>(i64{load<Integer<isa::Width::name>::Signed>(ANYBPF_ADDRESS(src))});       \
    ANYBPF_NEXT;                                                                                                       \
    op_store_imm_##name : store<Integer<isa::Width::name>::Unsigned>(ANYBPF_ADDRESS(dst), pc->imm);                    \
    ANYBPF_NEXT;                                                                                                       \
    op_store_##name : store<Integer<isa::Width::name>::Unsigned>(ANYBPF_ADDRESS(dst), r[pc->src]);                     \
    ANYBPF_NEXT;                                                                                                       \
    op_load_acquire_##name : r[pc->dst] = __atomic_load_n(                                                             \
                                 pointer<Integer<isa::Width::name>::Unsigned>(ANYBPF_ADDRESS(src)), __ATOMIC_ACQUIRE); \
    ANYBPF_NEXT;                                                                                                       \
    op_store_release_##name                                                                                            \
        : __atomic_store_n(pointer<Integer<isa::Width::name>::Unsigned>(ANYBPF_ADDRESS(dst)),                          \
                           static_cast<Integer<isa::Width::name>::Unsigned>(r[pc->src]), __ATOMIC_RELEASE);            \
    ANYBPF_NEXT;

    // A fetched value goes to src, that of cmpxchg to r0; 32-bit ones are zero-extended by the conversion.
#define ANYBPF_OLD(name, T) \
    atomic<AtomicOp::name, T>(ANYBPF_ADDRESS(dst), static_cast<T>(r[pc->src]), static_cast<T>(r[0]))
#define ANYBPF_OPS_modify(name)                       \
    op_atomic_##name##_word : ANYBPF_OLD(name, u32);  \
    ANYBPF_NEXT;                                      \
    op_atomic_##name##_dword : ANYBPF_OLD(name, u64); \
    ANYBPF_NEXT;
#define ANYBPF_OPS_fetch(name)                                     \
    op_atomic_##name##_word : r[pc->src] = ANYBPF_OLD(name, u32);  \
    ANYBPF_NEXT;                                                   \
    op_atomic_##name##_dword : r[pc->src] = ANYBPF_OLD(name, u64); \
    ANYBPF_NEXT;
#define ANYBPF_OPS_exchange(name) ANYBPF_OPS_fetch(name)
#define ANYBPF_OPS_compare_exchange(name)                    \
    op_atomic_##name##_word : r[0] = ANYBPF_OLD(name, u32);  \
    ANYBPF_NEXT;                                             \
    op_atomic_##name##_dword : r[0] = ANYBPF_OLD(name, u64); \
    ANYBPF_NEXT;
#define ANYBPF_OPS_load(name)
#define ANYBPF_OPS_store(name)
#define ANYBPF_ATOMIC(name, imm, text, form) ANYBPF_OPS_##form(name)
#include "anybpf/isa/isa.def"

op_jump:
    ANYBPF_JUMP_TO_TARGET;

op_may_goto:
    if (state->loops == 0) {
        ANYBPF_JUMP_TO_TARGET;
    }
    --state->loops;
    ANYBPF_NEXT;

op_call_local:
    if (state->depth + 1 == abi::max_frames) goto give_up;
    state->callers[state->depth++] = {pc + 1, state->executable, r[6], r[7], r[8], r[9]};
    r[10] = state->frame_pointer();
    if (!state->open_frame(pc->imm)) goto give_up;
    ANYBPF_JUMP_TO_TARGET;

op_loop: {
    const u32 count = static_cast<u32>(r[1]);
    if (r[4] != 0 || count > abi::max_loop_iterations) {
        r[0] = static_cast<u64>(i64{r[4] != 0 ? -EINVAL : -E2BIG});
        ANYBPF_NEXT;
    }
    if (count != 0 && state->depth + 1 == abi::max_frames) goto give_up;
    const Slot* const step = pointer<const Slot>(reinterpret_cast<u64>(pc) + static_cast<u64>(i64{pc->off}));
    ++state->depth;
    if (count != 0 && !state->open_frame(pc->imm)) goto give_up;
    for (r[0] = 0; r[0] < count;)
        if (execute(state, step, {r[0]++, r[3], 0, 0, 0}) != 0 || state->unwinding) break;
    --state->depth;
    if (state->unwinding) goto give_up;
    ANYBPF_NEXT;
}

op_callx: {
    const u64 callee = r[pc->dst];
    if (is_function(callee)) {
        const u32 subprogram = static_cast<u32>(callee);
        if (subprogram >= state->executable->subprograms.size() || state->depth + 1 == abi::max_frames) goto give_up;
        state->callers[state->depth++] = {pc + 1, state->executable, r[6], r[7], r[8], r[9]};
        r[10] = state->frame_pointer();
        if (!state->open_frame(state->executable->frame_bytes[subprogram])) goto give_up;
        pc = &state->executable->code[state->executable->subprograms[subprogram]];
        ANYBPF_GO;
    }
    const abi::HelperBodies* const helpers = state->run->helpers;
    if (callee >= abi::helper_count || helpers == nullptr || (*helpers)[callee] == nullptr) goto give_up;
    r[0] = (*helpers)[callee](*state->run, r[1], r[2], r[3], r[4], r[5]);
    ANYBPF_NEXT;
}

op_tail_call: {
    abi::Run& run = *state->run;
    if (run.tail_target != nullptr && state->tail_calls < abi::max_tail_calls) {
        const auto* const target = static_cast<const Executable*>(run.tail_target(run, r[2], static_cast<u32>(r[3])));
        if (target != nullptr) {
            ++state->tail_calls;
            state->executable = target;  // in the same frame, whose stack it takes over
            if (target->deep && state->frame_distance != 0) {
                r[0] = execute_deep(state, {r[1], r[2], r[3], r[4], r[5]});
                if (state->unwinding) goto give_up;
                goto op_exit;
            }
            r[10] = state->frame_pointer();
            if (!state->open_frame(target->frame_bytes[0])) goto give_up;
            pc = target->code.data();
            ANYBPF_GO;
        }
    }
    ANYBPF_NEXT;
}

// Outside of the packet the function returns 0.
#define ANYBPF_PACKET(name, bytes)                                                                              \
    op_packet_abs_##name : if (!packet_bytes(*state->run, pc->imm, bytes, r[0])) { goto op_exit; }              \
    ANYBPF_NEXT;                                                                                                \
    op_packet_ind_##name : if (!packet_bytes(*state->run, r[pc->src] + pc->imm, bytes, r[0])) { goto op_exit; } \
    ANYBPF_NEXT;
    ANYBPF_PACKET(word, 4)
    ANYBPF_PACKET(half, 2)
    ANYBPF_PACKET(byte, 1)

give_up:
    state->run->gave_up = true;
    state->unwinding = true;
    state->depth = base;
    state->executable = entered;
    return 0;
}

// Runs the program state->executable, from its beginning in the frame state->depth, on a stack that holds what a host
// may allow, and the frames of whoever called a tail call. A function of its own: others need not have as much.
[[gnu::noinline]] u64 execute_deep(State* state, const std::array<u64, 5>& arguments) {
    constexpr std::size_t size = abi::max_stack_size + abi::max_frames * abi::stack_size;
    alignas(16) std::byte stack[size];
    const u64 distance = state->frame_distance, end = state->frame_pointer();
    state->frame_distance = 0;
    state->lowest = reinterpret_cast<u64>(stack);
    state->ends[state->depth] = state->lowest + size;
    const Executable& executable = *state->executable;
    const bool fits = state->open_frame(executable.frame_bytes[0]);
    const u64 result = fits ? execute(state, executable.code.data(), arguments) : 0;
    state->frame_distance = distance;
    state->ends[state->depth] = end;
    return result;
}

// abi::Run::call_back: a subprogram in a new frame above the one whose helper call is under way.
u64 call_back(abi::Run& run, u64 function, u64 r1, u64 r2, u64 r3, u64 r4, u64 r5) {
    State& state = *static_cast<State*>(run.engine);
    const u32 subprogram = static_cast<u32>(function);
    const Executable& executable = *state.executable;
    if (!is_function(function) || subprogram >= executable.subprograms.size() || state.depth + 1 == abi::max_frames)
        return 0;
    ++state.depth;
    if (!state.open_frame(executable.frame_bytes[subprogram])) {
        --state.depth;
        return 0;
    }
    const u64 result = execute(&state, &executable.code[executable.subprograms[subprogram]], {r1, r2, r3, r4, r5});
    --state.depth;
    state.unwinding = false;
    return result;
}

}  // namespace

const void* interpreter_handler(u32 op) { return reinterpret_cast<const void*>(execute(nullptr, nullptr, {op})); }

u64 Interpreter::run(const Executable& executable, abi::Run& run, u64 second) {
    if (executable.deep) return run_in({}, executable, run, second);
    alignas(16) std::byte stack[abi::max_frames * abi::stack_size];
    return run_in({stack + abi::stack_size, abi::stack_size}, executable, run, second);
}

u64 Interpreter::run_in(const Frames& frames, const Executable& executable, abi::Run& run, u64 second) {
    State state;
    state.ends[0] = reinterpret_cast<u64>(frames.first_end);
    state.frame_distance = frames.distance;
    state.run = &run;
    state.executable = &executable;
    state.depth = 0;
    state.tail_calls = 0;
    state.loops = abi::max_loop_iterations;
    state.unwinding = false;
    run.call_back = &call_back;
    run.engine = &state;
    const std::array<u64, 5> arguments = {reinterpret_cast<u64>(run.context), second, 0, 0, 0};
    if (frames.first_end == nullptr) return execute_deep(&state, arguments);
    state.open_frame(executable.frame_bytes[0]);
    return execute(&state, executable.code.data(), arguments);
}

}  // namespace anybpf::engine

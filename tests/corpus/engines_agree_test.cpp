// SPDX-License-Identifier: Apache-2.0
// Random programs of every operation, with memory, calls, callbacks and tail calls: every engine leaves what the
// interpreter leaves, in r0, in memory and in what helpers were given. Half of them read no register that a call leaves
// undefined, as verified programs do, and are run as such; the others read what they like.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <random>

#include "anybpf/abi/types.hpp"
#include "anybpf/engine/engine.hpp"
#include "anybpf/engine/jit.hpp"
#include "anybpf/engine/llvm.hpp"
#include "anybpf/engine/lower.hpp"
#include "anybpf/engine/op.hpp"

namespace anybpf::corpus {
namespace {

using engine::Op;
using program::LoweredInsn;

// r6 is the context and r10 the frame: they are written nowhere else, and their values go nowhere else.
constexpr u8 context = 6, frame = 10;
constexpr u32 memory_bytes = 64;  // of either
constexpr i64 mixing_helper = 5, calling_helper = 181;
constexpr u32 subprograms = 5, maps = 2;
constexpr u32 loop_body = subprograms - 1;  // is called by loops alone

class Generator {
  public:
    explicit Generator(u64 seed, bool proved) : random_(seed) { out_.proved = proved; }
    program::Lowered program();

  private:
    u32 below(u32 bound) { return static_cast<u32>(random_() % bound); }
    u8 reg() { return std::array<u8, 9>{0, 1, 2, 3, 4, 5, 7, 8, 9}[below(9)]; }
    i64 value() {
        const u64 edge = u64{1} << below(64);
        return static_cast<i64>(below(2) == 0 ? random_() : edge + below(3) - 1);
    }
    void add(Op op, u8 dst, u8 src, i32 off, i64 imm) {
        out_.insns.push_back({.op = static_cast<u16>(op), .dst = dst, .src = src, .off = off, .imm = imm});
    }
    void set(u8 r, i64 imm) { add(Op::mov64_imm, r, 0, 0, imm); }
    // What the verifier would see undefined.
    void define(u8 first, u8 last) {
        for (u8 r = first; r <= last; ++r) set(r, value());
    }
    void start_frame();
    void memory(Op op, std::string_view name);
    void packet(Op op, std::string_view name);
    void call();
    void step();
    void body(u32 index);

    std::mt19937_64 random_;
    program::Lowered out_;
    u32 index_ = 0;                                   // of the subprogram that is being made
    std::vector<std::pair<std::size_t, u32>> calls_;  // instructions that call a subprogram, and which
    std::vector<std::size_t> jumps_;                  // of this body; off says how far
};

// Each subprogram gets the context in r1, and a loop's in r2.
void Generator::start_frame() {
    add(Op::mov64_reg, context, index_ == loop_body ? 2 : 1, 0, 0);
    if (out_.proved || index_ == 0) {
        set(0, value());
        define(1, 5);
        define(7, 9);
    }
    for (i32 at = 8; at <= static_cast<i32>(memory_bytes); at += 8)
        add(Op::store_imm_dword, frame, 0, -at, static_cast<i32>(value()));
}

void Generator::memory(Op op, std::string_view name) {
    const u32 bytes = name.ends_with("byte") ? 1 : name.ends_with("half") ? 2 : name.ends_with("dword") ? 8 : 4;
    const bool aligned = name.starts_with("atomic") || name.find("acquire") != name.npos || name.ends_with("release");
    u32 at = below(memory_bytes - bytes + 1);
    if (aligned || name.find("release") != name.npos) at = at / bytes * bytes;
    const bool in_frame = below(2) == 0;
    const u8 base = in_frame ? frame : context;
    const i32 off = static_cast<i32>(at) - (in_frame ? static_cast<i32>(memory_bytes) : 0);
    if (name.starts_with("load"))
        add(op, reg(), base, off, 0);
    else
        add(op, base, reg(), off, static_cast<i32>(value()));
}

// Mostly inside of the packet, for the function returns where it is not.
void Generator::packet(Op op, std::string_view name) {
    const bool indirect = name.find("ind") != name.npos;
    const u8 index = static_cast<u8>(7 + below(3));
    if (indirect) set(index, below(memory_bytes / 2));
    add(op, 0, index, 0, below(indirect ? memory_bytes / 2 : memory_bytes));
    if (out_.proved) define(1, 5);
}

void Generator::call() {
    const u32 callee = index_ == loop_body ? loop_body : index_ + 1 + below(loop_body - index_);
    const bool local = callee < loop_body;
    add(Op::mov64_reg, 1, context, 0, 0);
    switch (below(6)) {
        case 0:
            add(Op::call_helper, 0, 0, 0, mixing_helper);
            break;
        case 1:
            if (!local) return;
            set(2, static_cast<i64>(engine::function_value(callee)));
            add(Op::call_helper, 0, 0, 0, calling_helper);
            break;
        case 2:
            if (!local) return;
            calls_.emplace_back(out_.insns.size(), callee);
            add(Op::call_local, 0, 0, 0, 0);
            break;
        case 3: {
            const u8 r = static_cast<u8>(7 + below(3));
            set(r, local ? static_cast<i64>(engine::function_value(callee)) : mixing_helper);
            add(Op::callx, r, 0, 0, 0);
            break;
        }
        case 4:
            if (index_ == loop_body) return;
            set(1, below(6) + (below(20) == 0 ? abi::max_loop_iterations : 0));
            add(Op::mov64_reg, 3, context, 0, 0);
            set(4, below(12) == 0 ? 1 : 0);
            calls_.emplace_back(out_.insns.size(), loop_body);
            add(Op::loop, 0, 0, 0, 0);
            break;
        default:
            set(3, below(6));
            add(Op::tail_call, 0, 0, 0, 12);
            break;
    }
    if (!out_.proved) return;
    define(1, 5);
    set(0, value());
}

void Generator::step() {
    const Op op{static_cast<u16>(below(engine::op_count))};
    const std::string_view name = engine::to_string(op);
    if (op == Op::call_helper || op == Op::call_local || op == Op::loop || op == Op::callx || op == Op::tail_call)
        return call();
    if (op == Op::exit) return;
    if (name.starts_with("load") || name.starts_with("store") || name.starts_with("atomic")) return memory(op, name);
    if (engine::op_indices[static_cast<u16>(op)] == engine::Index::jump) {
        jumps_.push_back(out_.insns.size());
        return add(op, reg(), reg(), static_cast<i32>(below(6)), static_cast<i32>(value()));
    }
    if (name.starts_with("packet")) return packet(op, name);
    // The index is what the context starts with.
    if (engine::op_indices[static_cast<u16>(op)] == engine::Index::array)
        return add(op, reg(), context, 0, below(maps));
    add(op, reg(), reg(), 0, op == Op::mov64_imm ? value() : static_cast<i32>(value()));
}

void Generator::body(u32 index) {
    index_ = index;
    out_.subprograms.push_back({static_cast<u32>(out_.insns.size()), memory_bytes});
    start_frame();
    jumps_.clear();
    for (u32 i = 0; i < 25; ++i) step();
    if (index < loop_body) call();
    for (u32 i = 0; i < 5; ++i) step();
    const std::size_t end_of_random = out_.insns.size();
    // r0 holds something of each register.
    for (const u8 r : std::array<u8, 8>{1, 2, 3, 4, 5, 7, 8, 9}) {
        add(Op::mul64_imm, 0, 0, 0, 31);
        add(Op::add64_reg, 0, r, 0, 0);
    }
    if (index == loop_body && below(4) != 0) add(Op::and_64_imm, 0, 0, 0, 4);  // mostly goes on
    // A jump leads at most to the end of what is random, and not into what prepares a call: that starts with r1.
    for (const std::size_t jump : jumps_) {
        const auto first = static_cast<i32>(jump) + 1, last = static_cast<i32>(end_of_random);
        i32 to = std::min(first + out_.insns[jump].off, last);
        for (i32 over = first; over < to; ++over) {
            const LoweredInsn& insn = out_.insns[static_cast<u32>(over)];
            if (Op{insn.op} == Op::mov64_reg && insn.src == context) to = over;
        }
        out_.insns[jump].off = to;
    }
    add(Op::exit, 0, 0, 0, 0);
}

program::Lowered Generator::program() {
    for (u32 i = 0; i < subprograms; ++i) body(i);
    for (const auto& [insn, callee] : calls_) out_.insns[insn].imm = out_.subprograms[callee].first;
    return std::move(out_);
}

struct Seen {
    u64 r0 = 0, given = 0;  // what helpers were given, in one number
    u32 asked = 0;          // for a program to tail-call
    std::array<u64, memory_bytes / 8> memory{};
    auto operator<=>(const Seen&) const = default;
};
struct Host {
    const abi::ThreadIds* ids;  // as abi::Run::environment says
    Seen seen;
    const void* program = nullptr;
};

// An ARRAY and a PERCPU_ARRAY, whose values nobody touches; their addresses are seen.
std::array<std::byte, 256> values;
const std::array<engine::BoundMap, maps> bound = {
    {{.array = {values.data(), 8, 0, 5}}, {.array = {values.data(), 16, 64, 4}}}};

u64 mix(abi::Run& run, u64 r1, u64 r2, u64 r3, u64 r4, u64 r5) {
    u64& given = static_cast<Host*>(run.environment)->seen.given;
    for (const u64 r : {r1, r2, r3, r4, r5}) given = given * 1000003 + r;
    return given;
}
u64 call_twice(abi::Run& run, u64 r1, u64 function, u64 r3, u64, u64) {
    u64 sum = 0;
    for (u64 i = 0; i < 2; ++i) sum += run.call_back(run, function, r1, i, r3, sum, 7);
    return sum;
}

// All engines run in the same memory, whose address programs may see. The helpers' addresses are bound, or left to the
// run.
template <class E>
Seen run_on(const program::Lowered& lowered, Seen& place, bool bound_helpers) {
    abi::HelperBodies helpers{};
    helpers[mixing_helper] = mix;
    helpers[calling_helper] = call_twice;
    const auto executable = E::bind(lowered, bound, bound_helpers ? &helpers : nullptr);
    EXPECT_TRUE(executable.has_value()) << executable.error().message;
    if (!executable) return {};
    place = {};
    for (u32 i = 0; i < place.memory.size(); ++i) place.memory[i] = (i + 1) * 0x0123456700000001U;
    const abi::ThreadIds ids{.tid = 11, .pid = 10};
    Host host{.ids = &ids, .seen = {}, .program = executable->get()};
    abi::Run run;
    run.vcpu = 2;
    std::array<std::byte, memory_bytes> packet{};
    for (u32 i = 0; i < packet.size(); ++i) packet[i] = static_cast<std::byte>(i * 37 + 1);
    run.packet.bytes = packet;
    run.context = place.memory.data();
    run.environment = &host;
    run.helpers = &helpers;
    run.tail_target = [](abi::Run& self, u64, u32 index) -> const void* {
        auto& asking = *static_cast<Host*>(self.environment);
        ++asking.seen.asked;
        return index == 1 ? asking.program : nullptr;
    };
    host.seen.r0 = E::run(*executable.value(), run);
    host.seen.memory = place.memory;
    return host.seen;
}

std::string listing(const program::Lowered& lowered) {
    std::string text;
    for (std::size_t i = 0; i < lowered.insns.size(); ++i) {
        const LoweredInsn& insn = lowered.insns[i];
        text += std::to_string(i) + ": " + std::string(engine::to_string(Op{insn.op})) +
                " dst=" + std::to_string(insn.dst) + " src=" + std::to_string(insn.src) +
                " off=" + std::to_string(insn.off) + " imm=" + std::to_string(insn.imm) + "\n";
    }
    return text;
}

u64 setting(const char* name, u64 usual) {
    const char* const given = std::getenv(name);
    return given != nullptr ? std::strtoull(given, nullptr, 10) : usual;
}

// exact: also where a program reads registers that no verified one reads. ANYBPF_PROGRAMS asks for more, and says every
// now and then how far it is; ANYBPF_FIRST_SEED asks for others.
template <class E>
void agrees(u64 usual, bool exact, u64 usual_first = 0) {
    Seen place;
    u64 different = 0;  // programs that do more than give up
    const u64 programs = setting("ANYBPF_PROGRAMS", usual), first = setting("ANYBPF_FIRST_SEED", usual_first);
    for (u64 seed = first; seed < first + programs; ++seed) {
        const bool proved = !exact || seed % 2 == 0;
        const program::Lowered lowered = Generator(seed, proved).program();
        const bool bound_helpers = seed % 4 < 2;
        const Seen expected = run_on<engine::Interpreter>(lowered, place, bound_helpers);
        const Seen actual = run_on<E>(lowered, place, bound_helpers);
        ASSERT_TRUE(actual == expected) << "seed " << seed << (proved ? ", proved" : "") << ": r0 " << actual.r0
                                        << " instead of " << expected.r0 << ", helpers were given " << actual.given
                                        << " instead of " << expected.given << "\n"
                                        << listing(lowered);
        different += expected.given != 0 && expected.r0 != 0;
        const u64 done = seed - first + 1;
        if (programs > usual && done % std::max<u64>(programs / 100, 1) == 0) {
            std::printf("%lu of %lu programs agree\n", done, programs);
            std::fflush(stdout);
        }
    }
    EXPECT_GT(different, programs / 4) << "the programs call too little";
}

TEST(EnginesAgree, Llvm) {
    if (const auto available = engine::Llvm::available(); !available) GTEST_SKIP() << available.error().message;
    agrees<engine::Llvm>(60, true);
}
// What a helper that calls back knows of a run was once taken for unchanged between two calls.
TEST(EnginesAgree, LlvmOnceDisagreed) {
    if (const auto available = engine::Llvm::available(); !available) GTEST_SKIP() << available.error().message;
    agrees<engine::Llvm>(1, true, 322);
}
TEST(EnginesAgree, Jit) { agrees<engine::Jit>(2000, false); }
// The law itself: the interpreter is compared with itself, so what programs see does not depend on anything else.
TEST(EnginesAgree, InterpreterWithItself) { agrees<engine::Interpreter>(500, true); }

}  // namespace
}  // namespace anybpf::corpus

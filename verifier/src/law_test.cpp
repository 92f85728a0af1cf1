// SPDX-License-Identifier: Apache-2.0
// The law that everything else serves: what the verifier accepts does no harm, whatever it is given to read, and what
// it says of registers and stack holds on every run.
#include <cstring>

#include "machine.hpp"
#include "random_programs.hpp"
#include "walker.hpp"

namespace anybpf::verifier {
namespace {

using namespace testing;

// What is said of one register against what it holds.
bool holds(const Reg& reg, u64 value, const Machine& machine, const program::Program& program) {
    const auto offset_from = [&](u64 base) { return reg.value.contains(value - base); };
    switch (reg.type) {
        case Type::uninit:
            return true;
        case Type::scalar:
            return reg.value.contains(value);
        case Type::ctx:
            return offset_from(0x1000'0000);
        case Type::stack:
            return reg.frame < machine.frames.size() && offset_from(machine.frame_pointer(machine.frames[reg.frame]));
        case Type::map:
            return value == 0x5000'0000 + reg.object * 0x1000;
        case Type::map_value_or_null:
            if (value == 0) return true;
            [[fallthrough]];
        case Type::map_value:
            for (const auto& object : machine.objects)
                if (object.map == static_cast<i32>(reg.object) && offset_from(object.base)) return true;
            return program.maps[reg.object].type == abi::MapType::array && reg.object != data && reg.object != rodata;
        case Type::record_or_null:
            if (value == 0) return true;
            [[fallthrough]];
        case Type::record:
            for (const auto& object : machine.objects)
                if (object.record && object.alive && offset_from(object.base)) return true;
            return false;
        case Type::task:
            return true;
        case Type::function:
            return value == reg.object;
        case Type::packet:  // the machine runs no programs that have them
        case Type::packet_meta:
        case Type::packet_end:
        case Type::inner_map_or_null:
        case Type::map_key:
        case Type::sock_common:
        case Type::sock_common_or_null:
        case Type::socket:
        case Type::socket_or_null:
        case Type::tcp_sock:
        case Type::tcp_sock_or_null:
        case Type::xdp_sock:
        case Type::xdp_sock_or_null:
        case Type::cast_socket:
        case Type::cast_socket_or_null:
        case Type::flow_keys:
        case Type::trace_buffer:
        case Type::kernel_object:
        case Type::btf:
        case Type::memory:
        case Type::dynptr:
        case Type::iterator:
        case Type::interrupts:
            return false;
    }
    return false;
}

bool holds(const State& state, const Machine& machine, const program::Program& program) {
    if (state.frames.size() != machine.frames.size()) return false;
    for (std::size_t f = 0; f < state.frames.size(); ++f) {
        const Frame& frame = state.frames[f];
        const bool running = f + 1 == state.frames.size();
        for (u32 r = 0; r < 11; ++r) {
            if (!running && r < 6) continue;  // a caller's are gone
            if (!holds(frame.regs[r], machine.frames[f].regs[r], machine, program)) return false;
        }
        const auto& memory = machine.objects[machine.frames[f].stack];
        for (std::size_t s = 0; s < frame.stack.size(); ++s) {
            const Slot& slot = frame.stack[s];
            const u8* bytes = memory.bytes.data() + 512 - 8 * (s + 1);
            for (std::size_t i = 0; i < 8; ++i) {
                if (slot.bytes[i] == Byte::invalid) continue;
                if (!memory.written[512 - 8 * (s + 1) + i]) return false;
                if (slot.bytes[i] == Byte::zero && bytes[i] != 0) return false;
            }
            u64 value = 0;
            std::memcpy(&value, bytes, slot.saved_bytes());
            if (slot.saved_bytes() > 0 && !holds(slot.saved, value, machine, program)) return false;
        }
    }
    return true;
}

std::string listing(const program::Program& program) {
    return isa::listing(program.insns, {.bytes = false, .style = isa::Style::kernel, .helper = {}, .before = {}});
}

constexpr u64 seeds = 6'000;
// Half of the programs are judged by the rules of privileged loads, which may read stack that was never written.
constexpr bool privileged(u64 seed) { return seed / 4 % 2 == 0; }

Report judge(const program::Program& program, const Options& options, bool remember_all) {
    Structure structure;
    Report report;
    if (const auto bad = analyse(program, structure)) {
        report.diagnostic = *bad;
        return report;
    }
    Arena arena;
    Walker walker(program, options, structure, arena, report);
    walker.remember_all = remember_all;
    walker.run();
    return report;
}

TEST(Accepted, does_no_harm) {
    u32 accepted = 0;
    for (u64 seed = 1; seed <= seeds; ++seed) {
        const program::Program program = Generator(seed).program();
        Options options;
        options.max_insns = 50'000;
        options.allow_ptr_leaks = privileged(seed);
        const Report report = judge(program, options, seed % 2 == 0);
        if (!report.accepted) continue;
        ++accepted;
        for (u64 run = 0; run < 6; ++run) {
            Machine machine(program, report.proof, seed * 100 + run);
            machine.reads_unwritten = options.allow_ptr_leaks;
            ASSERT_EQ(machine.run(), "") << "seed " << seed << '\n' << listing(program);
        }
    }
    RecordProperty("accepted", static_cast<int>(accepted));
    EXPECT_GT(accepted, seeds / 5);
    EXPECT_LT(accepted, seeds * 9 / 10);
}

// The same of loops whose only end may be the budget of the run: they end, whatever it is.
TEST(Accepted, loops_of_may_goto_end) {
    u32 accepted = 0, looping = 0;
    for (u64 seed = 1; seed <= seeds; ++seed) {
        Generator generator(seed);
        generator.may_goto = true;
        const program::Program program = generator.program();
        Options options;
        options.max_insns = 50'000;
        options.allow_ptr_leaks = privileged(seed);
        const Report report = judge(program, options, seed % 2 == 0);
        if (!report.accepted) continue;
        ++accepted;
        for (const isa::Insn& insn : program.insns)
            if (insn.code == static_cast<u8>(isa::ControlCode::may_goto)) {
                ++looping;
                break;
            }
        for (u64 run = 0; run < 6; ++run) {
            Machine machine(program, report.proof, seed * 100 + run);
            machine.reads_unwritten = options.allow_ptr_leaks;
            ASSERT_EQ(machine.run(), "") << "seed " << seed << '\n' << listing(program);
        }
    }
    RecordProperty("accepted", static_cast<int>(accepted));
    EXPECT_GT(looping, seeds / 10);
}

// Without remembered states every path is walked, so that each step of a run lies in a state that was seen there.
TEST(Accepted, registers_and_stack_are_as_proved) {
    u32 checked = 0;
    for (u64 seed = 1; seed <= seeds / 3; ++seed) {
        const program::Program program = Generator(seed).program();
        Options options;
        options.max_insns = 3'000;
        options.allow_ptr_leaks = privileged(seed);
        options.max_state_bytes = 0;
        Structure structure;
        if (analyse(program, structure)) continue;
        Report report;
        Arena arena;
        Walker walker(program, options, structure, arena, report);
        std::vector<std::vector<State>> seen(program.insns.size());
        walker.observe = [&](u32 pc, const State& state) { seen[pc].push_back(state); };
        walker.run();
        if (!report.accepted) continue;
        ++checked;
        for (u64 run = 0; run < 4; ++run) {
            Machine machine(program, report.proof, seed * 100 + run);
            machine.reads_unwritten = options.allow_ptr_leaks;
            machine.observe = [&](u32 pc) {
                if (::testing::Test::HasFailure()) return;
                bool inside = false;
                for (const State& state : seen[pc]) inside |= holds(state, machine, program);
                if (inside) return;
                std::string regs;
                for (u32 r = 0; r < 11; ++r) regs += fmt::format(" r{}={:#x}", r, machine.frames.back().regs[r]);
                std::string states;
                for (const State& state : seen[pc]) states += print(state, program) + '\n';
                ADD_FAILURE() << "seed " << seed << " at " << pc << regs << '\n' << states << listing(program);
            };
            const std::string wrong = machine.run();
            ASSERT_EQ(wrong, "") << "seed " << seed << '\n' << listing(program);
            ASSERT_FALSE(::testing::Test::HasFailure());
        }
    }
    EXPECT_GT(checked, seeds / 20);
}

// Remembering states changes how long the walk is, not what it finds.
TEST(Pruning, does_not_change_verdicts) {
    for (u64 seed = 1; seed <= seeds; ++seed) {
        const program::Program program = Generator(seed).program();
        Options options;
        options.max_insns = 5'000;
        options.allow_ptr_leaks = privileged(seed);
        const Report with = judge(program, options, seed % 4 != 0);
        options.max_insns = 20'000;
        options.max_state_bytes = 0;
        const Report without = verify(program, options);
        if (without.diagnostic.what == Finding::too_complex || with.diagnostic.what == Finding::too_complex ||
            with.diagnostic.what == Finding::infinite_loop)
            continue;
        ASSERT_EQ(with.accepted, without.accepted)
            << "seed " << seed << '\n'
            << explain(with, program) << explain(without, program) << listing(program);
    }
}

}  // namespace
}  // namespace anybpf::verifier

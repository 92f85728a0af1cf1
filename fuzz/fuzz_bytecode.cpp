// SPDX-License-Identifier: Apache-2.0
// Bytes as a program on its way in (check, disassemble, verify, lower, bind, run), and as the lowered form from a file
// that somebody else wrote (bind). The law: what the verifier accepts can be lowered and bound, and a run of it touches
// nothing but what it was given; the sanitizers watch. What it does not accept is never run.
#include <cstring>

#include "anybpf/abi/helper.hpp"
#include "anybpf/base/assert.hpp"
#include "anybpf/engine/lower.hpp"
#include "anybpf/isa/text.hpp"
#include "anybpf/verifier/verifier.hpp"
#include "engines.hpp"

using namespace anybpf;

namespace {

template <class T>
std::vector<T> take_all(const u8* data, std::size_t size) {
    std::vector<T> items(size / sizeof(T));
    if (!items.empty()) std::memcpy(static_cast<void*>(items.data()), data, items.size() * sizeof(T));
    return items;
}

constexpr u32 value_size = 16;
std::vector<program::MapInfo> map_infos() {
    return {{.id = 1,
             .type = abi::MapType::array,
             .key_size = 4,
             .value_size = value_size,
             .max_entries = 1,
             .flags = 0,
             .name = "a",
             .frozen = {}},
            {.id = 2,
             .type = abi::MapType::hash,
             .key_size = 8,
             .value_size = value_size,
             .max_entries = 9,
             .flags = 0,
             .name = "h",
             .frozen = {}}};
}

// No helper finds, writes or calls anything: 0 is within the contract of every one that returns.
u64 nothing(abi::Run&, u64, u64, u64, u64, u64) { return 0; }
const abi::HelperBodies helpers = [] {
    abi::HelperBodies bodies{};
    bodies.fill(nothing);
    return bodies;
}();

void verify_and_run(std::vector<isa::Insn> insns, abi::ProgType type, bool defect) {
    program::Program program;
    program.name = "fuzz";
    program.type = type;
    program.gpl_compatible = true;
    program.insns = std::move(insns);
    program.maps = map_infos();
    const verifier::Report report = verifier::verify(program, {.max_insns = 5000, .max_state_bytes = 16U << 20});
    (void)verifier::explain(report, program);
    if (!report.accepted) return;
    ANYBPF_ASSERT(!defect);
    const auto lowered = engine::lower(program, report.proof);
    ANYBPF_ASSERT(lowered);
    std::vector<std::byte> values(value_size), map(1);
    const engine::BoundMap maps[] = {{map.data(), values.data(), {values.data(), value_size, 0, 1}},
                                     {map.data(), nullptr}};
    constexpr bool may_leak_pointers = verifier::Options{}.allow_ptr_leaks;
    fuzzing::OnEveryEngine(*lowered, program.type, maps, helpers, values, report.proof.context_bytes)
        .run(may_leak_pointers);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
    if (size > 4096) return 0;
    static std::byte value{};
    const engine::BoundMap maps[] = {{&value, &value, {&value, 8, 0, 1}}, {&value, nullptr}};

    const auto insns = take_all<isa::Insn>(data, size);
    const bool defect = isa::check(insns).has_value();
    (void)isa::disassemble(insns);
    const auto lowered = engine::lower_unverified(insns, 2);
    if (lowered) {
        ANYBPF_ASSERT(!defect);
        // What lowering yields is well-formed, but for a value of a map that has none.
        const auto bound = engine::Interpreter::bind(*lowered, maps);
        ANYBPF_ASSERT(bound || !lowered->map_uses.empty());
    }
    for (const abi::ProgType type :
         {abi::ProgType::raw_tracepoint, abi::ProgType::kprobe, abi::ProgType::socket_filter})
        verify_and_run(insns, type, defect);

    program::Lowered foreign;
    foreign.insns = take_all<program::LoweredInsn>(data, size);
    if (size != 0) {
        foreign.subprograms.push_back({0, data[0] * 8U});
        foreign.subprograms.push_back({data[size / 2], data[size - 1]});
        foreign.map_uses = take_all<program::MapUse>(data + size / 2, data[0] % 2U == 0 ? 0 : size - size / 2);
    }
    ANYBPF_ASSERT(engine::Interpreter::bind(foreign, maps).has_value() == engine::Jit::bind(foreign, maps).has_value());
    return 0;
}

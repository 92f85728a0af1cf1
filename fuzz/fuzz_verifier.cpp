// SPDX-License-Identifier: Apache-2.0
// Any instructions, of any program type, through the verifier: it neither crashes nor runs away, and what it accepts
// can be lowered, bound and run without touching anything it was not given (under AddressSanitizer). The input: a byte
// of program type, a byte of options, then instructions.
#include <algorithm>
#include <cstring>

#include "anybpf/base/assert.hpp"
#include "anybpf/engine/lower.hpp"
#include "anybpf/isa/decode.hpp"
#include "anybpf/verifier/verifier.hpp"
#include "engines.hpp"

using namespace anybpf;

namespace {

constexpr u32 value_size = 64;

program::Program read(const u8* data, std::size_t size) {
    program::Program program;
    using P = abi::ProgType;
    constexpr P types[] = {P::kprobe, P::tracepoint, P::raw_tracepoint, P::perf_event, P::socket_filter,
                           P::xdp,    P::sched_cls,  P::cgroup_skb,     P::lwt_xmit};
    program.type = types[data[0] % std::size(types)];
    program.gpl_compatible = (data[1] & 1) != 0;
    program.sleepable = (data[1] & 2) != 0;
    const auto map = [](abi::MapType type, u32 key, u32 value, u32 entries) {
        return program::MapInfo{1, type, key, value, entries, 0, "m", {}};
    };
    program.maps = {map(abi::MapType::hash, 4, 16, 8), map(abi::MapType::array, 4, value_size, 1),
                    map(abi::MapType::ringbuf, 0, 0, 4096), map(abi::MapType::perf_event_array, 4, 4, 2),
                    map(abi::MapType::prog_array, 4, 4, 4)};
    program.insns.resize(std::min<std::size_t>((size - 2) / sizeof(isa::Insn), 256));
    if (!program.insns.empty()) std::memcpy(program.insns.data(), data + 2, program.insns.size() * sizeof(isa::Insn));
    return program;
}

// Helpers do nothing: 0 is within the contract of every one that returns.
u64 nothing(abi::Run&, u64, u64, u64, u64, u64) { return 0; }
const abi::HelperBodies helpers = [] {
    abi::HelperBodies bodies{};
    bodies.fill(nothing);
    return bodies;
}();

void run(const program::Program& program, const program::Proof& proof, bool may_leak_pointers) {
    const auto lowered = engine::lower(program, proof);
    if (!lowered) return;
    alignas(8) std::byte value[value_size] = {};
    const engine::BoundMap maps[] = {{value, nullptr},
                                     {value, value, {value, value_size, 0, 1}},
                                     {value, nullptr},
                                     {value, nullptr},
                                     {value, nullptr}};
    fuzzing::OnEveryEngine(*lowered, program.type, maps, helpers, value, std::max<std::size_t>(proof.context_bytes, 8))
        .run(may_leak_pointers);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const u8* data, std::size_t size) {
    if (size < 2) return 0;
    const program::Program program = read(data, size);
    verifier::Options options;
    options.max_insns = 4096;
    options.log_level = (data[1] >> 2) & 3;
    options.max_log_bytes = 1U << 16;
    options.allow_ptr_leaks = (data[1] & 16) != 0;
    const verifier::Report report = verifier::verify(program, options);
    ANYBPF_ASSERT(report.processed <= options.max_insns);
    ANYBPF_ASSERT(report.accepted == (report.diagnostic.what == verifier::Finding::none));
    ANYBPF_ASSERT(verifier::explain(report, program).empty() == report.accepted);
    if (report.accepted) run(program, report.proof, options.allow_ptr_leaks);
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
// PROG_TEST_RUN: one program, in the caller, on given input, on a virtual CPU of its own. Linux has it for some types;
// here kprobe, tracepoint and perf_event programs may be run, too, on ctx_in as their context.
#include <ctime>

#include "anybpf/kernel/runner.hpp"
#include "packet_input.hpp"
#include "state.hpp"

namespace anybpf::kernel {

namespace uapi = abi::uapi;
using abi::ProgType;

namespace {

u64 now_ns() {
    timespec now;
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
}

// bpf_prog_test_run_skb(), _xdp() and _raw_tp(), what they refuse; the types that Linux cannot run take the context
// like a raw tracepoint's, and repeat.
Result<> check(const uapi::TestRun& in, const ProgramObject& program) {
    constexpr u32 max_raw_context = 12 * sizeof(u64), max_context = 4096;
    const bool raw = program.type == ProgType::raw_tracepoint || program.type == ProgType::raw_tracepoint_writable;
    if (takes_packet(program.type)) {
        if (in.flags != 0 || (in.cpu != 0 && program.type != ProgType::xdp) || in.batch_size != 0)
            return refuse(EINVAL, "flags, cpu and batch_size are not for this type");
        return {};
    }
    if (in.data_in != 0 || in.data_out != 0 || in.batch_size != 0)
        return refuse(EINVAL, "programs of this type have no data");
    if (raw && (in.ctx_out != 0 || in.duration != 0 || in.repeat != 0))
        return refuse(EINVAL, "raw tracepoint programs run once, and have no ctx_out");
    if (raw ? in.ctx_size_in < program.context_bytes || in.ctx_size_in > max_raw_context
            : in.ctx_size_in > max_context || (in.ctx_size_in != 0 && in.ctx_size_in < program.context_bytes))
        return refuse(EINVAL, "the program reads " + std::to_string(program.context_bytes) + " bytes of context");
    if ((in.flags & uapi::test_run_on_cpu) == 0 && in.cpu != 0) return refuse(EINVAL, "a CPU without the flag for it");
    if ((in.flags & uapi::test_run_on_cpu) != 0 && in.cpu >= maps::VcpuTable::default_slots)
        return refuse(ENXIO, "there is no such CPU");
    return {};
}

}  // namespace

Result<long> Kernel::State::prog_test_run(const Attr& attr) {
    const auto in = ANYBPF_TRY(attr.as<uapi::TestRun>());
    if ((in.ctx_size_in != 0) != (in.ctx_in != 0) || (in.ctx_size_out != 0) != (in.ctx_out != 0))
        return refuse(EINVAL, "a context's buffer and size do not go together");
    const auto program = ANYBPF_TRY(program_by_fd(in.prog_fd));
    const Fd handle = ANYBPF_TRY(keep(in.prog_fd));
    ANYBPF_TRY(check(in, program));
    const auto data = ANYBPF_TRY(read_user_table<std::byte>(in.data_in, in.data_size_in));
    const auto given = ANYBPF_TRY(read_user_table<std::byte>(in.ctx_in, in.ctx_size_in));
    std::optional<PacketInput> packet;
    if (takes_packet(program.type)) packet = ANYBPF_TRY(PacketInput::make(program.type, data, given));
    std::vector<u64> context((std::max<std::size_t>({given.size(), program.context_bytes, 8}) + 7) / 8);
    if (!given.empty()) std::memcpy(context.data(), given.data(), given.size());

    const auto runner = ANYBPF_TRY(Runner::make(*this, *engine.load()));
    const auto bound = ANYBPF_TRY(runner->bind(program));
    const Runner::Cpu cpu(*runner);
    if (!cpu.valid()) return refuse(EBUSY, "all virtual CPUs are taken");
    const Runner::Input input{.context = context.data(), .packet = {}};
    const u32 repeat = std::max(in.repeat, 1U);
    Runner::Series series(*runner, *bound, cpu);
    u64 result = 0;
    const u64 start = now_ns();
    for (u32 i = 0; i < repeat; ++i) {
        result = series.run(packet ? packet->input() : input);
        if (packet) packet->left(series.packet());
    }
    const u64 each = (now_ns() - start) / repeat;

    ANYBPF_TRY(attr.put(offsetof(uapi::TestRun, retval), static_cast<u32>(result)));
    if (program.type == ProgType::raw_tracepoint || program.type == ProgType::raw_tracepoint_writable) return 0;
    // bpf_test_finish(): what fits goes out, and ENOSPC says that it was not all.
    const auto give = [&](u64 to, u32 room, std::span<const std::byte> bytes, std::size_t size_at) -> Result<bool> {
        const std::size_t fits = room != 0 ? std::min<std::size_t>(room, bytes.size()) : bytes.size();
        if (to != 0 && !copy_to_user(to, bytes.first(fits))) return fault();
        ANYBPF_TRY(attr.put(size_at, static_cast<u32>(bytes.size())));
        return fits == bytes.size();
    };
    bool whole = true;
    if (packet)
        whole =
            ANYBPF_TRY(give(in.data_out, in.data_size_out, packet->packet(), offsetof(uapi::TestRun, data_size_out)));
    ANYBPF_TRY(attr.put(offsetof(uapi::TestRun, duration), static_cast<u32>(std::min<u64>(each, ~0U))));
    if (!whole) return refuse(ENOSPC, "the packet does not fit");  // and of the context nothing is told
    if (in.ctx_out != 0) {
        const auto words = std::as_bytes(std::span(context));
        const auto bytes = packet ? packet->context()
                           : given.empty()
                               ? std::vector(words.begin(), words.end())
                               : std::vector(words.begin(), words.begin() + static_cast<std::ptrdiff_t>(given.size()));
        whole = ANYBPF_TRY(give(in.ctx_out, in.ctx_size_out, bytes, offsetof(uapi::TestRun, ctx_size_out)));
    }
    if (!whole) return refuse(ENOSPC, "the context does not fit");
    return 0;
}

}  // namespace anybpf::kernel

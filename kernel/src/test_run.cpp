// SPDX-License-Identifier: Apache-2.0
// PROG_TEST_RUN: one program, in the caller, on given input, on a virtual CPU of its own. Linux has it for some types;
// here kprobe, tracepoint and perf_event programs may be run, too, on ctx_in as their context.
#include <ctime>

#include "anybpf/kernel/runner.hpp"
#include "state.hpp"

namespace anybpf::kernel {

namespace uapi = abi::uapi;
using abi::ProgType;

namespace {

constexpr u32 ethernet_header = 14;

u64 now_ns() {
    timespec now;
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
}

// bpf_prog_test_run_skb() and _raw_tp(), what they refuse; the types that Linux cannot run take the context like a raw
// tracepoint's, and repeat.
Result<> check(const uapi::TestRun& in, const ProgramObject& program) {
    constexpr u32 max_data = 4096, max_raw_context = 12 * sizeof(u64), max_context = 4096;
    const bool packet = program.type == ProgType::socket_filter;
    const bool raw = program.type == ProgType::raw_tracepoint || program.type == ProgType::raw_tracepoint_writable;
    if (packet) {
        if (in.flags != 0 || in.cpu != 0 || in.batch_size != 0)
            return refuse(EINVAL, "flags, cpu and batch_size are not for this type");
        if (in.data_size_in < ethernet_header || in.data_size_in > max_data)
            return refuse(EINVAL, "a packet has 14 to 4096 bytes");
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

// bpf_prog_test_run_skb(): a packet that says it is of IP has that header.
Result<> check_packet(std::span<const std::byte> data) {
    const u32 protocol = std::to_integer<u32>(data[12]) << 8 | std::to_integer<u32>(data[13]);
    constexpr u32 ipv4 = 0x0800, ipv6 = 0x86dd;
    const u32 header = protocol == ipv4 ? 20 : protocol == ipv6 ? 40 : 0;
    if (data.size() < ethernet_header + header) return refuse(EINVAL, "the packet ends within its IP header");
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
    const bool packet = program.type == ProgType::socket_filter;
    auto data = ANYBPF_TRY(read_user_table<std::byte>(in.data_in, in.data_size_in));
    if (packet) ANYBPF_TRY(check_packet(data));
    const auto given = ANYBPF_TRY(read_user_table<std::byte>(in.ctx_in, in.ctx_size_in));
    constexpr std::size_t sk_buff_bytes = 192;
    std::vector<u64> context(
        (std::max<std::size_t>({given.size(), program.context_bytes, packet ? sk_buff_bytes : 8}) + 7) / 8);
    if (!given.empty()) std::memcpy(context.data(), given.data(), given.size());
    if (packet) {
        const auto length = static_cast<u32>(data.size()) - ethernet_header;
        std::memcpy(context.data(), &length, sizeof(length));  // __sk_buff.len
    }

    const auto runner = ANYBPF_TRY(Runner::make(*this, *engine.load()));
    const auto bound = ANYBPF_TRY(runner->bind(program));
    const Runner::Cpu cpu(*runner);
    if (!cpu.valid()) return refuse(EBUSY, "all virtual CPUs are taken");
    // A socket's packet starts behind the link-layer header.
    Runner::Input input{.context = context.data(), .packet = {}};
    if (packet) input.packet = {.bytes = data, .first = ethernet_header, .network = ethernet_header};
    const u32 repeat = std::max(in.repeat, 1U);
    Runner::Series series(*runner, *bound, cpu);
    u64 result = 0;
    const u64 start = now_ns();
    for (u32 i = 0; i < repeat; ++i) result = series.run(input);
    const u64 each = (now_ns() - start) / repeat;

    ANYBPF_TRY(attr.put(offsetof(uapi::TestRun, retval), static_cast<u32>(result)));
    if (program.type == ProgType::raw_tracepoint || program.type == ProgType::raw_tracepoint_writable) return 0;
    // A socket's packet has lost its link-layer header: as many zeros stand there.
    if (packet) std::fill_n(data.begin(), ethernet_header, std::byte{0});
    // bpf_test_finish(): what fits goes out, and ENOSPC says that it was not all.
    const auto give = [&](u64 to, u32 room, std::span<const std::byte> bytes, std::size_t size_at) -> Result<bool> {
        const std::size_t fits = room != 0 ? std::min<std::size_t>(room, bytes.size()) : bytes.size();
        if (to != 0 && !copy_to_user(to, bytes.first(fits))) return fault();
        ANYBPF_TRY(attr.put(size_at, static_cast<u32>(bytes.size())));
        return fits == bytes.size();
    };
    bool whole = true;
    if (packet) whole = ANYBPF_TRY(give(in.data_out, in.data_size_out, data, offsetof(uapi::TestRun, data_size_out)));
    ANYBPF_TRY(attr.put(offsetof(uapi::TestRun, duration), static_cast<u32>(std::min<u64>(each, ~0U))));
    if (in.ctx_out != 0) {
        const auto bytes = std::as_bytes(std::span(context)).first(given.empty() ? context.size() * 8 : given.size());
        whole = ANYBPF_TRY(give(in.ctx_out, in.ctx_size_out, bytes, offsetof(uapi::TestRun, ctx_size_out))) && whole;
    }
    if (!whole) return refuse(ENOSPC, "the output does not fit");
    return 0;
}

}  // namespace anybpf::kernel

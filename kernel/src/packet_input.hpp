// SPDX-License-Identifier: Apache-2.0
// PacketInput: a packet and its context as a program of one of the packet types sees them, and what the program left of
// both. As bpf_prog_test_run_skb() and bpf_prog_test_run_xdp() of Linux 6.18 make them, on the loopback device.
#pragma once

#include "anybpf/abi/context.hpp"
#include "anybpf/kernel/runner.hpp"

namespace anybpf::kernel {

// Types that are run on packets.
bool takes_packet(abi::ProgType type);

class PacketInput {
  public:
    // context: a struct __sk_buff or xdp_md, or less of it, or none.
    static Result<PacketInput> make(abi::ProgType type, std::span<const std::byte> packet,
                                    std::span<const std::byte> context);

    const Runner::Input& input() const { return input_; }
    // After a run: where it left the packet (Runner::Series::packet).
    void left(const abi::Packet& packet) { input_.packet = packet; }

    std::vector<std::byte> packet() const;   // as it is now
    std::vector<std::byte> context() const;  // the given one, with what the kernel tells of it

  private:
    static Result<PacketInput> of_buffer(abi::ProgType type, std::span<const std::byte> packet,
                                         std::span<const std::byte> context);
    static Result<PacketInput> of_frame(std::span<const std::byte> packet, std::span<const std::byte> context);
    void point(std::size_t meta);
    const abi::PacketAddresses& addresses() const { return *input_.packet.addresses; }

    abi::ProgType type_{};
    std::vector<std::byte> memory_;  // the packet's, with room around it
    std::vector<u64> seen_;          // the context, and behind it the packet's addresses
    std::vector<std::byte> given_;   // of the context
    Runner::Input input_;
};

}  // namespace anybpf::kernel

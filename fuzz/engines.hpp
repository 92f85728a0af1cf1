// SPDX-License-Identifier: Apache-2.0
// Runs an accepted program on every engine: they must agree on its result, its context, its packet and its maps.
//
// A program that may leak pointers can show an address, which is another one each time. It is compared only when the
// interpreter itself, run at several places, always ends the same; and not at all when it has frames, whose order is
// the engine's own.
#pragma once

#include <alloca.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "anybpf/abi/context.hpp"
#include "anybpf/base/assert.hpp"
#include "anybpf/engine/engine.hpp"
#include "anybpf/engine/jit.hpp"

namespace anybpf::fuzzing {

struct Outcome {
    u64 result = 0;
    std::vector<std::byte> context, packet, values;
    bool operator==(const Outcome&) const = default;
};

class OnEveryEngine {
  public:
    // values: what maps hold, and are bound to; cleared before each run. A packet of packet_bytes is for programs of a
    // type that sees one.
    OnEveryEngine(const program::Lowered& lowered, abi::ProgType type, std::span<const engine::BoundMap> maps,
                  const abi::HelperBodies& helpers, std::span<std::byte> values, std::size_t context_bytes,
                  std::size_t packet_bytes = 61)
        : lowered_(lowered),
          addresses_at_(abi::packet_addresses_at(type)),
          maps_(maps),
          helpers_(helpers),
          values_(values),
          context_bytes_(addresses_at_ ? *addresses_at_ + sizeof(abi::PacketAddresses) : context_bytes),
          packet_bytes_(packet_bytes) {}

    void run(bool may_leak_pointers) {
        const Outcome first = outcome<engine::Interpreter>(0);
        const Outcome compiled = outcome<engine::Jit>(0);
        if (may_leak_pointers) {
            if (lowered_.subprograms.size() > 1) return;
            for (const std::size_t lower : {16U, 48U, 336U, 4080U})
                if (outcome<engine::Interpreter>(lower) != first) return;
        }
        ANYBPF_ASSERT(compiled == first);
    }

  private:
    template <class E>
    [[gnu::noinline]] Outcome outcome(std::size_t lower) {
        // Elsewhere on the stack; the context, too, is at another place each time, since outcomes stay.
        auto* const room = static_cast<volatile char*>(alloca(lower + 1));
        room[lower] = 0;
        const auto executable = E::bind(lowered_, maps_, &helpers_);
        ANYBPF_ASSERT(executable.has_value());
        std::ranges::fill(values_, std::byte{});
        Outcome outcome;
        outcome.context.assign(context_bytes_, std::byte{0x5a});
        abi::Run run;
        run.context = outcome.context.data();
        outcome.packet.resize(packet_bytes_);
        for (std::size_t i = 0; i < packet_bytes_; ++i) outcome.packet[i] = static_cast<std::byte>(7 * i + 1);
        run.packet.bytes = outcome.packet;
        if (addresses_at_) {
            auto* const at = reinterpret_cast<abi::PacketAddresses*>(outcome.context.data() + *addresses_at_);
            const auto begin = reinterpret_cast<u64>(outcome.packet.data());
            *at = {.data = begin, .data_end = begin + packet_bytes_, .data_meta = begin};
            run.packet.addresses = at;
        }
        run.helpers = &helpers_;
        const abi::ThreadIds ids{.tid = 11, .pid = 10};
        const abi::ThreadIds* environment = &ids;
        run.environment = static_cast<void*>(&environment);
        outcome.result = E::run(**executable, run);
        if (addresses_at_) *run.packet.addresses = {};  // no two runs have the same
        outcome.values.assign(values_.begin(), values_.end());
        return outcome;
    }

    const program::Lowered& lowered_;
    std::optional<u32> addresses_at_;
    std::span<const engine::BoundMap> maps_;
    const abi::HelperBodies& helpers_;
    std::span<std::byte> values_;
    std::size_t context_bytes_, packet_bytes_;
};

}  // namespace anybpf::fuzzing

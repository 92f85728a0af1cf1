// SPDX-License-Identifier: Apache-2.0
#include "anybpf/abi/run.hpp"

namespace anybpf::abi {

std::optional<u32> load_packet(const Packet& packet, i32 offset, u32 size) {
    i64 at = i64{offset} + packet.first;
    if (offset < 0) {
        if (offset < link_offset) return std::nullopt;
        at = offset >= net_offset ? i64{offset} - net_offset + packet.network : i64{offset} - link_offset;
    }
    const i64 length = static_cast<i64>(packet.bytes.size());
    if (at + size > length) return std::nullopt;
    u32 value = 0;  // big-endian, as headers are
    for (const std::byte byte : packet.bytes.subspan(static_cast<std::size_t>(at), size))
        value = value << 8 | std::to_integer<u32>(byte);
    return value;
}

u64 load_packet_of(Run& run, u64 r1, u64 r2, u64, u64, u64) {
    const auto loaded = load_packet(run.packet, static_cast<i32>(r1), static_cast<u32>(r2));
    return loaded ? u64{*loaded} : packet_outside;
}

}  // namespace anybpf::abi

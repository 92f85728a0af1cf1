// SPDX-License-Identifier: Apache-2.0
// What each program type sees at the address in r1: abi/contexts.def as questions. And what it may do with the packet
// that it finds there, and may return.
#pragma once

#include <optional>

#include "anybpf/abi/types.hpp"

namespace anybpf::abi {

enum class Yield : u8 { number, packet, packet_meta, packet_end, socket, flow_keys };

// What a load of `size` bytes at `offset` of the context yields; nothing where the program may not load that.
std::optional<Yield> context_load(ProgType type, AttachType attach, i64 offset, u32 size);
bool context_store(ProgType type, AttachType attach, i64 offset, u32 size);
// Whether anything of the context may be written.
bool context_writable(ProgType type, AttachType attach);
// Types whose contexts the table knows.
bool knows_context(ProgType type);

// Whether packet loads (LD_ABS, LD_IND) are for the type; whether it may write to a packet that it has addresses in.
bool loads_packets(ProgType type);
bool writes_packets(ProgType type);

struct ReturnRange {
    i64 least, most;
};
// What a program must return; nothing where it may return any number.
std::optional<ReturnRange> return_range(ProgType type, AttachType attach);

}  // namespace anybpf::abi

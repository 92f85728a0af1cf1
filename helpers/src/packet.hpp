// SPDX-License-Identifier: Apache-2.0
// The bodies of helpers that look into packets or change them.
#pragma once

#include "anybpf/abi/run.hpp"

namespace anybpf::helpers {

#define ANYBPF_BODY(name)                                                                      \
    u64 name([[maybe_unused]] abi::Run& run, [[maybe_unused]] u64 r1, [[maybe_unused]] u64 r2, \
             [[maybe_unused]] u64 r3, [[maybe_unused]] u64 r4, [[maybe_unused]] u64 r5)

constexpr u64 result(i64 value) { return static_cast<u64>(value); }

namespace body {

ANYBPF_BODY(skb_load_bytes);
ANYBPF_BODY(skb_load_bytes_relative);
ANYBPF_BODY(skb_store_bytes);
ANYBPF_BODY(skb_pull_data);
ANYBPF_BODY(skb_change_tail);
ANYBPF_BODY(skb_change_head);
ANYBPF_BODY(skb_change_type);
ANYBPF_BODY(set_hash);
ANYBPF_BODY(set_hash_invalid);
ANYBPF_BODY(l3_csum_replace);
ANYBPF_BODY(l4_csum_replace);
ANYBPF_BODY(csum_diff);
ANYBPF_BODY(csum_update);
ANYBPF_BODY(redirect);
ANYBPF_BODY(redirect_peer);
ANYBPF_BODY(redirect_neigh);
ANYBPF_BODY(xdp_adjust_head);
ANYBPF_BODY(xdp_adjust_tail);
ANYBPF_BODY(xdp_adjust_meta);
ANYBPF_BODY(xdp_get_buff_len);
ANYBPF_BODY(xdp_load_bytes);
ANYBPF_BODY(xdp_store_bytes);

}  // namespace body

// The first `count` bytes of the run's packet, as perf_event_output may be told to add them; nothing where it has
// fewer.
std::optional<std::span<const std::byte>> packet_head(const abi::Run& run, u64 count);

}  // namespace anybpf::helpers

// SPDX-License-Identifier: Apache-2.0
// After net/core/filter.c of Linux 6.18, for packets that lie in one piece.
//
// Raw here: the packet's addresses, which lie behind the context as numbers because programs read them there. Safe
// because no program can write to them, and every change here is held against the packet's memory (Packet::room).
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "anybpf/abi/context.hpp"
#include "arguments_raw.hpp"
#include "packet.hpp"

namespace anybpf::helpers {
namespace {

using abi::Run;

constexpr i64 not_supported = -524;  // ENOTSUPP
constexpr u32 ethernet_header = 14;

abi::SkBuff& sk_buff(Run& run) { return *static_cast<abi::SkBuff*>(run.context); }

// The packet as addresses.
class View {
  public:
    explicit View(Run& run) : run_(run), at_(*run.packet.addresses) {}
    u64 size() const { return at_.data_end - at_.data; }
    u64 data() const { return at_.data; }
    u64 data_end() const { return at_.data_end; }
    u64 data_meta() const { return at_.data_meta; }
    u64 room_begin() const { return address(run_.packet.room.data()); }
    u64 room_end() const { return room_begin() + run_.packet.room.size(); }
    std::byte* bytes(u64 offset) const { return pointer<std::byte>(at_.data + offset); }
    bool holds(u64 offset, u64 count) const { return offset <= size() && count <= size() - offset; }

    u64 link() const { return address(run_.packet.bytes.data()); }
    u64 network() const { return link() + run_.packet.network; }

    void move(u64 data, u64 data_end, u64 link) {
        run_.packet.network = static_cast<u32>(network() - link);
        run_.packet.bytes = {pointer<const std::byte>(link), data_end - link};
        run_.packet.first = static_cast<u32>(data - link);
        at_ = {data, data_end, data};
    }
    void set_meta(u64 meta) { at_.data_meta = meta; }
    // Of a frame, which has no headers that anybody took off.
    void move_frame(u64 data, u64 data_end, u64 meta) {
        run_.packet.bytes = {pointer<const std::byte>(data), data_end - data};
        at_ = {data, data_end, meta};
    }

  private:
    Run& run_;
    abi::PacketAddresses& at_;
};

i64 copy_out(const std::byte* from, u64 to, u64 count) {
    std::memcpy(pointer<void>(to), from, count);
    return 0;
}
i64 clear_out(u64 to, u64 count, i64 error) {
    std::memset(pointer<void>(to), 0, count);
    return error;
}

// --- one's complement sums, of words as they lie in memory

constexpr u32 add32(u32 a, u32 b) {
    const u32 sum = a + b;
    return sum + (sum < b ? 1U : 0U);
}
constexpr u32 sub32(u32 a, u32 b) { return add32(a, ~b); }
constexpr u16 add16(u16 a, u16 b) {
    const auto sum = static_cast<u16>(a + b);
    return static_cast<u16>(sum + (sum < b ? 1U : 0U));
}
constexpr u16 flip(u16 a) { return static_cast<u16>(~a); }
constexpr u16 to16(u32 sum) {
    sum = (sum >> 16) + (sum & 0xffff);
    return static_cast<u16>(sum + (sum >> 16));
}
constexpr u16 fold(u32 sum) { return flip(to16(sum)); }

u32 sum_of(u64 at, u64 size) {
    u32 sum = 0;
    for (u64 offset = 0; offset < size; offset += 4) {
        u32 word = 0;
        std::memcpy(&word, pointer<const std::byte>(at + offset), std::min<u64>(4, size - offset));
        sum = add32(sum, word);
    }
    return sum;
}

// csum_replace_by_diff(), csum_replace2(), csum_replace4(); nothing for a field of another size. A transport header's
// field of two bytes is replaced as one of four.
std::optional<u16> replaced(u16 sum, u64 from, u64 to, u64 field_size, bool transport) {
    if (transport && field_size == 2) return replaced(sum, from & 0xffff, to & 0xffff, 4, transport);
    switch (field_size) {
        case 0:
            if (from != 0) return std::nullopt;
            return fold(add32(static_cast<u32>(to), ~u32{sum}));
        case 2:
            return flip(add16(add16(flip(sum), flip(static_cast<u16>(from))), static_cast<u16>(to)));
        case 4:
            return fold(add32(sub32(~u32{sum}, static_cast<u32>(from)), static_cast<u32>(to)));
        default:
            return std::nullopt;
    }
}

constexpr u64 field_mask = 0xf, pseudo_header = 0x10, mark_mangled = 0x20, mark_enforce = 0x40, for_ipv6 = 0x80;

i64 replace_sum(Run& run, u64 offset, u64 from, u64 to, u64 flags, bool transport) {
    constexpr u64 transport_flags = pseudo_header | mark_mangled | mark_enforce | for_ipv6;
    if ((flags & ~(field_mask | (transport ? transport_flags : 0))) != 0) return -EINVAL;
    offset &= ~u32{0};
    if (offset > 0xffff || offset % 2 != 0) return -EFAULT;
    const View view(run);
    if (!view.holds(offset, sizeof(u16))) return -EFAULT;
    u16 sum = 0;
    std::memcpy(&sum, view.bytes(offset), sizeof(sum));
    const bool mangles = (flags & mark_mangled) != 0;
    if (mangles && (flags & mark_enforce) == 0 && sum == 0) return 0;
    const auto made = replaced(sum, from, to, flags & field_mask, transport);
    if (!made) return -EINVAL;
    sum = mangles && *made == 0 ? u16{0xffff} : *made;
    std::memcpy(view.bytes(offset), &sum, sizeof(sum));
    return 0;
}

// bpf_xdp_pointer()
i64 check_xdp(const View& view, u64 offset, u64 count) {
    if (offset > 0xffff || count > 0xffff) return -EFAULT;
    return view.holds(offset, count) ? 0 : -EINVAL;
}

constexpr u64 low32(u64 value) { return value & 0xffffffff; }
constexpr u64 signed32(u64 value) { return static_cast<u64>(i64{static_cast<i32>(value)}); }

constexpr u64 max_sk_buff = (4096 << 2) - 320;  // SKB_MAX_ALLOC

}  // namespace

std::optional<std::span<const std::byte>> packet_head(const Run& run, u64 count) {
    const abi::PacketAddresses* at = run.packet.addresses;
    if (at == nullptr) {
        const auto seen = run.packet.bytes.subspan(std::min<u64>(run.packet.first, run.packet.bytes.size()));
        if (count > seen.size()) return {};
        return seen.first(count);
    }
    if (count > at->data_end - at->data) return {};
    return std::span(pointer<const std::byte>(at->data), count);
}

namespace body {

// --- of struct __sk_buff

ANYBPF_BODY(skb_load_bytes) {
    const u64 offset = low32(r2), count = low32(r4);
    const auto head = offset > INT32_MAX ? std::nullopt : packet_head(run, offset + count);
    if (!head) return result(clear_out(r3, count, -EFAULT));
    return result(copy_out(head->data() + offset, r3, count));
}

ANYBPF_BODY(skb_load_bytes_relative) {
    const u64 offset = low32(r2), count = low32(r4), header = low32(r5);
    constexpr u64 from_link = 0, from_network = 1;
    const auto& packet = run.packet;
    const u64 start = header == from_network ? packet.network : 0;
    if (offset > 0xffff || (header != from_link && header != from_network) ||
        start + offset + count > packet.bytes.size())
        return result(clear_out(r3, count, -EFAULT));
    return result(copy_out(packet.bytes.data() + start + offset, r3, count));
}

ANYBPF_BODY(skb_store_bytes) {
    constexpr u64 recompute = 1, invalidate = 2;
    const u64 offset = low32(r2), count = low32(r4);
    if ((r5 & ~(recompute | invalidate)) != 0) return result(-EINVAL);
    const View view(run);
    if (offset > INT32_MAX || !view.holds(offset, count)) return result(-EFAULT);
    std::memcpy(view.bytes(offset), pointer<const void>(r3), count);
    if ((r5 & invalidate) != 0) sk_buff(run).hash = 0;
    return 0;
}

ANYBPF_BODY(skb_pull_data) { return low32(r2) > View(run).size() ? result(-ENOMEM) : 0; }

ANYBPF_BODY(skb_change_tail) {
    View view(run);
    const u64 size = low32(r2);
    const u64 least = view.network() > view.data() ? view.network() - view.data() : 0;
    if (r3 != 0 || size > max_sk_buff || size < least) return result(-EINVAL);
    if (size > view.room_end() - view.data()) return result(-ENOMEM);
    if (size > view.size()) std::memset(view.bytes(view.size()), 0, size - view.size());
    view.move(view.data(), view.data() + size, view.link());
    sk_buff(run).len = static_cast<u32>(size);
    return 0;
}

ANYBPF_BODY(skb_change_head) {
    View view(run);
    const u64 more = low32(r2);
    if (r3 != 0 || view.size() + more > max_sk_buff) return result(-EINVAL);
    if (more > view.data() - view.room_begin()) return result(-ENOMEM);
    const u64 data = view.data() - more;
    view.move(data, view.data_end(), data);
    std::memset(view.bytes(0), 0, more);
    sk_buff(run).len += static_cast<u32>(more);
    return 0;
}

ANYBPF_BODY(skb_change_type) {
    constexpr u64 other_host = 3;
    if (sk_buff(run).pkt_type > other_host || low32(r2) > other_host) return result(-EINVAL);
    sk_buff(run).pkt_type = static_cast<u32>(r2);
    return 0;
}

ANYBPF_BODY(set_hash) {
    sk_buff(run).hash = static_cast<u32>(r2);
    return 0;
}
ANYBPF_BODY(set_hash_invalid) {
    sk_buff(run).hash = 0;
    return 0;
}

ANYBPF_BODY(l3_csum_replace) { return result(replace_sum(run, r2, r3, r4, r5, false)); }
ANYBPF_BODY(l4_csum_replace) { return result(replace_sum(run, r2, r3, r4, r5, true)); }

ANYBPF_BODY(csum_diff) {
    const u64 from_size = low32(r2), to_size = low32(r4);
    const auto seed = static_cast<u32>(r5);
    u32 sum = seed;
    if (to_size != 0) sum = add32(sum, sum_of(r3, to_size));
    if (from_size != 0) sum = sub32(sum, sum_of(r1, from_size));
    return to16(sum);
}

// Only for packets whose sum the card computed, which none here is.
ANYBPF_BODY(csum_update) { return result(not_supported); }

// --- where it goes next: the action says so to whoever runs the program

ANYBPF_BODY(redirect) {
    constexpr u64 tc_shot = 2, tc_redirect = 7, xdp_aborted = 0, xdp_redirect = 4, ingress = 1;
    if (run.packet.is_frame) return r2 != 0 ? xdp_aborted : xdp_redirect;
    return (r2 & ~ingress) != 0 ? tc_shot : tc_redirect;
}
ANYBPF_BODY(redirect_peer) {
    constexpr u64 tc_shot = 2, tc_redirect = 7;
    return r2 != 0 ? tc_shot : tc_redirect;
}
ANYBPF_BODY(redirect_neigh) {
    constexpr u64 tc_shot = 2, tc_redirect = 7, redir_neigh_bytes = 20;
    const u64 size = low32(r3);
    return (size != 0 && size < redir_neigh_bytes) || r4 != 0 ? tc_shot : tc_redirect;
}

// --- of struct xdp_md

constexpr u64 xdp_frame_bytes = 40, shared_info_bytes = 320;

ANYBPF_BODY(xdp_adjust_head) {
    View view(run);
    const u64 meta = view.data() - view.data_meta(), offset = signed32(r2), data = view.data() + offset;
    if (data < view.room_begin() + xdp_frame_bytes + meta || data > view.data_end() - ethernet_header)
        return result(-EINVAL);
    if (meta != 0) std::memmove(pointer<void>(view.data_meta() + offset), pointer<const void>(view.data_meta()), meta);
    view.move_frame(data, view.data_end(), view.data_meta() + offset);
    return 0;
}

ANYBPF_BODY(xdp_adjust_tail) {
    View view(run);
    const u64 offset = signed32(r2), end = view.data_end() + offset;
    if (end > view.room_end() - shared_info_bytes || end < view.data() + ethernet_header) return result(-EINVAL);
    if (end > view.data_end()) std::memset(view.bytes(view.size()), 0, offset);
    view.move_frame(view.data(), end, view.data_meta());
    return 0;
}

ANYBPF_BODY(xdp_adjust_meta) {
    View view(run);
    const u64 meta = view.data_meta() + signed32(r2), size = view.data() - meta;
    if (meta < view.room_begin() + xdp_frame_bytes || meta > view.data()) return result(-EINVAL);
    if (size % 4 != 0 || size > 255) return result(-EACCES);
    view.set_meta(meta);
    return 0;
}

ANYBPF_BODY(xdp_get_buff_len) { return View(run).size(); }

ANYBPF_BODY(xdp_load_bytes) {
    const View view(run);
    const i64 error = check_xdp(view, low32(r2), low32(r4));
    return result(error != 0 ? error : copy_out(view.bytes(low32(r2)), r3, low32(r4)));
}
ANYBPF_BODY(xdp_store_bytes) {
    const View view(run);
    if (const i64 error = check_xdp(view, low32(r2), low32(r4)); error != 0) return result(error);
    std::memcpy(view.bytes(low32(r2)), pointer<const void>(r3), low32(r4));
    return 0;
}

}  // namespace body
}  // namespace anybpf::helpers

// SPDX-License-Identifier: Apache-2.0
// Raw here: contexts as structs in words of memory, and the packet's addresses as numbers, which is how programs load
// them. Safe because both stay where they are for as long as a PacketInput lives, moved or not.
#include <net/if.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstring>

#include "packet_input.hpp"
#include "state.hpp"

namespace anybpf::kernel {
namespace {

using abi::PacketAddresses;
using abi::ProgType;
using abi::SkBuff;
using abi::XdpMd;

constexpr u32 ethernet_header = 14, loopback = 1;
constexpr std::size_t page = 4096, shared_info = 320;

u32 big_endian16(std::span<const std::byte> bytes, std::size_t at) {
    return std::to_integer<u32>(bytes[at]) << 8 | std::to_integer<u32>(bytes[at + 1]);
}
u32 word_at(std::span<const std::byte> bytes, std::size_t at) {
    u32 word = 0;
    std::memcpy(&word, bytes.data() + at, sizeof(word));
    return word;
}

// bpf_ctx_init(): less than the struct is followed by zeros, more must be zeros.
template <class T>
Result<T> take(std::span<const std::byte> given) {
    T all{};
    const auto known = given.first(std::min(given.size(), sizeof(T)));
    if (!known.empty()) std::memcpy(&all, known.data(), known.size());
    if (std::ranges::any_of(given.subspan(known.size()), [](std::byte byte) { return byte != std::byte{0}; }))
        return refuse(E2BIG, "the context is longer than it may be, and not zero there");
    return all;
}

Result<> check_device(u32 ifindex) {
    std::array<char, IF_NAMESIZE> name;
    if (ifindex > loopback && ::if_indextoname(ifindex, name.data()) == nullptr)
        return refuse(ENODEV, "there is no network device " + std::to_string(ifindex));
    return {};
}

// What convert___skb_to_skb() lets a caller say.
Result<> check_sk_buff(const SkBuff& given, u64 length) {
    constexpr u32 most_segments = 65535, most_wire = 65536;
    SkBuff rest = given;
    rest.mark = rest.priority = rest.ingress_ifindex = rest.ifindex = rest.data_end = 0;
    rest.cb = {};
    rest.tstamp = rest.hwtstamp = 0;
    rest.wire_len = rest.gso_segs = rest.gso_size = 0;
    static constexpr SkBuff nothing{};
    if (std::memcmp(&rest, &nothing, sizeof(rest)) != 0)
        return refuse(EINVAL, "a field of the context may not be given, and is not zero");
    if (given.gso_segs > most_segments ||
        (given.wire_len != 0 && (given.wire_len < length || given.wire_len > most_wire)))
        return refuse(EINVAL, "the context's wire_len or gso_segs is out of range");
    return check_device(given.ifindex);
}

// eth_type_trans() for the loopback device, whose own and broadcast addresses are zero.
void look_at_link_header(std::span<const std::byte> packet, SkBuff& sees) {
    constexpr u32 multicast = 2, other_host = 3, least_type = 0x600, ieee_802_3 = 1, ieee_802_2 = 4;
    const auto destination = packet.first(6);
    if ((destination[0] & std::byte{1}) != std::byte{0})
        sees.pkt_type = multicast;
    else if (std::ranges::count(destination, std::byte{0}) != 6)
        sees.pkt_type = other_host;
    u32 protocol = big_endian16(packet, 12);
    if (protocol < least_type)
        protocol = packet.size() >= 16 && big_endian16(packet, 14) == 0xffff ? ieee_802_3 : ieee_802_2;
    sees.protocol = (protocol >> 8 | protocol << 8) & 0xffff;
}

// The socket that the kernel makes up for a packet of IP, which says it is of the packet's source.
Result<> look_at_network_header(std::span<const std::byte> packet, SkBuff& sees) {
    constexpr u32 ipv4 = 0x0800, ipv6 = 0x86dd;
    const u32 protocol = big_endian16(packet, 12);
    const auto header = packet.subspan(ethernet_header);
    const auto refused = [] { return refuse(EINVAL, "the packet ends within its IP header"); };
    if (protocol == ipv4) {
        if (header.size() < 20) return refused();
        sees.family = AF_INET;
        sees.local_ip4 = word_at(header, 12);
        sees.remote_ip4 = word_at(header, 16);
    } else if (protocol == ipv6) {
        if (header.size() < 40) return refused();
        sees.family = AF_INET6;
        std::memcpy(sees.local_ip6.data(), header.data() + 8, 16);
        std::memcpy(sees.remote_ip6.data(), header.data() + 24, 16);
    }
    return {};
}

bool is_link_layer(ProgType type) { return type == ProgType::sched_cls || type == ProgType::sched_act; }

}  // namespace

bool takes_packet(ProgType type) {
    return type == ProgType::socket_filter || abi::packet_addresses_at(type).has_value();
}

Result<PacketInput> PacketInput::make(ProgType type, std::span<const std::byte> packet,
                                      std::span<const std::byte> context) {
    auto made = ANYBPF_TRY(type == ProgType::xdp ? of_frame(packet, context) : of_buffer(type, packet, context));
    made.given_.assign(context.begin(), context.end());
    return made;
}

Result<PacketInput> PacketInput::of_buffer(ProgType type, std::span<const std::byte> packet,
                                           std::span<const std::byte> context) {
    constexpr std::size_t before = 16384, behind = 16384;  // into which helpers may grow a packet
    constexpr std::size_t headroom = 64, most = page - headroom - shared_info;
    if (packet.size() < ethernet_header || packet.size() > most)
        return refuse(EINVAL, "a packet has 14 to " + std::to_string(most) + " bytes");
    SkBuff sees{};
    const u32 first = is_link_layer(type) ? 0 : ethernet_header;
    sees.len = static_cast<u32>(packet.size()) - first;
    look_at_link_header(packet, sees);
    ANYBPF_TRY(look_at_network_header(packet, sees));
    sees.ifindex = loopback;
    if (!context.empty()) {
        const auto given = ANYBPF_TRY(take<SkBuff>(context));
        ANYBPF_TRY(check_sk_buff(given, sees.len));
        sees.mark = given.mark;
        sees.priority = given.priority;
        sees.ingress_ifindex = given.ingress_ifindex;
        sees.ifindex = std::max(given.ifindex, loopback);
        sees.cb = given.cb;
        sees.tstamp = given.tstamp;
        sees.hwtstamp = given.hwtstamp;
        sees.wire_len = given.wire_len != 0 ? given.wire_len : sees.len;
        sees.gso_segs = given.gso_segs;
        sees.gso_size = given.gso_size;
    }
    PacketInput made;
    made.type_ = type;
    made.memory_.assign(before + packet.size() + behind, std::byte{0});
    std::ranges::copy(packet, made.memory_.begin() + before);
    made.seen_.assign((sizeof(SkBuff) + sizeof(PacketAddresses)) / sizeof(u64), 0);
    std::memcpy(made.seen_.data(), &sees, sizeof(sees));
    const auto bytes = std::span(made.memory_).subspan(before, packet.size());
    made.input_.packet = {.bytes = bytes, .first = first, .network = ethernet_header, .room = made.memory_};
    made.point(0);
    return made;
}

Result<PacketInput> PacketInput::of_frame(std::span<const std::byte> packet, std::span<const std::byte> context) {
    constexpr std::size_t headroom = 256, most = page - headroom - shared_info, most_meta = 252;
    XdpMd sees{.data = 0,
               .data_end = 0,
               .data_meta = 0,
               .ingress_ifindex = loopback,
               .rx_queue_index = 0,
               .egress_ifindex = 0};
    std::size_t meta = 0;
    if (!context.empty()) {
        const auto given = ANYBPF_TRY(take<XdpMd>(context));
        meta = given.data;
        if (given.data_meta != 0 || given.data_end != packet.size() || given.data > given.data_end || meta % 4 != 0 ||
            meta > most_meta || given.egress_ifindex != 0 || given.rx_queue_index != 0)
            return refuse(EINVAL,
                          "data_end is the packet's size, data that of the metadata before it, and of the rest "
                          "only ingress_ifindex may be given");
        ANYBPF_TRY(check_device(given.ingress_ifindex));
        sees.ingress_ifindex = std::max(given.ingress_ifindex, loopback);
    }
    if (packet.size() < ethernet_header + meta)
        return refuse(EINVAL, "behind its metadata a packet has at least 14 bytes");
    if (packet.size() > most + meta)
        return refuse(EINVAL, "a frame in one piece has at most " + std::to_string(most) + " bytes");
    PacketInput made;
    made.type_ = ProgType::xdp;
    made.memory_.assign(page, std::byte{0});
    std::ranges::copy(packet, made.memory_.begin() + static_cast<std::ptrdiff_t>(headroom - meta));
    made.seen_.assign((sizeof(XdpMd) + sizeof(PacketAddresses)) / sizeof(u64), 0);
    std::memcpy(made.seen_.data(), &sees, sizeof(sees));
    const auto bytes = std::span(made.memory_).subspan(headroom, packet.size() - meta);
    made.input_.packet = {
        .bytes = bytes, .first = 0, .network = ethernet_header, .room = made.memory_, .is_frame = true};
    made.point(meta);
    return made;
}

// What the program finds behind its context; meta: bytes of metadata before the packet.
void PacketInput::point(std::size_t meta) {
    input_.context = seen_.data();
    const auto at = abi::packet_addresses_at(type_);
    if (!at) return;
    auto& packet = input_.packet;
    packet.addresses = reinterpret_cast<PacketAddresses*>(seen_.data() + *at / sizeof(u64));
    const auto* const data = packet.bytes.data() + packet.first;
    *packet.addresses = {.data = reinterpret_cast<u64>(data),
                         .data_end = reinterpret_cast<u64>(packet.bytes.data() + packet.bytes.size()),
                         .data_meta = reinterpret_cast<u64>(data - meta)};
}

std::vector<std::byte> PacketInput::packet() const {
    const auto& packet = input_.packet;
    if (packet.addresses == nullptr || is_link_layer(type_)) {
        std::vector<std::byte> all(packet.bytes.begin(), packet.bytes.end());
        // A socket's packet has lost its link-layer header: as many zeros stand there.
        std::fill_n(all.begin(), packet.first, std::byte{0});
        return all;
    }
    const u64 from = type_ == ProgType::xdp ? addresses().data_meta : addresses().data;
    const std::size_t zeros = type_ == ProgType::xdp ? 0 : ethernet_header, size = addresses().data_end - from;
    std::vector<std::byte> all(zeros + size);
    if (size != 0) std::memcpy(all.data() + zeros, reinterpret_cast<const std::byte*>(from), size);
    return all;
}

std::vector<std::byte> PacketInput::context() const {
    std::vector<std::byte> all(type_ == ProgType::xdp ? sizeof(XdpMd) : sizeof(SkBuff));
    std::ranges::copy(std::span(given_).first(std::min(given_.size(), all.size())), all.begin());
    if (type_ == ProgType::xdp) {
        auto& out = *reinterpret_cast<XdpMd*>(all.data());
        out.data = static_cast<u32>(addresses().data - addresses().data_meta);
        out.data_end = static_cast<u32>(addresses().data_end - addresses().data_meta);
        return all;
    }
    auto& out = *reinterpret_cast<SkBuff*>(all.data());
    const auto& saw = *reinterpret_cast<const SkBuff*>(seen_.data());
    out.mark = saw.mark;
    out.priority = saw.priority;
    out.ingress_ifindex = saw.ingress_ifindex;
    out.ifindex = saw.ifindex;
    out.cb = saw.cb;
    out.tstamp = saw.tstamp;
    out.wire_len = saw.wire_len;
    out.gso_segs = saw.gso_segs;
    out.hwtstamp = saw.hwtstamp;
    return all;
}

}  // namespace anybpf::kernel

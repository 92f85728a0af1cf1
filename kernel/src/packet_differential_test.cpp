// SPDX-License-Identifier: Apache-2.0
// Programs that look into packets and change them, run by PROG_TEST_RUN on our kernel and on the machine's: what they
// return, the packet and the context that they leave. ANYBPF_PACKET_PROGRAMS says how many.
#include <fmt/format.h>

#include "../../verifier/src/program_text.hpp"
#include "anybpf/abi/context.hpp"
#include "anybpf/abi/helper.hpp"
#include "anybpf/isa/text.hpp"
#include "caller.hpp"

namespace anybpf::kernel {
namespace {

using abi::ProgType;

// A random program whose every access is checked, as text. Sums up what it sees at r10 - 16.
class PacketProgram : verifier::testing::ProgramText {
  public:
    PacketProgram(u64 seed, ProgType type) : ProgramText(seed), type_(type) {
        line("r6 = r1");
        line("*(u64 *)(r10 - 16) = 0");
        load_addresses();
        for (u32 left = 1 + below(10); left > 0; --left) statement();
        line("r0 = *(u64 *)(r10 - 16)");
        if (type_ == ProgType::cgroup_skb) line("r0 &= 1");
        line("exit");
    }
    const std::string& text() const { return text_; }

  private:
    bool is(std::initializer_list<ProgType> types) const { return std::ranges::find(types, type_) != types.end(); }
    bool sees_packet() const { return type_ != ProgType::socket_filter; }

    // r7 the packet, r8 its end.
    void load_addresses() {
        if (!sees_packet()) return;
        const bool xdp = type_ == ProgType::xdp;
        line("r7 = *(u32 *)(r6 + {})", xdp ? 0 : 76);
        line("r8 = *(u32 *)(r6 + {})", xdp ? 4 : 80);
    }
    // Adds a register to the sum, which is turned first.
    void sum(u32 reg) {
        line("r2 = *(u64 *)(r10 - 16)");
        line("r2 *= 31");
        line("r2 += r{}", reg);
        line("*(u64 *)(r10 - 16) = r2");
    }
    void access() {
        const u32 size = 1U << below(4), most = chance(80) ? 40 : 400, off = below(most), label = labels_++;
        line("r2 = r7");
        line("r2 += {}", off + size);
        line("if r2 > r8 goto a{}", label);
        if (chance(30) && abi::writes_packets(type_))
            line("*(u{} *)(r7 + {}) = {}", 8 * size, off, below(1000));
        else
            line("r3 = *(u{} *)(r7 + {})\n", 8 * size, off), sum(3);
        text_ += fmt::format("a{}: ", label);
        line("r3 = 0");
    }
    void variable() {
        const u32 label = labels_++;
        line("r2 = r7\nr2 += 40\nif r2 > r8 goto v{}", label);
        line("r3 = *(u8 *)(r7 + {})", below(40));
        line("r3 &= 63");
        line("r4 = r7\nr4 += r3\nr5 = r4\nr5 += 8");
        line("if r5 > r8 goto v{}", label);
        line("r3 = *(u64 *)(r4 + 0)");
        sum(3);
        text_ += fmt::format("v{}: ", label);
        line("r3 = 0");
    }
    void read_context() {
        for (u32 tries = 0; tries < 50; ++tries) {
            const u32 size = 1U << below(4), off = below(192 / size) * size;
            // Random numbers, and addresses of sockets.
            if (abi::context_load(type_, attach(), off, size) != abi::Yield::number) continue;
            line("r3 = *(u{} *)(r6 + {})", 8 * size, off);
            return sum(3);
        }
    }
    void write_context() {
        for (u32 tries = 0; tries < 200; ++tries) {
            const u32 size = 1U << below(4), off = below(192 / size) * size;
            if (!abi::context_store(type_, attach(), off, size)) continue;
            if (off == offsetof(abi::SkBuff, tc_classid) || off == offsetof(abi::SkBuff, tstamp)) continue;
            line("r3 = {}", below(60000));
            line("*(u{} *)(r6 + {}) = r3", 8 * size, off);
            return;
        }
    }
    void load_packet() {
        if (!abi::loads_packets(type_)) return;
        static constexpr const char* widths[] = {"u8", "u16", "u32"};
        const i32 bases[] = {0, -0x100000, -0x200000};
        line("r0 = *({} *)skb[{}]", widths[below(3)], bases[chance(80) ? 0 : below(3)] + static_cast<i32>(below(60)));
        sum(0);
    }
    void call(std::string_view helper, bool moves = false) {
        line("r1 = r6");
        line("call {}", helper);
        sum(0);
        if (moves) load_addresses();
    }
    // 16 bytes of the stack at r10 - 32 that hold something.
    void fill() {
        line("*(u64 *)(r10 - 32) = {}", below(100000));
        line("*(u64 *)(r10 - 24) = {}", below(100000));
    }
    void sum_filled() {
        line("r3 = *(u64 *)(r10 - 32)");
        sum(3);
        line("r3 = *(u64 *)(r10 - 24)");
        sum(3);
    }
    void address_of_filled(u32 reg) { line("r{0} = r10\nr{0} += -32", reg); }
    i32 offset() { return chance(80) ? static_cast<i32>(below(60)) : static_cast<i32>(below(70000)) - 100; }
    void skb_helper() {
        switch (below(10)) {
            case 0:
                fill();
                line("r2 = {}", offset());
                address_of_filled(3);
                line("r4 = {}", 1 + below(16));
                call("skb_load_bytes");
                return sum_filled();
            case 1:
                if (!is({ProgType::sched_cls, ProgType::socket_filter, ProgType::cgroup_skb})) return;
                fill();
                line("r2 = {}", offset());
                address_of_filled(3);
                line("r4 = {}", 1 + below(16));
                line("r5 = {}", below(3));
                call("skb_load_bytes_relative");
                return sum_filled();
            case 2:
                if (!is({ProgType::sched_cls, ProgType::lwt_xmit})) return;
                fill();
                line("r2 = {}", offset());
                address_of_filled(3);
                line("r4 = {}", 1 + below(16));
                line("r5 = {}", below(chance(90) ? 4 : 8));
                return call("skb_store_bytes", true);
            case 3:
                if (!is({ProgType::sched_cls, ProgType::lwt_xmit, ProgType::lwt_in, ProgType::lwt_out})) return;
                line("r2 = {}", below(200));
                return call("skb_pull_data", true);
            case 4:
                if (!is({ProgType::sched_cls, ProgType::lwt_xmit})) return;
                line("r2 = {}\nr3 = {}", chance(90) ? below(300) : below(20000), chance(95) ? 0 : 1);
                return call("skb_change_tail", true);
            case 5:
                if (!is({ProgType::sched_cls, ProgType::lwt_xmit})) return;
                // Where Linux has to move a packet for it, it takes rubbish for the place of the transport header.
                if (std::exchange(grew_, true)) return;
                line("r2 = {}\nr3 = {}", below(28), chance(95) ? 0 : 1);
                return call("skb_change_head", true);
            case 6:
                if (type_ != ProgType::sched_cls) return;
                line("r2 = {}", below(6));
                return call("skb_change_type");
            case 7:
                if (!is({ProgType::sched_cls, ProgType::lwt_xmit})) return;
                checksum_arguments(chance(90) ? "0" : "16");
                return call("l3_csum_replace", true);
            case 8:
                if (!is({ProgType::sched_cls, ProgType::lwt_xmit})) return;
                checksum_arguments(fmt::format("{}", below(16) << 4));
                return call("l4_csum_replace", true);
            default:
                if (type_ != ProgType::sched_cls) return;
                line("r2 = {}", below(100000));
                return call(chance(50) ? "set_hash" : "set_hash_invalid");
        }
    }
    void checksum_arguments(std::string_view more_flags) {
        static constexpr u32 sizes[] = {0, 2, 4, 4, 2, 0, 1, 8};
        const u32 size = sizes[below(8)];
        line("r2 = {}", offset());
        line("r3 = {}", size == 0 && chance(80) ? 0 : below(1U << 30));
        line("r4 = {}", below(1U << 30));
        line("r5 = {}", size);
        line("r5 |= {}", more_flags);
    }
    void xdp_helper() {
        switch (below(6)) {
            case 0:
                line("r2 = {}", static_cast<i32>(below(100)) - 60);
                return call("xdp_adjust_head", true);
            case 1:
                line("r2 = {}", static_cast<i32>(below(200)) - 100);
                return call("xdp_adjust_tail", true);
            case 2:
                line("r2 = {}", (static_cast<i32>(below(70)) - 50) * (chance(90) ? 4 : 1));
                return call("xdp_adjust_meta", true);
            case 3:
                return call("xdp_get_buff_len");
            case 4:
                fill();
                line("r2 = {}", offset());
                address_of_filled(3);
                line("r4 = {}", 1 + below(16));
                call("xdp_load_bytes");
                return sum_filled();
            default:
                fill();
                line("r2 = {}", offset());
                address_of_filled(3);
                line("r4 = {}", 1 + below(16));
                return call("xdp_store_bytes", true);
        }
    }
    void metadata() {
        if (!is({ProgType::xdp, ProgType::sched_cls})) return;
        const u32 label = labels_++;
        line("r4 = *(u32 *)(r6 + {})", type_ == ProgType::xdp ? 8 : 140);
        line("r3 = r4\nr3 += 4\nif r3 > r7 goto m{}", label);
        if (chance(50)) line("*(u32 *)(r4 + 0) = {}", below(1000));
        line("r3 = *(u32 *)(r4 + 0)");
        sum(3);
        text_ += fmt::format("m{}: ", label);
        line("r3 = 0");
    }
    void difference() {
        if (is({ProgType::socket_filter, ProgType::cgroup_skb})) return;
        fill();
        const bool from = chance(60), to = chance(60);
        if (from)
            address_of_filled(1), line("r2 = {}", 4 * (1 + below(4)));
        else
            line("r1 = 0\nr2 = 0");
        if (to)
            address_of_filled(3), line("r4 = {}", 4 * (1 + below(4)));
        else
            line("r3 = 0\nr4 = 0");
        line("r5 = {}", chance(50) ? 0 : below(1U << 30));
        line("call csum_diff");
        sum(0);
    }
    void redirect() {
        if (!is({ProgType::xdp, ProgType::sched_cls, ProgType::lwt_xmit})) return;
        line("r1 = {}\nr2 = {}", below(4), below(3));
        line("call redirect");
        sum(0);
    }
    void statement() {
        switch (below(12)) {
            case 0:
            case 1:
            case 2:
                return sees_packet() ? access() : load_packet();
            case 3:
                return sees_packet() ? variable() : load_packet();
            case 4:
                return read_context();
            case 5:
                return write_context();
            case 6:
                return load_packet();
            case 7:
                return metadata();
            case 8:
                return difference();
            case 9:
                return redirect();
            default:
                return type_ == ProgType::xdp ? xdp_helper() : skb_helper();
        }
    }

    static abi::AttachType attach() { return {}; }

    ProgType type_;
    bool grew_ = false;
};

std::vector<std::byte> random_packet(std::mt19937_64& random) {
    static constexpr u32 protocols[] = {0x0800, 0x0800, 0x86dd, 0x0806, 0x0100};
    static constexpr u32 shortest[] = {34, 34, 54, 14, 14};
    const u32 kind = static_cast<u32>(random() % 5);
    const u32 most = random() % 8 == 0 ? 3000 : 120;
    std::vector<std::byte> packet(shortest[kind] + random() % most);
    for (auto& byte : packet) byte = static_cast<std::byte>(random());
    if (random() % 3 == 0) std::fill_n(packet.begin(), 6, random() % 2 == 0 ? std::byte{0} : std::byte{0xff});
    packet[12] = static_cast<std::byte>(protocols[kind] >> 8);
    packet[13] = static_cast<std::byte>(protocols[kind]);
    return packet;
}

std::vector<std::byte> random_context(std::mt19937_64& random, ProgType type, std::size_t packet) {
    if (random() % 2 == 0) return {};
    std::vector<std::byte> bytes(type == ProgType::xdp ? sizeof(abi::XdpMd) : sizeof(abi::SkBuff));
    if (type == ProgType::xdp) {
        auto& given = *reinterpret_cast<abi::XdpMd*>(bytes.data());
        given.data_end = static_cast<u32>(packet);
        given.data = random() % 3 == 0 ? static_cast<u32>(random() % 20) : 0;
        given.ingress_ifindex = random() % 4 == 0 ? 1 : 0;
    } else {
        auto& given = *reinterpret_cast<abi::SkBuff*>(bytes.data());
        given.mark = static_cast<u32>(random());
        given.priority = static_cast<u32>(random());
        given.ingress_ifindex = static_cast<u32>(random() % 3);
        given.ifindex = static_cast<u32>(random() % 2);
        for (u32& word : given.cb) word = static_cast<u32>(random());
        if (random() % 4 == 0) given.wire_len = static_cast<u32>(packet + random() % 100);
        if (random() % 4 == 0) given.gso_segs = static_cast<u32>(random() % 100);
        if (random() % 10 == 0) given.len = 1;
    }
    return bytes;
}

struct Left {
    long error = 0;
    u32 returned = 0;
    std::vector<std::byte> packet, context;
    bool operator==(const Left&) const = default;
};
Left run(Caller& kernel, long program, std::vector<std::byte> packet, std::vector<std::byte> context, u32 repeat) {
    Left left;
    left.packet.resize(8192);
    left.context.resize(context.size());
    uapi::TestRun attr{};
    attr.prog_fd = static_cast<u32>(program);
    attr.data_in = address(packet.data());
    attr.data_size_in = static_cast<u32>(packet.size());
    attr.data_out = address(left.packet.data());
    attr.data_size_out = static_cast<u32>(left.packet.size());
    attr.ctx_in = context.empty() ? 0 : address(context.data());
    attr.ctx_size_in = static_cast<u32>(context.size());
    attr.ctx_out = context.empty() ? 0 : address(left.context.data());
    attr.ctx_size_out = static_cast<u32>(context.size());
    attr.repeat = repeat;
    left.error = kernel.call(Command::prog_test_run, attr);
    left.returned = attr.retval;
    if (left.error == 0) left.packet.resize(attr.data_size_out);
    return left;
}

std::string hex(std::span<const std::byte> bytes) {
    std::string text;
    for (const std::byte byte : bytes) text += fmt::format("{:02x}", std::to_integer<u32>(byte));
    return text;
}

TEST(Packets, ProgramsDoAsOnTheLiveKernel) {
    std::string why;
    if (!LiveKernel::usable(why)) GTEST_SKIP() << why;
    const char* const asked = std::getenv("ANYBPF_PACKET_PROGRAMS");
    const u64 count = asked != nullptr ? std::strtoull(asked, nullptr, 10) : 1000;
    static constexpr ProgType types[] = {ProgType::xdp,        ProgType::sched_cls, ProgType::socket_filter,
                                         ProgType::cgroup_skb, ProgType::lwt_in,    ProgType::lwt_xmit};
    u64 runs = 0;
    for (u64 seed = 1; seed <= count; ++seed) {
        const ProgType type = types[seed % std::size(types)];
        const std::string text = PacketProgram(seed, type).text();
        const auto insns = isa::assemble(text, [](std::string_view name) -> std::optional<u32> {
            const auto id = abi::helper_by_name(name);
            return id ? std::optional(static_cast<u32>(*id)) : std::nullopt;
        });
        ASSERT_TRUE(insns) << insns.error().message << '\n' << text;
        OurKernel ours;
        LiveKernel live;
        const long here = ours.load(*insns, type), there = live.load(*insns, type);
        ASSERT_GE(there, 0) << "seed " << seed << '\n' << text;
        ASSERT_GE(here, 0) << "seed " << seed << '\n' << text;
        std::mt19937_64 random(seed);
        for (u32 times = 0; times < 6; ++times, ++runs) {
            const auto packet = random_packet(random);
            const auto context = random_context(random, type, packet.size());
            const u32 repeat = times == 5 ? 2 : 1;
            const Left a = run(ours, here, packet, context, repeat), b = run(live, there, packet, context, repeat);
            ASSERT_EQ(a, b) << "seed " << seed << ", " << abi::to_string(type) << "\nours " << a.error << ' '
                            << a.returned << ' ' << hex(a.packet) << "\n     " << hex(a.context) << "\nlive " << b.error
                            << ' ' << b.returned << ' ' << hex(b.packet) << "\n     " << hex(b.context) << "\non   "
                            << hex(packet) << "\n     " << hex(context) << '\n'
                            << text;
        }
    }
    RecordProperty("runs", static_cast<int>(runs));
}

}  // namespace
}  // namespace anybpf::kernel

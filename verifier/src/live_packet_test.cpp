// SPDX-License-Identifier: Apache-2.0
// The tables of abi/ beside the running kernel, entry by entry: what each program type may load and store of its
// context, which helpers it may call, what it may return. And random programs that walk through packets.
#include <map>

#include "anybpf/abi/context.hpp"
#include "live_kernel.hpp"
#include "packet_programs.hpp"

namespace anybpf::verifier {
namespace {

using namespace testing;
using abi::AttachType;
using abi::ProgType;

struct Kind {
    ProgType type;
    AttachType attach{};
    int returns = 0;
};

std::vector<Kind> kinds() {
    using P = ProgType;
    using A = AttachType;
    return {{P::socket_filter},
            {P::kprobe},
            {P::sched_cls},
            {P::sched_act},
            {P::tracepoint},
            {P::xdp},
            {P::xdp, A::xdp_devmap},
            {P::perf_event},
            {P::cgroup_skb, A::cgroup_inet_ingress},
            {P::cgroup_skb, A::cgroup_inet_egress},
            {P::cgroup_sock, A::cgroup_inet_sock_create},
            {P::cgroup_sock, A::cgroup_inet_sock_release},
            {P::cgroup_sock, A::cgroup_inet4_post_bind},
            {P::cgroup_sock, A::cgroup_inet6_post_bind},
            {P::lwt_in},
            {P::lwt_out},
            {P::lwt_xmit},
            {P::lwt_seg6local},
            {P::sk_skb, A::sk_skb_stream_parser},
            {P::sk_skb, A::sk_skb_stream_verdict},
            {P::cgroup_device, A::cgroup_device},
            {P::raw_tracepoint},
            {P::cgroup_sock_addr, A::cgroup_inet4_bind},
            {P::cgroup_sock_addr, A::cgroup_inet6_bind},
            {P::cgroup_sock_addr, A::cgroup_inet4_connect},
            {P::cgroup_sock_addr, A::cgroup_inet6_connect},
            {P::cgroup_sock_addr, A::cgroup_udp4_sendmsg},
            {P::cgroup_sock_addr, A::cgroup_udp6_sendmsg},
            {P::cgroup_sock_addr, A::cgroup_udp4_recvmsg, 1},
            {P::cgroup_sock_addr, A::cgroup_udp6_recvmsg, 1},
            {P::cgroup_sock_addr, A::cgroup_inet4_getpeername, 1},
            {P::flow_dissector, A::flow_dissector},
            {P::cgroup_sysctl, A::cgroup_sysctl}};
}

class LiveTables : public ::testing::Test {
  protected:
    void SetUp() override {
        auto opened = LiveKernel::open(maps());
        if (!opened) GTEST_SKIP() << "the kernel cannot be asked: " << opened.error().message;
        kernel_.emplace(std::move(*opened));
        if (!kernel_->load(program_of("r0 = 0\nexit")).accepted) GTEST_SKIP() << "the kernel loads no programs here";
    }
    static program::Program program(const Kind& kind, const std::string& text) {
        program::Program made = program_of(text + fmt::format("\nr0 = {}\nexit", kind.returns), kind.type);
        made.expected_attach_type = kind.attach;
        return made;
    }
    static std::string name(const Kind& kind) {
        return fmt::format("{} ({})", abi::to_string(kind.type), abi::to_string(kind.attach));
    }
    std::optional<LiveKernel> kernel_;
};

TEST_F(LiveTables, contexts) {
    u32 equal = 0;
    for (const Kind& kind : kinds())
        for (int off = 0; off < 260; ++off)
            for (const u32 size : {1U, 2U, 4U, 8U}) {
                if (off % static_cast<int>(size) != 0 && off % 13 != 0) continue;  // of misaligned ones, some
                const bool load = abi::context_load(kind.type, kind.attach, off, size).has_value();
                const bool store = abi::context_store(kind.type, kind.attach, off, size);
                const auto loads = program(kind, fmt::format("r0 = *(u{} *)(r1 + {})", 8 * size, off));
                const auto stores = program(kind, fmt::format("r2 = 0\n*(u{} *)(r1 + {}) = r2", 8 * size, off));
                EXPECT_EQ(load, kernel_->load(loads).accepted) << name(kind) << " load " << off << '+' << size;
                EXPECT_EQ(store, kernel_->load(stores).accepted) << name(kind) << " store " << off << '+' << size;
                equal += 2;
                if (HasFailure()) return;
            }
    RecordProperty("entries", static_cast<int>(equal));
}

TEST_F(LiveTables, helpers) {
    u32 entries = 0;
    for (const Kind& kind : kinds())
        for (u32 id = 1; id < abi::helper_count; ++id) {
            const abi::HelperProto* proto = abi::find_helper(id);
            if (proto == nullptr || proto->id == abi::HelperId::get_cgroup_classid) continue;  // another one elsewhere
            auto one = program(kind, fmt::format("call {}", id));
            const auto said = kernel_->load(one);
            const bool refused = said.log.find("cannot use helper") != std::string::npos ||
                                 said.log.find("unknown func") != std::string::npos;
            EXPECT_EQ(abi::may_call(proto->who, kind.type, {}), !refused) << name(kind) << ' ' << abi::helper_name(id);
            if (refused) continue;
            one.gpl_compatible = false;
            const bool gpl = kernel_->load(one).log.find("GPL") != std::string::npos;
            if (kind.type == ProgType::perf_event && !gpl) continue;  // its own get_stackid and get_stack
            EXPECT_EQ(proto->gpl_only, gpl) << name(kind) << ' ' << abi::helper_name(id);
            ++entries;
        }
    RecordProperty("entries", static_cast<int>(entries));
}

TEST_F(LiveTables, return_values) {
    for (const Kind& kind : kinds()) {
        const auto range = abi::return_range(kind.type, kind.attach);
        for (int value = -2; value < 8; ++value) {
            auto one = program_of(fmt::format("r0 = {}\nexit", value), kind.type);
            one.expected_attach_type = kind.attach;
            EXPECT_EQ(!range || (value >= range->least && value <= range->most), kernel_->load(one).accepted)
                << name(kind) << " returns " << value;
        }
    }
}

TEST_F(LiveTables, packet_programs) {
    u32 accepted = 0, refused = 0, stricter = 0;
    std::map<std::string, u32> why;
    const int count = std::getenv("ANYBPF_PACKET_PROGRAMS") ? std::atoi(std::getenv("ANYBPF_PACKET_PROGRAMS")) : 1500;
    for (int seed = 1; seed <= count; ++seed) {
        const program::Program one = PacketGenerator(static_cast<u64>(seed)).program();
        Options options;
        options.allow_ptr_leaks = true;
        const Report report = verify(one, options);
        const auto said = kernel_->load(one);
        ASSERT_FALSE(report.accepted && !said.accepted)
            << "seed " << seed << '\n'
            << said.log.substr(said.log.size() > 3000 ? said.log.size() - 3000 : 0);
        accepted += report.accepted && said.accepted;
        refused += !report.accepted && !said.accepted;
        if (!report.accepted && said.accepted) {
            ++stricter, ++why[std::string(to_string(report.diagnostic.what))];
            if (why[std::string(to_string(report.diagnostic.what))] == 1 && std::getenv("ANYBPF_PACKET_PROGRAMS"))
                fmt::print("seed {}\n{}\n{}\n", seed, explain(report, one), said.log);
        }
    }
    RecordProperty("accepted", static_cast<int>(accepted));
    RecordProperty("refused", static_cast<int>(refused));
    RecordProperty("stricter", static_cast<int>(stricter));
    fmt::print("{} accepted by both, {} refused by both, {} refused by us alone\n", accepted, refused, stricter);
    for (const auto& [finding, times] : why) fmt::print("  {}: {}\n", finding, times);
    EXPECT_GT(accepted, static_cast<u32>(count) / 5);
    EXPECT_GT(refused, static_cast<u32>(count) / 5);
    EXPECT_LT(stricter, static_cast<u32>(count) / 200 + 1);
}

}  // namespace
}  // namespace anybpf::verifier

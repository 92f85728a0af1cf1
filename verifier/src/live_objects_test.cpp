// SPDX-License-Identifier: Apache-2.0
// Objects that programs hold, beside the running kernel: every program of object_cases(), every helper with every map
// type, and every helper with every kind of value in each of its arguments.
#include <map>

#include "anybpf/abi/context.hpp"
#include "live_kernel.hpp"
#include "object_programs.hpp"
#include "walker.hpp"

namespace anybpf::verifier {
namespace {

using namespace testing;

class LiveObjects : public ::testing::Test {
  protected:
    void SetUp() override {
        auto opened = LiveKernel::open(object_maps());
        if (!opened) GTEST_SKIP() << "the kernel cannot be asked: " << opened.error().message;
        kernel_.emplace(std::move(*opened));
        if (!kernel_->load(object_program({"", "r0 = 0\nexit"})).accepted)
            GTEST_SKIP() << "the kernel loads no programs here";
    }
    static Report ours(const program::Program& program) {
        Options options;
        options.allow_ptr_leaks = true;
        return verify(program, options);
    }
    static std::string end_of(const std::string& text) {
        return text.substr(text.size() > 500 ? text.size() - 500 : 0);
    }
    std::optional<LiveKernel> kernel_;
};

TEST_F(LiveObjects, cases) {
    u32 accepted = 0, refused = 0;
    for (const ObjectCase& one : object_cases()) {
        const program::Program program = object_program(one);
        const auto said = kernel_->load(program);
        EXPECT_EQ(said.accepted, one.expected == Finding::none) << one.name << '\n' << one.text << end_of(said.log);
        ++(said.accepted ? accepted : refused);
    }
    RecordProperty("accepted", static_cast<int>(accepted));
    RecordProperty("refused", static_cast<int>(refused));
}

// What sockets and flow keys show, byte by byte.
TEST_F(LiveObjects, fields) {
    using P = abi::ProgType;
    const std::string sk = "r6 = *(u64 *)(r1 + 168)\nif r6 == 0 goto out\n";
    const std::string made = "if r0 == 0 goto out\nr6 = r0\n";
    struct Object {
        std::string made;
        P type;
    };
    u32 entries = 0;
    for (const Object& one :
         {Object{sk, P::sched_cls}, Object{sk + "r1 = r6\ncall sk_fullsock\n" + made, P::sched_cls},
          Object{sk + "r1 = r6\ncall tcp_sock\n" + made, P::sched_cls},
          Object{"*(u64 *)(r10 - 8) = 0\nr2 = r10\nr2 += -8\nr1 = @xsks\ncall map_lookup_elem\n" + made, P::xdp},
          Object{"r6 = *(u64 *)(r1 + 144)\n", P::flow_dissector}})
        for (int off = -2; off < 120; ++off)
            for (const int size : {1, 2, 4, 8})
                for (const bool store : {false, true}) {
                    const std::string access =
                        fmt::format("*(u{} *)(r6 {} {})", 8 * size, off < 0 ? '-' : '+', std::abs(off));
                    const auto program =
                        object_program({"",
                                        one.made + (store ? "r1 = 0\n" + access + " = r1\n" : "r1 = " + access + "\n") +
                                            "out: r0 = 0\nexit",
                                        Finding::none, one.type});
                    EXPECT_EQ(ours(program).accepted, kernel_->load(program).accepted)
                        << one.made << access << (store ? " stored" : "");
                    ++entries;
                }
    RecordProperty("entries", static_cast<int>(entries));
}

// ------------------------------------------------------------------------------ every argument of every helper

struct Caller {
    abi::ProgType type;
    abi::AttachType attach{};
    bool sleepable = false;
    int returns = 0;
};

std::vector<Caller> callers() {
    using P = abi::ProgType;
    using A = abi::AttachType;
    return {{P::sched_cls},
            {P::xdp},
            {P::kprobe},
            {P::sk_msg},
            {P::sk_skb},
            {P::sock_ops},
            {P::sk_lookup, A::sk_lookup},
            {P::sk_reuseport},
            {P::cgroup_skb, A::cgroup_inet_egress},
            {P::cgroup_sock, A::cgroup_inet_sock_create},
            {P::cgroup_sock_addr, A::cgroup_inet4_connect},
            {P::cgroup_sockopt, A::cgroup_setsockopt},
            {P::cgroup_sysctl, A::cgroup_sysctl},
            {P::perf_event},
            {P::lwt_xmit},
            {P::lwt_in},
            {P::lwt_seg6local},
            {P::syscall, {}, true}};
}

// A program that has one of everything in its stack, and calls the helper with some of it.
class Calls {
  public:
    Calls(const Caller& caller, const abi::HelperProto& proto, std::string map)
        : caller_(caller), proto_(proto), map_(std::move(map)) {
        const bool skb = caller.type == abi::ProgType::sched_cls;
        put(8, "r6 = r1\n", "r6");
        for (u32 at = 104; at < 256; at += 8) text_ += fmt::format("*(u64 *)(r10 - {}) = 0\n", at + 8);
        find("global", 16, true);
        find("global", 24, false);
        if (skb) {
            put(40, "r0 = *(u64 *)(r6 + 168)\n", "r0");
            put(32, "r7 = *(u64 *)(r6 + 168)\nif r7 == 0 goto out\n", "r7");
            put(48, "r1 = r7\ncall sk_fullsock\nif r0 == 0 goto out\n", "r0");
            put(56, "r1 = r7\ncall tcp_sock\nif r0 == 0 goto out\n", "r0");
            put(72, "r2 = *(u32 *)(r6 + 76)\nr3 = *(u32 *)(r6 + 80)\nr4 = r2\nr4 += 64\nif r4 > r3 goto out\n", "r2");
            put(80, "", "r3");
        }
        put(64, "call get_current_task_btf\n", "r0");
        put(88, "call get_prandom_u32\n", "r0");
        if (takes(abi::ArgKind::spin_lock)) find("locked", 104, true, 4);
        if (takes(abi::ArgKind::timer)) find("timed", 104, true), map_ = "timed";
        if (proto.id == abi::HelperId::spin_unlock) text_ += "r1 = *(u64 *)(r10 - 104)\ncall spin_lock\n";
        if (takes(abi::ArgKind::ringbuf_record))
            put(104, "r1 = @ring\nr2 = 16\nr3 = 0\ncall ringbuf_reserve\nif r0 == 0 goto out\n", "r0");
        if (takes(abi::ArgKind::released_sock))
            put(104,
                "r1 = r6\nr2 = r10\nr2 += -136\nr3 = 12\nr4 = 0\nr5 = 0\ncall sk_lookup_tcp\nif r0 == 0 goto out\n",
                "r0");
    }

    // Everything that a register can hold, as instructions that put it there; r{0} is the register.
    std::vector<std::string> values() const {
        std::vector<std::string> all = {"",
                                        "r{0} = 0\n",
                                        "r{0} = 5\n",
                                        "r{0} = -1\n",
                                        "r{0} = *(u64 *)(r10 - 88)\n",
                                        "r{0} = *(u64 *)(r10 - 88)\nr{0} &= 7\n",
                                        "r{0} = *(u64 *)(r10 - 88)\nr{0} &= 7\nr{0} += 1\n",
                                        "r{0} = *(u64 *)(r10 - 8)\n",
                                        "r{0} = *(u64 *)(r10 - 8)\nr{0} += 8\n",
                                        "r{0} = r10\n",
                                        "r{0} = r10\nr{0} += -200\n",
                                        "r{0} = r10\nr{0} += -198\n",
                                        "r{0} = *(u64 *)(r10 - 16)\n",
                                        "r{0} = *(u64 *)(r10 - 16)\nr{0} += 60\n",
                                        "r{0} = *(u64 *)(r10 - 24)\n",
                                        "r{0} = *(u64 *)(r10 - 64)\n",
                                        "r{0} = @hash\n",
                                        "r{0} = each ll\n"};
        if (caller_.type == abi::ProgType::sched_cls)
            for (const int slot : {32, 40, 48, 56, 72, 80})
                all.push_back("r{0} = *(u64 *)(r10 - " + std::to_string(slot) + ")\n");
        return all;
    }

    // What the helper asks for.
    std::string good(u32 index) const {
        using K = abi::ArgKind;
        const auto slot = [](int at) { return fmt::format("r{{0}} = *(u64 *)(r10 - {})\n", at); };
        const std::string area = "r{0} = r10\nr{0} += -256\n";
        switch (proto_.args[index]) {
            case K::none:
                return {};
            case K::anything:
            case K::variadic:
                return "r{0} = 0\n";
            case K::const_map:
                return "r{0} = @" + map_ + "\n";
            case K::map_key:
            case K::map_value:
            case K::map_value_or_null:
            case K::map_value_out:
            case K::mem_read:
            case K::mem_read_or_null:
            case K::mem_write:
            case K::mem_write_or_null:
            case K::mem_update:
            case K::long_out:
            case K::int_update:
            case K::ipv4_header:
            case K::ipv6_header:
            case K::tcp_header:
            case K::stack_or_null:
                return area;
            case K::size:
            case K::size_or_zero:
            case K::alloc_size:
                return "r{0} = 8\n";
            case K::context:
            case K::context_or_null:
                return slot(8);
            case K::const_string:
                return "r{0} = map[idx:" + std::to_string(object_maps().size() - 1) + "][0]+0 ll\n";
            case K::callback:
                return "r{0} = each ll\n";
            case K::sock_common:
            case K::any_sock:
            case K::any_sock_or_null:
                return caller_.type == abi::ProgType::sched_cls ? slot(32) : "r{0} = 0\n";
            case K::socket_or_null:
                return "r{0} = 0\n";
            case K::released_sock:
            case K::spin_lock:
            case K::timer:
            case K::ringbuf_record:
                return slot(104);
            case K::btf_task:
            case K::btf_task_or_null:
                return slot(64);
            case K::btf_cgroup_or_null:
            case K::btf_file:
            case K::btf_path:
            case K::btf_inode_or_null:
            case K::btf_seq_file:
            case K::btf_skb:
            case K::btf_xdp:
            case K::dynptr_ring:
            case K::dynptr_out:
            case K::dynptr_ring_out:
            case K::kernel_object:
            case K::kernel_object_or_null:
            case K::percpu_object:
            case K::kptr_slot:
            case K::dynptr:
                break;
        }
        return {};
    }

    program::Program program(u32 index, const std::string& value) const {
        std::string text = text_;
        for (u32 i = 0; i < 5; ++i) text += fmt::format(fmt::runtime(i == index ? value : good(i)), i + 1);
        text += fmt::format("call {}\n", abi::helper_name(static_cast<u32>(proto_.id)));
        using R = abi::RetKind;
        if (proto_.returns == R::ringbuf_record_or_null)
            text += "if r0 == 0 goto out\nr1 = r0\nr2 = 0\ncall ringbuf_submit\n";
        const auto id = proto_.id;
        if (id == abi::HelperId::sk_lookup_tcp || id == abi::HelperId::sk_lookup_udp ||
            id == abi::HelperId::skc_lookup_tcp ||
            (id == abi::HelperId::map_lookup_elem && (map_ == "socks" || map_ == "socks_hash")))
            text += "if r0 == 0 goto out\nr1 = r0\ncall sk_release\n";
        if (id == abi::HelperId::spin_lock) text += "r1 = *(u64 *)(r10 - 104)\ncall spin_unlock\n";
        text += fmt::format("out: r0 = {}\nexit\neach: r0 = 0\nexit", caller_.returns);
        if (text.find("each ll") == std::string::npos) text.erase(text.rfind("each:"));
        return object_program({"", text, Finding::none, caller_.type, caller_.attach, caller_.sleepable});
    }

    // Which this test cannot make.
    static bool beyond(const abi::HelperProto& proto) {
        using K = abi::ArgKind;
        for (const K kind : proto.args)
            for (const K other :
                 {K::kernel_object, K::kernel_object_or_null, K::percpu_object, K::kptr_slot, K::dynptr,
                  K::btf_cgroup_or_null, K::btf_file, K::btf_path, K::btf_inode_or_null, K::btf_seq_file, K::btf_skb,
                  K::btf_xdp, K::dynptr_ring, K::dynptr_out, K::dynptr_ring_out})
                if (kind == other) return true;
        return false;
    }

  private:
    bool takes(abi::ArgKind kind) const { return proto_.args[0] == kind; }
    void put(int slot, const std::string& made, const std::string& from) {
        text_ += made + fmt::format("*(u64 *)(r10 - {}) = {}\n", slot, from);
    }
    void find(const std::string& map, int slot, bool compared, int offset = 0) {
        put(slot,
            "r2 = r10\nr2 += -136\nr1 = @" + map + "\ncall map_lookup_elem\n" +
                (compared ? "if r0 == 0 goto out\n" : "") + (offset != 0 ? fmt::format("r0 += {}\n", offset) : ""),
            "r0");
    }

    Caller caller_;
    const abi::HelperProto& proto_;
    std::string map_;
    std::string text_;
};

// The map that the helper is made for.
std::string map_for(const abi::HelperProto& proto, const Caller& caller) {
    if (proto.id == abi::HelperId::for_each_map_elem) return "array";
    for (const program::MapInfo& map : object_maps())
        if (map_fits(proto.id, map.type, caller.type, caller.attach)) return map.name;
    return "hash";
}

TEST_F(LiveObjects, every_argument_of_every_helper) {
    u32 accepted = 0, refused = 0;
    std::map<std::string, u32> stricter;
    std::array<u32, abi::helper_count> callers_of{};
    for (const Caller& caller : callers()) {
        // Maps of programs are of the first that uses them.
        const auto kernel = LiveKernel::open(object_maps());
        ASSERT_TRUE(kernel.has_value());
        for (u32 id = 1; id < abi::helper_count; ++id) {
            const abi::HelperProto* proto = abi::find_helper(id, caller.type, caller.attach);
            if (proto == nullptr || Calls::beyond(*proto) || !abi::may_call(proto->who, caller.type, caller.attach))
                continue;
            if (callers_of[id]++ >= 3) continue;
            const Calls calls(caller, *proto, map_for(*proto, caller));
            for (u32 index = 0; index < 5 && (index == 0 || proto->args[index] != abi::ArgKind::none); ++index) {
                std::vector<std::string> values = calls.values();
                values.push_back(calls.good(index));
                for (const std::string& value : values) {
                    const program::Program program = calls.program(index, value);
                    const Report report = ours(program);
                    const auto said = kernel->load(program);
                    ++(said.accepted ? accepted : refused);
                    if (report.accepted == said.accepted) continue;
                    if (!report.accepted)
                        ++stricter[fmt::format("{} of {}: {}", to_string(report.diagnostic.what), abi::helper_name(id),
                                               value)];
                    if (!report.accepted && std::getenv("ANYBPF_STRICTER") == nullptr) continue;
                    ADD_FAILURE() << abi::helper_name(id) << " in " << abi::to_string(caller.type) << ", argument "
                                  << index + 1 << ": " << value
                                  << (report.accepted ? "we accept\n" : explain(report, program)) << end_of(said.log);
                }
            }
        }
    }
    RecordProperty("accepted", static_cast<int>(accepted));
    RecordProperty("refused", static_cast<int>(refused));
    for (const auto& [what, count] : stricter) fmt::print("refused by us alone: {}x {}", count, what);
    fmt::print("{} accepted and {} refused by the kernel\n", accepted, refused);
}

TEST_F(LiveObjects, every_helper_with_every_map) {
    u32 accepted = 0, refused = 0;
    for (const Caller& caller : callers()) {
        const auto kernel = LiveKernel::open(object_maps());
        ASSERT_TRUE(kernel.has_value());
        for (const program::MapInfo& map : object_maps()) {
            const auto program = object_program({"", fmt::format("r1 = @{}\nr0 = 0\nexit", map.name), Finding::none,
                                                 caller.type, caller.attach, caller.sleepable});
            const Report report = ours(program);
            const auto said = kernel->load(program);
            EXPECT_EQ(report.accepted, said.accepted) << abi::to_string(caller.type) << " has " << map.name << '\n'
                                                      << explain(report, program) << end_of(said.log);
        }
        for (u32 id = 1; id < abi::helper_count; ++id) {
            const abi::HelperProto* proto = abi::find_helper(id, caller.type, caller.attach);
            if (proto == nullptr || Calls::beyond(*proto) || !abi::may_call(proto->who, caller.type, caller.attach))
                continue;
            if (proto->args[0] != abi::ArgKind::const_map && proto->args[1] != abi::ArgKind::const_map) continue;
            if (proto->id == abi::HelperId::timer_init) continue;
            for (const program::MapInfo& map : object_maps()) {
                const program::Program program = Calls(caller, *proto, map.name).program(5, {});
                const Report report = ours(program);
                const auto said = kernel->load(program);
                ++(said.accepted ? accepted : refused);
                EXPECT_EQ(report.accepted, said.accepted)
                    << abi::helper_name(id) << " in " << abi::to_string(caller.type) << " with " << map.name << '\n'
                    << explain(report, program) << end_of(said.log);
            }
        }
    }
    RecordProperty("accepted", static_cast<int>(accepted));
    RecordProperty("refused", static_cast<int>(refused));
    fmt::print("{} accepted and {} refused by the kernel\n", accepted, refused);
}

}  // namespace
}  // namespace anybpf::verifier

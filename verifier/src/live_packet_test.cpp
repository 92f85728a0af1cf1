// SPDX-License-Identifier: Apache-2.0
// The tables of abi/ beside the running kernel, entry by entry: what each program type may load and store of its
// context, which helpers it may call, what it may return. And random programs that walk through packets.
#include <map>

#include "anybpf/abi/context.hpp"
#include "live_kernel.hpp"
#include "packet_programs.hpp"
#include "program_kinds.hpp"

namespace anybpf::verifier {
namespace {

using namespace testing;
using abi::ProgType;

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
        made.sleepable = kind.sleepable;
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
            const abi::HelperProto* proto = abi::find_helper(id, kind.type, kind.attach);
            ASSERT_NE(proto, nullptr) << id;
            auto one = program(kind, fmt::format("call {}", id));
            const auto said = kernel_->load(one);
            bool refused = false;
            for (const char* words : {"cannot use helper", "unknown func", "not supported for program type",
                                      "helper call is not allowed in probe"})
                refused |= said.log.find(words) != std::string::npos;
            EXPECT_EQ(abi::may_call(proto->who, kind.type, kind.attach), !refused)
                << name(kind) << ' ' << abi::helper_name(id);
            if (refused) continue;
            one.gpl_compatible = false;
            const bool gpl = kernel_->load(one).log.find("GPL") != std::string::npos;
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
            one.sleepable = kind.sleepable;
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

// SPDX-License-Identifier: Apache-2.0
// What the verifier accepts of programs that walk through packets touches no byte that is not there, and does the same
// on every engine. The packets end where their memory does, which AddressSanitizer sees. ANYBPF_PACKET_PROGRAMS says
// how many.
#include "../../fuzz/engines.hpp"
#include "../../verifier/src/packet_programs.hpp"
#include "anybpf/engine/lower.hpp"

namespace anybpf::verifier {
namespace {

// Helpers do nothing: 0 is within the contract of every one that returns.
u64 nothing(abi::Run&, u64, u64, u64, u64, u64) { return 0; }

TEST(PacketLaw, ProgramsStayInTheirPacket) {
    abi::HelperBodies helpers{};
    helpers.fill(nothing);
    const char* const asked = std::getenv("ANYBPF_PACKET_PROGRAMS");
    const u64 count = asked != nullptr ? std::strtoull(asked, nullptr, 10) : 1000;
    u64 accepted = 0;
    for (u64 seed = 1; seed <= count; ++seed) {
        const program::Program program = testing::PacketGenerator(seed).program();
        const Report report = verify(program, {});
        if (!report.accepted) continue;
        ++accepted;
        SCOPED_TRACE(fmt::format("seed {}", seed));
        const auto lowered = engine::lower(program, report.proof);
        ASSERT_TRUE(lowered) << lowered.error().message;
        std::array<std::byte, 64> values{};
        std::vector<engine::BoundMap> maps(program.maps.size(), {values.data(), values.data(), {}});
        for (const std::size_t bytes : {0U, 1U, 13U, 14U, 20U, 33U, 40U, 64U, 100U, 500U})
            fuzzing::OnEveryEngine(*lowered, program.type, maps, helpers, values, report.proof.context_bytes, bytes)
                .run(false);
    }
    EXPECT_GT(accepted, count / 5);
    RecordProperty("accepted", static_cast<int>(accepted));
}

}  // namespace
}  // namespace anybpf::verifier

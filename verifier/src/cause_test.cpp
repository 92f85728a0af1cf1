// SPDX-License-Identifier: Apache-2.0
// The chain from a refusal back to its cause. What the messages look like as a whole is in tests/messages.
#include "cause.hpp"

#include <gmock/gmock.h>

#include "random_programs.hpp"

namespace anybpf::verifier {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Steps = std::vector<std::pair<Link, i32>>;  // -1: what is missing

Steps steps(const Explanation& why) {
    Steps found;
    for (const Cause& cause : why.causes) found.emplace_back(cause.what, cause.pc ? static_cast<i32>(*cause.pc) : -1);
    return found;
}

Explanation why(const program::Program& program, Finding expected, const Options& options = {}) {
    const Report report = verify(program, options);
    EXPECT_EQ(to_string(report.diagnostic.what), to_string(expected)) << message(report.diagnostic, program);
    return trace(report, program);
}

Explanation why(std::string_view text, Finding expected) { return why(program_of(text), expected); }

TEST(Cause, follows_a_number_through_the_stack) {
    const auto found =
        why("r6 = r1\nr2 = *(u64 *)(r6 + 104)\n*(u64 *)(r10 - 8) = r2\ncall get_prandom_u32\nr3 = *(u64 *)(r10 - 8)\n"
            "r1 = map[idx:1][0]+0 ll\nr1 += r3\nr0 = *(u8 *)(r1 + 0)\nexit",
            Finding::pointer_offset);
    EXPECT_EQ(steps(found), (Steps{{Link::loaded, 1}, {Link::spilled, 2}, {Link::filled, 4}, {Link::no_bounds, -1}}));
    EXPECT_EQ(found.mend, Mend::both);
    EXPECT_EQ(found.numbers[0], 63);  // of a value of 64 bytes
}

TEST(Cause, tells_of_checks_and_of_scales) {
    const auto found =
        why("r2 = *(u64 *)(r1 + 104)\nif r2 s> 15 goto out\nr2 <<= 2\nr1 = map[idx:1][0]+0 ll\nr1 += r2\n"
            "r0 = *(u32 *)(r1 + 0)\nout: r0 = 0\nexit",
            Finding::pointer_offset);
    EXPECT_EQ(steps(found),
              (Steps{{Link::loaded, 0}, {Link::narrowed, 1}, {Link::computed, 2}, {Link::no_lower_bound, -1}}));
    EXPECT_EQ(found.mend, Mend::lower);
    EXPECT_EQ(found.numbers[0], 15);  // 64 bytes are 16 of 4
}

TEST(Cause, tells_of_a_loose_limit) {
    const auto found =
        why("r2 = *(u8 *)(r1 + 104)\nr3 = r10\nr3 += -64\nr3 += r2\nr0 = *(u8 *)(r3 + 0)\nexit", Finding::out_of_stack);
    EXPECT_EQ(steps(found), (Steps{{Link::loaded, 0}, {Link::added, 3}, {Link::loose_bound, -1}}));
    EXPECT_EQ(found.mend, Mend::none);
}

TEST(Cause, sees_that_another_copy_was_checked) {
    const auto found =
        why("r2 = *(u64 *)(r1 + 104)\nr3 = r2\nr3 ^= 1\nif r3 > 10 goto out\nr1 = map[idx:1][0]+0 ll\nr1 += r2\n"
            "r0 = *(u8 *)(r1 + 0)\nout: r0 = 0\nexit",
            Finding::pointer_offset);
    EXPECT_EQ(steps(found), (Steps{{Link::loaded, 0}, {Link::other_copy, 3}, {Link::no_bounds, -1}}));
}

TEST(Cause, crosses_calls) {
    EXPECT_EQ(steps(why("r2 = *(u64 *)(r1 + 104)\nr1 = r2\ncall f\nr0 = 0\nexit\n"
                        "f: r2 = map[idx:1][0]+0 ll\nr2 += r1\nr0 = *(u8 *)(r2 + 0)\nexit",
                        Finding::pointer_offset)),
              (Steps{{Link::loaded, 0}, {Link::copied, 1}, {Link::passed, 2}, {Link::no_bounds, -1}}));
    EXPECT_EQ(steps(why("call f\nr2 = map[idx:1][0]+0 ll\nr2 += r0\nr0 = *(u8 *)(r2 + 0)\nexit\n"
                        "f: call get_prandom_u32\nr0 &= 255\nexit",
                        Finding::out_of_map_value)),
              (Steps{{Link::returned, 6},
                     {Link::computed, 7},
                     {Link::given_back, 8},
                     {Link::added, 3},
                     {Link::loose_bound, -1}}));
    auto callback = program_of(
        "r1 = 3\nr2 = f ll\nr3 = 0\nr4 = 0\ncall loop\nr0 = 0\nexit\n"
        "f: r2 = map[idx:1][0]+0 ll\nr2 += r1\nr0 = *(u8 *)(r2 + 0)\nexit");
    add_btf(callback);
    EXPECT_EQ(steps(why(callback, Finding::pointer_offset)), (Steps{{Link::round_number, 5}, {Link::no_bounds, -1}}));
}

TEST(Cause, finds_where_a_value_was_lost) {
    EXPECT_EQ(steps(why("r2 = 1\ncall get_prandom_u32\nr0 = r2\nexit", Finding::uninitialized_register)),
              (Steps{{Link::cleared, 1}}));
    EXPECT_EQ(steps(why("r0 = r7\nexit", Finding::uninitialized_register)), (Steps{{Link::starts_empty, 0}}));
    EXPECT_EQ(steps(why("call f\nr0 = r1\nexit\nf: r0 = 0\nexit", Finding::uninitialized_register)),
              (Steps{{Link::cleared_by_function, 0}}));
    const auto destroyed =
        why(program_of("*(u64 *)(r10 - 8) = r1\n*(u8 *)(r10 - 7) = 0\nr1 = *(u64 *)(r10 - 8)\nr0 = 0\nexit"),
            Finding::uninitialized_stack, {.allow_ptr_leaks = false});
    EXPECT_EQ(steps(destroyed), (Steps{{Link::starts, 0}, {Link::spilled, 0}, {Link::overwritten, 1}}));
    EXPECT_EQ(destroyed.mend, Mend::keep_apart);
}

// Where addresses may get out, what is left of a lost one is a number.
TEST(Cause, finds_where_a_privileged_program_lost_an_address) {
    const Options privileged{.allow_ptr_leaks = true};
    const auto moved =
        why(program_of("r6 = *(u32 *)(r1 + 0)\nr2 = *(u32 *)(r1 + 4)\nr3 = r6\nr3 += 14\nif r3 > r2 goto out\nr2 = -4\n"
                       "call xdp_adjust_head\nr0 = *(u8 *)(r6 + 13)\nout: r0 = 2\nexit",
                       abi::ProgType::xdp),
            Finding::not_a_pointer, privileged);
    EXPECT_EQ(steps(moved), (Steps{{Link::loaded_pointer, 0}, {Link::packet_moved, 6}}));
    EXPECT_EQ(moved.mend, Mend::packet_again);
    EXPECT_EQ(moved.numbers[0], 14);
    const auto destroyed = why(program_of("*(u64 *)(r10 - 8) = r1\n*(u8 *)(r10 - 7) = 0\nr1 = *(u64 *)(r10 - 8)\n"
                                          "r0 = *(u64 *)(r1 + 0)\nexit"),
                               Finding::not_a_pointer, privileged);
    EXPECT_EQ(steps(destroyed),
              (Steps{{Link::starts, 0}, {Link::spilled, 0}, {Link::overwritten, 1}, {Link::loaded_bytes, 2}}));
    EXPECT_EQ(destroyed.mend, Mend::keep_apart);
}

TEST(Cause, knows_the_argument_that_was_wrong) {
    const auto program = program_of(
        "r6 = r1\nr7 = *(u64 *)(r6 + 104)\nr1 = r10\nr1 += -16\nr2 = r7\nr3 = 0\ncall probe_read_kernel\nr0 = 0\nexit");
    const auto found = why(program, Finding::unbounded_size);
    EXPECT_EQ(found.argument, 2U);
    EXPECT_EQ(found.mend, Mend::clamp);
    EXPECT_EQ(found.numbers[0], 16);  // what the stack has there
    const auto record =
        why("r1 = map[idx:2] ll\nr2 = 8\nr3 = 0\ncall ringbuf_reserve\nif r0 == 0 goto out\nr1 = r10\nr1 += 0\nr2 = "
            "9\nr3 = "
            "r0\nr1 = r0\ncall probe_read_kernel\nout: r0 = 0\nexit",
            Finding::out_of_record);
    EXPECT_EQ(record.argument, 1U);
}

// The part of the path that is kept is long enough for what matters, and a longer path does no harm.
TEST(Cause, survives_long_paths) {
    EXPECT_EQ(
        steps(why("r7 = *(u64 *)(r1 + 104)\nr6 = 0\nagain: r6 += 1\nif r6 < 6000 goto again\nr1 = map[idx:1][0]+0 ll\n"
                  "r1 += r7\nr0 = *(u8 *)(r1 + 0)\nr0 = 0\nexit",
                  Finding::pointer_offset)),
        (Steps{{Link::no_bounds, -1}}));
    const auto effort = why("r6 = 0\nagain: r6 += 1\nif r6 != 2000000 goto again\nr0 = 0\nexit", Finding::too_complex);
    EXPECT_EQ(steps(effort), (Steps{{Link::walked, 1}, {Link::loop_back, 2}}));
    EXPECT_EQ(effort.numbers[0], 2000000);
    const auto endless = why("r6 = 0\nagain: r0 = 1\nif r6 == 0 goto again\nexit", Finding::infinite_loop);
    ASSERT_FALSE(endless.causes.empty());
    EXPECT_EQ(endless.mend, Mend::count_rounds);
}

TEST(Cause, of_an_accepted_program_there_is_none) {
    const auto program = program_of("r0 = 0\nexit");
    const Report report = verify(program, {});
    EXPECT_TRUE(trace(report, program).causes.empty());
    EXPECT_TRUE(tell(report, program).finding.empty());
    EXPECT_TRUE(explain(report, program).empty());
}

TEST(Cause, is_told_of_every_refusal) {
    u32 refused = 0, with_cause = 0;
    for (u64 seed = 1; seed <= 1500; ++seed) {
        const auto program = Generator(seed).program();
        const Report report = verify(program, {.max_insns = 20'000});
        if (report.accepted) continue;
        ++refused;
        const Told told = tell(report, program);
        EXPECT_EQ(told.finding, to_string(report.diagnostic.what));
        EXPECT_LE(told.causes.size(), 10U) << seed;
        for (const auto& link : told.causes) {
            EXPECT_THAT(link.text, ::testing::Not(HasSubstr("{"))) << seed;
            EXPECT_FALSE(link.text.empty());
        }
        with_cause += told.causes.empty() ? 0U : 1U;
    }
    EXPECT_GT(refused, 200U);
    EXPECT_GT(with_cause, refused / 2);
}

}  // namespace
}  // namespace anybpf::verifier

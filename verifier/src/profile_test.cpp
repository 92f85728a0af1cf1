// SPDX-License-Identifier: Apache-2.0
#include "anybpf/verifier/profile.hpp"

#include "testing.hpp"

namespace anybpf::verifier {
namespace {

using abi::KernelVersion;
using abi::ProgType;
using testing::program_of;

// A program with the verifier's report, as the command has it after a load.
struct Case {
    program::Program program;
    Report report;
    std::vector<program::MapInfo> maps;
    std::vector<std::string> kfuncs;
    bool has_constants = false, asks_kernel = false, fragments = false;

    explicit Case(std::string_view text, ProgType type = ProgType::kprobe) : Case(program_of(text, type)) {}
    explicit Case(program::Program made) : program(std::move(made)), report(verify(program, {})) {}

    Profile at(std::string_view version, bool seen = true) const {
        return judge({.program = program,
                      .report = seen ? &report : nullptr,
                      .why_not_seen = seen ? "" : "it needs a kernel",
                      .maps = maps,
                      .kfuncs = kfuncs,
                      .fragments = fragments,
                      .has_constants = has_constants,
                      .asks_kernel = asks_kernel},
                     *abi::kernel_version(version));
    }
    std::string says(std::string_view version, bool seen = true) const {
        const Profile profile = at(version, seen);
        return std::string(to_string(profile.answer)) + " " + std::string(to_string(profile.cause));
    }
};

program::MapInfo map_of(abi::MapType type, std::string name, u32 flags = 0) {
    return {1, type, 4, 8, 1, flags, std::move(name), {}};
}

TEST(Profile, a_plain_program_loads_everywhere) {
    const Case plain("r0 = 0\nexit");
    for (const KernelVersion version : abi::long_term_kernels) {
        EXPECT_EQ(plain.says(to_string(version)), "yes none");
        EXPECT_EQ(explain(plain.at(to_string(version))), "");
    }
}

TEST(Profile, helpers_by_version_and_program_type) {
    const Case task("call bpf_get_current_task_btf\nr0 = 0\nexit");
    EXPECT_EQ(task.says("5.10"), "no helper");
    EXPECT_EQ(task.says("5.11"), "yes none");
    const Profile profile = task.at("5.4");
    EXPECT_EQ(explain(profile), "it calls bpf_get_current_task_btf(), which programs of type kprobe have since 5.11");
    EXPECT_EQ(profile.since, (KernelVersion{5, 11}));
    EXPECT_EQ(profile.pc, Pc{0});

    const std::string cookie = "call bpf_get_attach_cookie\nr0 = 0\nexit";
    EXPECT_EQ(Case(cookie, ProgType::kprobe).at("5.15").cause, Case(cookie, ProgType::kprobe).at("6.1").cause);
    EXPECT_EQ(Case(cookie, ProgType::raw_tracepoint).says("6.6"), "no helper");
    EXPECT_NE(Case(cookie, ProgType::raw_tracepoint).says("6.12"), "no helper");
}

TEST(Profile, libbpf_puts_probe_read_in_the_place_of_newer_ones) {
    const Case read("r1 = r10\nr1 += -8\nr2 = 8\nr3 = 0\ncall bpf_probe_read_kernel\nr0 = 0\nexit");
    EXPECT_EQ(read.says("5.4"), "yes stand_in");
    EXPECT_EQ(explain(read.at("5.4")),
              "libbpf puts another helper in the place of bpf_probe_read_kernel(), which exists since 5.5");
    EXPECT_EQ(read.says("5.10"), "yes none");
    // Programs that do not trace never had what would stand in.
    Case xdp(program_of("r0 = 2\nexit", ProgType::xdp));
    xdp.program.insns.insert(xdp.program.insns.begin(), read.program.insns.begin(), read.program.insns.end() - 2);
    xdp.report = verify(xdp.program, {});
    EXPECT_EQ(xdp.says("5.4"), "no helper");
    EXPECT_EQ(xdp.says("5.10"), "yes none");
}

TEST(Profile, program_types_attach_types_and_flags) {
    EXPECT_EQ(Case("r0 = 0\nexit", ProgType::sk_lookup).says("5.4"), "no program_type");
    Case lookup("r0 = 1\nexit", ProgType::sk_lookup);
    lookup.program.expected_attach_type = abi::AttachType::sk_lookup;
    lookup.report = verify(lookup.program, {});
    EXPECT_NE(lookup.at("5.10").answer, Answer::no);

    Case multi("r0 = 0\nexit");
    multi.program.expected_attach_type = abi::AttachType::trace_kprobe_multi;
    EXPECT_EQ(multi.says("5.15"), "no attach_type");
    EXPECT_EQ(explain(multi.at("5.15")), "programs of type kprobe can be attached by trace_kprobe_multi since 5.18");
    EXPECT_EQ(multi.says("6.1"), "yes none");

    Case xdp("r0 = 2\nexit", ProgType::xdp);
    xdp.program.expected_attach_type = abi::AttachType::xdp;  // a number of 5.9 for what there was before
    EXPECT_EQ(xdp.says("5.4"), "yes none");
    xdp.fragments = true;
    EXPECT_EQ(xdp.says("5.15"), "no fragments");
    EXPECT_EQ(xdp.says("6.1"), "yes none");

    Case uprobe("r0 = 0\nexit");
    uprobe.program.sleepable = true;
    EXPECT_EQ(uprobe.says("5.15"), "no sleepable");
    EXPECT_EQ(uprobe.says("6.1"), "yes none");
}

TEST(Profile, an_object_needs_all_its_maps_and_kfuncs) {
    Case plain("r0 = 0\nexit");
    plain.maps = {map_of(abi::MapType::hash, "counts"), map_of(abi::MapType::ringbuf, "events")};
    EXPECT_EQ(plain.says("5.4"), "no map_type");
    EXPECT_EQ(explain(plain.at("5.4")), "map 'events' is of type ringbuf, which exists since 5.8");
    EXPECT_EQ(plain.says("5.10"), "yes none");

    plain.maps = {map_of(abi::MapType::array, "shared", abi::map_mmapable)};
    EXPECT_EQ(explain(plain.at("5.4")), "map 'shared' has the flag BPF_F_MMAPABLE, which exists since 5.5");
    EXPECT_EQ(plain.says("5.10"), "yes none");

    plain.kfuncs = {"bpf_task_acquire"};
    EXPECT_EQ(explain(plain.at("6.1")), "the object needs the kfunc bpf_task_acquire(), which exists since 6.2");
    EXPECT_EQ(plain.says("6.6"), "yes none");
    plain.kfuncs = {"bpf_of_a_module"};
    EXPECT_EQ(plain.says("5.10"), "no kfunc");  // none was there
    EXPECT_EQ(plain.says("6.12"), "unknown unknown_kfunc");
}

TEST(Profile, instructions) {
    struct Row {
        const char *text, *before, *since;
        abi::Feature feature;
    };
    const Row rows[] = {
        {"r1 = 1\n*(u64 *)(r10 - 8) = 0\nr1 = atomic_fetch_add((u64 *)(r10 - 8), r1)\nr0 = 0\nexit", "5.11", "5.12",
         abi::Feature::atomic_fetch},
        {"r1 = 1\n*(u64 *)(r10 - 8) = 0\nlock *(u64 *)(r10 - 8) |= r1\nr0 = 0\nexit", "5.11", "5.12",
         abi::Feature::atomics},
        {"r1 = 7\nr0 = (s8)r1\nr0 = 0\nexit", "6.5", "6.6", abi::Feature::cpu_v4_moves},
        {"r1 = 7\nr1 s/= 2\nr0 = 0\nexit", "6.5", "6.6", abi::Feature::cpu_v4_division},
        {"r1 = 7\nr1 = bswap16 r1\nr0 = 0\nexit", "6.5", "6.6", abi::Feature::cpu_v4_swap},
        {"*(u64 *)(r10 - 8) = 0\nr1 = *(s8 *)(r10 - 8)\nr0 = 0\nexit", "6.5", "6.6", abi::Feature::cpu_v4_loads},
        {"r0 = 0\ngotol +0\nexit", "6.5", "6.6", abi::Feature::cpu_v4_goto},
        {"r0 = 0\nmay_goto +0\nexit", "6.8", "6.9", abi::Feature::may_goto},
        {"*(u64 *)(r10 - 8) = 0\nr1 = r10\nr1 += -8\nr1 = load_acquire((u64 *)(r1 + 0))\nr0 = 0\nexit", "6.14", "6.15",
         abi::Feature::atomic_order},
    };
    for (const Row& row : rows) {
        const Case test(row.text);
        const Profile profile = test.at(row.before);
        EXPECT_EQ(to_string(profile.cause), "feature") << row.text;
        EXPECT_EQ(explain(profile), std::string(to_string(row.feature)) + " exist since " + row.since) << row.text;
        EXPECT_NE(test.at(row.since).answer, Answer::no) << row.text << explain(test.at(row.since));
    }
    // The same addition without the old value is as old as the oldest.
    EXPECT_EQ(Case("r1 = 1\n*(u64 *)(r10 - 8) = 0\nlock *(u64 *)(r10 - 8) += r1\nr0 = 0\nexit").says("5.4"),
              "yes none");
}

TEST(Profile, fields_of_contexts) {
    const Case gso("r0 = *(u32 *)(r1 + 176)\nr0 = 0\nexit", ProgType::sched_cls);
    EXPECT_EQ(explain(gso.at("5.4")), "it reads or writes __sk_buff.gso_size, which exists since 5.7");
    EXPECT_EQ(gso.says("5.10"), "yes none");
    // The same offset of another object is none.
    EXPECT_EQ(Case("*(u32 *)(r10 - 4) = 1\nr0 = *(u32 *)(r10 - 4)\nr0 = 0\nexit", ProgType::sched_cls).says("5.4"),
              "yes none");
}

TEST(Profile, tail_calls_beside_calls) {
    program::Program program = program_of(
        "r6 = r1\ncall pc+7\nr1 = r6\nr2 = map[idx:4] ll\nr3 = 0\ncall bpf_tail_call\nr0 = "
        "0\nexit\nr0 = 0\nexit");
    testing::add_btf(program);
    const Case test(std::move(program));
    ASSERT_TRUE(test.report.accepted) << explain(test.report, test.program);
    EXPECT_EQ(explain(test.at("5.4")), "tail calls in a program that calls functions exist since 5.10");
    EXPECT_EQ(test.says("5.10"), "yes none");
}

TEST(Profile, private_stacks) {
    // A frame of 16 bytes that calls one of `bytes`: by a proof, for it depends on the verifier what it lets pass.
    const auto with_frames = [](u32 bytes) {
        program::Program program = program_of("call pc+2\nr0 = 0\nexit\nr0 = 0\nexit");
        testing::add_btf(program);
        Case test(std::move(program));
        EXPECT_TRUE(test.report.accepted) << explain(test.report, test.program);
        test.report.proof.subprograms.at(0).stack_bytes = 16;
        test.report.proof.subprograms.at(1).stack_bytes = bytes;
        return test;
    };
    EXPECT_EQ(with_frames(480).says("6.12"), "yes none");
    EXPECT_EQ(with_frames(496).says("6.12"), "unknown stack");
    EXPECT_EQ(with_frames(512).says("6.12"), "no feature");
    EXPECT_EQ(explain(with_frames(512).at("5.10")),
              "stacks of more than 512 bytes over a chain of calls exist since 6.13");
    EXPECT_EQ(with_frames(512).says("6.13"), "yes none");
}

// int f(T *) as a global function of a program; T is the context or an int.
program::Program with_global_function(bool takes_context) {
    program::Program program =
        program_of("*(u32 *)(r10 - 4) = 0\nr6 = r1\nr2 = r10\nr2 += -4\nr1 = r2\ncall pc+2\nr0 = 0\nexit\nr0 = 0\nexit",
                   ProgType::sched_cls);
    btf::Builder builder;
    const u32 number = builder.add_int("int", 4, btf::IntEncoding::signed_);
    const u32 context = builder.begin_composite(btf::Kind::struct_, "__sk_buff", 4);
    builder.add_member("len", number, 0);
    const u32 pointer = builder.add_pointer(takes_context ? context : number);
    const u32 main = builder.begin_prototype(number);
    const u32 proto = builder.begin_prototype(number);
    builder.add_parameter("p", pointer);
    program.funcs.push_back({0, builder.add_reference(btf::Kind::func, "main", main, 1)});
    program.funcs.push_back({8, builder.add_reference(btf::Kind::func, "f", proto, 1)});
    auto parsed = btf::Btf::parse(builder.finish());
    EXPECT_TRUE(parsed.has_value());
    if (parsed) program.btf = *parsed;
    return program;
}

TEST(Profile, pointers_into_global_functions) {
    const Case memory(with_global_function(false)), context(with_global_function(true));
    EXPECT_EQ(explain(memory.at("5.10")), "global functions with pointer arguments exist since 5.12");
    EXPECT_NE(memory.at("5.15").cause, Cause::feature);
    EXPECT_NE(memory.at("5.4").cause, Cause::feature);  // walked at each call there
    EXPECT_NE(context.at("5.10").cause, Cause::feature);
}

TEST(Profile, what_only_precision_can_tell) {
    const std::string loop = "r0 = 0\nr0 += 1\nif r0 < 5 goto -2\nr0 = 0\nexit";
    EXPECT_EQ(Case(loop).says("5.10"), "unknown rounds");
    EXPECT_EQ(Case(loop).says("6.18"), "yes none");
    EXPECT_EQ(explain(Case(loop).at("6.12")), "it has loops, and how far these are walked differs between versions");
    // A jump back that never meets itself again is no loop.
    EXPECT_EQ(Case("r0 = 0\ngoto +2\nr0 = 0\nexit\ngoto -3").says("5.4"), "yes none");
    const std::string sum = "call bpf_get_prandom_u32\nif w0 > 5 goto +1\nr0 += r0\nr0 = 0\nexit";
    EXPECT_EQ(Case(sum).says("5.4"), "unknown bounds");
    EXPECT_EQ(Case(sum).says("5.10"), "yes none");
    Case large("r0 = 0\nexit");
    large.report.processed = small_walk + 1;
    EXPECT_EQ(large.says("6.12"), "unknown size");
    EXPECT_EQ(large.says("6.18"), "yes none");
    large.report.processed = small_walk;
    EXPECT_EQ(large.says("6.12"), "yes none");
}

TEST(Profile, code_that_may_be_dead) {
    // rodata holds 7 at 8: the branch to the helper is dead, which 5.4 does not see.
    const std::string guarded =
        "r1 = map[idx:5][0]+8 ll\nr1 = *(u32 *)(r1 + 0)\nif r1 == 7 goto +1\n"
        "call bpf_get_current_task_btf\nr0 = 0\nexit";
    Case test(guarded);
    ASSERT_TRUE(test.report.accepted) << explain(test.report, test.program);
    test.has_constants = true;
    EXPECT_EQ(test.says("5.4"), "unknown perhaps_unused");
    EXPECT_EQ(test.says("5.10"), "yes none");
    EXPECT_EQ(test.says("5.10", false), "unknown perhaps_unused");

    // Code that only older verifiers walk was not walked here, whatever it is.
    Case dead("r1 = map[idx:5][0]+8 ll\nr1 = *(u32 *)(r1 + 0)\nif r1 == 7 goto +1\nr2 = 0\nr0 = 0\nexit");
    ASSERT_TRUE(dead.report.accepted) << explain(dead.report, dead.program);
    EXPECT_EQ(dead.says("5.4"), "yes none");
    dead.has_constants = true;
    EXPECT_EQ(dead.says("5.4"), "unknown unwalked");
    EXPECT_EQ(dead.says("5.10"), "yes none");
    dead.asks_kernel = true;
    EXPECT_EQ(dead.says("5.10"), "unknown unwalked");
    EXPECT_EQ(dead.says("6.18"), "yes none");
    Case fallback(guarded);
    fallback.asks_kernel = true;
    EXPECT_EQ(fallback.says("5.10"), "unknown perhaps_unused");
    EXPECT_EQ(fallback.says("5.15"), "unknown unwalked");

    Case asks("call bpf_get_current_task_btf\nr0 = 0\nexit");
    EXPECT_EQ(asks.says("5.10", false), "no helper");
    asks.asks_kernel = true;
    EXPECT_EQ(asks.says("5.10"), "unknown perhaps_unused");
    EXPECT_EQ(asks.says("5.15"), "yes none");
}

TEST(Profile, callbacks) {
    program::Program program =
        program_of("r1 = 4\nr2 = subprog[+6] ll\nr3 = 0\nr4 = 0\ncall bpf_loop\nr0 = 0\nexit\nr0 = 0\nexit");
    testing::add_btf(program);
    const Case test(std::move(program));
    ASSERT_TRUE(test.report.accepted) << explain(test.report, test.program);
    EXPECT_EQ(explain(test.at("5.10")), "it calls bpf_loop(), which programs of type kprobe have since 5.17");
    EXPECT_EQ(test.says("5.17"), "unknown rounds");
    EXPECT_EQ(test.says("6.18"), "yes none");
    // Without a helper that takes it, the address alone is too new.
    program::Program alone = program_of("r1 = subprog[+3] ll\nr0 = 0\nexit\nr0 = 0\nexit");
    testing::add_btf(alone);
    EXPECT_EQ(explain(Case(std::move(alone)).at("5.10")), "callbacks exist since 5.13");
}

TEST(Profile, the_verdict_of_the_reference) {
    const Case bad("r0 = *(u64 *)(r2 + 0)\nexit");
    EXPECT_EQ(bad.says("6.18"), "no refused");
    EXPECT_EQ(bad.says("5.4"), "no refused");
    EXPECT_NE(explain(bad.at("6.18")).find("r2"), std::string::npos) << explain(bad.at("6.18"));
    // What the tables say comes first.
    EXPECT_EQ(Case("call bpf_get_current_task_btf\nr0 = *(u64 *)(r2 + 0)\nexit").says("5.4"), "no helper");
    // A relocation that failed here may succeed there, where it is not known whether it would be accepted.
    EXPECT_EQ(Case("call 195896080\nr0 = 0\nexit").says("6.18"), "unknown relocation");
    EXPECT_EQ(Case("call 4711\nr0 = 0\nexit").says("6.18"), "no refused");
    // Not seen, or not for the kernel's reasons.
    const Case plain("r0 = 0\nexit");
    EXPECT_EQ(plain.says("6.18", false), "unknown not_walked");
    EXPECT_EQ(explain(plain.at("5.4", false)),
              "the tables allow it, and the verifier has not seen it: it needs a kernel");
    EXPECT_EQ(Case("call kfunc#7\nr0 = 0\nexit").says("5.10"), "no feature");
}

TEST(Profile, functions_that_are_not_linked) {
    const Case plain("r0 = 0\nexit");
    const program::Program other = program_of("call bpf_get_current_task_btf\nr0 = 0\nexit");
    const Profile profile = judge({.program = plain.program, .functions = other.insns}, *abi::kernel_version("5.4"));
    EXPECT_EQ(to_string(profile.cause), "helper");
    EXPECT_FALSE(profile.pc);
}

// Sentences name what the cause has: a placeholder that is not filled would be seen here.
TEST(Profile, every_cause_has_a_sentence) {
    for (Cause cause{1}; to_string(cause) != "stand_in"; cause = static_cast<Cause>(static_cast<u8>(cause) + 1)) {
        const std::string text =
            explain({.answer = Answer::no, .cause = cause, .what = "W", .where = "V", .since = {5, 7}, .pc = {}});
        EXPECT_GT(text.size(), 10U) << to_string(cause);
        EXPECT_EQ(text.find('{'), std::string::npos) << text;
    }
}

TEST(Profile, kinds_of_btf) {
    btf::Builder builder;
    const u32 number = builder.add_int("int", 4, btf::IntEncoding::signed_);
    builder.add_reference(btf::Kind::type_tag, "user", number);
    const auto parsed = btf::Btf::parse(builder.finish());
    ASSERT_TRUE(parsed.has_value());
    const auto needs = btf_needs(**parsed);
    ASSERT_EQ(needs.size(), 1U);
    EXPECT_EQ(needs[0].kind, btf::Kind::type_tag);
    EXPECT_EQ(needs[0].since, (KernelVersion{5, 17}));
}

}  // namespace
}  // namespace anybpf::verifier

// SPDX-License-Identifier: Apache-2.0
// Extensions (ext), by their findings. The kernel of the machine that these were written on loads none for anybody
// (EPERM), so that what is expected is what the kernel's documentation and messages say.
#pragma once

#include <functional>
#include <map>

#include "anybpf/program/flow.hpp"
#include "testing.hpp"

namespace anybpf::verifier::testing {

struct ExtensionCase {
    std::string name;
    std::string replaced;                // a function of the target
    std::vector<const char*> arguments;  // of the extension's function: int, unsigned, long, ctx, xdp, memory, "long *"
    std::string text;
    Finding expected = Finding::none;
    abi::ProgType target = abi::ProgType::sched_cls;
    const char* result = "int";
    bool own_global = true, own_types = true;
    std::function<void(program::Program& target)> change = {};
    std::function<void(program::Program& extension)> change_own = {};
};

// The types that the declarations of both are made of.
class ExtensionTypes {
  public:
    ExtensionTypes() {
        add_number("int", 4, btf::IntEncoding::signed_);
        add_number("unsigned", 4, btf::IntEncoding::none);
        add_number("long", 8, btf::IntEncoding::signed_);
        types_["void"] = 0;
        const auto add = [&](const char* name, const char* tag) {
            const u32 type = builder_.begin_composite(btf::Kind::struct_, tag, 8);
            builder_.add_member("a", types_["int"], 0);
            types_[name] = builder_.add_pointer(type);
        };
        add("ctx", "__sk_buff");
        add("xdp", "xdp_md");
        add("memory", "pair");
        types_["long *"] = builder_.add_pointer(types_["long"]);
    }
    u32 function(const char* name, const std::vector<const char*>& arguments, const char* result, bool global) {
        const u32 prototype = builder_.begin_prototype(types_[result]);
        for (const char* argument : arguments) builder_.add_parameter("a", types_[argument]);
        return builder_.add_reference(btf::Kind::func, name, prototype, global ? 1 : 0);
    }
    std::shared_ptr<const btf::Btf> finish() {
        auto parsed = btf::Btf::parse(builder_.finish());
        EXPECT_TRUE(parsed.has_value()) << (parsed ? "" : parsed.error().message);
        return parsed ? *parsed : nullptr;
    }

  private:
    void add_number(const char* name, u32 bytes, btf::IntEncoding how) {
        types_[name] = builder_.add_int(name, bytes, how);
    }
    btf::Builder builder_;
    std::map<std::string, u32> types_;
};

inline std::shared_ptr<program::Program> extended_program(abi::ProgType type) {
    ExtensionTypes types;
    constexpr std::string_view text = R"(
        r6 = r1
        r2 = 2
        call sum
        r1 = r6
        call look
        r1 = r6
        call move
        r1 = 1
        call fixed
        r1 = r10
        r1 += -8
        call reads
        r0 = 0
        exit
        sum: r0 = 0
        exit
        look: r0 = 1
        exit
        move: call move2
        r0 = 0
        exit
        fixed: r0 = 0
        exit
        reads: r0 = 0
        exit
        move2: r2 = 4
        r3 = 0
        call skb_change_head
        r0 = 0
        exit
    )";
    auto target = std::make_shared<program::Program>(program_of(text, type));
    const char* context = type == abi::ProgType::xdp ? "xdp" : "ctx";
    const std::vector<u32> funcs = {
        types.function("main", {context}, "int", true), types.function("sum", {"int", "long"}, "int", true),
        types.function("look", {context}, "int", true), types.function("move", {context}, "int", true),
        types.function("fixed", {"int"}, "int", false), types.function("reads", {"long *"}, "int", true),
        types.function("move2", {context}, "int", true)};
    const program::Flow flow = program::find_flow(target->insns);
    for (std::size_t i = 0; i < funcs.size(); ++i) target->funcs.push_back({flow.starts[i], funcs[i]});
    target->btf = types.finish();
    return target;
}

inline std::vector<ExtensionCase> extension_cases() {
    using F = Finding;
    using P = abi::ProgType;
    std::vector<ExtensionCase> all;
    const auto add = [&](ExtensionCase one) { all.push_back(std::move(one)); };
    const std::string done = "r0 = 0\nexit\n", sum = "r0 = r1\nr0 += r2\nexit\n";
    add({"a function of numbers", "sum", {"int", "long"}, sum});
    add({"its arguments are numbers", "sum", {"int", "long"}, "r0 = *(u32 *)(r1 + 0)\nexit\n", F::not_a_pointer});
    add({"it has no more arguments", "sum", {"int", "long"}, "r0 = r3\nexit\n", F::uninitialized_register});
    add({"a function of the context", "look", {"ctx"}, "r0 = *(u32 *)(r1 + 0)\nexit\n"});
    add({"the context is the target's", "look", {"ctx"}, "r0 = *(u32 *)(r1 + 196)\nexit\n", F::out_of_context});
    add({"the program itself", "main", {"ctx"}, "r2 = *(u32 *)(r1 + 0)\nr0 = 0\nexit\n"});
    add({"the packet of XDP",
         "look",
         {"xdp"},
         "r2 = *(u32 *)(r1 + 0)\nr3 = *(u32 *)(r1 + 4)\nr4 = r2\nr4 += 1\nif r4 > r3 goto +1\nr5 = *(u8 *)(r2 + 0)\n" +
             done,
         F::none,
         P::xdp});
    add({"the packet beyond its end",
         "look",
         {"xdp"},
         "r2 = *(u32 *)(r1 + 0)\nr5 = *(u8 *)(r2 + 0)\n" + done,
         F::out_of_packet,
         P::xdp});
    add({"a helper of the target's type", "look", {"ctx"}, "r2 = 0\ncall skb_pull_data\n" + done, F::bad_extension});
    add({"a helper that moves the packet where one did", "move", {"ctx"}, "r2 = 0\ncall skb_pull_data\n" + done});
    add({"a helper of another type",
         "look",
         {"xdp"},
         "r2 = 0\ncall skb_load_bytes\n" + done,
         F::helper_program_type,
         P::xdp});
    add({"a result that the target's type must not have",
         "sum",
         {"int", "long"},
         "r0 = 7\nexit\n",
         F::return_range,
         P::cgroup_skb});
    add({"a result that it may have", "sum", {"int", "long"}, "r0 = 1\nexit\n", F::none, P::cgroup_skb});
    add({"no such function", "none", {"int"}, done, F::bad_extension});
    add({"a static function", "fixed", {"int"}, done, F::bad_extension});
    add({"a static one in its place", "sum", {"int", "long"}, done, F::bad_extension, P::sched_cls, "int", false});
    add({"without types", "sum", {"int", "long"}, done, F::bad_extension, P::sched_cls, "int", true, false});
    add({"fewer arguments", "sum", {"int"}, done, F::bad_extension});
    add({"another result", "sum", {"int", "long"}, done, F::bad_extension, P::sched_cls, "long *"});
    add({"a result of another size", "sum", {"int", "long"}, done, F::none, P::sched_cls, "long"});
    add({"no result", "sum", {"int", "long"}, done, F::bad_extension, P::sched_cls, "void"});
    add({"an argument of another size", "sum", {"long", "long"}, done, F::extension_argument});
    add({"an argument without a sign", "sum", {"unsigned", "long"}, done});
    add({"a pointer for a number", "sum", {"int", "ctx"}, done, F::extension_argument});
    add({"another context", "look", {"xdp"}, done, F::extension_argument});
    add({"a pointer to a number", "reads", {"long *"}, done, F::extension_argument});
    const auto target = [&](const char* name, Finding expected, auto change) {
        ExtensionCase one{name, "look", {"ctx"}, done, expected};
        one.change = change;
        add(one);
    };
    target("a target without types", F::bad_extension, [](auto& of) { of.btf = nullptr; });
    target("a target that extends", F::bad_extension, [](auto& of) { of.extends = extended_program(P::sched_cls); });
    target("a target at a function's entry", F::bad_extension, [](auto& of) {
        of.type = P::tracing;
        of.expected_attach_type = abi::AttachType::trace_fentry;
    });
    target("a target of security modules", F::bad_extension, [](auto& of) { of.type = P::lsm; });
    ExtensionCase sleepy{"one that may sleep", "look", {"ctx"}, done, F::bad_extension};
    sleepy.change_own = [](auto& of) { of.sleepable = true; };
    add(sleepy);
    ExtensionCase own{"the program itself, which is declared otherwise", "main", {"memory"}, done, F::bad_extension};
    own.change = [](auto& of) {
        ExtensionTypes types;
        of.funcs = {{0, types.function("main", {"memory"}, "int", true)}};
        of.btf = types.finish();
    };
    add(own);
    ExtensionCase nobody{"nobody's", "look", {"ctx"}, done, F::extension_target};
    nobody.change_own = [](auto& of) { of.extends = nullptr, of.type = P::ext; };
    add(nobody);
    return all;
}

inline program::Program program_of(const ExtensionCase& one) {
    const auto target = extended_program(one.target);
    if (one.change) one.change(*target);
    program::Program program = program_of(one.text, abi::ProgType::ext);
    for (const program::FuncInfo& function : target->funcs)
        if (target->btf != nullptr && target->btf->type(function.type_id).name == one.replaced)
            program.attach_btf_id = function.type_id;
    ExtensionTypes types;
    const u32 mine = types.function("mine", one.arguments, one.result, one.own_global);
    program.btf = types.finish();
    if (one.own_types) program.funcs = {{0, mine}};
    program::extend(program, target);
    if (one.change_own) one.change_own(program);
    return program;
}

}  // namespace anybpf::verifier::testing

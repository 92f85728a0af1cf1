// SPDX-License-Identifier: Apache-2.0
// Programs that own objects, by their findings: the smallest of each. tests/owned has many more, in C, and asks the
// live kernel.
#pragma once

#include "kernel_types.hpp"

namespace anybpf::verifier::testing {

struct OwnedCase {
    std::string name;
    std::string text;  // {t:item}: the type's number in the program's BTF
    Finding expected = Finding::none;
};

// The program's types. A value: resilient lock at 0, list of items at 8, tree of items at 24, pointers to a pair at 40
// (owned) and to a task at 48 (untrusted), work queue at 56. An item: key, list node at 8, tree node at 32, count
// at 64.
struct OwnedTypes {
    std::shared_ptr<const btf::Btf> btf;
    u32 number = 0, value = 0, spun = 0, lonely = 0;
    std::vector<u32> functions;
};
// The kernel takes no BTF that has what is wrong with `lonely`.
inline const OwnedTypes& owned_types(bool flawed = true) {
    const auto make = [](bool with_flaw) {
        btf::Builder builder;
        OwnedTypes out;
        const u32 number = out.number = builder.add_int("int", 4, btf::IntEncoding::signed_);
        const u32 wide = builder.add_int("unsigned long", 8, btf::IntEncoding::none);
        struct Member {
            const char* name;
            u32 type, offset;
        };
        const auto add = [&](const char* name, u32 bytes, std::initializer_list<Member> members) {
            const u32 id = builder.begin_composite(btf::Kind::struct_, name, bytes);
            for (const Member& one : members) builder.add_member(one.name, one.type, 8 * one.offset);
            return id;
        };
        const auto known = [&](const char* name, u32 bytes) {
            const u32 words = builder.add_array(bytes % 8 == 0 ? wide : number, number, bytes % 8 == 0 ? bytes / 8 : 1);
            return add(name, bytes, {{"opaque", words, 0}});
        };
        const u32 spin = known("bpf_spin_lock", 4), resilient = known("bpf_res_spin_lock", 4),
                  head = known("bpf_list_head", 16), node = known("bpf_list_node", 24), root = known("bpf_rb_root", 16),
                  tree_node = known("bpf_rb_node", 32), count = known("bpf_refcount", 4), queue = known("bpf_wq", 16);
        const u32 task = add("task_struct", 4, {{"pid", number, 0}});
        const u32 pair = add("pair", 16, {{"a", wide, 0}, {"b", wide, 8}});
        const auto pointer = [&](const char* tag, u32 to) {
            return builder.add_pointer(builder.add_reference(btf::Kind::type_tag, tag, to));
        };
        const u32 owned = pointer("kptr", pair), untrusted = pointer("kptr_untrusted", task);
        add("item", 72, {{"key", wide, 0}, {"node", node, 8}, {"tree", tree_node, 32}, {"count", count, 64}});
        add("other", 48, {{"key", wide, 0}, {"node", node, 8}, {"more", wide, 32}});
        out.value = add("value", 72,
                        {{"lock", resilient, 0},
                         {"head", head, 8},
                         {"root", root, 24},
                         {"owned", owned, 40},
                         {"seen", untrusted, 48},
                         {"queue", queue, 56}});
        builder.add_tag("contains:item:node", out.value, 1);
        builder.add_tag("contains:item:tree", out.value, 2);
        out.spun = add("spun", 24, {{"lock", spin, 0}, {"head", head, 8}});
        builder.add_tag("contains:item:node", out.spun, 1);
        out.lonely =
            with_flaw ? add("lonely", 16, {{"head", head, 0}}) : add("lonely", 8, {{"a", wide, 0}});  // no lock
        if (with_flaw) builder.add_tag("contains:item:node", out.lonely, 0);
        const u32 prototype = builder.begin_prototype(number);
        const u32 argument = builder.begin_prototype(number);
        builder.add_parameter("n", number);
        out.functions = {builder.add_reference(btf::Kind::func, "main", prototype, 1),
                         builder.add_reference(btf::Kind::func, "f", prototype, 0),
                         builder.add_reference(btf::Kind::func, "g", argument, 1)};
        auto parsed = btf::Btf::parse(builder.finish());
        EXPECT_TRUE(parsed.has_value()) << (parsed ? "" : parsed.error().message);
        if (parsed) out.btf = *parsed;
        return out;
    };
    static const OwnedTypes with = make(true), without = make(false);
    return flawed ? with : without;
}

enum : u32 { owned_value, owned_other, owned_spun, owned_lonely, owned_queue, owned_foreign, owned_plain };

inline std::vector<program::MapInfo> owned_maps(bool flawed = true) {
    using abi::MapType;
    const OwnedTypes& types = owned_types(flawed);
    const auto map = [&](const char* name, MapType type, u32 bytes, u32 value) {
        program::MapInfo info{1, type, 4, bytes, 1, 0, name, {}};
        info.btf = types.btf;
        info.btf_key_type_id = types.number;
        info.btf_value_type_id = value;
        return info;
    };
    std::vector<program::MapInfo> out = {
        map("value", MapType::array, 72, types.value),        map("other", MapType::array, 72, types.value),
        map("spun", MapType::array, 24, types.spun),          map("lonely", MapType::array, 16, types.lonely),
        map("queue", MapType::percpu_array, 72, types.value), map("foreign", MapType::array, 16, 0),
        map("plain", MapType::array, 4, types.number)};
    if (!flawed) {  // what the kernel takes, at the same indices
        for (const u32 other : {owned_lonely, owned_queue, owned_foreign}) out[other] = out[owned_plain];
        return out;
    }
    // As of another object: a pointer to a struct that only that one knows.
    btf::Builder builder;
    const u32 wide = builder.add_int("unsigned long", 8, btf::IntEncoding::none);
    const u32 thing = builder.begin_composite(btf::Kind::struct_, "thing", 8);
    builder.add_member("a", wide, 0);
    const u32 pointer = builder.add_pointer(builder.add_reference(btf::Kind::type_tag, "kptr", thing));
    const u32 value = builder.begin_composite(btf::Kind::struct_, "foreign", 16);
    builder.add_member("thing", pointer, 0);
    builder.add_member("more", wide, 64);
    if (auto parsed = btf::Btf::parse(builder.finish())) out[owned_foreign].btf = *parsed;
    out[owned_foreign].btf_value_type_id = value;
    return out;
}

inline std::vector<OwnedCase> owned_cases() {
    using F = Finding;
    std::vector<OwnedCase> all;
    const auto add = [&](std::string name, std::string text, F expected = F::none) {
        all.push_back({std::move(name), std::move(text), expected});
    };
    const auto call = [](const char* name) { return fmt::format("call kfunc#{{f:{}}}\n", name); };
    const auto in = [](u32 reg, u32 map, u32 at) { return fmt::format("r{} = map[idx:{}][0]+{} ll\n", reg, map, at); };
    const std::string done = "\nr0 = 0\nexit\n", out = "\nout: r0 = 0\nexit\n", zero = "r2 = 0\n";
    const auto make = [&](const char* type) {
        return fmt::format("r1 = {{t:{}}}\nr2 = 0\n", type) + call("bpf_obj_new_impl") +
               "if r0 == 0 goto out\nr6 = r0\n";
    };
    const std::string drop = "r1 = r6\nr2 = 0\n" + call("bpf_obj_drop_impl");
    const auto lock = [&](u32 map) { return in(1, map, 0) + call("bpf_res_spin_lock"); };
    const auto unlock = [&](u32 map) { return in(1, map, 0) + call("bpf_res_spin_unlock"); };
    const std::string locked = lock(owned_value) + "if r0 != 0 goto out\n", freed = unlock(owned_value);
    const std::string push =
        in(1, owned_value, 8) + "r2 = r6\nr2 += 8\nr3 = 0\nr4 = 0\n" + call("bpf_list_push_front_impl");
    const std::string spin = in(1, owned_spun, 0) + "call spin_lock\n",
                      unspin = in(1, owned_spun, 0) + "call spin_unlock\n";
    const std::string kept =
        "r7 = 0\n" + make("item") + lock(owned_value) + "if r0 == 0 goto in\n" + drop + done + "in: ";

    add("an object", make("item") + "*(u64 *)(r6 + 0) = 5\n" + drop + out);
    add("an object that is put into a list", kept + push + "*(u64 *)(r6 + 0) = 5\n" + freed + out);
    add("a list without lock", make("item") + push + out, F::lock_required);
    add("a list under another lock",
        make("item") + lock(owned_other) + "if r0 == 0 goto in\n" + drop + done + "in: " + push + unlock(owned_other) +
            out,
        F::lock_elsewhere);
    add("a lock taken twice", locked + lock(owned_value) + out, F::lock_again);
    add("locks given back in the order of taking",
        locked + lock(owned_other) + "if r0 == 0 goto both\n" + freed + done + "both: " + freed + unlock(owned_other) +
            out,
        F::lock_order);
    add("allocating under a lock", spin + "r1 = {t:item}\n" + zero + call("bpf_obj_new_impl") + unspin + done,
        F::lock_held_kfunc);
    add("a global function under a lock", spin + "r1 = 1\ncall g\n" + unspin + done + "g: r0 = r1\nexit\n",
        F::lock_held_global);
    add("a list without a lock beside it", in(1, owned_lonely, 0) + done, F::bad_map_fields);
    add("an object with a list without a lock", make("lonely") + drop + out, F::bad_type_fields);
    add("a list in a map of each CPU", fmt::format("r1 = map[idx:{}] ll\n", u32{owned_queue}) + done,
        F::field_map_type);
    add("a pointer to what another object's BTF describes", in(1, owned_foreign, 0) + "r1 = *(u64 *)(r1 + 0)\n" + done,
        F::foreign_types);
    add("a pointer that is exchanged",
        make("pair") + in(1, owned_value, 40) + "r2 = r6\ncall kptr_xchg\nif r0 == 0 goto out\nr6 = r0\n" + drop + out);
    add("a pointer to another type", make("item") + in(1, owned_value, 40) + "r2 = r6\ncall kptr_xchg\n" + out,
        F::kptr_type);
    add("a pointer that is not owned", in(1, owned_value, 40) + "r2 = 5\ncall kptr_xchg\n" + done, F::kptr_not_owned);
    add("a pointer that owns nothing is exchanged", in(1, owned_value, 48) + "r2 = 0\ncall kptr_xchg\n" + done,
        F::kptr_not_exchanged);
    add("no pointer is exchanged", in(1, owned_value, 4) + "r2 = 0\ncall kptr_xchg\n" + done, F::no_kptr);
    add("a pointer that owns is overwritten", in(1, owned_value, 0) + "r2 = 0\n*(u64 *)(r1 + 40) = r2\n" + done,
        F::kptr_stored);
    add("a pointer that owns nothing is overwritten", in(1, owned_value, 0) + "*(u64 *)(r1 + 48) = 0\n" + done);
    add("an object's node read", make("item") + "r7 = *(u64 *)(r6 + 8)\n" + drop + out, F::own_field_access);
    add("no head",
        kept + in(1, owned_value, 0) + "r2 = r6\nr2 += 8\nr3 = 0\nr4 = 0\n" + call("bpf_list_push_front_impl") + freed +
            out,
        F::no_field);
    add("another type's node",
        make("other") + lock(owned_value) + "if r0 == 0 goto in\n" + drop + done + "in: " + push + freed + out,
        F::graph_node);
    add("another owner", make("item") + "r1 = r6\nr2 = 0\n" + call("bpf_refcount_acquire_impl") + "r1 = r0\nr2 = 0\n" +
                             call("bpf_obj_drop_impl") + drop + out);
    add("another owner of what is not counted",
        make("pair") + "r1 = r6\nr2 = 0\n" + call("bpf_refcount_acquire_impl") + drop + out, F::no_refcount);
    add("an object of a number",
        fmt::format("r1 = {}\nr2 = 0\n", owned_types().number) + call("bpf_obj_new_impl") + done, F::object_type);
    add("an item for each CPU", "r1 = {t:item}\nr2 = 0\n" + call("bpf_percpu_obj_new_impl") + done, F::percpu_type);
    const std::string tree = kept + in(1, owned_value, 24) + "r2 = r6\nr2 += 32\nr3 = f ll\nr4 = 0\nr5 = 0\n" +
                             call("bpf_rbtree_add_impl") + freed + out;
    add("a tree", tree +
                      "f: r0 = *(u64 *)(r1 - 32)\nr1 = *(u64 *)(r2 - 32)\nif r0 > r1 goto more\nr0 = 0\nexit\nmore: r0 "
                      "= 1\nexit\n");
    add("a tree's order that takes something out",
        tree + "f: r2 = r1\n" + in(1, owned_value, 24) + call("bpf_rbtree_remove") + "r0 = 0\nexit\n", F::less_changes);
    add("a tree's order that unlocks", tree + "f: " + in(1, owned_spun, 0) + "call spin_unlock\nr0 = 0\nexit\n",
        F::less_locks);
    add("a tree's order that is any number", tree + "f: r0 = *(u64 *)(r1 - 32)\nexit\n", F::callback_return);
    add("work", in(1, owned_value, 56) + fmt::format("r2 = map[idx:{}] ll\nr3 = 0\n", u32{owned_value}) +
                    call("bpf_wq_init") + done);
    add("work of another map",
        in(1, owned_value, 56) + fmt::format("r2 = map[idx:{}] ll\nr3 = 0\n", u32{owned_other}) + call("bpf_wq_init") +
            done,
        F::work_of_other_map);
    const std::string later = in(1, owned_value, 56) + "r2 = f ll\nr3 = 0\n" + call("bpf_wq_set_callback_impl") + done;
    add("work's function", later + "f: r0 = 0\nexit\n");
    add("work's function that throws", later + "f: r1 = 0\n" + call("bpf_throw") + "r0 = 0\nexit\n",
        F::throw_in_callback);
    return all;
}

inline program::Program program_of(const OwnedCase& one, std::shared_ptr<const btf::Btf> kernel = kernel_types(),
                                   bool flawed = true) {
    const OwnedTypes& types = owned_types(flawed);
    std::string text = one.text;
    for (std::size_t open = 0; (open = text.find("{t:", open)) != std::string::npos;) {
        const std::size_t close = text.find('}', open);
        const auto id = types.btf->find(text.substr(open + 3, close - open - 3), btf::Kind::struct_);
        EXPECT_TRUE(id.has_value()) << one.name;
        text.replace(open, close - open + 1, std::to_string(id.value_or(0)));
    }
    program::Program program = program_of(with_types(text, *kernel), abi::ProgType::sched_cls);
    program.maps = owned_maps(flawed);
    program.btf = types.btf;
    program.kernel_btf = kernel;
    program.funcs = {{0, types.functions[0]}};
    for (u32 pc = 0; pc < program.insns.size(); pc += isa::slots(program.insns[pc])) {
        const isa::Insn& insn = program.insns[pc];
        const bool called = insn.code == 0x85 && insn.src == 1, given = insn.code == 0x18 && insn.src == 4;
        if (called || given)
            program.funcs.push_back({static_cast<u32>(i64{pc} + 1 + insn.imm), types.functions[called ? 2 : 1]});
    }
    return program;
}

}  // namespace anybpf::verifier::testing
